#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Test failover at an older point while the primary goes on: the test machine boots, checks its disks
# and finds what the primary had written at that instant; replication goes on and every point stays
# what it was; the end leaves nothing. Then the daemon dies in the middle of making and of ending one.
# Then disaster strikes while two tests exist: failover, cancel, failover, reverse and the way back, with the
# tests running on; one is ended while its host is the primary, one when it is the replica again.
. "$(dirname "$0")/lib.sh"
system_begin

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
vr B test g1 --another
[ "$(vr B --json status g1 | jq '.[0].TestMachines | length')" = 2 ] || fail "there are not two test machines"
second=$(vr B --json machines | jq -r '.[].ElementName | select(startswith("g1 - Test") and . != "g1 - Test")')
log=$("$guest" log "$dir" B "$second")
wait_for 120 "the second test machine boots and its disks are whole" grep -q '^VMR verify ok' "$log"
"$guest" wait-tick "$dir" B "g1 - Test" 2 >/dev/null
vr B test "$second" --end
"$guest" wait-tick "$dir" B "g1 - Test" 2 >/dev/null
ok "two test machines ran, one was ended, the other runs on"
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
    timeout 300 "$lab" exec "$dir" B "$build/src/cli/vmreplica" --quiet "$@" >/dev/null 2>&1 || :
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

# ---- a disaster while somebody tests ----
step() {
    say "---- $1"
}
lives() {
    "$guest" wait-tick "$dir" B "g1 - Test" 2 >/dev/null
}
n_tests() {
    vr B --json status g1 | jq '.[0].TestMachines | length'
}
# boots HOST MACHINE COMMAND...: the command starts it, it finds all that it ever wrote
boots() {
    local host=$1 name=$2 log from=0
    shift 2
    log=$("$guest" log "$dir" "$host" "$name")
    if [ -e "$log" ]; then from=$(stat -c %s "$log"); fi
    "$@"
    "$guest" wait-line "$dir" "$host" "$name" 120 '^VMR verify ok' "$from" >/dev/null
    "$guest" wait-line "$dir" "$host" "$name" 120 '^VMR boot' "$from" >/dev/null
}
boot_test() {
    virsh_on B destroy "g1 - Test" >/dev/null
    vr B --quiet boot "g1 - Test"
}
uuid=$(uuid_of A g1)

step failover-during-a-test
point=$(points B g1 | tail -n 2 | head -n 1)
boots B "g1 - Test" vr B --quiet test g1 --point "$point"
vr B --quiet test g1 --another --no-start
"$guest" destroy "$dir" A g1 >/dev/null
known_off A g1
vr B --quiet failover g1 --no-start
lives
check_points B g1
vr B --quiet cancel g1
wait_state B g1 replicating
lives
check_points B g1
boots B g1 vr B --quiet failover g1
lives
[ "$(n_tests)" = 2 ] || fail "there are $(n_tests) tests"
ok "failed over, cancelled, failed over again: the test runs on"

step reverse-during-a-test
orphan=$dir/A/var/log/oracle/orphan
mkdir -p "$orphan"
disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')
when_free A qemu-img convert -U -O raw "$disk" /var/log/oracle/orphan/vda.raw
vr B --quiet reverse g1
wait_state B g1 replicating 180
[ "$(status B g1 Role)" = primary ] || fail "B is $(status B g1 Role)"
wait_points A g1 1
id=$(vr A --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
mv "$orphan" "$dir/A/var/log/oracle/$uuid/${id/:/-}"
check_points A g1
lives
"$daemon" kill "$dir" B
mortal_start B
two_tests() {
    [ "$(n_tests)" = 2 ]
}
wait_for 60 "the tests are still known after a restart" two_tests
lives
refused B 1 'end the test first' disable g1
vr B test "g1 - Test 2" --end
[ "$(n_tests)" = 1 ] || fail "there are $(n_tests) tests"
[ "$(database B 'SELECT count(*) FROM point WHERE pinned')" = 1 ] || fail "the other point is still pinned"
wait_points A g1 1
lives
boots B "g1 - Test" boot_test
vr B --quiet failover g1 --planned
vr A --quiet reverse g1
wait_state A g1 replicating 180
wait_points B g1 2
points B g1 | seen -x "$point" || fail "the point under test is not listed: $(points B g1)"
check_points B g1
lives
boots B "g1 - Test" boot_test
vr B test g1 --end
nothing_left
wait_points B g1 1
check_points B g1
ok "reversed and home again while a test ran; nothing is left of it"
vr B --quiet failover g1 --no-start --force || fail "no failover after the tests"
ok "failover after the tests"
