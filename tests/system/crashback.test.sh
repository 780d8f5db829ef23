#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# vmreplicad dies (as by SIGKILL) right before and right after each effect of the unplanned way, on either
# host: failover of a host that is not asked, its cancellation, its commit, and the reversal to an old
# primary that wrote alone. Each failover stands on the newest point; the reversal keeps what the old
# primary wrote as one orphan point, and every point holds its bytes. The machine is off; its disks are
# written from outside.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/dying.sh"
system_begin
mortal_hosts
pair_hosts
"$guest" create "$dir" A g1 --size 64M --fill 1
vr A --quiet enable g1 --to hostb --interval 3600 --start
uuid=$(uuid_of A g1)
wait_for 60 "the first point" more_points B g1 0

# ---- operations ----
do_failover() {
    ask $to failover g1 --no-start
}
is_failed_over() {
    is_state $to g1 "failed over, waiting for completion" && is_state $from g1 "superseded by a failover"
}
do_cancel() {
    ask $to cancel g1 --discard
}
do_commit() {
    ask $to commit g1
}
is_committed() {
    is_state $to g1 "failed over" && is_state $from g1 "superseded by a failover"
}
do_reverse() {
    case $(status $to g1 State) in
    "ready for initial copy") ask $to start g1 --seeded ;;
    "failed over"*) ask $to reverse g1 ;;
    *) false ;;
    esac
}
is_reversed() {
    is_replicating && [ "$(status $to g1 Role)" = primary ] && [ "$(status $from g1 Role)" = replica ]
}

# ---- where to die: "to POINT" or "from POINT" ----
# Before and after its work; what follows another at once only after it.
points_of() { # WHO POINT...
    local who=$1 point
    shift
    for point in "$@"; do
        case $point in
        PERSIST:*) ;; # where the effect before has done its work
        *) echo "$who $point" ;;
        esac
        case $point in
        POLICY | YIELD_DEFINE) ;; # of a machine that is off there is nothing to do; it is within YIELD
        *) echo "$who $(later "$point")" ;;
        esac
    done
}
# shellcheck disable=SC2034 # read by name
{
    mapfile -t failovers < <(points_of to PERSIST FAILOVER PERSIST:2 UNGUARD && points_of from PERSIST GUARD POLICY)
    mapfile -t cancels < <(points_of to PERSIST GUARD REVERT PERSIST:2 && points_of from PERSIST UNGUARD)
    mapfile -t commits < <(points_of to PERSIST)
    # The first copy after the reversal is part of it: only what the hosts wrote apart is shipped.
    mapfile -t reversals < <(
        points_of to PERSIST PERSIST:2 REVERSE_CALL PERSIST:3 BECOME_PRIMARY SHIP RETIRE
        points_of from PERSIST GUARD YIELD YIELD_DEFINE PERSIST:2 RX_COMMIT
    )
}

# next LIST: its next row into "row"; false when none is left
next() {
    local -n list=$1
    row=${list[0]:-}
    list=("${list[@]:1}")
    [ -n "$row" ]
}
# at OPERATION GOAL "WHO POINT": done with a death there; with none when there is no such row
at() {
    local host
    if [ -n "$3" ]; then
        host=$([ "${3% *}" = to ] && echo $to || echo $from)
        crash "$host" "${3#* }" "$1" "$2"
        return
    fi
    "do_$1" >"$dir/operation.log" 2>&1 || fail "$1: $(cat "$dir/operation.log")"
    wait_for 60 "$1" "$2"
}

block=0
scribble() { # HOST: a block that nobody has written, and one that both may have
    local i
    block=$((block % 700 + 1))
    for i in $((block + 128)) $((block % 3 + 64)); do
        when_free "$1" qemu-io -c "write -q -P $((block % 254 + 1)) $((i * 65536)) 64k" "$(disk_of "$1")"
    done
}
# failed_over [ROW]: $from has written alone
failed_over() {
    local newest
    scribble $from
    copy_orphan
    newest=$(newest_point $to g1)
    at failover is_failed_over "${1:-}"
    when_free $to qemu-img compare -U -q -f raw -F qcow2 "$(oracle_of "$uuid" "$(tr ':A-F' '-a-f' <<<"$newest")")/vda.raw" \
        "$(disk_of $to)" || fail "failed over to something else than the newest point"
    when_free $from qemu-img compare -U -q "$(disk_of $from)" /var/log/oracle/orphan/vda.raw ||
        fail "the failover has changed the disk of $(host_name $from)"
    scribble $to
}
known=(none) # orphan points
reversed() { # ROW
    local was new
    at reverse is_reversed "$1"
    new=$(orphans $from | grep -vxF "${known[@]/#/-e}")
    [ "$(wc -w <<<"$new")" = 1 ] || fail "$(host_name $from) has not one orphan point more: $(vr $from points g1)"
    known+=("$new")
    name_orphan "$1" "$uuid"
    was=$from
    from=$to to=$was
    points_equal
}

while next cancels; do
    cancel=$row
    next failovers || :
    failed_over "$row"
    at cancel is_replicating "$cancel"
    vr $from --quiet sync g1 # what it wrote alone becomes a point
    points_equal
done
ok "failovers and their cancellation"
while next reversals; do
    reversal=$row
    next failovers || :
    failed_over "$row"
    if next commits; then at commit is_committed "$row"; fi
    reversed "$reversal"
done
[ ${#failovers[@]} -eq 0 ] || fail "not tried: ${failovers[*]}"
ok "commit and reversals"
all_died
