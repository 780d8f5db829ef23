#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The set of replicated disks of a running machine is changed: one is added (and only that one is sent
# as a whole), one that is attached while it runs, one is taken out. Each point has the disks that it
# was made with, byte for byte; failovers to points before and after; reversals; the same the other
# way round.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts

# disks_of HOST MACHINE: targets of its definition, with blanks between.
disks_of() {
    virsh_on "$1" domblklist --inactive "$2" | awk 'NF == 2 { print $1 }' | sort | xargs
}

# point_disks HOST MACHINE POINT
point_disks() {
    vr "$1" --json points "$2" | jq -r --arg p "$3" '.[] | select(.InstanceID == $p) | [.Disks] | flatten | sort | join(" ")'
}

# explains HOST MACHINE TEXT: a hypervisor's news take a moment.
explains() {
    vr "$1" --json explain "$2" | seen -F -- "$3"
}

has_disks() {
    [ "$(point_disks "$1" "$2" "$(newest_point "$1" "$2")")" = "$3" ]
}

# same_as_point HOST MACHINE POINT DISK...: the files that the machine has now are the primary's at that
# point's instant.
same_as_point() {
    local host=$1 name=$2 point=$3 uuid copy target path
    shift 3
    uuid=$(uuid_of "$host" "$name")
    copy=$(oracle_of "$uuid" "$(tr ':A-F' '-a-f' <<<"$point")")
    [ -n "$copy" ] || fail "no copy of point $point"
    [ "$(disks_of "$host" "$name")" = "$*" ] || fail "$name on $host has the disks $(disks_of "$host" "$name"), not $*"
    for target; do
        path=$(virsh_on "$host" domblklist --inactive "$name" | awk -v t="$target" '$1 == t { print $2 }')
        when_free "$host" qemu-img compare -U -q -f raw -F qcow2 "$copy/$target.raw" "$path" || fail "$target on $host is not that of point $point"
    done
    ok "failed over to $point: exactly $*, byte for byte"
}

