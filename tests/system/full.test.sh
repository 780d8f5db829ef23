#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The replica runs out of room, in the initial copy and in a cycle: the points that are there stay
# good, the trouble is told in words, and replication goes on when there is room.
. "$(dirname "$0")/lib.sh"
system_begin
"$lab" up "$dir" A B
on B mkdir -p /var/lib/vmreplica/replicas
on B mount -t tmpfs -o size=96m tmpfs /var/lib/vmreplica/replicas
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill 24 --slots 64
"$guest" start "$dir" A g1 >/dev/null

occupy() {
    on B sh -c "fallocate -l $1 /var/lib/vmreplica/replicas/ballast"
}

no_room_told() {
    status A g1 LastError | seen -iE 'no (space|room)|full'
}

occupy 80m
vr A --quiet enable g1 --to hostb --interval 5
vr A --quiet --no-wait start g1 >/dev/null
wait_for 120 "hosta tells that there is no room" no_room_told
ok "initial copy: $(status A g1 LastError)"
[ "$(n_points B g1)" = 0 ] || fail "there is a point all the same"
[ "$(machine B g1 ReplicationState)" = 8 ] || fail "hostb shows state $(machine B g1 ReplicationState) while its disk is full"
vr B explain g1 | seen -iE 'cannot be received.*(no (space|room)|full)' || fail "hostb does not say why: $(vr B explain g1)"
on B rm /var/lib/vmreplica/replicas/ballast
wait_state A g1 replicating 180
wait_points B g1 1 180
check_points B g1
ok "there is room again: the initial copy went on"

free=$(on B df --output=avail -B1 /var/lib/vmreplica/replicas | tail -n 1)
occupy $((free - 500000))
wait_for 180 "hosta tells that there is no room" no_room_told
ok "cycle: $(status A g1 LastError)"
have=$(n_points B g1)
[ "$have" -ge 1 ] || fail "the points are gone"
check_points B g1
ok "the $have points are good although there is no room for another one"
vr B status g1
[ "$(machine B g1 ReplicationState)" = 8 ] || fail "hostb shows state $(machine B g1 ReplicationState) while its disk is full"
on B rm /var/lib/vmreplica/replicas/ballast
wait_points B g1 2 240
wait_state A g1 replicating
[ -z "$(status A g1 LastError)" ] || fail "the error stays: $(status A g1 LastError)"
check_points B g1
ok "there is room again: cycles went on"

# Merging needs room below for what lies above: it fails, nothing changes, and it is made up for.
step() {
    say "---- $1"
}
step full-in-mid-merge
merge_failed() {
    log_has B "$from" 'merging expired points'
}
layers() {
    database B "SELECT count(*) FROM layer"
}
fewer_layers() {
    [ "$(layers)" -lt "$were" ]
}
have=$(n_points B g1)
until [ "$have" -ge 6 ]; do
    wait_points B g1 1
    have=$(n_points B g1)
done
"$guest" shutdown "$dir" A g1 90
vr A --quiet sync g1
vr A --quiet suspend g1
have=$(n_points B g1)
vr A --quiet retention g1 --every 0
free=$(on B df --output=avail -B1 /var/lib/vmreplica/replicas | tail -n 1)
occupy $((free - 65536))
from=$(log_pos B)
"$daemon" stop "$dir" B
"$daemon" start "$dir" B
wait_for 120 "hostb tells that a merge failed" merge_failed
check_points B g1
were=$(layers)
[ "$were" -ge 2 ] || fail "nothing was left to merge"
on B rm /var/lib/vmreplica/replicas/ballast
"$daemon" stop "$dir" B
"$daemon" start "$dir" B
wait_for 120 "the layers are merged" fewer_layers
check_points B g1
vr A --quiet resume g1
vr A --quiet sync g1
check_points B g1
ok "no room in the middle of a merge: nothing changed, later it was made up for; $were layers became $(layers)"

# The machine that remains when replication is ended needs room for its disks' overlays.
step full-in-removal
alive() {
    "$guest" counter "$dir" B "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')"
}
vr A --quiet suspend g1
have=$(n_points B g1)
rx_folder=/var/lib/vmreplica/replicas/$(uuid_of A g1)
free=$(on B df --output=avail -B1 /var/lib/vmreplica/replicas | tail -n 1)
occupy $((free - 4096))
refused B 1 'no (space|room)' disable g1
[ "$(machine B g1 ReplicationState)" = 8 ] || fail "hostb shows state $(machine B g1 ReplicationState) after a removal that failed"
vr B explain g1 | seen -iE 'could not be ended.*no (space|room)' || fail "hostb does not say why: $(vr B explain g1)"
[ "$(n_points B g1)" = "$have" ] || fail "$(n_points B g1) points are left of $have"
check_points B g1
refused B 1 'no (space|room)' disable g1
"$daemon" stop "$dir" B
"$daemon" start "$dir" B
[ "$(machine B g1 ReplicationState)" = 8 ] || fail "hostb shows state $(machine B g1 ReplicationState) after a restart"
check_points B g1
virsh_on B start g1 >/dev/null 2>&1 && fail "a machine without disks was started on hostb"
ok "no room to end it: $have points are there, and it is told why"
image=$(point_files B "$(uuid_of A g1)" | tail -n 1 | awk '{ print $4 }')
held=$("$guest" counter "$dir" B "$image")
on B rm /var/lib/vmreplica/replicas/ballast
vr B --quiet disable g1
[ "$(machine B g1 ReplicationState)" = 0 ] || fail "hostb still replicates"
[ "$(alive)" = "$held" ] || fail "the machine on hostb is at $(alive), its newest point was at $held"
"$guest" start "$dir" B g1 >/dev/null
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$held\$" >/dev/null
"$guest" destroy "$dir" B g1 >/dev/null
ok "there is room again: it was ended, and the machine on hostb goes on at $held"

# The same again, and the points are given up. Their files are not.
step abandoned
vr A --quiet disable g1
virsh_on B undefine g1 >/dev/null
on B rm -r "$rx_folder"
vr A --quiet enable g1 --to hostb --interval 5 --start
wait_points B g1 1 240
free=$(on B df --output=avail -B1 /var/lib/vmreplica/replicas | tail -n 1)
vr A --quiet suspend g1
occupy $((free - 4096))
refused B 1 '--abandon is not possible' disable g1 --abandon
refused B 1 'no (space|room)' disable g1
files=$(on B sh -c "ls $rx_folder" | sort)
vr B --quiet disable g1 --abandon
[ "$(on B sh -c "ls $rx_folder" | grep -v digests | sort)" = "$(grep -v digests <<<"$files")" ] || fail "files are gone: $files; left: $(on B sh -c "ls $rx_folder")"
virsh_on B dominfo g1 >/dev/null 2>&1 && fail "hostb still has the machine, without disks"
refused B 1 'not replicated|no machine|unknown' disable g1 --abandon
on B rm /var/lib/vmreplica/replicas/ballast
on B rm -r "$rx_folder"
vr A --quiet disable g1
vr A --quiet enable g1 --to hostb --interval 5 --start
wait_points B g1 1 240
check_points B g1
ok "given up, and protected again"
