#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Recovery points: application-consistent ones through the real guest agent (their file systems need
# no journal), and what happens when the agent hangs, dies, or the daemon or libvirtd do while the
# guest is frozen: a point is made all the same, and the guest is released. Retention, its floor and
# pins. A daemon that merges or verifies stops at once.
. "$(dirname "$0")/lib.sh"
system_begin
host_shim=$dir/A/run/hold-backup.so
slow=/run/slow
"$lab" up "$dir" A B
gcc -shared -fPIC -O2 -o "$host_shim" "$tree/tests/lab/hold-backup.c"
start_a() {
    "$daemon" start "$dir" A env LD_PRELOAD=/run/hold-backup.so
}
# qemu-img on B whose merges take for ever while /run/slow/on is there
mkdir "$dir/B$slow"
cat >"$dir/B$slow/qemu-img" <<'SLOW'
#!/bin/sh
if [ "$1" = commit ] && [ -e /run/slow/on ]; then
    : >/run/slow/merging
    exec sleep infinity
fi
exec /usr/bin/qemu-img "$@"
SLOW
chmod 755 "$dir/B$slow/qemu-img"
start_b() {
    # shellcheck disable=SC2016 # expanded by the shell inside
    "$daemon" start "$dir" B sh -c 'PATH=/run/slow:$PATH exec "$0" "$@"'
}
for host in A B; do
    "$lab" start-libvirtd "$dir" "$host"
    daemon_config "$host" freeze_seconds=15 # what is looked at while it is frozen takes a few seconds
done
start_a
start_b
pair_hosts
"$guest" create "$dir" A g1 --agent --fill 4
"$guest" start "$dir" A g1 >/dev/null
"$guest" wait-agent "$dir" A g1
protect g1 --points 2
wait_state A g1 replicating
uuid=$(uuid_of A g1)

kind_of() { # POINT
    vr B --json points g1 | jq -r ".[] | select(.InstanceID == \"$1\") | .Kind"
}
of_kind() { # KIND: the newest point of it
    vr B --json points g1 | jq -r "[.[] | select(.Kind == \"$1\") | .InstanceID] | last // empty"
}
file_of() { # POINT: the image of its disk
    point_files B "$(uuid_of B g1)" | awk -v id="${1/:/-}" 'tolower($1) == tolower(id) && !n++ { print $4 }'
}
cycles() { # N of them, now
    local i
    for ((i = 0; i < $1; i++)); do vr A --quiet sync g1; done
}
marks() {
    compgen -G "$dir/A/var/lib/vmreplica/guard/*.frozen" >/dev/null
}
no_marks() {
    ! marks
}

# ---- consistent points ----
vr A --quiet retention g1 --app 10
app_points() {
    [ "$(vr B --json points g1 | jq '[.[] | select(.Kind == "application")] | length')" -ge "$1" ]
}
wait_for 120 "two application-consistent points by their own interval" app_points 2
app=$(of_kind application)
vr B pin g1 "$app" >/dev/null
[ "$(status A g1 LastApplicationConsistentTime)" ] || fail "the primary does not say when the last one was"
[ "$(status B g1 LastApplicationConsistentTime)" ] || fail "the replica does not say when the last one was"
[ -z "$(status A g1 ApplicationConsistentError)" ] || fail "an error is shown: $(status A g1 ApplicationConsistentError)"
held=$(status A g1 LastFreezeMilliseconds)
[ "$held" -gt 0 ] || fail "the file systems were held for $held ms"
no_marks || fail "a mark of a frozen guest is left"
plain=$(of_kind standard)
out=$("$guest" check "$dir" B "$(file_of "$app")")
grep -q 'journal=clean' <<<"$out" || fail "the application-consistent point needs its journal: $out"
out=$("$guest" check "$dir" B "$(file_of "$plain")")
grep -q 'journal=used' <<<"$out" || fail "the plain point is no test of the other: its file system is clean, too"
ok "an application-consistent point has clean file systems, a plain one needs the journal; held for $held ms"
out=$(vr A sync g1 --application)
grep -q 'application-consistent point was made' <<<"$out" || fail "sync --application says: $out"
check_points B g1
vr A --quiet retention g1 --app 3600
wait_points B g1 1
newest=$(of_kind application)
out=$(vr B --json failover g1 --dry-run)
[ "$(jq -r .NewestConsistent <<<"$out")" = "$newest" ] || fail "the newest consistent point is $newest, the dry run says: $out"
jq -e '.PointKind == "standard" and .Point != .NewestConsistent' <<<"$out" >/dev/null || fail "the dry run takes for consistent what is not: $out"
vr B failover g1 --dry-run | seen "consistent: *$newest, .* old (.*, application)" || fail "the dry run says: $(vr B failover g1 --dry-run)"
ok "the dry run names the newest application-consistent point: $newest"
virsh_on A suspend g1 >/dev/null
out=$(vr A sync g1 --application 2>&1) && fail "sync --application is content without a consistent point"
virsh_on A resume g1 >/dev/null
grep -q 'is paused' <<<"$out" || fail "nothing is said of the paused machine: $out"

