#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# vmreplicad dies (as by SIGKILL) right before and right after each effect of each operation of the
# main path, on either host; crashback.test.sh has the unplanned way. After a restart the operation has ended well or can be repeated, and
# every point that is listed holds the primary's bytes of its instant.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/dying.sh"
system_begin
mortal_hosts
pair_hosts
"$guest" create "$dir" A g1 --fill 8
"$guest" start "$dir" A g1 >/dev/null

# ---- operations: do_X is what an administrator does, also again; the goal says when it is enough ----
do_enable() {
    ask $from enable g1 --to "$(host_name $to)" --interval 5
}
is_enabled() {
    is_state $from g1 "ready for initial copy" && is_state $to g1 "waiting for initial copy"
}
do_start() {
    ask $from start g1
}
do_cycle() {
    ask $from sync g1
}
is_cycled() {
    is_replicating && [ "$(newest_point $to g1)" != "$before" ]
}
do_failover() {
    ask $from failover g1 --planned --no-start
}
is_failed_over() {
    is_state $to g1 "failed over, waiting for completion" && is_state $from g1 "prepared for planned failover"
}
do_reverse() {
    ask $to reverse g1
}
is_reversed() {
    is_replicating && [ "$(status $to g1 Role)" = primary ] && [ "$(status $from g1 Role)" = replica ]
}
do_disable() {
    ask $from disable g1 && ask $to disable g1
}
has_role() {
    case $(status "$1" g1 Role) in primary | replica) return 0 ;; esac
    return 1
}
is_disabled() {
    ! has_role $from && ! has_role $to
}

# each OPERATION GOAL UNDO FROM_POINTS -- TO_POINTS: before and after each of them
each() {
    local operation=$1 goal=$2 undo=$3 host=$from point
    shift 3
    for point in "$@"; do
        if [ "$point" = -- ]; then
            host=$to
            continue
        fi
        for point in "$point" "$(later "$point")"; do
            crash $host "$point" "$operation" "$goal"
            "$undo"
        done
    done
}

undo_enable() {
    do_disable >/dev/null 2>&1 || :
    wait_for 60 "disabled" is_disabled
}
undo_nothing() {
    :
}

# ---- enabling, initial copy, cycles: the guest runs and writes ----
each enable is_enabled undo_enable CREATE_AT_PEER PERSIST -- MAKE_REPLICA PERSIST GUARD
ok "enable"
undo_start() {
    points_equal
    undo_enable
    # What was a replica stays as a machine of its own: nobody's disks are taken away.
    virsh_on $to undefine g1 --checkpoints-metadata
    do_enable
}
do_enable
each start is_replicating undo_start CAPTURE SHIP RETIRE -- RX_COMMIT PERSIST
ok "initial copy"
do_start
each cycle is_cycled undo_nothing PERSIST CAPTURE SHIP RETIRE -- RX_COMMIT PERSIST RETENTION
points_equal
ok "cycles"

# ---- planned failover and reverse, again and again: the machine is off, others write to its disk ----
"$guest" shutdown "$dir" A g1 90 >/dev/null
wait_for 60 "the guest is off" domain_off A g1
round=0
# What the machine would write while it runs where it was failed over to.
scribble() {
    round=$((round + 1))
    when_free $to qemu-io -c "write -P $((round % 255 + 1)) $((round % 100 * 65536 + 8388608)) 64k" "$(disk_of $to)"
}
turn() { # after a failover: there, and the other way round
    scribble
    until is_reversed; do
        do_reverse >"$dir/operation.log" 2>&1 || sleep 0.5
    done
    exchange
}
exchange() {
    local was=$from
    from=$to
    to=$was
    wait_points $to g1 1
    points_equal
}
round_trip() { # OPERATION WHO POINT
    local host
    for point in "$3" "$3+"; do
        host=$([ "$2" = from ] && echo $from || echo $to)
        if [ "$1" = failover ]; then
            crash "$host" "$point" failover is_failed_over
            turn
        else
            until is_failed_over; do
                do_failover >"$dir/operation.log" 2>&1 || sleep 0.5
            done
            scribble
            crash "$host" "$point" reverse is_reversed
            exchange
        fi
    done
}
for point in PERSIST GUARD CAPTURE SHIP RETIRE; do
    round_trip failover from $point
done
for point in PERSIST FAILOVER UNGUARD; do
    round_trip failover to $point
done
ok "planned failover"
for point in PERSIST GUARD YIELD; do
    round_trip reverse from $point
done
for point in PERSIST REVERSE_CALL BECOME_PRIMARY; do
    round_trip reverse to $point
done
ok "reverse"

# ---- the end ----
undo_disable() {
    until is_enabled || is_replicating; do
        do_enable >/dev/null 2>&1 || sleep 0.5
    done
}
# Each time the replica's half is that of a machine without points: both sides are made anew.
do_disable
virsh_on $to undefine g1 --checkpoints-metadata >/dev/null 2>&1 || :
do_enable
each disable is_disabled undo_disable PERSIST REMOVE FORGET -- PERSIST REMOVE FORGET
ok "disable"
all_died
