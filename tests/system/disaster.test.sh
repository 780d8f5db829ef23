#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The primary host is lost while the machine runs. The replica takes over at its newest point; when
# the old host is back, the direction is reversed and only what differs travels, what the old host
# wrote and nobody received is kept. Then failover to an older point, cancelled and for good.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
# Random bytes that the guest never touches: a full copy sends at least so much, whatever the machine is
# slow at. MiB.
fill=32
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
uuid=$(uuid_of A g1)
protect g1
wait_points B g1 2
check_points B g1
"$guest" wait-tick "$dir" A g1 8 >/dev/null
"$lab" crash "$dir" A
ok "hosta is lost"
newest=$(newest_point B g1)
image=$(point_files B "$uuid" | tail -n 1 | awk '{ print $4 }')
held=$("$guest" counter "$dir" B "$image")

runs_soon "hosta crashed" B g1 vr B failover g1
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
[ "$(guest_boot_counter B g1)" = "$held" ] || fail "hostb began at $(guest_boot_counter B g1), its newest point holds $held"
ok "hostb runs the machine from its newest point ${newest##*:}: tick $held"
vr B reverse g1 | seen 'the reversal of g1 waits' || fail "reverse does not wait for hosta"
vr B --quiet cancel g1 # it would begin by itself; here hosta is looked at first
"$guest" wait-tick "$dir" B g1 8 >/dev/null

"$lab" boot "$dir" A
"$lab" start-libvirtd "$dir" A
# What hosta's disk holds now, nobody else has.
mkdir -p "$dir/A/var/log/oracle/orphan"
when_free A qemu-img convert -O raw /var/lib/libvirt/images/g1-0.qcow2 /var/log/oracle/orphan/vda.raw
written=$(on A date -u -r /var/lib/libvirt/images/g1-0.qcow2 +%Y%m%d%H%M%S)
"$daemon" start "$dir" A
wait_for 60 "hosta learns that it is superseded" eval '[ -n "$(status A g1 LastError)" ]'
ok "hosta says: $(status A g1 LastError)"
sent=$(sent_by B)
vr B reverse g1
wait_state B g1 replicating
wait_points A g1 2
sent=$(($(sent_by B) - sent))
[ $sent -lt $((fill << 20)) ] || fail "the reverse sent $(human $sent): that looks like a full copy"
first=$(vr A --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID')
mv "$dir/A/var/log/oracle/orphan" "$dir/A/var/log/oracle/$uuid/${first/:/-}"
check_points A g1
said=$(vr A --json points g1 | jq -r ".[] | select(.InstanceID == \"$first\") | .LastWritten")
if on A python3 -c 'import os; os.setxattr("/var/lib/libvirt/images", "user.vmreplica.probe", b"1")' 2>/dev/null; then
    [ "${said%%.*}" = "$written" ] || fail "the disk of the orphan point was last written at $written; said is $said"
else # the storage does not keep it: bitmaps were changed since
    [[ ! ${said%%.*} < $written ]] || fail "the disk of the orphan point was last written at $written; said is $said"
fi
vr A points g1 | seen 'last written about 20' || fail "points tells no time of the orphan: $(vr A points g1)"
ok "reversed with $(human $sent); what hosta had written alone until $written is the point $first"

vr B --quiet failover g1 --planned
"$guest" wait-line "$dir" A g1 60 "^VMR boot counter=$(guest_last_words B g1)\$" >/dev/null
vr A --quiet reverse g1
wait_state A g1 replicating
wait_points B g1 3
check_points B g1
ok "home again"

# ---- an older point ----
older=$(points B g1 | tail -n 2 | head -n 1)
image=$(point_files B "$uuid" | awk -v id="${older/:/-}" '$1 == id { print $4 }')
held=$("$guest" counter "$dir" B "$image")
"$guest" destroy "$dir" A g1 >/dev/null
known_off A g1
size=$(stat -c %s "$("$guest" log "$dir" B g1)")
vr B --quiet failover g1 --point "$older"
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$held\$" "$size" >/dev/null
ok "hostb runs the machine from an older point, tick $held"
wait_state A g1 "superseded by a failover"
ok "hosta stops: $(status A g1 LastError)"
refused B 1 'is lost.*--discard' cancel g1
domain_off B g1 && fail "cancel without --discard turned the machine off"
vr B --quiet cancel g1 --discard
wait_state B g1 replicating
domain_off B g1 || fail "hostb still runs it"
wait_state A g1 replicating
"$guest" start "$dir" A g1 >/dev/null
wait_points B g1 2 180
check_points B g1
ok "cancelled: replication from hosta goes on"

older=$(points B g1 | tail -n 2 | head -n 1)
image=$(point_files B "$uuid" | awk -v id="${older/:/-}" '$1 == id { print $4 }')
held=$("$guest" counter "$dir" B "$image")
"$guest" destroy "$dir" A g1 >/dev/null
known_off A g1
mkdir -p "$dir/A/var/log/oracle/orphan"
when_free A qemu-img convert -O raw "$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')" /var/log/oracle/orphan/vda.raw
size=$(stat -c %s "$("$guest" log "$dir" B g1)")
vr B --quiet failover g1 --point "$older"
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$held\$" "$size" >/dev/null
vr B --quiet commit g1
newer() {
    database B "SELECT count(*) FROM point p JOIN chain c ON c.machine = p.machine WHERE p.seq > c.fo_point"
}
[ "$(newer)" != 0 ] || fail "there is no point after the older one"
layers=$(database B "SELECT count(*) FROM layer")
sent=$(sent_by B)
vr B --quiet reverse g1
wait_state B g1 replicating
wait_points A g1 2
sent=$(($(sent_by B) - sent))
[ $sent -lt $((fill << 20)) ] || fail "the reverse sent $(human $sent): that looks like a full copy"
first=$(vr A --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID')
mv "$dir/A/var/log/oracle/orphan" "$dir/A/var/log/oracle/$uuid/${first/:/-}"
check_points A g1
[ "$(newer)" = 0 ] || fail "$(newer) points after the one failed over to are still held"
[ "$(database B "SELECT count(*) FROM layer")" -lt "$layers" ] || fail "their files still take room"
ok "older point, committed, reversed with $(human $sent)"