# ---- the agent hangs: less than freeze_seconds is lost ----
wait_warning() { # yes or no
    local health
    health=$(vr A --json status g1 | jq -r '.[0].HealthReasons[]?' | grep -c Application-consistent || :)
    [ "$1" = yes ] && [ "$health" = 1 ] || { [ "$1" = no ] && [ "$health" = 0 ]; }
}
"$guest" stall "$dir" A g1 60 # far longer than freeze_seconds
stalled() {
    ! virsh_on A qemu-agent-command --timeout 1 g1 '{"execute":"guest-ping"}'
}
wait_for 20 "the agent hangs" stalled
before=$SECONDS
out=$(vr A sync g1 --application 2>&1) && fail "sync --application is content although the agent hangs"
stalled || fail "the cycle waited until the agent was there again"
grep -q 'not application-consistent' <<<"$out" || fail "nothing is said of the hanging agent: $out"
[ "$(kind_of "$(newest_point B g1)")" = standard ] || fail "the point with a hanging agent is $(kind_of "$(newest_point B g1)")"
wait_warning yes || fail "health says nothing of the hanging agent: $(vr A --json status g1)"
"$guest" wait-tick "$dir" A g1 3 >/dev/null
ok "the agent hangs: ${out##*: } ($((SECONDS - before)) s); the guest goes on"
"$guest" wait-agent "$dir" A g1 90
wait_for 60 "the watchdog has made sure that nothing is frozen" no_marks
vr A --quiet sync g1 --application
wait_warning no || fail "the warning stays although a consistent point was made"
vr A --quiet retention g1 --app 0
[ "$(kind_of "$(newest_point B g1)")" = application ] || fail "no consistent point after the agent is back"

# ---- the instant takes too long, the daemon dies, libvirtd hangs: each while the guest is frozen ----
freeze() {
    : >"$dir/A/run/hold-backup"
    rm -f "$dir/A/run/backup-held"
    vr A --quiet --no-wait sync g1 --application >/dev/null
    wait_for 60 "a capture stands at its instant" [ -e "$dir/A/run/backup-held" ]
    until marks; do # that was a plain cycle, which had begun before
        rm -f "$dir/A/run/hold-backup"
        wait_for 60 "the plain cycle goes on" [ ! -e "$dir/A/run/backup-held" ]
        : >"$dir/A/run/hold-backup"
        wait_for 60 "a capture stands at its instant" [ -e "$dir/A/run/backup-held" ]
    done
}
frozen() { # nothing is written any more
    local tick
    tick=$("$guest" tick "$dir" A g1)
    sleep 2
    [ "$tick" = "$("$guest" tick "$dir" A g1)" ]
}
freeze
frozen || fail "the guest is not frozen at the instant"
"$guest" wait-tick "$dir" A g1 3 >/dev/null
[ -e "$dir/A/run/backup-held" ] || fail "the capture did not stand still meanwhile"
rm -f "$dir/A/run/hold-backup"
wait_points B g1 1
too_late() {
    status A g1 ApplicationConsistentError | seen 'too long'
}
wait_for 60 "the point says why it is not consistent" too_late
ok "the watchdog released the guest in the middle of a capture: $(status A g1 ApplicationConsistentError)"

freeze
"$daemon" kill "$dir" A
rm -f "$dir/A/run/hold-backup"
frozen || fail "the guest is not frozen although nobody released it"
start_a
"$guest" wait-tick "$dir" A g1 3 40 >/dev/null
wait_for 30 "the mark is gone" no_marks
ok "the daemon was killed while the guest was frozen: released at its start"
wait_points B g1 1

