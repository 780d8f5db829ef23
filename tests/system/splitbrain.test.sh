#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The primary is cut off while its machine runs on, and the replica takes over: two copies write. When
# the primary is back it learns that it is superseded before anything is sent; both sides say so, and
# nothing is overwritten. Once the failover is cancelled, once it is reversed: the reversal was ordered
# while the old primary was away, waits, and starts by itself.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
# Random bytes that the guest never touches: a full copy sends at least so much, whatever the machine is
# slow at. MiB.
fill=32
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1

health() {
    vr "$1" --json explain "$2" | jq -r '.[0].ReasonLevels | max'
}
has_reason() {
    vr "$1" --json explain "$2" | jq -e --arg r "$3" '.[0].Reasons | index($r)' >/dev/null
}
runs() {
    [ "$(virsh_on "$1" domstate g1)" = running ]
}
job_waits() {
    vr B --json jobs | jq -e '.[] | select(.JobType == 104 and .JobStatus == "Waiting for host hosta")' >/dev/null
}

# ---- before anything happens: what would a failover mean ----
# A host that is busy may take longer to count what would be lost than anybody waits who decides.
tells() {
    vr B --json failover g1 --dry-run >"$dir/said" &&
        jq -e '.PeerMachine == "running" and (.BytesAhead | type) == "number" and .PointAgeSeconds != null' "$dir/said"
}
warns() {
    vr B failover g1 --dry-run >"$dir/said" && grep -q 'RUNS there' "$dir/said"
}
wait_for 60 "failover --dry-run tells what a failover would mean" tells
wait_for 60 "failover --dry-run warns" warns
vr B failover g1 --dry-run | seen WARNING && fail "failover --dry-run warns of a sound point: $(vr B failover g1 --dry-run)"
refused B 1 'runs there.*--planned.*--force' failover g1
is_state B g1 replicating || fail "a failover that only shall be looked at, or is refused, changed something"

# ---- two copies run; the operator keeps the first ----
"$lab" net-down "$dir" A
dry_run() {
    out=$(vr B --json failover g1 --dry-run)
}
in_time "dry run, hosta cut off" 5000 dry_run
jq -e '.PeerMachine == "unreachable" and .EstimatedBytesAhead > 0 and .Point != null' <<<"$out" >/dev/null ||
    fail "failover --dry-run says of a host that is away: $out"
ok "dry run: $(vr B failover g1 --dry-run | grep primary)"
runs_soon "hosta cut off" B g1 vr B --quiet failover g1
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
refused A 1 'hostb|reach|answer' sync g1 # nothing gets through
points=$(points B g1)
"$lab" net-up "$dir" A
wait_state A g1 "superseded by a failover" 180
wait_for 30 "hostb notices the other copy" has_reason B g1 both_run
has_reason A g1 superseded || fail "hosta does not say why: $(vr A explain g1)"
[ "$(health A g1)" = 3 ] && [ "$(health B g1)" = 3 ] || fail "not critical on both sides"
vr A explain g1 | seen 'failed over to host hostb at .*it runs there.* is running, too' || fail "hosta tells: $(vr A explain g1)"
runs A && runs B || fail "a copy was stopped although nobody said so"
"$guest" wait-tick "$dir" A g1 2 >/dev/null
ok "both run, both sides say so: $(vr A explain g1 | grep -m1 'failed over')"
refused A 1 'failed over to host hostb' resume g1
refused B 1 'running.*--stop-old' reverse g1
[ "$points" = "$(points B g1)" ] || fail "a point came in from a superseded primary"
# The policy holds as long as the machine is superseded, whoever resumes it.
is_paused() {
    [ "$(virsh_on A domstate g1)" = paused ]
}
vr A --quiet set g1 --on-superseded pause
for again in 1 2 3; do
    wait_for 120 "the machine on hosta is paused, time $again" is_paused
    virsh_on A resume g1 >/dev/null
