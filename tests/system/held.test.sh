#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A failover waits for nothing: a merge, a verification and a reception are each held in the middle, and the
# failover completes while they are (in less than 5 s, with VMR_QUIET=1); what is held cannot end by itself. The newest point has
# the primary's bytes each time, and what was held is made up for after the failover was cancelled.
. "$(dirname "$0")/lib.sh"
system_begin
slow=/run/slow
"$lab" up "$dir" A B
# qemu-img on B whose merges never end while /run/slow/on is there
mkdir "$dir/B$slow"
cat >"$dir/B$slow/qemu-img" <<'SLOW'
#!/bin/sh
if [ "$1" = commit ] && [ -e /run/slow/on ]; then
    : >/run/slow/merging
    exec sleep infinity
fi
exec /usr/bin/qemu-img "$@"
SLOW
chmod 755 "$dir/B$slow/qemu-img"
for host in A B; do
    "$lab" start-libvirtd "$dir" "$host"
    daemon_config "$host" verify_rate=1
done
"$daemon" start "$dir" A
# shellcheck disable=SC2016 # expanded by the shell inside
"$daemon" start "$dir" B sh -c 'PATH=/run/slow:$PATH exec "$0" "$@"'
pair_hosts
"$guest" create "$dir" A g1 --size 512M --fill 96 # of which a MiB is verified in a second
vr A --quiet enable g1 --to hostb --interval 3600 --start
vr A --quiet retention g1 --every 0 --hourly 0
disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')

step() {
    say "---- $1"
}
# wrote OFFSET MIB: other bytes there
wrote() {
    head -c $(($2 << 20)) /dev/urandom >"$dir/A/var/log/random"
    when_free A qemu-io -f qcow2 -c "write -q -s /var/log/random ${1}M ${2}M" "$disk"
}
cycle() {
    wrote "$1" 1
    vr A --quiet sync g1
}
# fails_over [OPTION]: and nobody gave way to it who was held; then back
fails_over() {
    local newest
    newest=$(newest_point B g1)
    in_time "failover" 5000 vr B --quiet failover g1 --no-start "$@"
    is_state B g1 "failed over, waiting for completion" || fail "state on B: $(status B g1 State)"
    when_free B qemu-img compare -U -q -f raw -F qcow2 "$(oracle_of "$(uuid_of B g1)" "${newest/:/-}")/vda.raw" \
        "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')" || fail "failed over to something else than the newest point"
}
cancelled() {
    vr B --quiet cancel g1
    wait_state B g1 replicating
    wait_state A g1 replicating 120
}

step while-merging
: >"$dir/B$slow/on"
for i in 256 258 260 262; do cycle $i; done
wait_for 60 "a merge is held" [ -e "$dir/B$slow/merging" ]
layers=$(database B 'SELECT count(*) FROM layer WHERE role = 0')
fails_over
[ "$(database B 'SELECT count(*) FROM layer WHERE role = 0')" = "$layers" ] || fail "the merge was not held"
rm "$dir/B$slow/on"
cancelled
cycle 264
merged() {
    [ "$(database B 'SELECT count(*) FROM layer WHERE role = 0')" -lt "$layers" ]
}
wait_for 60 "the merge is made up for" merged
check_points B g1
ok "failed over while a merge was held"

step while-verifying
job=$(vr B --json --no-wait verify g1 --point "$(newest_point B g1)" | jq -r .Job)
runs() {
    [ "$(vr B --json jobs | jq -r ".[] | select(.InstanceID == \"$job\") | .JobState")" = 4 ]
}
wait_for 60 "the verification runs" runs
fails_over
runs || fail "the verification was over before the failover"
cancelled
vr B jobs "$job" --cancel >/dev/null
ok "failed over while a point was being read"

step while-receiving
"$lab" net-shape "$dir" B 8 # Mbit/s
wrote 300 64
vr A --quiet --no-wait sync g1 >/dev/null
receiving() {
    [ -n "$(status B g1 BytesDone)" ]
}
half_way() {
    [ "$(status A g1 BytesDone)" -gt $((8 << 20)) ] && receiving
}
wait_for 60 "a cycle comes in" half_way
# No question reaches hosta, as behind a line that its own data fills: it is not lost all the same.
questions() { on A iptables "$1" INPUT -p tcp --dport 8443 -j DROP; }
questions -I
refused B 1 'hosta sends data .*may run there.*--force' failover g1 --no-start
is_state B g1 replicating || fail "state on B after a failover that was refused: $(status B g1 State)"
[ "$(vr B --json failover g1 --dry-run | jq -r .PeerMachine)" = sending ] || fail "the dry run says: $(vr B failover g1 --dry-run)"
ok "a primary that sends is not taken for lost"
fails_over --force
questions -D
receiving && fail "what comes in goes on although B was failed over"
"$lab" net-shape "$dir" B 0
cancelled
vr A --quiet sync g1
check_points B g1
ok "failed over while a cycle came in slowly"

step while-receiving-and-cut-off
"$lab" net-shape "$dir" B 8
wrote 400 64
vr A --quiet --no-wait sync g1 >/dev/null
wait_for 60 "a cycle comes in" half_way
"$lab" net-down "$dir" A
receiving || fail "nothing comes in any more"
fails_over
"$lab" net-shape "$dir" B 0
"$lab" net-up "$dir" A
cancelled
vr A --quiet sync g1
check_points B g1
ok "failed over in the middle of a cycle that will never go on"

# Reversed while a merge is held, and the machine goes home again.
step reversed-while-merging
rm -f "$dir/B$slow/merging"
: >"$dir/B$slow/on"
for i in 274 276 278 280; do cycle $i; done
wait_for 60 "a merge is held" [ -e "$dir/B$slow/merging" ]
vr A --quiet failover g1 --planned --no-start
when_free B qemu-io -f qcow2 -c "write -q -P 77 282M 1M" "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')"
vr B --quiet reverse g1
wait_state B g1 replicating 120
vr B --quiet sync g1 # by itself the next cycle is in an hour
[ -e "$dir/B$slow/on" ] || fail "the merge was not held"
check_points A g1
rm "$dir/B$slow/on"
vr B --quiet failover g1 --planned --no-start
vr A --quiet reverse g1
wait_state A g1 replicating 120
disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }') # the old one lies below it now
cycle 284
check_points B g1
ok "reversed while a merge was held, and back"

# Replication is ended while a merge is held: it is not waited for, either.
step ended-while-merging
rm -f "$dir/B$slow/merging"
: >"$dir/B$slow/on"
for i in 266 268 270 272; do cycle $i; done
wait_for 60 "a merge is held" [ -e "$dir/B$slow/merging" ]
newest=$(newest_point B g1)
vr B --quiet disable g1
[ "$(machine B g1 ReplicationState)" = 0 ] || fail "hostb still replicates"
when_free B qemu-img compare -U -q -f raw -F qcow2 "$(oracle_of "$(uuid_of A g1)" "${newest/:/-}")/vda.raw" \
    "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')" || fail "the machine on hostb has something else than the newest point"
ok "ended while a merge was held"
