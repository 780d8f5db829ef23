#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# suspend and resume on both sides, cancel of the initial copy, cancel of a planned failover at each
# of its stages, on both sides.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up bandwidth=2 # what is done in the initial copy has a quarter of a minute
pair_hosts
"$guest" create "$dir" A g1 --fill 32
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 5

# Ctrl-C leaves the job alone and says how to see it again.
got=0
on A sh -c "echo \$\$ >/run/starter; exec '$build/src/cli/vmreplica' start g1" >"$dir/said" 2>&1 &
starter=$!
wait_for 60 "it shows the progress of the job" grep -q '%$' "$dir/said"
on A sh -c 'kill -INT $(cat /run/starter)'
wait $starter || got=$?
[ $got = 130 ] || fail "exit status $got after Ctrl-C: $(cat "$dir/said")"
job=$(sed -n 's/^The job goes on. To follow it: vmreplica jobs \([^ ]*\)$/\1/p' "$dir/said")
[ -n "$job" ] || fail "after Ctrl-C it said: $(cat "$dir/said")"
is_state A g1 "initial copy" || fail "Ctrl-C ended the job: $(status A g1 State)"
[ "$(vr A --json jobs "$job" | jq -r '.[0].JobState')" = 4 ] || fail "job $job does not run: $(vr A --json jobs "$job")"
ok "Ctrl-C: $(head -n 1 <<<"$(grep -v '^$' "$dir/said" | tail -n 2)")"
vr A suspend g1
[ "$(status A g1 State)" = "suspended during initial copy" ] || fail "state: $(status A g1 State)"
vr A resume g1
[[ "$(status A g1 State)" == "initial copy" || "$(status A g1 State)" == replicating ]] || fail "state: $(status A g1 State)"
ok "initial copy suspended and resumed"
if is_state A g1 "initial copy"; then
    vr A cancel g1
    wait_state A g1 "ready for initial copy"
    vr A --quiet start g1
    ok "initial copy cancelled and started again"
fi
wait_state A g1 replicating
wait_points B g1 1

# Another set of disks while the initial copy runs: what came of a disk that stays is not sent again.
"$guest" create "$dir" A g2 --disks 2 --fill 16
vr A --quiet enable g2 --to hostb --interval 5
sent=$(sent_by A)
vr A --quiet --no-wait start g2
most_is_sent() { [ $(($(sent_by A) - sent)) -gt $((18 << 20)) ]; }
wait_for 60 "more than half is sent" most_is_sent
vr A set g2 --remove-disk vdb | seen "initial copy of g2 goes on" || fail "state: $(status A g2 State)"
wait_state A g2 replicating
vr A status | seen '^g2: The machine is off on this host' || fail "status does not tell that g2 is off: $(vr A status)"
sent=$(($(sent_by A) - sent))
[ "$(vr B --json points g2 | jq -r '.[-1] | [.Disks] | flatten | join(" ")')" = vda ] || fail "points have: $(vr B --json points g2)"
[ $sent -lt $((32 << 20)) ] || fail "$(human $sent) were sent: all of vda again"
check_points B g2
ok "disks changed during the initial copy: $(human $sent) were sent in all"
vr A set g2 --add-disk vdb
wait_points B g2 1
check_points B g2
vr A --quiet disable g2
vr B --quiet disable g2

vr A suspend g1
[ "$(status A g1 State)" = suspended ] || fail "state: $(status A g1 State)"
wait_for 15 "hostb knows that nothing comes" eval 'vr B --json status g1 | jq -e ".[0].Reasons | index(\"primary_paused\")"'
[ "$(vr B status g1 | awk '$1 == "g1" { print $5 }')" = warning ] || fail "hostb says: $(vr B status g1)"
vr A suspend g1
refused A 1 'state|suspend' sync g1
have=$(n_points B g1)
"$guest" wait-tick "$dir" A g1 40 >/dev/null # eight seconds of the guest's: an interval and more
[ "$(n_points B g1)" = "$have" ] || fail "a point came although replication is suspended"
vr A resume g1
wait_points B g1 2
check_points B g1
ok "suspended and resumed on the primary"

vr B suspend g1
[ "$(status B g1 State)" = suspended ] || fail "state on B: $(status B g1 State)"
have=$(n_points B g1)
wait_for 60 "hosta tells that hostb does not receive" eval '[ -n "$(status A g1 LastError)" ]'
[ "$(n_points B g1)" -le $((have + 1)) ] || fail "points came although the replica is suspended"
ok "hosta says: $(status A g1 LastError)"
vr B resume g1
wait_points B g1 2 240
wait_state A g1 replicating
check_points B g1
ok "suspended and resumed on the replica"

# Planned failover, prepared and cancelled on the primary.
vr A --quiet failover g1 --planned --no-start
[ "$(status B g1 State)" = "failed over, waiting for completion" ] || fail "state on B: $(status B g1 State)"
vr B cancel g1
wait_state B g1 replicating
wait_state A g1 "prepared for planned failover"
virsh_on A start g1 >/dev/null 2>&1 && fail "hosta started the machine while it is prepared"
vr A cancel g1 | seen 'is OFF here; start it: vmreplica boot g1' || fail "cancel does not tell that the machine is off"
wait_state A g1 replicating
"$guest" start "$dir" A g1 >/dev/null
wait_points B g1 2
check_points B g1
ok "planned failover cancelled on both sides; the machine runs on hosta again"

# The same with the machine started on hostb in between: what it wrote there is given up.
vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
"$guest" wait-tick "$dir" B g1 5 >/dev/null
vr B cancel g1 --discard
wait_state B g1 replicating
domain_off B g1 || fail "hostb still runs the machine"
vr A cancel g1
"$guest" start "$dir" A g1 >/dev/null
wait_points B g1 2
check_points B g1
ok "planned failover cancelled after the machine had run on hostb"

# It fails half-way, after the machine was shut down: it is not left off without a word.
virsh_on A domstate g1 | seen running || fail "g1 does not run on hosta"
vr A --quiet set g1 --interval 3600
vr A --quiet sync g1
oracle_hold A
vr A failover g1 --planned >"$dir/said" 2>&1 &
failover=$!
wait_for 120 "the last changes are being captured" oracle_held A
domain_off A g1 || fail "the machine runs while the last changes are captured"
"$lab" net-down "$dir" B
oracle_release A
got=0
wait $failover || got=$?
[ $got = 1 ] || fail "the failover ends with $got: $(cat "$dir/said")"
grep -q 'the failover failed.*g1 had been shut down for it and is started again on hosta' "$dir/said" ||
    fail "the failover says: $(cat "$dir/said")"
virsh_on A domstate g1 | seen running || fail "the machine was left off on hosta"
ok "$(tail -n 1 "$dir/said")"
"$lab" net-up "$dir" B
vr A --quiet set g1 --interval 5
wait_points B g1 1 180
check_points B g1
