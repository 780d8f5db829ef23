#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The replica's host has a version that does not know how to compare with its primary: replication does not
# mind, whoever asks for the comparison is told what to do, and after the update it is made.
. "$(dirname "$0")/lib.sh"
system_begin
mortal=$build/src/daemon/vmreplicad-fault
[ -x "$mortal" ] || fail "vmreplicad-fault is not built in $build"
hosts_up
"$daemon" stop "$dir" B
# shellcheck disable=SC2016 # expanded by the shell inside; "$1" is the ordinary program
"$daemon" start "$dir" B env VMREPLICA_UNKNOWN_CALL=7 sh -c 'shift; exec "$0" "$@"' "$mortal" # CALL_PROVE
pair_hosts
"$guest" create "$dir" A g1 --fill 4
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 2
unsupported() {
    [ "$(vr A --json status g1 | jq '.[0].VerifyUnsupported')" = "$1" ]
}

refused A 1 'hostb cannot compare: install the same version' verify g1
unsupported true || fail "status does not say that the other host cannot compare: $(vr A --json status g1)"
is_state A g1 replicating || fail "hosta is $(status A g1 State)"
wait_points B g1 2
check_points B g1
out=$(vr B verify g1 --point "$(newest_point B g1)") || fail "the replica does not read its own point: $out"
ok "an older version holds points all the same"

"$daemon" stop "$dir" B
"$daemon" start "$dir" B
out=$(vr A verify g1) || fail "verify after the update: $out"
grep -q 'is the same' <<<"$out" || fail "verify after the update says: $out"
unsupported false || fail "status still says that the other host cannot compare"
wait_points B g1 1
check_points B g1
ok "after the update both hosts are compared"
