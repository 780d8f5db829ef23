#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The replica's host takes its time before it accepts a transfer, as it reads its disks for a comparison: who
# suspends, cancels or ends replication on the primary does not wait for that. Nor does who calls a planned failover
# off whose last changes are still being sent.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
"$daemon" stop "$dir" B
hold=$dir/hold
mortal_start B VMREPLICA_HOLD_RX_INDEX="$hold"
pair_hosts
"$guest" create "$dir" A g1 --fill 4
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1

now() { # CMD...: is over while the replica's host still prepares
    timeout 600 "$lab" exec "$dir" A "$build/src/cli/vmreplica" --quiet "$@" ||
        fail "vmreplica $* does not end while hostb prepares"
    [ -e "$hold" ] || fail "the hold is gone"
}
held() { # the transfer of a comparison waits for hostb
    [ "$(status A g1 State)" = resynchronising ] && [ "$(status B g1 State)" = resynchronising ]
}

: >"$hold"
vr A --quiet --no-wait resync g1 >/dev/null
wait_for 60 "hostb prepares for the comparison" held
now suspend g1
is_state A g1 "resynchronisation suspended" || fail "hosta is $(status A g1 State)"
rm "$hold"
vr A --quiet resume g1
wait_state A g1 replicating
wait_points B g1 2
check_points B g1
ok "suspended while the replica prepared, and resumed"

preparing() { # a start before the machine is guarded would call the failover off
    [ "$(status A g1 State)" = "preparing planned failover" ] && [ -e "$dir/A/var/lib/vmreplica/guard/$(uuid_of A g1)" ]
}
for how in cancel jobs; do
    "$guest" shutdown "$dir" A g1
    : >"$hold"
    timeout 600 "$lab" exec "$dir" A "$build/src/cli/vmreplica" failover g1 --planned --no-start >"$dir/said" 2>&1 &
    asked=$!
    wait_for 60 "the last changes are being sent" preparing
    virsh_on A start g1 >/dev/null 2>&1 && fail "hosta started the machine while its failover is prepared"
    job=$(vr A --json jobs | jq -r '[.[] | select(.JobType == 100)] | last | .InstanceID')
    case $how in
    cancel) now cancel g1 ;;
    jobs) now jobs "$job" --cancel ;;
    esac
    is_state A g1 replicating || fail "hosta is $(status A g1 State)"
    ! wait $asked || fail "the failover went on: $(cat "$dir/said")"
    is_state B g1 replicating || fail "hostb is $(status B g1 State)"
    [ "$(vr A --json jobs "$job" | jq '.[0].JobState')" = 8 ] || fail "the job is $(vr A --json jobs "$job")"
    "$guest" start "$dir" A g1 >/dev/null # while hostb still prepares
    rm "$hold"
    wait_points B g1 2
    check_points B g1
    ok "preparing a planned failover was called off ($how): $(tail -n 1 "$dir/said")"
done

# Ctrl-C leaves a planned failover as it is, and says so; the same command again sees it through.
"$guest" shutdown "$dir" A g1
: >"$hold"
on A sh -c "echo \$\$ >/run/asker; exec '$build/src/cli/vmreplica' failover g1 --planned --no-start" >"$dir/said" 2>&1 &
asked=$!
wait_for 60 "the last changes are being sent" preparing
on A sh -c 'kill -INT $(cat /run/asker)'
got=0
wait $asked || got=$?
[ $got = 130 ] || fail "exit status $got after Ctrl-C: $(cat "$dir/said")"
grep -q 'is OFF on hosta.*the same command again.*vmreplica cancel g1, then vmreplica boot g1' "$dir/said" ||
    fail "after Ctrl-C it said: $(cat "$dir/said")"
refused A 1 'first: vmreplica cancel g1' boot g1
preparing || fail "hosta is $(status A g1 State)"
timeout 600 "$lab" exec "$dir" A "$build/src/cli/vmreplica" failover g1 --planned --no-start >"$dir/said" 2>&1 &
asked=$!
wait_for 60 "the same command follows what is going on" grep -q 'running already' "$dir/said"
rm "$hold"
wait $asked || fail "the failover failed: $(cat "$dir/said")"
is_state B g1 "failed over, waiting for completion" || fail "hostb is $(status B g1 State)"
vr B --quiet cancel g1
wait_state B g1 replicating
vr A --quiet cancel g1
wait_state A g1 replicating
"$guest" start "$dir" A g1 >/dev/null
wait_points B g1 1
check_points B g1
ok "interrupted, and given again: $(tail -n 1 "$dir/said")"

: >"$hold"
vr A --quiet --no-wait resync g1 >/dev/null
wait_for 60 "hostb prepares for the comparison" held
now disable g1
wait_for 30 "hosta replicates no more" eval '[ "$(status A g1 State)" = "not replicated" ]'
[ -e "$hold" ] || fail "the hold is gone"
rm "$hold"
ok "replication ended while the replica prepared"
