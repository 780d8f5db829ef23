#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ways that operators take more rarely: a test machine on a test network; the old primary returns with its
# machine running and its policy is to pause it; the reversal that stops it there, in order and the hard way;
# a snapshot made of a machine that is to become the replica, with points below that are kept.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill 4
for host in A B; do
    for net in prod lab other; do
        on $host ip link add br-$net type bridge
        on $host ip link set br-$net up
        echo "<network><name>$net</name><forward mode='bridge'/><bridge name='br-$net'/></network>" >"$dir/$host/run/net.xml"
        virsh_on $host net-define /run/net.xml >/dev/null
        virsh_on $host net-start $net >/dev/null
    done
done
virsh_on A attach-interface g1 network prod --mac 52:54:00:00:00:07 --model virtio --config >/dev/null
virsh_on A attach-interface g1 network prod --mac 52:54:00:00:00:08 --model virtio --config >/dev/null
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 2
uuid=$(uuid_of A g1)

step() {
    say "---- $1"
}
is_power() {
    [ "$(virsh_on "$1" domstate g1)" = "$2" ]
}
# has_booted HOST OLD: there, with all that it had written on the old one; it hears the power button from then on
has_booted() {
    "$guest" wait-line "$dir" "$1" g1 60 "^VMR boot counter=$(guest_last_words "$2" g1)\$" >/dev/null
}
# nic HOST MACHINE: network, link state and MAC address of its cards
nic() {
    virsh_on "$1" dumpxml --inactive "$2" | sed -n "/<interface/,/<\/interface>/p"
}
# old_disk: what A's disk holds now is the orphan point to come
old_disk() {
    mkdir -p "$dir/A/var/log/oracle/orphan"
    when_free A qemu-img convert -U -O raw "$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')" /var/log/oracle/orphan/vda.raw
}
# orphan_of: the orphan point that A has now is what old_disk found
is_orphan() {
    local id
    id=$(vr A --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID')
    [ "$id" != null ] || fail "there is no orphan point: $(vr A points g1)"
    rm -rf "$dir/A/var/log/oracle/$uuid/${id/:/-}"
    mv "$dir/A/var/log/oracle/orphan" "$dir/A/var/log/oracle/$uuid/${id/:/-}"
}

step test-network
# test_network_of MAC NETWORK: what test machines have this card of g1 on ("": none)
test_network_of() {
    local id="Microsoft:${uuid^^}\\564D5245-504C-4943-8000-${1//:/}\\C"
    invoke B ModifyResourceSettings "<p:ResourceSettings>&lt;INSTANCE CLASSNAME=&quot;Msvm_EthernetPortAllocationSettingData&quot;&gt;&lt;PROPERTY NAME=&quot;InstanceID&quot; TYPE=&quot;string&quot;&gt;&lt;VALUE&gt;$id&lt;/VALUE&gt;&lt;/PROPERTY&gt;&lt;PROPERTY NAME=&quot;TestReplicaSwitchName&quot; TYPE=&quot;string&quot;&gt;&lt;VALUE&gt;$2&lt;/VALUE&gt;&lt;/PROPERTY&gt;&lt;/INSTANCE&gt;</p:ResourceSettings>" \
        Msvm_VirtualSystemManagementService | seen '<p:ReturnValue>4096<' || fail "the network of test failovers cannot be set"
}
# cards_on NETWORK: how many cards of machines on B are on it
cards_on() {
    on B ip -o link show master "br-$1" | wc -l
}
# test_is TEXT LAB OTHER DOWN: starts one, looks at its cards, ends it
test_is() {
    local text=$1 test="g1 - Test"
    shift
    [ "$(virsh_on B domstate "$test")" = running ] || virsh_on B start "$test" >/dev/null
    [ "$(cards_on lab) $(cards_on other) $(cards_on prod)" = "$1 $2 0" ] ||
        fail "$text: $(cards_on lab) on lab, $(cards_on other) on other, $(cards_on prod) on the production network: $(nic B "$test")"
    [ "$(virsh_on B dumpxml "$test" | grep -c "<link state='down'/>" || :)" = "$3" ] || fail "$text: $(nic B "$test")"
    nic B "$test" | seen '52:54:00:00:00:0[78]' && fail "the test machine has the address of the other"
    vr B --quiet test g1 --end
    wait_for 60 "nothing is left of it" gone
}
gone() {
    ! virsh_on B list --all --name | seen Test
}
vr B --quiet test g1 --no-start
test_is "without a network" 0 0 2
refused B 1 'network|nonsense' test g1 --network nonsense
wait_for 60 "nothing is left of it" gone
vr B --quiet test g1 --network lab
test_is "on the test network" 2 0 0
test_network_of 52:54:00:00:00:08 lab
vr B --quiet test g1 --no-start
test_is "the card that has a test network, and not the other" 1 0 1
test_network_of 52:54:00:00:00:07 other
vr B --quiet test g1 --no-start
test_is "each on its own" 1 1 0
ok "the cards of a test machine are on the test networks only, each on its own or on none"

step paused-when-superseded
vr A --quiet set g1 --on-superseded pause
wait_points B g1 1
[ "$(status B g1 OnSuperseded)" = pause ] || fail "the replica does not know the policy"
"$lab" net-down "$dir" A
vr B --quiet failover g1
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
is_power A running || fail "the old machine is $(virsh_on A domstate g1)"
"$lab" net-up "$dir" A
wait_state A g1 "superseded by a failover" 60
wait_for 30 "the old machine is paused" is_power A paused
is_power B running || fail "the new machine is $(virsh_on B domstate g1)"
vr A explain g1 | seen 'failed over to host hostb' || fail "hosta tells: $(vr A explain g1)"
ok "the old machine is paused, the new one runs"

step stop-old
refused B 1 'running.*--stop-old' reverse g1
virsh_on A resume g1 >/dev/null # a paused guest hears no power button
vr B --quiet reverse g1 --stop-old
wait_state B g1 replicating 180
domain_off A g1 || fail "the old machine is $(virsh_on A domstate g1)"
last=$(guest_last_words A g1)
[ -n "$last" ] || fail "the old machine was not shut down in order"
wait_points A g1 1
orphan=$(vr A --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
disk=$(point_files A "$uuid" | awk -v id="${orphan/:/-}" '$1 == id { print $4 }')
[ "$("$guest" counter "$dir" A "$disk")" = "$last" ] || fail "the orphan point is not what hosta wrote last"
mkdir -p "$dir/A/var/log/oracle/$uuid/${orphan/:/-}"
on A qemu-img convert -U -O raw "$disk" "/var/log/oracle/$uuid/${orphan/:/-}/vda.raw"
check_points A g1
ok "shut down there in order, reversed; its last tick, $last, is in the orphan point"

step snapshot-refused-at-yield
"$guest" wait-tick "$dir" B g1 2 >/dev/null
vr B --quiet failover g1 --planned
has_booted A B
vr A --quiet reverse g1
wait_points B g1 2
kept=$(newest_point B g1)
vr B --quiet pin g1 "$kept"
vr A --quiet failover g1 --planned
has_booted B A
vr B --quiet reverse g1
wait_points A g1 1
overlay=$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')
virsh_on B snapshot-create-as g1 s1 --disk-only --atomic >/dev/null
[ "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')" != "$overlay" ] || fail "no snapshot was made"
wait_points A g1 1
vr B --quiet failover g1 --planned
refused A 1 'orphan or pinned point|snapshot' reverse g1
is_power A running || fail "the machine on hosta is $(virsh_on A domstate g1)"
vr A --json jobs | jq -r '.[] | select(.JobType == 104) | .ErrorDescription' | seen snapshot ||
    fail "no job of hosta says why: $(vr A --json jobs)"
# the way out that it names: the snapshot is merged into the disk that was there before
snapshot=$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')
when_free B qemu-img commit -q -f qcow2 "$snapshot"
virsh_on B dumpxml --inactive g1 | sed "s|$snapshot|$overlay|" >"$dir/B/run/g1.xml"
virsh_on B define /run/g1.xml >/dev/null
virsh_on B snapshot-delete g1 s1 --metadata >/dev/null
vr A --quiet reverse g1
wait_state A g1 replicating 180
wait_points B g1 1
points B g1 | seen -x "$kept" || fail "the pinned point is gone: $(points B g1)"
while read -r id target format path; do # what the snapshot's end left is an orphan point of the same bytes
    [ "$id" = "${kept/:/-}" ] || [ "$id" = "$(newest_point B g1 | tr : -)" ] || continue
    compare_point B "$uuid" "$id" "$target" "$format" "$path" "$(oracle_of "$uuid" "$id")" || fail "point $id differs"
done < <(point_files B "$uuid")
ok "refused because of the snapshot; merged, it is reversed and the pinned point is what it was"

step stop-old-hard
"$guest" wait-tick "$dir" A g1 2 >/dev/null
wait_points B g1 1
"$lab" net-down "$dir" A
vr B --quiet failover g1
"$lab" net-up "$dir" A
wait_for 60 "the old machine is paused again" is_power A paused
old_disk
vr B --quiet reverse g1 --stop-old --force
wait_state B g1 replicating 180
domain_off A g1 || fail "the old machine is $(virsh_on A domstate g1)"
wait_points A g1 1
is_orphan
newest=$(newest_point A g1)
compared=0
while read -r id target format path; do
    compared=$((compared + 1))
    compare_point A "$uuid" "$id" "$target" "$format" "$path" "$(oracle_of "$uuid" "$id")" || fail "point $id differs"
done < <(point_files A "$uuid" | grep -E "^(${newest/:/-}|$(vr A --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID' | tr : -)) ")
[ $compared -ge 2 ] || fail "$compared points were compared"
ok "turned off hard there, reversed; what it had written is the orphan point"

step pause-undone
vr B --quiet set g1 --on-superseded pause
wait_points A g1 1
"$lab" net-down "$dir" B
vr A --quiet failover g1
"$lab" net-up "$dir" B
wait_state B g1 "superseded by a failover" 60
wait_for 30 "the old machine is paused" is_power B paused
vr A --quiet cancel g1 --discard
wait_state B g1 replicating 60
wait_for 30 "the old machine goes on" is_power B running
ok "when the failover was cancelled the old machine went on by itself"
