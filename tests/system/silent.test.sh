#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A daemon hangs: its host takes connections, and nobody answers. The other host's daemon is not held up
# by it, says so, and goes on by itself; a failover from a host whose daemon hangs takes no longer than from
# one that is gone.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
fill=32
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1

hang() { on "$1" kill -STOP "$("$daemon" pid "$dir" "$1")"; }
go_on() { on "$1" kill -CONT "$("$daemon" pid "$dir" "$1")"; }
fails() { grep -qiE "$2" <<<"$(status "$1" g1 LastError)"; }
answers() { vr "$1" --json status g1 >/dev/null; }

# ---- the replica's ----
sent=$(sent_by A)
hang B
wait_for 90 "hosta says that hostb is silent" fails A 'silent|timed out|no answer'
ok "hosta says: $(status A g1 LastError)"
is_state A g1 replicating || fail "hosta has stopped for good: $(status A g1 State)"
in_time "status, the other daemon hangs" 2000 answers A
"$guest" wait-tick "$dir" A g1 5 >/dev/null
go_on B
wait_points B g1 2
sent=$(($(sent_by A) - sent))
[ $sent -lt $((fill << 20)) ] || fail "after that $(human $sent) were sent"
check_points B g1
ok "goes on by itself, with $(human $sent)"

# ---- the primary's, whose machine runs on ----
hang A
dry_run() { out=$(vr B --json failover g1 --dry-run); }
in_time "dry run, the daemon of hosta hangs" 5000 dry_run
jq -e '.PeerMachine == "unreachable"' <<<"$out" >/dev/null || fail "failover --dry-run says: $out"
runs_soon "the daemon of hosta hangs" B g1 vr B --quiet failover g1
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
points=$(points B g1)
go_on A
wait_state A g1 "superseded by a failover" 180
[ "$points" = "$(points B g1)" ] || fail "a point came in from a superseded primary"
ok "hosta learns that it is superseded"
vr B --quiet cancel g1 --discard
wait_state A g1 replicating 60
wait_points B g1 1 180
check_points B g1
ok "cancelled: hosta goes on"
