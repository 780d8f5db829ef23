#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Proof: what both hosts hold is compared block by block; bits that flip in a file of the replica or of
# the primary are found, the points that show them are quarantined, the blocks are sent again and older
# points repaired, and both hosts say so until somebody acknowledges. Then the same by itself, a part of it
# in half a week, all of it in a week, not faster than allowed; and a point that a test machine proved.
. "$(dirname "$0")/lib.sh"
command -v gcc >/dev/null || skip "there is no gcc"
system_begin
hosts_up test_boot_seconds=3
pair_hosts
"$guest" create "$dir" A g1 --fill 8
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_state A g1 replicating
wait_points B g1 2

# point HOST ID PROPERTY
point() {
    vr "$1" --json points g1 | jq -r ".[] | select(.InstanceID == \"$2\") | .$3 // empty"
}

# quarantined: ids of points that are
quarantined() {
    vr B --json points g1 | jq -r '.[] | select(.Quarantine == "quarantined") | .InstanceID'
}

none_quarantined() {
    [ -z "$(quarantined)" ]
}

# health HOST: ok, warning, critical
health() {
    vr "$1" status g1 | awk '$1 == "g1" && NF > 4 { for (i = 1; i <= NF; i++) if ($i ~ /^(ok|warning|critical)$/) { print $i; exit } }'
}

is_health() {
    [ "$(health "$1")" = "$2" ]
}

# quiet_block HOST FILE N: offset in a qcow2 file of the Nth block of data that nobody writes: the fill is
# the largest piece.
quiet_block() {
    on "$1" qemu-img map -U --output=json "$2" |
        jq -r --arg f "$2" --argjson n "$3" '[.[] | select(.data and .offset and (.filename // $f) == $f)] |
            max_by(.length) | .offset + ((.length / 2 / 65536 | floor) + $n) * 65536'
}

# flip HOST FILE N: 512 bytes of that block become others, behind everybody's back
flip() {
    local file=$dir/$1$2 at before after
    at=$(quiet_block "$@")
    before=$(dd if="$file" bs=512 skip=$((at / 512)) count=1 status=none | sha256sum)
    head -c 512 /dev/urandom | dd of="$file" bs=512 seek=$((at / 512)) count=1 conv=notrunc,fsync status=none
    after=$(dd if="$file" bs=512 skip=$((at / 512)) count=1 status=none | sha256sum)
    [ "$before" != "$after" ] || fail "nothing was flipped in $file"
}

base_layer() {
    database B "SELECT path FROM layer WHERE below IS NULL AND target = 'vda' AND role = 0" | head -n 1
}

# ---- all is well ----
out=$(vr A verify g1) || fail "verify on hosta: $out"
grep -q 'is the same' <<<"$out" || fail "verify on hosta says: $out"
[ -n "$(status A g1 LastVerified)" ] || fail "hosta does not say when it was verified"
is_known() {
    [ -n "$(status B g1 LastVerified)" ]
}
wait_for 20 "hostb knows, too" is_known
[ "$(status A g1 Mismatches)" = 0 ] || fail "hosta says $(status A g1 Mismatches) mismatches"
out=$(vr B verify g1) || fail "verify on hostb: $out"
grep -q 'is the same' <<<"$out" || fail "verify on hostb did not ask the primary: $out"
[ "$(vr B --json points g1 | jq '[.[] | select(.Proof != "none")] | length')" -ge 1 ] || fail "no point is proven"
old=$(points B g1 | head -n 1)
out=$(vr A verify g1 --point "$old") || fail "verify of a point from hosta: $out"
[ "$(point B "$old" Proof)" != none ] || fail "point $old is not proven"
# proven WANT HOST ARGS...: what was looked at and what was found, for programs
proven() {
    local want=$1 host=$2 got
    shift 2
    got=$(vr "$host" --json verify g1 "$@" | jq -c '[.PointRead, .PointIntact, .ComparedWithPrimary, .Same]')
    [ "$got" = "$want" ] || fail "verify --json $* on $host: $got instead of $want"
}
proven '[false,null,true,true]' A
proven '[true,true,true,true]' B
proven '[true,true,false,null]' B --point "$old"
"$daemon" stop "$dir" A
proven '[true,true,false,null]' B
"$daemon" start "$dir" A
wait_state A g1 replicating
ok "all is the same on both hosts"

# ---- what would be lost now ----
vr A --quiet suspend g1
virsh_on A suspend g1 >/dev/null # nobody writes but we
ahead() {
    vr B --json failover g1 --dry-run | jq -e .BytesAhead
}
was=$(ahead) || fail "the dry run does not say by how much the primary is ahead"
into=$(on A qemu-img map -U --output=json "$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')" |
    jq '[.[] | select(.data)] | max_by(.length) | .start + ((.length / 2 / 65536 | floor) + 8) * 65536')
