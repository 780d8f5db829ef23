#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Resynchronisation: what is sent is what differs, counted independently; it is suspended and resumed
# without sending again what had arrived; in the daily window it begins by itself; a failover is possible in
# the middle of it, and so is a reversal; the points from before are there afterwards. A reversal that has to
# compare says so and what it costs. The machine is off, so that nothing else changes.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up bandwidth=2
pair_hosts
"$guest" create "$dir" A g1 --size 64M
data=/var/lib/libvirt/images/data.qcow2
on A qemu-img create -q -f qcow2 $data 256M
virsh_on A attach-disk g1 $data vdb --subdriver qcow2 --config >/dev/null # of which nobody is told
uuid=$(uuid_of A g1)

step() {
    say "---- $1"
}

# lose OFFSET MIB: other bytes there, and no change map any more.
lose() {
    local name
    head -c $(($2 << 20)) /dev/urandom >"$dir/A/var/log/random"
    when_free A qemu-io -f qcow2 -c "write -s /var/log/random ${1}M ${2}M" $data
    for name in $(virsh_on A checkpoint-list g1 --name | grep '^vmr\.'); do
        # the daemon, which tries again, may just have deleted it itself
        when_free A sh -c "qemu-img bitmap --remove $data $name || ! qemu-img info -U $data | grep -q 'name: $name\$'"
    done
    vr A --quiet sync g1 >/dev/null 2>&1 || :
    wait_state A g1 "waiting to resynchronise"
    [ "$(status A g1 TrackingLost)" = MISSING ] || fail "lost by: $(status A g1 TrackingLost)"
}

# shows HOST STATE: the ReplicationState that it shows.
shows() {
    [ "$(machine "$1" g1 ReplicationState)" = "$2" ] || fail "$1 shows state $(machine "$1" g1 ReplicationState), not $2"
}

well_under_way() {
    [ "$(status A g1 State)" = resynchronising ] && [ $(($(sent_by A) - sent)) -gt $((6 << 20)) ]
}

last_copy() {
    copies "$uuid" | tail -n 1
}

wait_for 60 "the new disk is known" vr A --quiet enable g1 --to hostb --interval 3600 --resync-window never
vr A --quiet start g1
vr A --quiet sync g1
before=$(points B g1)

step ships-differences-only
old=$(last_copy)
lose 16 24
vr A --quiet resync g1
differs=$(differing "$old" "$(last_copy)" 65536)
shipped=$(status A g1 LastCycleBytes)
[ "$differs" -ge $((24 << 20)) ] || fail "only $(human "$differs") differ: the test is wrong"
[ "$shipped" -le $((differs * 101 / 100)) ] || fail "$(human "$shipped") shipped, $(human "$differs") differ"
ok "$(human "$differs") of 320 MiB differ, $(human "$shipped") were shipped"

step points-survive
for id in $before; do
    points B g1 | seen -x "$id" || fail "point $id is gone after the resynchronisation"
done
check_points B g1
[ "$(virsh_on A checkpoint-list g1 --name | grep -c '^vmr\.')" = 1 ] ||
    fail "checkpoints are left: $(virsh_on A checkpoint-list g1 --name | tr '\n' ' ')"
[ -z "$(status A g1 TrackingLost)" ] || fail "still lost: $(status A g1 TrackingLost)"
ok "the points from before the resynchronisation are there"

step paused-and-resumed
lose 64 64 # takes over half a minute at 2 MiB/s: what follows happens in the middle of it
sent=$(sent_by A)
vr A --quiet --no-wait resync g1 >/dev/null
wait_for 120 "the resynchronisation is well under way" well_under_way
shows A 10
shows B 10
ok "both sides show that they resynchronise"
job=$(vr A --no-wait resync g1 | tail -n 1)
vr A --json jobs "$job" | jq -e '.[0].JobType == 107 and .[0].JobState == 4' >/dev/null ||
    fail "resync of what resynchronises already: $job"
ok "who asks again is shown the job that runs"
vr A --quiet suspend g1
wait_state A g1 "resynchronisation suspended"
half=$(($(sent_by A) - sent))
vr A --quiet resume g1
wait_state A g1 replicating 240
sent=$(($(sent_by A) - sent))
[ $sent -lt $((72 << 20)) ] || fail "64 MiB differed, $(human $half) before the pause, $(human $sent) in all were sent"
check_points B g1
shows A 3
wait_state B g1 replicating
ok "suspended after $(human $half), $(human $sent) in all for 64 MiB"