freeze
on A sh -c 'kill -STOP $(cat /run/libvirtd.pid)'
frozen || fail "the guest is not frozen"
sleep 17 # longer than freeze_seconds
frozen || fail "who released the guest while libvirtd hung?"
on A sh -c 'kill -CONT $(cat /run/libvirtd.pid)'
"$guest" wait-tick "$dir" A g1 3 60 >/dev/null
wait_for 60 "the mark is gone" no_marks
rm -f "$dir/A/run/hold-backup"
ok "libvirtd hung while the guest was frozen: released as soon as it answered"
wait_points B g1 1
vr A --quiet sync g1 --application

# ---- no agent ----
"$guest" stall "$dir" A g1 kill
agent_gone() {
    ! virsh_on A dumpxml g1 | seen "guest_agent.0' state='connected'"
}
wait_for 30 "the agent is gone" agent_gone
out=$(vr A sync g1 --application 2>&1) || :
grep -q 'agent .*is not running' <<<"$out" || fail "nothing is said of the missing agent: $out"
ok "no agent: ${out##*: }"
check_points B g1

# ---- retention ----
refused A 1 'holds the' retention g1 --floor --hourly 1
refused B 1 '--floor' retention g1 --hourly 1
refused A 1 '48 hourly' retention g1 --hourly 49
vr A retention g1 --every 0 --hourly 0
# The pinned point, the newest, and one of each of the two past hours of RecoveryHistory at most.
kept() {
    [ "$(n_points B g1)" -le 4 ] && points B g1 | seen -x "$app"
}
cycles 1
wait_for 120 "the points that nobody asks for are given up" kept
vr B --json points g1 | jq -e ".[] | select(.InstanceID == \"$app\") | .Pinned and (.KeptBecause | index(\"pinned\"))" >/dev/null ||
    fail "why the pinned point is kept is not said: $(vr B points g1)"
vr B retention g1 --floor --every 1h
cycles 5
[ "$(n_points B g1)" -ge 6 ] || fail "the floor keeps $(n_points B g1) points"
[ "$(vr B --json retention g1 | jq -r '.[0].EffectiveEverySeconds')" = 3600 ] || fail "the floor does not count"
vr A retention g1 --every 0 --hourly 0 --daily 0 --weekly 0
had=$(n_points B g1)
cycles 2
[ "$(n_points B g1)" -gt "$had" ] || fail "the floor does not hold any more"
check_points B g1
vr B points g1
ok "a primary that asks for nothing does not make the replica keep less than its floor"

# ---- stopping ----
: >"$dir/B$slow/on"
vr B --quiet retention g1 --floor --every 0
wait_for 120 "a merge is under way" [ -e "$dir/B$slow/merging" ]
"$daemon" stop "$dir" B # the merge itself never ends
! grep -q 'some work did not end' "$dir/B/var/log/vmreplicad.log" || fail "the daemon gave up waiting for its merge"
rm -f "$dir/B$slow/on" "$dir/B$slow/merging"
start_b
wait_for 60 "the replica receives again" cycles 1
check_points B g1
vr B unpin g1 "$app"
unpinned() {
    ! points B g1 | seen -x "$app"
}
vr A --quiet set g1 --points 0
wait_for 120 "the point goes when it is unpinned" unpinned
short() { # files of the chain: points, the one below, a stage
    local files
    files=$(database B "SELECT count(*) FROM layer")
    [ "$files" -le $(($(n_points B g1) + 2)) ]
}
wait_for 120 "the chain is short" short
check_points B g1
virsh_on B dumpxml g1 | seen guest_agent.0 || fail "the replica has no channel for its agent"

# ---- a failover in the middle of a merge ----
: >"$dir/B$slow/on"
cycles 3
wait_for 60 "a merge is under way" [ -e "$dir/B$slow/merging" ]
vr B --quiet failover g1 --no-start --force
[ -e "$dir/B$slow/on" ] || fail "the merge was not held"
rm -f "$dir/B$slow/on"
vr B --quiet cancel g1
wait_for 60 "replication goes on" vr A --quiet sync g1
cycles 1
check_points B g1
ok "a failover came in the middle of a merge, was taken back, and replication goes on"
