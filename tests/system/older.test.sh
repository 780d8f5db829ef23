#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The replica's host has a version that does not know how to compare with its primary: replication does not
# mind, whoever asks for the comparison is told what to do, and after the update it is made. A version that
# does not understand the primary's at all is named by both hosts, and replication goes on after the update.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
"$daemon" stop "$dir" B
mortal_start B VMREPLICA_UNKNOWN_CALL=7 # CALL_PROVE
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

# ---- a version with another protocol ----
has_reason() {
    vr "$1" --json explain g1 | jq -e --arg r "$2" '.[0].Reasons | index($r)' >/dev/null
}
names_both='host[ab] \(vmreplica [^)]+\) speaks protocol [12], the other host \(vmreplica [^)]+\) protocol [12]: update the older one'
"$daemon" stop "$dir" B
mortal_start B VMREPLICA_PROTOCOL=2
out=$(vr A check hostb 2>&1) && fail "check does not mind another protocol: $out"
grep -qE "$names_both" <<<"$out" || fail "check says: $out"
[ "$(vr A --json jobs | jq '[.[] | select(.JobType == 115)] | max_by(.TimeSubmitted) | .ErrorCode')" = 32770 ] ||
    fail "the job of the connection test: $(vr A --json jobs)"
grep -q 'may not be the port' <<<"$out" && fail "check blames the port: $out"
wait_for 120 "hosta says that it cannot send" has_reason A cannot_send
# The first attempts may have met no daemon at all.
names() { vr A explain g1 >"$dir/said" && grep -qE "$names_both" "$dir/said"; }
wait_for 60 "hosta names both versions" names
grep -q 'Install the same version.*on both hosts' "$dir/said" || fail "hosta does not say what to do: $(cat "$dir/said")"
grep -qE "$names_both" <<<"$(status A g1 LastError)" || fail "status says: $(status A g1 LastError)"
wait_for 60 "hostb says why nothing comes" has_reason B other_version
vr B explain g1 >"$dir/said"
grep -qE "$names_both" "$dir/said" || fail "hostb explains: $(cat "$dir/said")"
has_reason B primary_silent && fail "hostb takes a host of another version for a dead one: $(cat "$dir/said")"
check_points B g1
is_state A g1 replicating || fail "hosta has stopped for good: $(status A g1 State)"
ok "another protocol: both hosts name both versions: $(grep -oE -m1 "$names_both" "$dir/said")"

"$daemon" stop "$dir" B
"$daemon" start "$dir" B
wait_points B g1 2 180
check_points B g1
for host in A B; do
    for reason in cannot_send failing other_version; do
        has_reason $host $reason && fail "$host still complains: $(vr $host explain g1)"
    done
done
ok "the versions agree again: replication goes on by itself"