# both_at_once HOST MACHINE POINT: the guest's two disks are of one instant.
both_at_once() {
    local uuid images out
    uuid=$(uuid_of "$1" "$2")
    mapfile -t images < <(point_files "$1" "$uuid" | awk -v id="$(tr ':A-F' '-a-f' <<<"$3")" '$1 == id && ($2 == "vda" || $2 == "vdb") { print $4 }')
    [ ${#images[@]} = 2 ] || fail "point $3 has ${#images[@]} of the guest's disks"
    out=$("$guest" check "$dir" "$1" "${images[@]}") || fail "point $3: $out"
    ok "point $3: $out"
}

fill=24
"$guest" create "$dir" A g1 --disks 2 --tick-ms 50 --kib 16 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
protect g1 --exclude vdb
# Nothing is given up while the test looks: it changes the set many times.
vr A --quiet retention g1 --every 1h
wait_points B g1 2
before=$(newest_point B g1)
[ "$(point_disks B g1 "$before")" = vda ] || fail "a point without vdb has: $(point_disks B g1 "$before")"
refused A 1 "no disk 'vdz'" set g1 --add-disk vdz
refused A 1 "replicated already" set g1 --add-disk vda
refused A 1 "not replicated" set g1 --remove-disk vdb
refused A 1 "no disk left" set g1 --remove-disk vda

say "vdb is added"
sent=$(sent_by A)
vr A set g1 --add-disk vdb
sent=$(($(sent_by A) - sent))
is_state A g1 replicating || fail "after the change: $(status A g1 State)"
with=$(newest_point B g1)
[ "$(point_disks B g1 "$with")" = "vda vdb" ] || fail "the point after the change has: $(point_disks B g1 "$with")"
[ $sent -gt $((fill << 20)) ] || fail "only $(human $sent) were sent, less than the new disk"
[ $sent -lt $((fill * 2 << 20)) ] || fail "$(human $sent) were sent: more than the new disk"
ok "$(human $sent) were sent for a disk of $fill MiB"
both_at_once B g1 "$with"
[ "$(disks_of B g1)" = "vda vdb" ] || fail "the replica is defined with $(disks_of B g1)"
check_points B g1

say "vdc is attached while it runs, and added"
on A qemu-img create -q -f qcow2 /var/lib/libvirt/images/vdc.qcow2 64M
on A qemu-io -c 'write -q -P 67 3M 5M' /var/lib/libvirt/images/vdc.qcow2
on A chmod 0666 /var/lib/libvirt/images/vdc.qcow2
virsh_on A attach-disk g1 /var/lib/libvirt/images/vdc.qcow2 vdc --subdriver qcow2 --live --config >/dev/null
wait_for 30 "explain tells of --add-disk vdc" explains A g1 --add-disk
vr A set g1 --add-disk vdc
three=$(newest_point B g1)
[ "$(point_disks B g1 "$three")" = "vda vdb vdc" ] || fail "the point after the change has: $(point_disks B g1 "$three")"
wait_points B g1 1
three=$(newest_point B g1)

say "vdc is taken out, then detached"
vr A set g1 --remove-disk vdc
after=$(newest_point B g1)
[ "$(point_disks B g1 "$after")" = "vda vdb" ] || fail "the point after the change has: $(point_disks B g1 "$after")"
[ "$(point_disks B g1 "$three")" = "vda vdb vdc" ] || fail "an older point lost its disk: $(point_disks B g1 "$three")"
[ "$(disks_of B g1)" = "vda vdb" ] || fail "the replica is defined with $(disks_of B g1)"
virsh_on A detach-disk g1 vdc --config >/dev/null
wait_points B g1 2
both_at_once B g1 "$(newest_point B g1)"
check_points B g1

say "a test machine of a point with other disks"
vr B --quiet test g1 --point "$three" --no-start
[ "$(disks_of B 'g1 - Test')" = "vda vdb vdc" ] || fail "the test machine has $(disks_of B 'g1 - Test')"
vr B --quiet test g1 --end
vr B --quiet test g1 --point "$before" --no-start
[ "$(disks_of B 'g1 - Test')" = vda ] || fail "the test machine has $(disks_of B 'g1 - Test')"
vr B --quiet test g1 --end
ok "test machines have the disks of their points"
vr B --json export g1 --point "$three" | jq -r '.. | strings' | seen vdc || fail "the export of point $three does not have vdc"
vr B --quiet export g1 --close

say "failovers to points of other sets, and back"
vr B failover g1 --point "$before" --dry-run | seen -F "disk vdb is not in this point" || fail "$(vr B failover g1 --point "$before" --dry-run)"
vr B --quiet failover g1 --point "$before" --force --no-start
same_as_point B g1 "$before" vda
vr B --quiet cancel g1
[ "$(disks_of B g1)" = "vda vdb" ] || fail "after the cancellation the replica is defined with $(disks_of B g1)"
vr B --quiet failover g1 --point "$three" --force --no-start
same_as_point B g1 "$three" vda vdb vdc
# The guest knows two disks and checks all that it ever wrote on them.
vr B --quiet boot g1 --anyway || fail "it does not start on hostb"
"$guest" wait-line "$dir" B g1 90 "^VMR boot counter=" >/dev/null
vr B --quiet cancel g1 --discard
[ "$(disks_of B g1)" = "vda vdb" ] || fail "after the cancellation the replica is defined with $(disks_of B g1)"
wait_state A g1 replicating
wait_points B g1 2
check_points B g1

say "planned failover and reversal"
vr A --quiet verify g1
vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 90 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
vr B --quiet reverse g1
wait_points A g1 2
check_points A g1

say "a disk is taken out and added again in the other direction, on failover overlays"
vr B --quiet retention g1 --every 1h
vr B set g1 --remove-disk vdb
alone=$(newest_point A g1)
[ "$(point_disks A g1 "$alone")" = vda ] || fail "the point after the change has: $(point_disks A g1 "$alone")"
wait_points A g1 1
vr B set g1 --add-disk vdb
wait_points A g1 1
both_at_once A g1 "$(newest_point A g1)"
check_points A g1
[ "$(disks_of A g1)" = "vda vdb" ] || fail "the replica is defined with $(disks_of A g1)"

say "an unplanned failover to a point without vdb, and the reversal"
vr A --quiet failover g1 --point "$alone" --force --no-start
same_as_point A g1 "$alone" vda
vr B --quiet shutdown g1 --force
wait_for 30 "g1 is off on hostb" domain_off B g1
vr A --quiet reverse g1
wait_points B g1 1
orphan=$(vr B --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
[ "$(point_disks B g1 "$orphan")" = "vda vdb" ] || fail "the orphan point has: $(point_disks B g1 "$orphan")"
both_at_once B g1 "$orphan"
[ "$(point_disks B g1 "$(newest_point B g1)")" = vda ] || fail "the first point of the new direction has: $(point_disks B g1 "$(newest_point B g1)")"
[ "$(disks_of B g1)" = vda ] || fail "the replica is defined with $(disks_of B g1)"
newest=$(newest_point B g1)
vr B --quiet failover g1 --point "$newest" --force --no-start
same_as_point B g1 "$newest" vda
vr B --quiet cancel g1
vr B --quiet failover g1 --point "$orphan" --force --no-start
[ "$(disks_of B g1)" = "vda vdb" ] || fail "failed over to the orphan it has $(disks_of B g1)"
vr B --quiet cancel g1
ok "the orphan point keeps its disks"

say "a disk that is detached while it is replicated"
"$guest" create "$dir" A g3 --disks 1 --tick-ms 50 --kib 16 --fill 8
on A qemu-img create -q -f qcow2 /var/lib/libvirt/images/g3-vdc.qcow2 64M
on A qemu-io -c 'write -q -P 71 3M 5M' /var/lib/libvirt/images/g3-vdc.qcow2
on A chmod 0666 /var/lib/libvirt/images/g3-vdc.qcow2
virsh_on A attach-disk g3 /var/lib/libvirt/images/g3-vdc.qcow2 vdc --subdriver qcow2 --config >/dev/null
wait_for 60 "g3 with vdc is protected" protect g3 # libvirt tells nobody of a changed definition
wait_points B g3 1
[ "$(point_disks B g3 "$(newest_point B g3)")" = "vda vdc" ] || fail "points have: $(point_disks B g3 "$(newest_point B g3)")"
virsh_on A detach-disk g3 vdc --config >/dev/null
refused A 1 "remove-disk vdc" sync g3
wait_for 30 "explain tells of --remove-disk" explains A g3 --remove-disk
vr A set g3 --remove-disk vdc
[ "$(point_disks B g3 "$(newest_point B g3)")" = vda ] || fail "after the removal points have: $(point_disks B g3 "$(newest_point B g3)")"
check_points B g3
# A machine that is off gets it back; tracking goes on.
virsh_on A attach-disk g3 /var/lib/libvirt/images/g3-vdc.qcow2 vdc --subdriver qcow2 --config >/dev/null
wait_for 60 "vdc is added by its path" vr A set g3 --add-disk /var/lib/libvirt/images/g3-vdc.qcow2
wait_points B g3 1
[ "$(point_disks B g3 "$(newest_point B g3)")" = "vda vdc" ] || fail "points have: $(point_disks B g3 "$(newest_point B g3)")"
check_points B g3
vr A --quiet disable g3
vr B --quiet disable g3

say "the replica dies while it becomes a point of other disks"
"$guest" create "$dir" A g4 --disks 2 --tick-ms 50 --kib 16 --fill 8
protect g4 --exclude vdb
wait_points B g4 1
vr A --quiet suspend g4
vr A --quiet set g4 --add-disk vdb
[ "$(status A g4 State)" = suspended ] || fail "a change while it is suspended leads to: $(status A g4 State)"
"$daemon" kill "$dir" B
mortal_start B
echo RX_COMMIT+ >"$dir/B/run/vmreplica-die-at"
vr A --quiet resume g4
is_dead() {
    ! "$daemon" pid "$dir" B
}
wait_for 60 "the daemon of hostb dies" is_dead
"$daemon" start "$dir" B
wait_state A g4 replicating
wait_for 60 "hostb holds vdb" has_disks B g4 "vda vdb"
[ "$(disks_of B g4)" = "vda vdb" ] || fail "the replica is defined with $(disks_of B g4)"
check_points B g4

say "a change that is called off"
"$guest" create "$dir" A g2 --disks 2 --tick-ms 50 --kib 16 --fill 8
"$guest" start "$dir" A g2 >/dev/null
protect g2 --exclude vdb
oracle_hold A
vr A --quiet --no-wait set g2 --add-disk vdb
wait_state A g2 "changing its disks"
[ "$(vr A --json jobs | jq '[.[] | select(.JobType == 125 and .JobState == 4)] | length')" = 1 ] || fail "no job of type 125: $(vr A jobs)"
wait_for 60 "an instant is held" oracle_held A
vr A --quiet cancel g2
oracle_release A
wait_state A g2 replicating
wait_points B g2 2
[ "$(point_disks B g2 "$(newest_point B g2)")" = vda ] || fail "after the cancellation points have: $(point_disks B g2 "$(newest_point B g2)")"
check_points B g2
