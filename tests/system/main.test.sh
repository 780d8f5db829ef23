#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The main path: protect a running machine, cycles, planned failover, reverse, home, reverse again,
# stop protecting it.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
ok "paired"
[ "$(vr A --json peers | jq -r '.[0].Name')" = hostb ] || fail "hosta does not list hostb"
[ "$(vr B --json peers | jq -r '.[0].Name')" = hosta ] || fail "hostb does not list hosta"
[ "$(stat -c %a "$dir/A/var/lib/vmreplica/host.key")" = 600 ] || fail "the private key can be read by others"

"$guest" create "$dir" A g1 --fill 16
"$guest" start "$dir" A g1 >/dev/null
vr A enable g1 --to hostb --interval 5
[ "$(status A g1 State)" = "ready for initial copy" ] || fail "state after enable: $(status A g1 State)"
[ "$(status B g1 Role)" = replica ] || fail "hostb is not the replica"
vr A start g1
wait_state A g1 replicating
wait_points B g1 2
[ "$("$guest" state "$dir" A g1)" = running ] || fail "the machine does not run any more"
check_points B g1

have=$(n_points B g1)
vr A sync g1
more_points B g1 "$have" || fail "sync came back without a new point"
ok "sync makes a point at once"
[ "$(status A g1 DataAgeSeconds)" -le 600 ] || fail "the newest point is $(status A g1 DataAgeSeconds) s old"

# ---- for programs and for people ----
vr A --json status g1 | jq -e '.[0] | .Health == 1 and .HealthReasons == [] and .TestMachines == [] and (.Reasons | length) == (.ReasonTexts | length)' >/dev/null ||
    fail "status --json says: $(vr A --json status g1)"
on A sh -c "echo \$\$ >/run/watcher; exec '$build/src/cli/vmreplica' --json status g1 --watch" >"$dir/said" &
watcher=$!
twice() { [ "$(wc -l <"$dir/said")" -ge 2 ]; }
wait_for 60 "status --watch --json tells twice" twice
on A sh -c 'kill -INT $(cat /run/watcher)'
wait $watcher || fail "status --watch ends with $?"
while read -r line; do jq -e '.[0].MachineName == "g1"' <<<"$line" >/dev/null || fail "no value on a line of its own: $line"; done <"$dir/said"
vr A --json stats g1 | jq -e '.[0].ReplicationSuccessCount > 0 and .[0].ReplicationHealth == 1' >/dev/null || fail "stats: $(vr A --json stats g1)"
vr A stats g1 | seen -E '^bytes, average: ' || fail "stats: $(vr A stats g1)"
vr A stats g1
vr A suspend g1
vr A --quiet stats g1 --reset
[ "$(vr A --json stats g1 | jq '.[0].ReplicationSuccessCount')" = 0 ] || fail "after a reset: $(vr A --json stats g1)"
vr A resume g1
wait_points B g1 1
ok "statistics are told and begin anew"

vr A failover g1 --planned
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
[ "$(guest_boot_counter B g1)" = "$(guest_last_words A g1)" ] || fail "B found $(guest_boot_counter B g1), A stopped at $(guest_last_words A g1)"
ok "planned failover: nothing lost"
vr B reverse g1
wait_state B g1 replicating
wait_points A g1 2
check_points A g1
vr B failover g1 --planned
"$guest" wait-line "$dir" A g1 60 "^VMR boot counter=$(guest_last_words B g1)\$" >/dev/null
ok "home again: nothing lost"
vr A reverse g1
wait_points B g1 2
check_points B g1

out=$(vr A disable g1)
grep -q 'hostb is told, and keeps its half' <<<"$out" || fail "the first disable says: $out"
wait_for 15 "hostb knows at once" eval 'vr B --json status g1 | jq -e ".[0].Reasons | index(\"primary_ended\")"'
out=$(vr B disable g1)
grep -q 'hosta had ended its half already' <<<"$out" || fail "the second disable says: $out"
[ "$("$guest" state "$dir" A g1)" = running ] || fail "the machine does not run any more"
[ -z "$(virsh_on A checkpoint-list g1 --name)" ] || fail "checkpoints are left: $(virsh_on A checkpoint-list g1 --name | xargs)"
"$guest" wait-tick "$dir" A g1 3 >/dev/null
[ "$(status A g1 Role)" = none ] || fail "A still says $(status A g1 Role)"
domain_off B g1 || fail "hostb runs the machine"
ok "no longer replicated; the machine runs on, nothing is left behind in it"
