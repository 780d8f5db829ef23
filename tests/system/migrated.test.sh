#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A replicated machine is migrated, running and with its disks, to a third host that knows nothing of
# replication, and comes back. While it is away nothing here pretends that it is protected, and the third
# host cannot replicate it to the host that holds the replica of the first.
. "$(dirname "$0")/lib.sh"
system_begin
"$lab" up "$dir" A B C
for host in A B C; do "$lab" start-libvirtd "$dir" "$host"; done
for host in A B; do
    daemon_config "$host"
    "$daemon" start "$dir" "$host"
done
pair_hosts
"$guest" create "$dir" A g1 --fill 8
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 5 --resync-window always --start
wait_state A g1 replicating
image=/var/lib/libvirt/images/g1-0.qcow2

# migrate FROM TO: the target's disk is made as large as the source's, QEMU copies what it holds.
migrate() {
    local from=$1 to=$2 size
    size=$(on "$from" qemu-img info -U --output=json "$image" | jq '."virtual-size"')
    on "$to" test -e "$image" || on "$to" qemu-img create -q -f qcow2 "$image" "$size"
    virsh_on "$from" migrate --live --persistent --copy-storage-all g1 \
        "qemu+unix:///system?socket=$dir/$to/run/libvirt/libvirt-sock" --migrateuri "tcp://$(host_name "$to")"
}

# told REASON: explain on hosta names it.
told() {
    vr A --json explain g1 | jq -e --arg r "$1" '.[0].Reasons | index($r)' >/dev/null
}

away() {
    told machine_away && told cannot_send
}

migrate A C
[ "$(virsh_on A domstate g1 --reason)" = "shut off (migrated)" ] || fail "it is $(virsh_on A domstate g1 --reason) on hosta"
wait_for 120 "explain tells that the machine is away, and that nothing is sent" away
vr A status g1 >"$dir/said"
grep -q critical "$dir/said" || fail "status says: $(cat "$dir/said")"
have=$(n_points B g1)
refused A 1 "migrated away" failover g1 --planned
"$guest" wait-tick "$dir" C g1 10 >/dev/null
[ "$(n_points B g1)" = "$have" ] || fail "points were made of a machine that is elsewhere"
ok "away: critical, no points, no planned failover"

# A second primary: the same machine, by its UUID, towards the same replica.
daemon_config C
"$daemon" start "$dir" C
vr C --quiet pair hostb --code "$(vr B --json pair | jq -r .Code)"
before=$(points B g1)
[ "$(uuid_of C g1)" = "$(uuid_of B g1)" ] || fail "it is another machine on hostc"
refused C 1 'hostb: machine g1 .*host hosta there already' enable g1 --to hostb --interval 5 --start
[ "$(machine C g1 ReplicationState)" = 0 ] || fail "hostc takes itself for a primary: $(vr C status)"
[ "$(points B g1)" = "$before" ] && [ "$(status B g1 PeerName)" = hosta ] || fail "hostb has followed the second primary"
check_points B g1
"$daemon" stop "$dir" C
ok "the second primary is refused, the first one's replica is untouched"

# libvirtd forgets why it is off, and the daemon, too, begins anew.
"$daemon" stop "$dir" A
"$lab" stop-libvirtd "$dir" A
"$lab" start-libvirtd "$dir" A
[ "$(virsh_on A domstate g1 --reason)" != "shut off (migrated)" ] || fail "libvirtd remembers: this test needs another way"
"$daemon" start "$dir" A
wait_for 120 "explain still tells that the machine is away" away
refused A 1 "migrated away" failover g1 --planned
"$guest" wait-tick "$dir" C g1 40 >/dev/null
[ "$(n_points B g1)" = "$have" ] || fail "points were made of the disks that were left behind"
ok "libvirtd and the daemon were restarted: still away"

migrate C A
virsh_on C undefine g1
# For some seconds no instant is taken of it, then its disks are compared.
wait_for 180 "it is replicated again" vr A --quiet sync g1
is_state A g1 replicating || fail "hosta is $(status A g1 State)"
[ "$(virsh_on A domstate g1)" = running ] || fail "the machine does not run any more: it is $(virsh_on A domstate g1 --reason)"
if told machine_away; then fail "explain says that the machine is still away"; fi
check_points B g1
vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
ok "back: compared, and it fails over with everything it had written"
