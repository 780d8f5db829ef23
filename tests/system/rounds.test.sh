#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# There and back twenty times: planned, unplanned, to a point in the past, after a crash of the old
# primary, or of both, interrupted on either side, in turn. In the first six rounds a guest runs, which
# checks all that it ever wrote whenever it boots. Then the machine is off and its disks are written from
# outside, block by block, so that it is known which blocks the two hosts may differ in: F, O and D of
# docs/architecture.md; while the guest runs, copies of the disks tell. After each round every point holds the
# bytes that it must, and the way back shipped no more than what may differ.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/dying.sh"
system_begin
mortal_hosts
pair_hosts
"$guest" create "$dir" A g1 --size 64M --fill 1
vr A --quiet enable g1 --to hostb --interval 3600 --start
uuid=$(uuid_of A g1)
next=64 # the next block that nobody has written; blocks of 64 KiB

declare -A ahead=() last=() far=() # written since the newest point; by that point; where failed over to

# scribble HOST SET: a new block and one that was written before
scribble() {
    local -n set=$2
    local block path
    path=$(disk_of "$1")
    for block in $next $((RANDOM % 60 + 64)); do
        when_free "$1" qemu-io -c "write -q -P $((RANDOM % 254 + 1)) $((block * 65536)) 64k" "$path"
        set[$block]=1
    done
    next=$((next < 900 ? next + 1 : 64))
}
# crash_write HOST SET: the same, and the writer dies: nobody closes the change map of the disk
crash_write() {
    local -n set2=$2
    local path log=$dir/qemu-io.log
    path=$(disk_of "$1")
    # Cycles are ordered here: when the last one has let go of the disk, nobody takes it before qemu-io does.
    when_free "$1" qemu-io -c 'read -q 0 512' "$path"
    : >"$log"
    on "$1" sh -c "stdbuf -oL qemu-io -c 'write -P 77 $((next * 65536)) 64k' -c 'flush' -c 'sleep 600000' '$path' & echo \$! >/run/qemu-io.pid; wait" >"$log" 2>&1 &
    wait_for 60 "qemu-io has written" grep -q wrote "$log"
    # shellcheck disable=SC2016
    on "$1" sh -c 'kill -9 $(cat /run/qemu-io.pid)'
    wait $! || :
    set2[$next]=1
    next=$((next + 1))
}
# cycle: what was written becomes a point
cycle() {
    local block
    vr $from --quiet sync g1
    last=()
    for block in "${!ahead[@]}"; do last[$block]=1; done
    ahead=()
}
is_reversed() {
    is_state "$to" g1 replicating && [ "$(status "$to" g1 Role)" = primary ] && is_state "$from" g1 replicating
}
# finish: the operator repeats what was interrupted until it is done
finish() {
    case $(status "$to" g1 State) in
    "ready for initial copy") vr "$to" --quiet start g1 --seeded || : ;;
    "failed over"*) vr "$to" --quiet reverse g1 || : ;;
    esac
    is_reversed
}
reverse_round() { # HOW
    local host worker
    case $1 in
    peer-away) # the reversal is ordered while the old primary's daemon is dead
        "$daemon" kill "$dir" $from
        vr $to reverse g1 | seen 'waits and starts by itself' || fail "the reversal does not wait"
        mortal_start $from
        wait_for 180 "the reversal starts by itself" is_reversed
        ;;
    to:* | from:*) # a daemon dies in the middle, where it says
        host=$([ "${1%%:*}" = to ] && echo $to || echo $from)
        die_at "$host" "${1#*:}"
        timeout 300 "$lab" exec "$dir" $to "$build/src/cli/vmreplica" --quiet reverse g1 >/dev/null 2>&1 &
        worker=$!
        wait_for 60 "the daemon of $host dies at ${1#*:}" eval '! alive "$host"'
        mortal_start "$host"
        wait $worker || :
        wait_for 180 "the interrupted reversal is done" finish
        ;;
    *)
        vr $to --quiet reverse g1
        wait_for 180 "reversed" finish
        ;;
    esac
}

