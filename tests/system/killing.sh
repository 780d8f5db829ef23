# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests share that kill under the daemon what it works with, of machine g1. To be sourced after
# lib.sh. "fill": random bytes that the guest never touches, MiB: a full copy sends at least so much, whatever
# the machine is slow at.

from=A to=B # primary and replica; exchanged by reverse
sent=0      # by the primary, when the step began
began_at=0  # and where its log ended

# ---- victims ----
pid_of() { # HOST VICTIM [MACHINE]
    case $2 in
    QEMU) cat "$dir/$1/run/libvirt/qemu/${3:-g1}.pid" ;;
    libvirtd) cat "$dir/$1/run/libvirtd.pid" ;;
    esac
}
# hits HOST REGEX: what serves images there dies, and the primary's log says so of what it was sending
hits() {
    local pos end=$((SECONDS + 15))
    pos=$(log_pos $from)
    on "$1" pkill -9 -x qemu-nbd || return
    until log_has $from "$pos" "$2"; do
        [ $SECONDS -lt $end ] || return
        sleep 0.1
    done
}
# killed HOST PID: it is killed, and gone: who starts its like again too early would take it for alive
killed() {
    on "$1" kill -9 "$2"
    wait_for 60 "process $2 of $(host_name "$1") is gone" eval "! on $1 kill -0 $2"
}
# strike VICTIM HOST: it is there, and dies; what an administrator's system starts again is started
strike() {
    local pid
    if [ "$1" = qemu-nbd ]; then
        wait_for 180 "a transfer has lost its qemu-nbd on $(host_name "$2")" hits "$2" "sending to "
        return
    fi
    pid=$(pid_of "$2" "$1") || fail "no $1 on $(host_name "$2")"
    killed "$2" "$pid"
    case $1 in
    libvirtd) "$lab" start-libvirtd "$dir" "$2" ;;
    QEMU) wait_for 60 "libvirt sees that QEMU is gone" domain_off "$2" g1 ;;
    esac
}
# side primary|replica: which host that is now
side() {
    if [ "$1" = primary ]; then echo $from; else echo $to; fi
}

# ---- what holds afterwards ----
# goes_on WHAT: a new point comes by itself, with no full copy, and all points are right. What the guest
# changes meanwhile depends on how long the step takes: no single point, and nothing beside the points, is
# as large as the disk's contents.
goes_on() {
    local most sum
    wait_points $to g1 1 180
    wait_for 180 "$1: replicating" eval 'is_state $from g1 replicating && is_state $to g1 replicating'
    sent=$(($(sent_by $from) - sent))
    read -r most sum < <(tail -c "+$((began_at + 1))" "$dir/$from/var/log/vmreplicad.log" |
        sed -nE 's/.* point [0-9]+ at .*, ([0-9]+) KiB on the wire.*/\1/p' |
        awk '$1 > most { most = $1 } { sum += $1 } END { print most + 0, sum + 0 }')
    [ "$sum" -gt 0 ] || fail "$1: no point is told of"
    [ "$most" -lt $((fill << 9)) ] || fail "$1: $most KiB were sent for one point: that looks like a full copy"
    [ $((sent - (sum << 10))) -lt $((fill << 20)) ] || fail "$1: $(human $sent) were sent, $sum KiB of them for points: that looks like a full copy"
    check_points $to g1
    ok "$1: $(human $sent) sent"
}
under_way() { # more than half a MiB of what is sent now is sent
    local bytes
    bytes=$(status $from g1 BytesDone)
    [ "${bytes:-0}" -gt $((512 << 10)) ]
}

# slowly: from now on what is sent is under way for a while
slowly() {
    local host
    for host in A B; do
        "$daemon" stop "$dir" $host
        daemon_config $host bandwidth=1
        "$daemon" start "$dir" $host
    done
}

# strikes TABLE: lines of STEP VICTIM SIDE, each a call of step_STEP VICTIM HOST WHAT
strikes() {
    local step victim where host
    while read -r step victim where; do
        host=$(side "$where")
        # Somebody starts again what was killed.
        if is_state $from g1 replicating && domain_off $from g1; then "$guest" start "$dir" $from g1 >/dev/null; fi
        sent=$(sent_by $from) began_at=$(log_pos $from)
        "step_$step" "$victim" "$host" "$step: $victim of $(host_name "$host"), the $where, is killed"
    done <<<"$1"
}
