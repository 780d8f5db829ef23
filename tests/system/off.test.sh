#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A machine that is off is protected, too; it may be started and stopped whenever somebody likes.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
fill=24
"$guest" create "$dir" A g1 --disks 2 --fill $fill
protect g1
wait_state A g1 replicating
[ "$(n_points B g1)" -ge 1 ] || fail "no point"
domain_off A g1 || fail "the machine was started"
vr A --quiet sync g1
check_points B g1
vr A status g1 | seen 'is off on this host .*vmreplica boot g1' || fail "status does not tell that it is off: $(vr A status g1)"
vr A explain g1 | seen 'is off on this host' || fail "explain does not tell that it is off: $(vr A explain g1)"
ok "initial copy and a cycle of a machine that is off"

"$guest" start "$dir" A g1 >/dev/null
"$guest" wait-tick "$dir" A g1 10 >/dev/null
known_on() {
    vr A --json explain g1 | jq -e '.[0].Reasons | index("off") | not'
}
wait_for 60 "explain tells no longer that it is off" known_on
refused A 1 'must be off.*vmreplica suspend g1.*vmreplica shutdown g1|running.*vmreplica suspend g1.*vmreplica shutdown g1' seed g1
wait_points B g1 2
sent=$(sent_by A)
"$guest" shutdown "$dir" A g1
wait_points B g1 2
sent=$(($(sent_by A) - sent))
[ $sent -lt $((fill << 20)) ] || fail "cycles around a shutdown sent $(human $sent)"
check_points B g1
uuid=$(uuid_of B g1)
last=$(point_files B "$uuid" | tail -n 1 | awk '{ print $1 }')
mapfile -t images < <(point_files B "$uuid" | awk -v id="$last" '$1 == id { print $4 }')
out=$("$guest" check "$dir" B "${images[@]}") || fail "$out"
[[ $out == *" counter=$(guest_last_words A g1) journal=clean" ]] ||
    fail "the guest stopped at $(guest_last_words A g1), the newest point holds: $out"
ok "started, shut down: the newest point holds all that the guest wrote"

vr A --quiet failover g1 --planned --no-start
domain_off B g1 || fail "hostb started the machine although --no-start was given"
vr B --quiet boot g1
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
"$guest" shutdown "$dir" B g1
vr B --quiet reverse g1
wait_state B g1 replicating
wait_points A g1 1
check_points A g1
ok "planned failover and reverse of a machine that is off"

# Asked to shut down while it boots, when nobody listens to the power button yet.
vr B --quiet boot g1
vr B --quiet failover g1 --planned
"$guest" wait-line "$dir" A g1 60 "^VMR boot counter=$(guest_last_words B g1)\$" >/dev/null
ok "a guest that boots is asked again until it hears"

# ---- seed: replication was ended on both hosts, and what one of them holds is not copied again ----
"$guest" shutdown "$dir" A g1
vr A --quiet disable g1
vr B --quiet disable g1
mapfile -t images < <(virsh_on B domblklist g1 | awk '/vd/ { print $2 }')
when_free B qemu-io -f qcow2 -c 'write -q -P 0xee 1M 1M' "${images[0]}"
mkdir -p "$dir/B/var/log/oracle/$uuid/seed"
for i in 0 1; do
    when_free B qemu-img convert -O raw "${images[i]}" "/var/log/oracle/$uuid/seed/vd$([ $i = 0 ] && echo a || echo b).raw"
done
vr B --quiet seed g1
seed=$(vr B --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
[ "$seed" = "$(points B g1)" ] || fail "what was offered is listed as: $(vr B points g1)"
vr B explain g1 | seen 'host HOST' && fail "explain says: $(vr B explain g1)"
mv "$dir/B/var/log/oracle/$uuid/seed" "$dir/B/var/log/oracle/$uuid/${seed/:/-}"
sent=$(sent_by A)
vr A --quiet enable g1 --to hostb --interval 5
vr A --quiet start g1 --seeded
sent=$(($(sent_by A) - sent))
[ $sent -lt $((8 << 20)) ] || fail "the seeded start sent $(human $sent)"
vr B --json points g1 | jq -e --arg s "$seed" '.[] | select(.InstanceID == $s) | .TakenByFailover == false' >/dev/null ||
    fail "a failover would take the seed: $(vr B points g1)"
check_points B g1
vr B verify g1 --point "$seed" | seen 'no primary has sent it' || fail "verify of the seed says: $(vr B verify g1 --point "$seed")"
ok "seeded with $(human $sent); what hostb held is the orphan point $seed"
