#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A failover of a host that is gone takes as long whatever the size of its disks and the number of its points:
# here 1 TiB and some 50 points, the host crashed, its packets vanish. Asserted is that next to nothing is read;
# the time, less than 5 s from the command to the machine that runs, is asserted by bench/failover.sh.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/reading.sh"
system_begin
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --size 512M
on A qemu-img create -q -f qcow2 /var/lib/libvirt/images/g1-large.qcow2 1T
virsh_on A attach-disk g1 /var/lib/libvirt/images/g1-large.qcow2 vdb --subdriver qcow2 --config >/dev/null
disk=/var/lib/libvirt/images/g1-0.qcow2
large=/var/lib/libvirt/images/g1-large.qcow2
wait_for 60 "the change of its disks has settled" vr A --quiet enable g1 --to hostb --interval 3600
vr A --quiet start g1
# 48 copies of the disks would say no more than the last one
: >"$dir/A/var/log/oracle/off"
for ((i = 1; i <= 48; i++)); do
    when_free A qemu-io -f qcow2 -c "write -q -P $i $((256 + i))M 64k" "$disk"
    when_free A qemu-io -f qcow2 -c "write -q -P $i ${i}G 64k" "$large"
    [ $i != 48 ] || rm "$dir/A/var/log/oracle/off"
    vr A --quiet sync g1
    [ $i -gt 16 ] || vr B --quiet pin g1 "$(newest_point B g1)" # of the older ones most are thinned out
done
[ "$(n_points B g1)" -ge 44 ] || fail "there are $(n_points B g1) points"
newest=$(newest_point B g1)
virsh_on A start g1 >/dev/null
"$lab" crash "$dir" A
# once WHAT OPTION...: one failover and back
once() {
    local what=$1 before read
    shift
    before=$(read_by_daemon B)
    runs_soon "$what" B g1 vr B --quiet failover g1 "$@"
    read=$(($(read_by_daemon B) - before))
    [ $read -lt $((64 << 20)) ] || fail "$what: the daemon read $read bytes, of the disks or once for each point"
    ok "$what: $((read >> 10)) KiB read"
    if [ "${VMR_QUIET:-}" ]; then
        virsh_on B destroy g1 >/dev/null
        in_time "to compare, virsh start of that machine" 5000 virsh_on B --quiet start g1
    fi
    vr B --quiet cancel g1 --discard
    wait_state B g1 replicating
}
once "1 TiB and $(n_points B g1) points"
once "asking nobody" --force
vr B --quiet failover g1 --no-start
for target in vda vdb; do
    when_free B qemu-img compare -U -q -f raw -F qcow2 "$(oracle_of "$(uuid_of B g1)" "${newest/:/-}")/$target.raw" \
        "$(virsh_on B domblklist g1 | awk -v t=$target '$1 == t { print $2 }')" || fail "$target is not the newest point's"
done