out=$(virsh_on A qemu-monitor-command g1 --hmp "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P 77 $into 3M\"")
is_ahead() {
    [ $(($(ahead) - was)) = $((3 << 20)) ]
}
wait_for 60 "the dry run tells that 3 MiB more would be lost ($out)" is_ahead
vr B failover g1 --dry-run | seen "would be lost: *about $(human $((was + (3 << 20)))) that the primary has written" ||
    fail "the dry run says: $(vr B failover g1 --dry-run)"
virsh_on A resume g1 >/dev/null
ok "the dry run: $(human "$was") would be lost, and 3 MiB more when they are written"

# ---- bits flip in a file of the replica, and the replica finds it ----
flip B "$(base_layer)" 0
refused B 1 'differ' verify g1
[ "$(quarantined | wc -l)" = "$(n_points B g1)" ] || fail "not all points that show the block are quarantined"
wait_for 20 "hostb's health is critical" is_health B critical
vr B status g1 | seen 'changed on host hostb' || fail "hostb does not say what happened"
refused B 1 'quarantined' failover g1 --force
refused B 1 'quarantined' failover g1 --point "$old"
vr A --quiet resume g1
wait_for 120 "the points are repaired" none_quarantined
[ "$(point B "$old" Quarantine)" = repaired ] || fail "the old point is $(point B "$old" Quarantine)"
check_points B g1
wait_for 60 "the health is a warning only" is_health B warning
vr B verify g1 --acknowledge
wait_for 60 "the health is good again" is_health B ok
ok "found on the replica, sent again, older points repaired, acknowledged"

# ---- the primary finds it ----
flip B "$(base_layer)" 1
refused A 1 'differ' verify g1
is_health A warning || is_health A critical || fail "hosta's health is $(health A)"
vr A explain g1 | seen 'changed on host hostb' || fail "hosta does not explain: $(vr A explain g1)"
wait_for 120 "the points are repaired" none_quarantined
check_points B g1
out=$(vr A verify g1) || fail "verify after the repair: $out"
vr A verify g1 --acknowledge | seen 'on both hosts' || fail "not acknowledged on both hosts"
wait_for 60 "hosta's health is good" is_health A ok
wait_for 60 "hostb's health is good" is_health B ok
ok "found by the primary, repaired on the replica"

# ---- bits flip on the primary: its bitmap does not know ----
"$guest" shutdown "$dir" A g1
vr A --quiet sync g1
check_points B g1
before=$(points B g1)
flip A "$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')" 2
refused A 1 'differ' verify g1
[ "$(quarantined | wc -l)" = 1 ] || fail "quarantined are: $(quarantined)"
bad=$(quarantined)
grep -qx "$bad" <<<"$before" && fail "a point from before the flip is quarantined"
vr A explain g1 | seen 'without its change map' || fail "hosta does not explain: $(vr A explain g1)"
vr A --quiet sync g1
uuid=$(uuid_of B g1)
last=$(newest_point B g1)
while read -r id target format path; do
    [ "$id" = "${last/:/-}" ] || continue
    compare_point B "$uuid" "$id" "$target" "$format" "$path" "$(oracle_of "$uuid" "$id")" ||
        fail "the newest point is not what the primary holds"
done < <(point_files B "$uuid")
out=$(vr A verify g1) || fail "verify after the repair: $out"
refused B 1 'quarantined' failover g1 --point "$bad"
vr B --quiet failover g1 --point "$bad" --force --no-start
vr B --quiet cancel g1
vr A verify g1 --acknowledge >/dev/null
vr A --quiet sync g1 || :
wait_state A g1 replicating 60
wait_for 60 "hosta's health is good" is_health A ok
ok "found on the primary: the newest point has its bytes, older ones the earlier content"

