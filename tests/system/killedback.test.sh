#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the daemon works with is killed under it (SIGKILL), on either host: QEMU, libvirtd, the qemu-nbd
# that reads a disk or writes a layer; in the last changes of a planned failover, when its reversal is asked
# for, and on the way back. The failover succeeds or can be repeated, the rest goes on by itself, with no full
# copy, and every point holds its bytes.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/killing.sh"
system_begin
fill=48
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill $fill --kib 128
"$guest" start "$dir" A g1 >/dev/null
protect g1
slowly

# ---- steps: step_X VICTIM HOST WHAT ----
# prepare WHEN VICTIM HOST WHAT: a planned failover; the blow falls when WHEN
prepare() {
    local when=$1 log=$dir/failover.log worker console
    shift
    console=$(stat -c %s "$("$guest" log "$dir" $to g1)" 2>/dev/null || echo 0)
    # No cycle in between: what the guest writes now are the last changes, 8 MiB that take 8 s.
    vr $from --quiet set g1 --interval 3600
    vr $from --quiet sync g1
    "$guest" wait-tick "$dir" $from g1 60 180 >/dev/null
    oracle_hold $from
    vr $from failover g1 --planned >"$log" 2>&1 &
    worker=$!
    wait_for 180 "the last instant is held" oracle_held $from
    if [ $when = sent ]; then
        oracle_release $from
        wait_for 180 "the last changes are under way" under_way
    fi
    [ "$(status $from g1 State)" = "preparing planned failover" ] || fail "too late: $(status $from g1 State)"
    if [ $when = held ]; then
        on "$2" pkill -9 -x "$1"
        oracle_release $from
    else
        strike "$1" "$2"
    fi
    if wait $worker; then
        ok "$3: the failover went on"
    else
        say "$3: $(tail -n 2 "$log")"
        wait_for 180 "the machine runs again" eval "[ \"\$(virsh_on $from domstate g1)\" = running ]"
        vr $from --quiet set g1 --interval 5
        goes_on "$3"
        vr $from --quiet failover g1 --planned || fail "$3: the failover cannot be repeated"
    fi
    "$guest" wait-line "$dir" $to g1 180 "^VMR boot counter=$(guest_last_words $from g1)\$" "$console" >/dev/null
    "$guest" wait-tick "$dir" $to g1 24 180 >/dev/null
}
step_instant() {
    prepare held "$@"
}
step_last() {
    prepare sent "$@"
}
is_turned() {
    is_state $to g1 replicating && [ "$(status $to g1 Role)" = primary ] && [ "$(status $from g1 Role)" = replica ]
}
turn() {
    case $(status $to g1 State) in
    "failed over"*) vr $to --quiet reverse g1 || : ;;
    esac
    is_turned
}
exchange() {
    local was=$from
    from=$to
    to=$was
    sent=$(sent_by $from) began_at=$(log_pos $from)
}
step_turn() { # when it is asked for
    killed "$2" "$(pid_of "$2" "$1")"
    vr $to --quiet --no-wait reverse g1 >/dev/null
    "$lab" start-libvirtd "$dir" "$2"
    wait_for 240 "$3: reversed" turn
    exchange
    vr $from --quiet set g1 --interval 5
    goes_on "$3"
}
step_back() { # while what was written since the failover is shipped
    vr $to --quiet --no-wait reverse g1 >/dev/null
    wait_for 240 "$3: reversed" turn
    exchange
    wait_for 180 "the way back is under way" under_way
    strike "$1" "$2"
    vr $from --quiet set g1 --interval 5
    goes_on "$3"
}

# "turn" and "back": the sides are those before it
strikes "instant qemu-nbd primary
         turn    libvirtd primary
         last    qemu-nbd replica
         back    qemu-nbd primary
         last    libvirtd primary
         back    QEMU     replica
         last    libvirtd replica
         back    libvirtd replica"