# ---- a guest runs ----
kill_qemu() {
    on "$1" kill -9 "$(cat "$dir/$1/run/libvirt/qemu/g1.pid")"
    wait_for 60 "libvirt sees that QEMU is gone" domain_off "$1" g1
}
live_cycle() {
    "$guest" wait-tick "$dir" $from g1 2 >/dev/null
    vr $from --quiet sync g1
}
# live_round NUMBER KIND INTERRUPTION
live_round() {
    local point image held size may shipped written differ old base was
    live_cycle
    live_cycle
    "$guest" wait-tick "$dir" $from g1 2 >/dev/null
    size=$(stat -c %s "$("$guest" log "$dir" $to g1)" 2>/dev/null || echo 0)
    if [ "$2" = planned ]; then
        vr $from --quiet failover g1 --planned
        held=$(guest_last_words $from g1)
        copy_orphan # what the old primary has; no orphan point comes of it
    else
        point=$(newest_point $to g1)
        if [ "$2" = past ]; then point=$(points $to g1 | tail -n 2 | head -n 1); fi
        image=$(point_files $to "$uuid" | awk -v id="$(tr ':A-F' '-a-f' <<<"$point")" '$1 == id { print $4 }')
        held=$("$guest" counter "$dir" $to "$image")
        case $2 in
        crash | both) kill_qemu $from ;;
        *) "$guest" destroy "$dir" $from g1 >/dev/null ;;
        esac
        known_off $from g1
        copy_orphan
        vr $to --quiet failover g1 --point "$point"
    fi
    "$guest" wait-line "$dir" $to g1 90 "^VMR boot counter=$held\$" "$size" >/dev/null
    "$guest" wait-tick "$dir" $to g1 2 >/dev/null
    if [ "$2" = both ]; then
        kill_qemu $to
        "$guest" start "$dir" $to g1 >/dev/null
    fi
    reverse_round "$3"
    written=$(on $to qemu-img map -U --output=json "$(disk_of $to)" | jq '[.[] | select(.depth == 0) | .length] | add // 0')
    "$guest" wait-tick "$dir" $to g1 2 >/dev/null
    vr $to --quiet sync g1
    # From the point failed over to, by copies: what the old primary has otherwise, O and D, and the new one, F.
    old=$dir/$from/var/log/oracle/orphan
    base=$old
    if [ "$2" != planned ]; then base=$(oracle_of "$uuid" "$(tr ':A-F' '-a-f' <<<"$point")"); fi
    differ=$(differing "$base" "$(oracle_of "$uuid" "$(newest_point $from g1 | tr ':A-F' '-a-f')")" 65536)
    differ=$((differ + $(differing "$base" "$old" 65536)))
    if [ "$2" != planned ]; then name_orphan "round $1" "$uuid"; fi
    check_points $from g1
    may=$(status $to g1 LastReverseDivergedBytes)
    shipped=$(status $to g1 LastReverseBytes)
    [ "$shipped" -le "$may" ] || fail "round $1 ($2): $(human "$shipped") were shipped, the hosts may differ in $(human "$may")"
    [ "$shipped" -le $((differ * 101 / 100)) ] ||
        fail "round $1 ($2): $(human "$shipped") were shipped, the hosts wrote $(human "$differ") apart"
    [ "$2" != planned ] || [ "$may" -le "$written" ] || fail "round $1: $(human "$may") are said to differ, $(human "$written") were written"
    ok "round $1: $2${3:+, $3}, a guest runs: $(human "$may") may differ, $(human "$differ") were written apart, $(human "$shipped") were shipped"
    was=$from
    from=$to to=$was
}

# ---- the machine is off ----
# round NUMBER KIND INTERRUPTION
round() {
    local kind=$2 point was limit shipped block
    declare -A differ=()
    far=()
    scribble $from ahead
    cycle
    scribble $from ahead
    cycle
    case $kind in
    planned)
        scribble $from ahead
        vr $from --quiet failover g1 --planned --no-start
        ahead=() last=()
        ;;
    *)
        point=$(newest_point $to g1)
        if [ "$kind" = past ]; then point=$(points $to g1 | tail -n 2 | head -n 1); fi
        scribble $from ahead
        if [ "$kind" = crash ]; then crash_write $from ahead; fi
        copy_orphan
        vr $to --quiet failover g1 --point "$point" --no-start
        for block in "${!ahead[@]}"; do differ[$block]=1; done
        if [ "$kind" = past ]; then for block in "${!last[@]}"; do differ[$block]=1; done; fi
        ;;
    esac
    scribble $to far
    for block in "${!far[@]}"; do differ[$block]=1; done
    reverse_round "$3"
    vr $to --quiet sync g1
    if [ "$kind" != planned ]; then name_orphan "round $1" "$uuid"; fi
    check_points $from g1
    shipped=$(status $to g1 LastReverseBytes)
    limit=$((${#differ[@]} * 65536 * 101 / 100))
    [ "$shipped" -le $limit ] || fail "round $1 ($kind): $(human "$shipped") were shipped, the hosts may differ in $(human $limit)"
    ok "round $1: $kind${3:+, $3}: ${#differ[@]} blocks may differ, $((shipped / 65536)) were shipped"
    was=$from
    from=$to to=$was
    ahead=() last=()
}

"$guest" start "$dir" A g1 >/dev/null
n=0
for kind in planned unplanned past crash both planned; do
    n=$((n + 1))
    case $n in
    3) how=peer-away ;;
    2) how=to:REVERSE_CALL+ ;;
    4) how=from:YIELD ;;
    *) how= ;;
    esac
    live_round $n $kind "$how"
done
"$guest" shutdown "$dir" $from g1 90
wait_for 60 "the guest is off" domain_off $from g1
out=$("$guest" check "$dir" $from "$(disk_of $from)") || fail "$out"
ok "the guest's own check of its disk from outside: $out"

for kind in unplanned past crash planned unplanned past crash planned unplanned past crash past crash unplanned; do
    n=$((n + 1))
    case $n in
    9 | 13 | 17) how=peer-away ;;
    7) how=to:BECOME_PRIMARY ;;
    12) how=from:RX_COMMIT ;;
    18) how=to:SHIP+ ;;
    *) how= ;;
    esac
    round $n $kind "$how"
done