# ---- cancelled ----
wait_state A g1 replicating
oracle_hold A
job=$(vr A --no-wait --json verify g1 | jq -r '.Job // empty')
[ -n "$job" ] || fail "the job is not named"
vr A jobs "$job" --cancel >/dev/null || fail "the verification cannot be cancelled"
oracle_release A
[ "$(vr A --json jobs | jq -r ".[] | select(.InstanceID == \"$job\") | .JobState")" = 8 ] || fail "the job is not cancelled"
ok "cancelled"

# ---- the other host is away ----
"$daemon" stop "$dir" B
vr A verify g1 >"$dir/verified" 2>&1 &
asked=$!
wait_for 60 "verify says what it waits for" grep -q 'Waiting for host hostb.*vmreplica peers' "$dir/verified"
vr A jobs | seen -E 'running .*Waiting for host hostb$' || fail "jobs does not say what it waits for: $(vr A jobs)"
"$daemon" start "$dir" B
wait $asked || fail "verify did not go on: $(cat "$dir/verified")"
grep -q 'is the same' "$dir/verified" || fail "verify says: $(cat "$dir/verified")"
ok "it waits for the other host, says so, and goes on by itself"

# ---- by itself: everything once a week, at a bounded rate ----
# Nothing is set but the rate; the clocks of both hosts go on by half a week, and then by a week. (The replica
# reckons with the size of the disk, and is through sooner when it is mostly empty.)
rate=4 # MiB/s
gcc -std=gnu17 -D_GNU_SOURCE -O1 -shared -fPIC -o "$dir/skew.so" "$tree/tests/lab/skew.c" -ldl
ahead=0
clocks() { # SECONDS: so much later than it was
    local host
    ahead=$((ahead + $1))
    for host in B A; do
        echo $ahead >"$dir/$host/run/skew.new"
        mv "$dir/$host/run/skew.new" "$dir/$host/run/skew"
    done
}
clocks 0
for host in A B; do
    "$daemon" stop "$dir" $host
    daemon_config $host test_boot_seconds=3 verify_rate=$rate
done
for host in B A; do
    "$daemon" start "$dir" $host env "LD_PRELOAD=$dir/skew.so" VMR_SKEW=/run/skew
done
wait_points B g1 2
# how_far HOST FIELD...: of what is written down (proof_encode()): 3 the next block of the primary's pass, 10 and
# 11 when the last piece of the layers was read, and when all had been
how_far() {
    database "$1" "SELECT text FROM doc WHERE kind = 'proof'" | cut -d ' ' -f "$2"
}
blocks=$(($(virsh_on A domblkinfo g1 vda | awk '/Capacity/ { print $2 }') / 65536))
started() {
    [ "$(how_far A 6)" -gt 0 ] && [ "$(how_far B 11)" -gt 0 ]
}
wait_for 120 "both hosts have begun to count the time" started
verified=$(status A g1 LastVerified)
scrubbed=$(status B g1 LastScrubbed)
from=$(how_far A 3)
piece=$(how_far B 11)
clocks 302400
went_on() {
    [ "$(how_far A 3)" != "$from" ] && [ "$(how_far B 11)" != "$piece" ]
}
wait_for 180 "both hosts go on by themselves" went_on
wait_points B g1 2 # nothing more is due for a while
part=$(($(how_far A 3) - from))
[ $part -gt 0 ] && [ $part -le $((blocks * 52 / 100)) ] || fail "$part of $blocks blocks were compared in half a week"
[ "$(status A g1 LastVerified)" = "$verified" ] || fail "everything was compared in half a week"
ok "half a week: $part of $blocks blocks were compared"
everything() {
    [ "$(status A g1 LastVerified)" != "$verified" ] && [ "$(status B g1 LastScrubbed)" != "$scrubbed" ]
}
# One slice is short, and on a busy host it does not get through: then more weeks are needed.
for ((week = 1; week <= 20; week++)); do
    clocks 604800
    piece=$(how_far B 11)
    wait_points B g1 2
    wait_for 120 "hostb reads its layers" eval 'everything || [ "$(how_far B 11)" != "$piece" ]'
    ! everything || break
done
everything || fail "in $week weeks not everything was compared and read"
[ "$(status A g1 LastVerifiedMismatches)" = 0 ] || fail "$(status A g1 LastVerifiedMismatches) blocks differ"
ok "everything was compared and read by itself in $week weeks"
began_ms=$(date +%s%3N)
proven '[true,true,false,null]' B --point "$(points B g1 | head -n 1)"
took=$(($(date +%s%3N) - began_ms))
[ $((took * rate)) -ge $((8 * 1000)) ] || fail "8 MiB that nobody can compress were read in $took ms, with a limit of $rate MiB/s"
ok "at most $rate MiB/s: $took ms for a point"

# ---- a point that boots ----
tested=$(newest_point B g1)
vr B --quiet test g1 --point "$tested"
is_booted() {
    [ -n "$(point B "$tested" TestBooted)" ]
}
[ "$(vr B --json failover g1 --dry-run | jq -r .NewestTestBooted)" = null ] || fail "the dry run names a point that no machine has booted"
wait_for 120 "the test machine has proven its point" is_booted
vr B --quiet test g1 --end
vr B points g1 | seen booted || fail "points does not say that the point boots"
[ "$(vr B --json failover g1 --dry-run | jq -r .NewestTestBooted)" = "$tested" ] || fail "the dry run does not name the point that boots"
vr B failover g1 --dry-run | seen "test-booted: *$tested" || fail "the dry run says: $(vr B failover g1 --dry-run)"
ok "a point is proven by a test machine"