done
vr A --quiet set g1 --on-superseded leave
ok "the policy is carried out again when the machine was resumed"
"$guest" destroy "$dir" A g1 >/dev/null
out=$(virsh_on A start g1 2>&1) && fail "a superseded machine could be started"
grep -q 'failed over to host hostb.*--anyway' <<<"$out" || fail "the hook says: $out"
ok "virsh start is refused: $out"
vr A --quiet boot g1 --anyway
runs A || fail "boot --anyway did not start it"
vr B --quiet cancel g1 --discard
wait_state A g1 replicating 60
wait_points B g1 1 180
check_points B g1
ok "the failover was cancelled: replication from hosta goes on"

# ---- two copies; the operator keeps the second, and says so while the first is away ----
vr A set g1 --on-superseded shutdown
wait_points B g1 1 120
[ "$(status B g1 OnSuperseded)" = shutdown ] || fail "the replica does not know the policy"
"$guest" wait-tick "$dir" A g1 3 >/dev/null
"$lab" net-down "$dir" A
vr B --quiet failover g1
out=$(vr B reverse g1)
grep -q 'hosta cannot be reached: the reversal of g1 waits' <<<"$out" || fail "reverse says: $out"
is_state B g1 "failed over, waiting to reverse" || fail "hostb is $(status B g1 State)"
job_waits || fail "no job shows it: $(vr B --json jobs)"
vr B jobs | seen -E 'running .*Waiting for host hosta$' || fail "jobs does not say what it waits for: $(vr B jobs)"
"$daemon" stop "$dir" B
"$daemon" start "$dir" B
is_state B g1 "failed over, waiting to reverse" || fail "after a restart hostb is $(status B g1 State)"
job_waits || fail "after a restart no job shows it: $(vr B --json jobs)"
vr B cancel g1
is_state B g1 "failed over, waiting for completion" || fail "withdrawn, hostb is $(status B g1 State)"
runs B || fail "withdrawing the reversal touched the machine"
out=$(vr B --json reverse g1)
[ "$(jq .Queued <<<"$out")" = true ] || fail "reverse --json says: $out"
has_reason B g1 reverse_waits || fail "explain does not say that it waits"
ok "the reversal waits: $(vr B explain g1 | grep -m1 'did not become')"
disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')
"$guest" wait-tick "$dir" B g1 3 >/dev/null
sent=$(sent_by B)
"$lab" net-up "$dir" A
wait_state B g1 replicating 180
wait_state A g1 replicating 120
last=$(guest_last_words A g1)
[ -n "$last" ] || fail "the machine on hosta was not shut down in order"
wait_points A g1 1
sent=$(($(sent_by B) - sent))
[ $sent -lt $((fill << 20)) ] || fail "the reverse sent $(human $sent)"
orphan=$(vr A --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
[ "$orphan" = "$(points A g1 | head -n 1)" ] || fail "there is no orphan point: $(vr A points g1)"
[ "$(status B g1 LastReverseOrphan)" = "$orphan" ] || fail "hostb names the orphan '$(status B g1 LastReverseOrphan)'"
vr B --json jobs | jq -e --arg id "$orphan" '.[] | select(.JobType == 104 and (.JobStatus | endswith("orphan point " + $id)))' >/dev/null ||
    fail "no job names the orphan $orphan: $(vr B --json jobs)"
[ "$("$guest" counter "$dir" A "$disk")" = "$last" ] || fail "the orphan point is not what hosta wrote last"
mkdir -p "$dir/A/var/log/oracle/$(uuid_of A g1)/${orphan/:/-}"
on A qemu-img convert -U -O raw "$disk" "/var/log/oracle/$(uuid_of A g1)/${orphan/:/-}/vda.raw"
check_points A g1
refused A 1 'only orphan' discard g1 "$(newest_point A g1)"
refused A 1 "the orphan $orphan.*--discard" disable g1
points A g1 | seen -x "$orphan" || fail "a disable that is refused has lost the orphan point"
vr A --quiet test g1 --point "$orphan"
"$guest" wait-line "$dir" A "g1 - Test" 120 '^VMR verify ok' >/dev/null
"$guest" wait-line "$dir" A "g1 - Test" 120 "^VMR boot counter=$last\$" >/dev/null
refused A 1 'pinned or being read' discard g1 "$orphan"
vr A --quiet test g1 --end
wait_for 60 "the orphan point can be discarded" vr A --quiet discard g1 "$orphan"
points A g1 | seen -x "$orphan" && fail "the orphan point is still listed"
check_points A g1
ok "started by itself with $(human $sent); what hosta wrote alone, tick $last, is the orphan point $orphan"

# ---- two copies the other way round, and the failover is committed ----
vr B --quiet set g1 --on-superseded leave
wait_points A g1 1
"$lab" net-down "$dir" B
runs_soon "hostb cut off" A g1 vr A --quiet failover g1
"$lab" net-up "$dir" B
wait_state B g1 "superseded by a failover" 180
wait_for 30 "hosta notices the other copy" has_reason A g1 both_run
vr B explain g1 | seen 'cancel g1 --discard' || fail "hostb does not tell how its copy goes on: $(vr B explain g1)"
vr B --quiet server --receive no
refused A 1 'receives no replicas.*server --receive yes' reverse g1 --stop-old
runs B || fail "a reversal that cannot be has stopped the machine on hostb"
vr B --quiet server --receive yes
refused A 1 'runs on host hostb, too.*--force' commit g1
is_state A g1 "failed over, waiting for completion" || fail "a commit that is refused leaves hosta $(status A g1 State)"
vr A --quiet commit g1 --force
wait_for 30 "hostb knows that it is committed" has_reason B g1 superseded_committed
vr B explain g1 | seen 'cancel' && fail "hostb names a way that is closed: $(vr B explain g1)"
vr A explain g1 | seen 'vmreplica cancel' && fail "hosta names a way that is closed: $(vr A explain g1)"
refused B 1 'committed.*vmreplica explain' resume g1
# what explain says: the old copy goes on
"$guest" shutdown "$dir" A g1 >/dev/null
vr A --quiet disable g1
vr A --quiet seed g1
runs B || fail "the old copy was stopped"
vr B --quiet disable g1
sent=$(sent_by B)
vr B --quiet enable g1 --to hosta --interval 5
vr B --quiet start g1 --seeded
wait_points A g1 1
sent=$(($(sent_by B) - sent))
[ $sent -lt $((fill << 20)) ] || fail "beginning anew sent $(human $sent)"
ok "committed: the old copy goes on as explain says, with $(human $sent)"

# ---- disabled-after-failover: the half that was failed over to is ended while the other host is away ----
"$lab" net-down "$dir" B
vr A --quiet failover g1
refused A 1 'the orphan .*--discard' disable g1 # what the seed was
refused A 1 'hostb.*may start its old copy.*--force' disable g1 --discard
is_state A g1 "failed over, waiting for completion" || fail "a disable that is refused changed something: $(status A g1 State)"
vr A disable g1 --discard --force | seen 'takes itself for the primary' || fail "disable does not warn of the other copy"
runs A || fail "disable touched the machine"
"$daemon" stop "$dir" A # what is left is told by the next run, too
"$daemon" start "$dir" A
runs B || fail "the copy on hostb does not run"
"$lab" net-up "$dir" B
wait_state B g1 "superseded by a failover" 180
wait_for 30 "hostb says what there is to do" has_reason B g1 superseded_ended
[ "$(health B g1)" = 3 ] || fail "hostb is not critical"
vr B explain g1 | seen 'replication was ended there.*it runs there.*is running, too' || fail "hostb tells: $(vr B explain g1)"
"$guest" destroy "$dir" B g1 >/dev/null
out=$(virsh_on B start g1 2>&1) && fail "a superseded machine could be started"
refused B 1 'anyway' boot g1
ok "ended on hosta: hostb is told all the same: $out"
