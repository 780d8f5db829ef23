#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A primary is lost, its machine is brought back from its disks on a third host. What the replica's host
# holds was received under an entry of a trust group: a primary of the same group goes on from there, one
# of another group does not.
. "$(dirname "$0")/lib.sh"
system_begin
"$lab" up "$dir" A B C
for host in A B C; do
    "$lab" start-libvirtd "$dir" "$host"
    daemon_config "$host"
    "$daemon" start "$dir" "$host"
done
pair_hosts
vr C --quiet pair hostb --code "$(vr B --json pair | jq -r .Code)"
vr B --quiet allow hosta --storage /srv/red --group red
vr B --quiet allow hostc --storage /srv/red --group red
"$guest" create "$dir" A g1 --fill 8
uuid=$(uuid_of A g1)
protect g1
wait_points B g1 1
check_points B g1
fails() { grep -qE "$1" <<<"$(status C g1 LastError)"; }

# ---- hosta burns down; the machine comes back on hostc, with disks that are older than the replica ----
image=/var/lib/libvirt/images/g1-0.qcow2
virsh_on A dumpxml --migratable g1 >"$dir/g1.xml"
"$lab" crash "$dir" A
cp "$dir/A$image" "$dir/C$image"
on C qemu-img bitmap --remove "$image" "$(on C qemu-img info --output=json "$image" | jq -r '."format-specific".data.bitmaps[0].name')"
on C virsh -q -c qemu:///system define /dev/stdin <"$dir/g1.xml"
on C qemu-io -f qcow2 -c 'write -q -P 0x5a 3M 256k' "$image"
refused C 1 'has a relationship with host hosta there already' enable g1 --to hostb --interval 5
vr B --quiet disable g1
vr B --quiet seed g1
# What is offered belongs to red: bound to the entry of the host that is lost.
invoke B SetAuthorizationEntry "<p:ComputerSystem>Msvm_ComputerSystem.CreationClassName=&quot;Msvm_ComputerSystem&quot;,Name=&quot;${uuid^^}&quot;</p:ComputerSystem><p:AuthorizationEntry>&lt;INSTANCE CLASSNAME=&quot;Msvm_ReplicationAuthorizationSettingData&quot;&gt;&lt;PROPERTY NAME=&quot;AllowedPrimaryHostSystem&quot; TYPE=&quot;string&quot;&gt;&lt;VALUE&gt;hosta&lt;/VALUE&gt;&lt;/PROPERTY&gt;&lt;/INSTANCE&gt;</p:AuthorizationEntry>" |
    seen '<p:ReturnValue>4096<' || fail "the seed cannot be bound to the entry of hosta"

# ---- of another group ----
vr B --quiet allow hostc --group blue
refused C 1 'belongs to trust group red, host hostc to blue' enable g1 --to hostb --interval 5

# ---- of the same group ----
vr B --quiet allow hostc --group red
vr C --quiet enable g1 --to hostb --interval 5
sent=$(sent_by C)
vr C --quiet start g1 --seeded
wait_state C g1 replicating
sent=$(($(sent_by C) - sent))
[ $sent -lt $((6 << 20)) ] || fail "the seeded start sent $(human $sent)"
seed=$(vr B --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID') # no copy was made of it
wait_for 60 "the seed's point can be discarded" vr B --quiet discard g1 "$seed"
wait_points B g1 1
check_points B g1
ok "hostc is a primary of the same group: it goes on with $(human $sent)"

# ---- it changes its group while it replicates ----
vr B --quiet allow hostc --group blue
wait_for 60 "hostc learns that it does not belong there any more" fails 'belongs to trust group red, host hostc to blue'
ok "hostc says: $(status C g1 LastError)"
have=$(points B g1)
vr C --quiet resume g1
wait_for 60 "hostc tries again" fails 'belongs to trust group red'
[ "$(points B g1)" = "$have" ] || fail "a host of another group made a point"
vr B --quiet allow hostc --group red
vr C --quiet resume g1
wait_points B g1 1
check_points B g1
ok "and in again"
