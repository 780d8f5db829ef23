#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The primary comes back in the middle of an unplanned failover: the replica's failover is held while the
# cable of the primary is plugged in again, with its machine running; then while the primary boots after a
# crash. It becomes superseded, nothing of it is received, and neither copy is written to by anybody but its
# own machine. Last, the new primary is lost before its first copy has come back: what the old one had is
# failed over to.
. "$(dirname "$0")/lib.sh"
system_begin
mortal=$build/src/daemon/vmreplicad-fault
[ -x "$mortal" ] || fail "vmreplicad-fault is not built in $build"
hosts_up
"$daemon" stop "$dir" B
# shellcheck disable=SC2016 # expanded by the shell inside; "$1" is the ordinary program
"$daemon" start "$dir" B env VMREPLICA_HOLD_FAILOVER=/run/hold sh -c 'shift; exec "$0" "$@"' "$mortal"
pair_hosts
fill=16
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
uuid=$(uuid_of A g1)
protect g1
wait_points B g1 2
disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')

step() {
    say "---- $1"
}
failing() {
    is_state B g1 "failing over"
}
# fails_over_held: begins a failover on hostb and returns while it is held in the middle
fails_over_held() {
    newest=$(newest_point B g1)
    before=$(points B g1)
    : >"$dir/B/run/hold"
    vr B --quiet failover g1 --force --no-start >"$dir/failover.log" 2>&1 &
    order=$!
    wait_for 60 "the failover is held" failing
}
# released: it ends; hosta is superseded, nothing of it came in, hostb has the bytes of its newest point
released() {
    failing || fail "the failover was not held: $(status B g1 State)"
    rm "$dir/B/run/hold"
    wait $order || fail "the failover: $(cat "$dir/failover.log")"
    is_state B g1 "failed over, waiting for completion" || fail "hostb is $(status B g1 State)"
    wait_state A g1 "superseded by a failover" 180
    [ "$(points B g1)" = "$before" ] || fail "a point came in from a primary that was failed over: $(points B g1)"
    when_free B qemu-img compare -U -q -f raw -F qcow2 "$(oracle_of "$uuid" "${newest/:/-}")/vda.raw" \
        "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')" || fail "hostb was failed over to something else than its newest point"
    refused A 1 'failed over to host hostb' resume g1
}

step plugged-in-again
"$lab" net-down "$dir" A
fails_over_held
pos=$(log_pos A)
"$lab" net-up "$dir" A
"$guest" wait-tick "$dir" A g1 2 >/dev/null
# hosta is there and tries to go on while the failover is held
tried() {
    [ -n "$(status A g1 LastError)" ] && vr A --quiet check hostb
}
wait_for 60 "hosta reaches hostb" tried
vr A --quiet sync g1 >"$dir/sync.log" 2>&1 && fail "a cycle went through in the middle of a failover"
is_state A g1 "superseded by a failover" && fail "hosta is superseded before anything was failed over"
released
log_has A "$pos" 'point [0-9]+ at hostb' && fail "hosta believes that a point of it arrived"
[ "$(virsh_on A domstate g1)" = running ] || fail "the machine on hosta was stopped although nobody said so"
ok "plugged in again in the middle: superseded, its machine runs, nothing was received"
vr B --quiet cancel g1 --discard
wait_state A g1 replicating 60
wait_points B g1 1
check_points B g1

step booted-again
"$lab" crash "$dir" A
fails_over_held
"$lab" boot "$dir" A
"$lab" start-libvirtd "$dir" A
mkdir -p "$dir/A/var/log/oracle/orphan"
when_free A qemu-img convert -U -O raw "$disk" /var/log/oracle/orphan/vda.raw
"$daemon" start "$dir" A
wait_for 60 "hosta reaches hostb" vr A --quiet check hostb
released
when_free A qemu-img compare -U -q -f raw -F qcow2 /var/log/oracle/orphan/vda.raw "$disk" || fail "the disk on hosta was written to"
ok "booted in the middle: superseded, its disk is as the crash left it"
sent=$(sent_by B)
vr B --quiet reverse g1
wait_state B g1 replicating 120
wait_points A g1 1
sent=$(($(sent_by B) - sent))
[ $sent -lt $((fill << 20)) ] || fail "the reverse sent $(human $sent)"
orphan=$(vr A --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID')
mv "$dir/A/var/log/oracle/orphan" "$dir/A/var/log/oracle/$uuid/${orphan/:/-}"
check_points A g1
ok "reversed with $(human $sent); what hosta had is the orphan point"

# ---- the new primary is lost before its first copy has arrived ----
# hostb, the primary now, crashes and comes back as the replica of what hosta went on with; then hosta is
# lost in the middle of the first copy. What hostb had written is the only copy there is.
step only-the-orphan-is-left
vr B --quiet boot g1
wait_points A g1 1
"$guest" wait-tick "$dir" B g1 4 >/dev/null
"$lab" crash "$dir" B
vr A --quiet failover g1
"$lab" boot "$dir" B
"$lab" start-libvirtd "$dir" B
own=$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')
when_free B qemu-img convert -O raw "$own" /var/log/own.raw
"$daemon" start "$dir" B
wait_state B g1 "superseded by a failover" 60
oracle_hold A
# While hostb's last cycle is still ending, the reversal is queued and the command is over; else it waits
# for the first copy and dies with hosta.
vr A --quiet reverse g1 >"$dir/reverse.log" 2>&1 &
order=$!
wait_state B g1 "waiting for initial copy" 60
wait_for 60 "the first copy is held" oracle_held A
"$lab" crash "$dir" A
wait $order || say "$(cat "$dir/reverse.log")"
refused B 1 'failover g1 --point POINT' failover g1 --force
orphan=$(vr B --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID')
vr B --quiet failover g1 --point "$orphan" --no-start
own=$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')
when_free B qemu-img compare -U -q -f raw -F qcow2 /var/log/own.raw "$own" || fail "hostb was not set to what it had written"
vr B --quiet cancel g1
is_state B g1 "waiting for initial copy" || fail "after cancelling hostb is $(status B g1 State)"
size=$(stat -c %s "$("$guest" log "$dir" B g1)")
vr B --quiet failover g1 --point "$orphan"
"$guest" wait-line "$dir" B g1 60 '^VMR boot' "$size" >/dev/null
ok "the new primary was lost before its first copy came: hostb runs what it had written itself"
"$lab" boot "$dir" A
oracle_release A
"$lab" start-libvirtd "$dir" A
"$daemon" start "$dir" A
wait_state A g1 "superseded by a failover" 60
wait_for 60 "hostas last cycle has ended" vr A --quiet seed g1
vr B --quiet reverse g1
wait_state B g1 replicating 120
wait_points A g1 1
ok "and is replicated to the host that was lost"
