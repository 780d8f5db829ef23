#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Settings and retention are changed while the replica's host is away: both sides say what is so, and the
# replica is told when it is back, also by a primary that was restarted meanwhile and sends no points.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill 4
protect g1
wait_points B g1 1
kept() { # of one host: how many points of a day
    vr "$1" --json retention g1 | jq '.[0].Daily'
}
untold() {
    vr A --json status g1 | jq -e '.[0].Reasons | index("untold")' >/dev/null
}
vr A --quiet retention g1 --daily 3
wait_for 20 "hostb keeps three days" eval '[ "$(kept B)" = 3 ]'
wait_for 60 "hosta knows that hostb knows" eval '! untold'
vr A --quiet suspend g1 # no cycle brings the two together
"$daemon" stop "$dir" B
vr A --quiet retention g1 --daily 5
vr A --quiet retention g1 --daily 9
wait_for 60 "hosta says that hostb was not told" untold
grep -q 'has not been told' <<<"$(vr A explain g1)" || fail "explain says: $(vr A explain g1)"
"$daemon" stop "$dir" A
"$daemon" start "$dir" A
wait_for 60 "hosta still says so after a restart" untold
"$daemon" start "$dir" B
wait_for 90 "hostb keeps nine days" eval '[ "$(kept B)" = 9 ]'
wait_for 20 "hosta says no longer that it does not" eval '! untold'
ok "a replica that was away has the settings when it is back"
