#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# One storage location of the replica host does not answer any more: whoever writes there waits in
# the kernel, as with a server that is gone. The machine on it waits and says so; another one, on
# other storage, is protected as before; when the storage answers again everything goes on.
. "$(dirname "$0")/lib.sh"
slow=/var/lib/vmreplica/slow
frozen=
ended=0

freeze() {
    on B fsfreeze -f "$slow"
    frozen=1
}

thaw() {
    if [ -n "$frozen" ]; then on B fsfreeze -u "$slow" || :; fi
    frozen=
}

system_begin
trap 'ended=$? command=$BASH_COMMAND; set +e; thaw; (exit "$ended"); system_end "$command"' EXIT
"$lab" up "$dir" A B
truncate -s 512M "$dir/slow.img"
mkfs.ext4 -q "$dir/slow.img"
on B mkdir -p "$slow"
on B mount -o loop "$dir/slow.img" "$slow" || skip "no loop devices here"
hosts_up storage_seconds=15
pair_hosts
"$guest" create "$dir" A g1 --fill 8
"$guest" create "$dir" A g2 --fill 8
"$guest" start "$dir" A g1 >/dev/null
"$guest" start "$dir" A g2 >/dev/null
vr B --quiet allow hosta --storage "$slow/replicas"
vr A --quiet enable g1 --to hostb --interval 5 --start
wait_points B g1 1 180
vr B --quiet allow hosta --storage /var/lib/vmreplica/good
vr A --quiet enable g2 --to hostb --interval 5 --start
wait_points B g2 2 180
[ -n "$(on B sh -c "ls $slow/replicas/$(uuid_of A g1)")" ] || fail "g1 is not on the slow storage"
on B test -d "/var/lib/vmreplica/good/$(uuid_of A g2)" || fail "g2 is not on the other storage"

vr B --quiet test g1 --no-start

told() {
    vr B explain g1 | tr '\n' ' ' | seen -E "storage $slow/replicas .*has not answered since"
}
not_told() {
    ! told
}

step() {
    say "---- $1"
}
step hangs-while-receiving
freeze
wait_for 60 "hostb tells that the storage does not answer" told
[ "$(status B g1 Health)" = 3 ] || fail "health of g1 is $(status B g1 Health)"
vr B status | seen g1 || fail "status does not list g1"
vr B --json jobs >/dev/null
refused B 1 'has not answered since' pin g1 "$(newest_point B g1)"
refused B 1 'has not answered since' failover g1 --force
refused B 1 'has not answered since' test g1 --another --no-start
refused B 1 'has not answered since' test g1 --end
have=$(points B g1)
wait_points B g2 3 60
check_points B g2
vr B --quiet pin g2 "$(newest_point B g2)"
vr B --quiet verify g2 --point "$(newest_point B g2)"
vr B explain g2 | seen 'has not answered' && fail "g2 is told to hang, too"
[ "$(points B g1)" = "$have" ] || fail "points of g1 changed"
threads=$(on B ls "/proc/$("$daemon" pid "$dir" B)/task" | wc -l)
[ "$threads" -lt 120 ] || fail "vmreplicad has $threads threads"
ok "g1 waits and says so; g2 got new points ($threads threads)"
thaw
wait_for 60 "hostb tells nothing more of the storage" not_told
wait_points B g1 2 180
wait_state B g1 replicating
check_points B g1
vr B --quiet test g1 --end
[ "$(grep -c . <<<"$have")" -ge 1 ] || fail "g1 had no points"
ok "it answers again: g1 went on"

step hangs-at-start
"$daemon" stop "$dir" B
freeze
"$daemon" start "$dir" B
wait_for 60 "hostb tells that the storage does not answer" told
wait_points B g2 2 120
thaw
wait_for 60 "hostb tells nothing more of the storage" not_told
wait_points B g1 2 180
check_points B g1
check_points B g2
ok "the daemon starts while one storage hangs; both are good"