step cancelled
newest=$(newest_point B g1)
lose 128 48
sent=$(sent_by A)
vr A --quiet --no-wait resync g1 >/dev/null
wait_for 120 "the resynchronisation is well under way" well_under_way
vr A --quiet cancel g1
wait_state A g1 "waiting to resynchronise"
vr A --quiet set g1 --resync-window always
"$daemon" stop "$dir" A
"$daemon" start "$dir" A
wait_for 60 "explain tells that somebody cancelled it" eval 'vr A --json explain g1 | jq -e ".[0].Reasons | index(\"resync_held\")"'
is_state A g1 "waiting to resynchronise" || fail "it began again by itself: $(status A g1 State)"
ok "cancelled, it does not begin again by itself: $(vr A explain g1 | grep 'does not start')"

step failover-during-resync
sent=$(sent_by A)
vr A --quiet --no-wait resync g1 >/dev/null
wait_for 120 "the resynchronisation is well under way" well_under_way
began_ms=$(date +%s%3N)
vr B --quiet failover g1 --no-start --force
took=$(($(date +%s%3N) - began_ms))
[ "$(status B g1 State)" = "failed over, waiting for completion" ] || fail "state on B: $(status B g1 State)"
[ "$(newest_point B g1)" = "$newest" ] || fail "the newest point is another one now"
ok "failed over to the newest point in $took ms, in the middle of a resynchronisation"
vr B --quiet cancel g1
wait_state B g1 replicating
case $(status A g1 State) in
waiting*) vr A --quiet resync g1 ;;
esac
wait_state A g1 replicating 240
check_points B g1
ok "failover cancelled: the resynchronisation was made up for"

step in-the-daily-window
# at SECONDS: the local time of day so many seconds from now
at() {
    date -d "+$1 seconds" +%H:%M
}
begins=$(at 7200)
vr A --quiet set g1 --resync-window "$begins-$(at 10800)"
lose 24 8
vr A status g1 | seen -E 'waiting to resynchronise' || fail "status says: $(vr A status g1)"
wait_for 60 "explain tells when it begins" eval 'vr A --json explain g1 | jq -e ".[0].Reasons | index(\"resync_scheduled\")"'
due=$(vr A explain g1 | grep "starts by itself at .* $begins:00" || :)
[ -n "$due" ] || fail "explain does not say when the window begins: $(vr A explain g1)"
# The daemon is started anew and looks again: the window is still hours away.
"$daemon" stop "$dir" A
"$daemon" start "$dir" A
wait_for 60 "explain tells when it begins" eval 'vr A --json explain g1 | jq -e ".[0].Reasons | index(\"resync_scheduled\")"'
sent=$(sent_by A)
vr A --quiet sync g1 >/dev/null 2>&1 || :
is_state A g1 "waiting to resynchronise" || fail "outside of its window it is '$(status A g1 State)'"
[ $(($(sent_by A) - sent)) -lt $((4 << 20)) ] || fail "$(human $(($(sent_by A) - sent))) were sent outside of the window"
ok "outside of its window it waits: $due"
newest=$(newest_point B g1)
vr A --quiet set g1 --resync-window "$(at -120)-$(at 7200)" # nobody says more than that
wait_state A g1 replicating 240
[ "$(newest_point B g1)" != "$newest" ] || fail "no point came of it"
[ -z "$(status A g1 TrackingLost)" ] || fail "still lost: $(status A g1 TrackingLost)"
check_points B g1
ok "in its window it begins by itself"

