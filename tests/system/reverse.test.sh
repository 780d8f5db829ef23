#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# There and back three times, with every point compared and every reverse small. Then once more, with
# the old primary's disk written to after the failover was prepared: nothing of it gets into a point,
# nothing of it is lost.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
# Random bytes that the guest never touches: a full copy sends at least so much, whatever the machine is
# slow at. MiB.
fill=32
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1
from=A to=B
for round in 1 2 3; do
    vr $from --quiet failover g1 --planned
    "$guest" wait-line "$dir" $to g1 60 "^VMR boot counter=$(guest_last_words $from g1)\$" >/dev/null
    sent=$(sent_by $to)
    vr $to --quiet reverse g1
    wait_state $to g1 replicating
    wait_points $from g1 1
    sent=$(($(sent_by $to) - sent))
    [ $sent -lt $((fill << 20)) ] || fail "round $round: reverse and a cycle sent $(human $sent)"
    check_points $from g1
    ok "round $round: the machine runs on $(host_name $to), the way back cost $(human $sent)"
    to=$from
    from=$([ $from = A ] && echo B || echo A)
done
step() {
    say "---- $1"
}

step prepared-disk-written-to
# As by a machine that was started without the hook, or by a tool; the bitmap in the image knows.
vr $from --quiet failover g1 --planned
"$guest" wait-line "$dir" $to g1 60 "^VMR boot counter=$(guest_last_words $from g1)\$" >/dev/null
disk=$(virsh_on $from domblklist g1 | awk '$1 == "vda" { print $2 }')
when_free $from qemu-io -f qcow2 -c 'write -P 77 4M 192k' "$disk"
when_free $from qemu-img convert -O raw "$disk" /var/log/altered.raw
sent=$(sent_by $to)
vr $to --quiet reverse g1
wait_state $to g1 replicating
wait_points $from g1 1
sent=$(($(sent_by $to) - sent))
[ $sent -lt $((fill << 20)) ] || fail "the reverse sent $(human $sent)"
orphan=$(vr $from --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
[ "$orphan" = "$(points $from g1 | head -n 1)" ] || fail "what was written to the prepared disk is no orphan point: $(vr $from points g1)"
mkdir -p "$dir/$from/var/log/oracle/$(uuid_of $from g1)/${orphan/:/-}"
mv "$dir/$from/var/log/altered.raw" "$dir/$from/var/log/oracle/$(uuid_of $from g1)/${orphan/:/-}/vda.raw"
check_points $from g1
ok "the disk that was written to while prepared is the orphan point $orphan, the way back cost $(human $sent)"
to=$from
from=$([ $from = A ] && echo B || echo A)

step yield-fails-after-a-crash
# The old primary's daemon dies when its disks are a chain and the machine has them still; at its next start
# a disk cannot be read. What was made is undone, so that the reversal succeeds once the disk is there again.
is_undone() {
    is_state $from g1 "prepared for planned failover" && [ "$(database $from 'SELECT count(*) FROM point WHERE listed')" = 0 ]
}
is_reversed() {
    vr $to --quiet reverse g1 || :
    is_state $to g1 replicating && [ "$(status $to g1 Role)" = primary ]
}
is_dead() {
    ! "$daemon" pid "$dir" "$1"
}
vr $from --quiet failover g1 --planned
disk=$(virsh_on $from domblklist g1 | awk '$1 == "vda" { print $2 }')
"$daemon" stop "$dir" $from
mortal_start $from VMREPLICA_DIE_AT=YIELD_DEFINE
timeout 300 "$lab" exec "$dir" $to "$build/src/cli/vmreplica" --quiet reverse g1 >/dev/null 2>&1 &
wait_for 60 "the daemon of $(host_name $from) dies" is_dead $from
[ "$(database $from 'SELECT count(*) FROM point WHERE listed')" != 0 ] || fail "it died too early"
on $from mv "$disk" "$disk.away"
"$daemon" start "$dir" $from
wait_for 120 "the yield is undone" is_undone
on $from mv "$disk.away" "$disk"
wait $! || :
wait_for 180 "reversed" is_reversed
wait_points $from g1 1
check_points $from g1
ok "what a crash had left was undone, and the reversal done again"
to=$from
from=$([ $from = A ] && echo B || echo A)

"$guest" shutdown "$dir" $from g1 60
wait_for 60 "the guest is off" domain_off $from g1
out=$("$guest" check "$dir" $from "$(virsh_on $from domblklist g1 | awk '$1 == "vda" { print $2 }')") || fail "$out"
ok "the guest's own check of its disk from outside: $out"
