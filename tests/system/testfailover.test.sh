#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Test failover at an older point while the primary goes on: the test machine boots, checks its disks
# and finds what the primary had written at that instant; replication goes on and every point stays
# what it was; the end leaves nothing. Then the daemon dies in the middle of making and of ending one.
. "$(dirname "$0")/lib.sh"
system_begin
mortal=$build/src/daemon/vmreplicad-fault
[ -x "$mortal" ] || fail "vmreplicad-fault is not built in $build"

mortal_start() {
    # shellcheck disable=SC2016 # expanded by the shell inside; "$1" is the ordinary program
    "$daemon" start "$dir" "$1" env VMREPLICA_DIE_AT=/run/vmreplica-die-at \
        sh -c 'shift; exec "$0" "$@"' "$mortal"
}

hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill 8
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_state A g1 replicating
wait_points B g1 3

# nothing_left: no test machine, no folder of one, no pin, no document
is_clean() {
    ! virsh_on B list --all --name | seen Test &&
        ! compgen -G "$dir/B/var/lib/vmreplica/replicas/*/test-*" >/dev/null &&
        [ "$(database B 'SELECT count(*) FROM point WHERE pinned')" = 0 ] &&
        [ -z "$(vr B --json status g1 | jq -r '.[0].TestMachines[]?')" ]
}

nothing_left() {
    wait_for 60 "nothing is left of the test machine" is_clean
}

# ---- a test at an older point ----
point=$(points B g1 | tail -n 2 | head -n 1)
vr B test g1 --point "$point" --no-start
[ "$(machine B "g1 - Test" ReplicationMode)" = 3 ] || fail "the test machine has another mode"
[ "$(database B 'SELECT count(*) FROM point WHERE pinned')" = 1 ] || fail "the point is not pinned"
compgen -G "$dir/B/var/lib/vmreplica/replicas/*/test-*/vda.qcow2" >/dev/null || fail "there is no overlay"
[ "$(status B "g1 - Test" Role)" = test ] || fail "status does not show the test machine"
refused B 1 'test machine' test g1
refused B 1 'end the test first' failover g1
refused B 1 'end the test first' disable g1
log=$("$guest" log "$dir" B "g1 - Test")
vr B boot "g1 - Test"
wait_for 120 "the test machine boots and its disks are whole" grep -q '^VMR verify ok' "$log"
wait_for 120 "the test machine is up" grep -q '^VMR boot' "$log"
ok "the test machine runs: $(tr -d '\r' <"$log" | grep -m1 '^VMR boot')"
"$guest" wait-tick "$dir" B "g1 - Test" 3 >/dev/null
wait_points B g1 3
is_state A g1 replicating || fail "the primary is $(status A g1 State)"
check_points B g1
points B g1 | seen -x "$point" || fail "the point under test is gone"
vr B test g1 --another --no-start
[ "$(vr B --json status g1 | jq '.[0].TestMachines | length')" = 2 ] || fail "there are not two test machines"
vr B test g1 --end
nothing_left
wait_points B g1 2
check_points B g1
ok "the test left nothing behind"

# ---- sudden death ----
"$daemon" stop "$dir" B
mortal_start B
is_down() {
    ! "$daemon" pid "$dir" B
}
die_at() {
    local where=$1
    shift
    echo "$where" >"$dir/B/run/vmreplica-die-at"
    timeout 60 "$lab" exec "$dir" B "$build/src/cli/vmreplica" --quiet "$@" >/dev/null 2>&1 || :
    wait_for 60 "the daemon dies at $where" is_down
    mortal_start B
    nothing_left
    ok "died at $where: nothing is left"
}
for where in TEST_MAKE TEST_OVERLAYS TEST_DEFINE TEST_DEFINE+; do
    die_at $where test g1 --no-start
done
for where in TEST_OFF TEST_DELETE TEST_UNPIN TEST_UNPIN+; do
    vr B --quiet test g1
    die_at $where test g1 --end
done
vr B --quiet test g1 --no-start
"$daemon" kill "$dir" B
mortal_start B
[ "$(machine B "g1 - Test" ReplicationMode)" = 3 ] || fail "a whole test machine did not survive a restart"
vr B test g1 --end
nothing_left
wait_points B g1 2 180
check_points B g1
vr B --quiet failover g1 --no-start || fail "no failover after the tests"
ok "failover after the tests"