step reverse-during-resync
# write HOST OFFSET MIB: other bytes there
write() {
    head -c $(($3 << 20)) /dev/urandom >"$dir/$1/var/log/random"
    when_free "$1" qemu-io -f qcow2 -c "write -q -s /var/log/random ${2}M ${3}M" \
        "$(virsh_on "$1" domblklist g1 | awk '$1 == "vdb" { print $2 }')"
}
# orphan_of HOST: the copies of its disks in oracle/orphan are those of its newest orphan point
orphan_of() {
    local id
    id=$(vr "$1" --json points g1 | jq -r '[.[] | select(.Kind == "orphan") | .InstanceID] | last // empty')
    [ -n "$id" ] || fail "what $(host_name "$1") had written alone is no point: $(vr "$1" points g1)"
    mv "$dir/$1/var/log/oracle/orphan" "$dir/$1/var/log/oracle/$uuid/${id/:/-}"
}
# copy_disks HOST: as they are now
copy_disks() {
    local target path
    mkdir -p "$dir/$1/var/log/oracle/orphan"
    virsh_on "$1" domblklist g1 | while read -r target path; do
        [ ! -e "$dir/$1$path" ] || when_free "$1" qemu-img convert -U -O raw "$path" "/var/log/oracle/orphan/$target.raw"
    done
}
vr A --quiet set g1 --resync-window never
last=$(last_copy)
lose 160 64
sent=$(sent_by A)
vr A --quiet --no-wait resync g1 >/dev/null
wait_for 120 "the resynchronisation is well under way" well_under_way
vr B --quiet failover g1 --no-start --force
write B 20 2
copy_disks A
vr B --quiet --no-wait reverse g1 --no-start >/dev/null # the old primary is told, and its comparison ends
wait_state B g1 "ready for initial copy"
vr B explain g1 | seen 'compares.*up to 320.0 MiB.*only what differs travels' || fail "what it costs is not said: $(vr B explain g1)"
sent=$(sent_by B)
vr B --quiet start g1 --seeded
wait_state B g1 replicating 240
sent=$(($(sent_by B) - sent))
differs=$(differing "$last" "$dir/A/var/log/oracle/orphan" 65536)
orphan_of A
shipped=$(status B g1 LastReverseBytes)
[ "$shipped" -le $(((differs + (2 << 20)) * 101 / 100)) ] || fail "$(human "$shipped") shipped, $(human "$differs") and 2 MiB were written apart"
[ $sent -lt $((100 << 20)) ] || fail "$(human $sent) were sent in all"
vr B --quiet sync g1
check_points A g1
ok "reversed in the middle of a resynchronisation: $(human "$differs") and 2 MiB were written apart, $(human "$shipped") were shipped"

step newest-point-is-gone
# The replica is restored from a copy that lacks the last points: the change map of the primary counts from
# one that nobody has any more. What differs is found by comparing the disks, and that is said beforehand.
chain=/var/lib/vmreplica
"$daemon" stop "$dir" A
on A cp -a $chain /var/log/restored
"$daemon" start "$dir" A
write B 200 8
wait_for 120 "a point of what was written" vr B --quiet sync g1
write B 16 4
wait_for 120 "a point of what was written" vr B --quiet sync g1
lost=$(newest_point A g1)
write B 230 2
copy_disks B
"$daemon" kill "$dir" B
"$daemon" stop "$dir" A
on A find $chain -mindepth 1 -delete
on A cp -a /var/log/restored/. $chain
"$daemon" start "$dir" A
newest=$(newest_point A g1)
[ "$newest" != "$lost" ] || fail "nothing is lost"
last=$(oracle_of "$uuid" "${newest/:/-}")
vr A --quiet failover g1 --no-start --force
write A 24 2
"$daemon" start "$dir" B
out=$(vr A reverse g1 --wait) || fail "reverse: $out"
grep -q 'cannot be told from change maps.*compares.*up to 320.0 MiB' <<<"$(tr '\n' ' ' <<<"$out")" ||
    fail "reverse does not say that it compares, and what that costs: $out"
wait_state A g1 replicating 240
differs=$(differing "$last" "$dir/B/var/log/oracle/orphan" 65536)
orphan_of B
shipped=$(status A g1 LastReverseBytes)
[ "$differs" -ge $((14 << 20)) ] || fail "only $(human "$differs") differ: the test is wrong"
[ "$shipped" -le $(((differs + (2 << 20)) * 101 / 100)) ] || fail "$(human "$shipped") shipped, $(human "$differs") and 2 MiB were written apart"
vr A --quiet sync g1
check_points B g1
ok "a point is gone: announced, $(human "$differs") and 2 MiB were written apart, $(human "$shipped") of 320 MiB were shipped"
