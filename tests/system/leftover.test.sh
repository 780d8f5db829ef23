#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a daemon that was killed has left is dealt with at its next start, although what that takes does not
# answer. A backup job of a machine whose QEMU hangs keeps no other machine from its points; a failover whose
# disks are gone already is not told as one while libvirtd is away.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/dying.sh"
system_begin
mortal_hosts
pair_hosts
for machine in g1 g2; do
    "$guest" create "$dir" A $machine --fill 4
    "$guest" start "$dir" A $machine >/dev/null
done
protect g1
wait_points B g1 1

# ---- the job of a machine that hangs ----
oracle_hold A
wait_for 60 "an instant of g1 is held" oracle_held A
qemu=$(on A cat /run/libvirt/qemu/g1.pid)
"$daemon" kill "$dir" A
on A kill -STOP "$qemu"
oracle_release A
mortal_start A
protect g2
wait_points B g2 2
check_points B g2
on A kill -CONT "$qemu"
wait_points B g1 2
check_points B g1
ok "a machine hung with the job of a daemon that was killed: another one got its points, and then it went on"

# ---- a failover that is gone ----
vr B --quiet failover g1 --force --no-start
die_at B REVERT+
vr B --quiet cancel g1 >"$dir/command.log" 2>&1 && fail "hostb's daemon did not die in the cancellation"
wait_for 60 "hostb's daemon dies behind it" eval '! alive B'
rm -f "$dir/B/run/vmreplica-die-at"
[ -z "$(compgen -G "$dir/B/var/lib/vmreplica/replicas/$(uuid_of A g1)/active/*")" ] || fail "the disks of the failover are there still"
"$lab" stop-libvirtd "$dir" B
mortal_start B
decided() { ! is_state B g1 "cancelling failover"; }
wait_for 60 "hostb has gone on without libvirtd" decided
[[ "$(status B g1 State)" != "failed over"* ]] || fail "a failover whose disks are gone is told: $(status B g1 State)"
"$lab" start-libvirtd "$dir" B
wait_state B g1 replicating
wait_state A g1 replicating 120
wait_points B g1 1
check_points B g1
ok "a cancellation that was cut behind its work went on to its end while libvirtd was away"
