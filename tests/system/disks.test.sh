#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A machine with several disks: all included ones at one instant, one excluded, one raw (which QEMU
# cannot track). The guest writes to the first two in turn, so that copies of two instants would show.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --disks 2 --tick-ms 50 --kib 16
on A qemu-img create -q -f qcow2 /var/lib/libvirt/images/scratch.qcow2 64M
virsh_on A attach-disk g1 /var/lib/libvirt/images/scratch.qcow2 vdc --subdriver qcow2 --config >/dev/null
"$guest" start "$dir" A g1 >/dev/null
refused A 1 "no disk 'vdz'" enable g1 --to hostb --exclude vdz
protect g1 --exclude vdc
wait_points B g1 3
check_points B g1
uuid=$(uuid_of B g1)
[ -z "$(point_files B "$uuid" | awk '$2 == "vdc"')" ] || fail "the excluded disk is at the replica"
while read -r id; do
    mapfile -t images < <(point_files B "$uuid" | awk -v id="$id" '$1 == id { print $4 }')
    [ ${#images[@]} = 2 ] || fail "point $id has ${#images[@]} disks"
    out=$("$guest" check "$dir" B "${images[@]}") || fail "point $id: $out"
    ok "point ${id##*-}: $out"
done < <(point_files B "$uuid" | awk '{ print $1 }' | uniq)

# A monitoring system asks QEMU about its disks without end, also while a cycle begins.
pid=$(cat "$dir/A/run/libvirt/qemu/g1.pid")
: >"$dir/A/run/monitored"
for _ in 1 2 3; do
    on A sh -c 'while [ -e /run/monitored ]; do virsh -q -c qemu:///system domstats --block g1 >>/run/stats 2>&1; done' &
done
for _ in $(seq 6); do
    vr A --quiet sync g1
    on A kill -0 "$pid" || fail "QEMU ended: $(grep -h Assertion "$dir"/A/var/log/libvirt/qemu/g1.log)"
done
grep -q 'block.count=' "$dir/A/run/stats" || fail "nobody was told anything: $(tail -n 3 "$dir/A/run/stats")"
rm "$dir/A/run/monitored"
check_points B g1
ok "cycles begin while others ask QEMU about its disks"

vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
ok "it runs on hostb without the excluded disk"
vr B --quiet reverse g1
wait_points A g1 2
check_points A g1

# A raw disk takes part in the same instant; what changed on it is found by comparison.
"$guest" create "$dir" A g2 --disks 2 --raw 1 --fill 16
"$guest" start "$dir" A g2 >/dev/null
protect g2
sent=$(sent_by A)
wait_points B g2 2
sent=$(($(sent_by A) - sent))
[ $sent -lt $((16 << 20)) ] || fail "two cycles with a raw disk sent $(human $sent): the disk is not compared"
check_points B g2
ok "cycles of a machine with a raw disk send only what changed: $(human $sent)"
vr A --quiet failover g2 --planned
"$guest" wait-line "$dir" B g2 60 "^VMR boot counter=$(guest_last_words A g2)\$" >/dev/null
vr B --quiet reverse g2
wait_points A g2 2
check_points A g2
ok "and back"
[ -z "$(vr A --json points g2 | jq -r '.[] | select(.Kind == "orphan")')" ] ||
    fail "a raw disk that nobody wrote to became an orphan point: $(vr A points g2)"

# Prepared, and then its raw disk is written to: no bitmap tells, what the disk held does.
"$guest" create "$dir" A g3 --disks 2 --raw 1 --fill 16
protect g3
vr A --quiet failover g3 --planned --no-start
uuid=$(uuid_of A g3)
mkdir -p "$dir/A/var/log/oracle/altered"
for target in vda vdb; do
    path=$(virsh_on A domblklist g3 | awk -v t="$target" '$1 == t { print $2 }')
    [ $target = vda ] || when_free A qemu-io -f raw -c 'write -q -P 78 5M 64k' "$path"
    when_free A qemu-img convert -O raw "$path" "/var/log/oracle/altered/$target.raw"
done
vr B --quiet reverse g3
wait_points A g3 1
orphan=$(vr A --json points g3 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
[ "$orphan" = "$(points A g3 | head -n 1)" ] || fail "what was written to the prepared raw disk is no orphan point: $(vr A points g3)"
rm -rf "$dir/A/var/log/oracle/$uuid/${orphan/:/-}"
mkdir -p "$dir/A/var/log/oracle/$uuid"
mv "$dir/A/var/log/oracle/altered" "$dir/A/var/log/oracle/$uuid/${orphan/:/-}"
check_points A g3
ok "a raw disk that was written to while prepared is the orphan point $orphan"
