# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests share in which vmreplicad dies at a named point (src/daemon/fault.h) of an operation on
# machine g1. To be sourced after lib.sh. The test defines do_OPERATION, which is what an administrator does,
# also again, and a goal for each: a function that says when it is enough.

# primary and replica, exchanged by reverse; the newest point before an operation
# shellcheck disable=SC2034 # the tests read it
from=A to=B before=
died=0
missed=()

# mortal_hosts: as hosts_up of lib.sh
mortal_hosts() {
    local host
    "$lab" up "$dir" A B
    for host in A B; do
        "$lab" start-libvirtd "$dir" "$host"
        daemon_config "$host" "$@"
        mortal_start "$host"
    done
}

ask() {
    local host=$1
    shift
    timeout 300 "$lab" exec "$dir" "$host" "$build/src/cli/vmreplica" --quiet "$@"
}

alive() {
    "$daemon" pid "$dir" "$1" >/dev/null
}

# die_at HOST POINT: the next time that its daemon comes there
die_at() {
    echo "$2" >"$dir/$1/run/vmreplica-die-at"
}

# later POINT: the point after the work that POINT is before; NAME or NAME:TIMES
later() {
    case $1 in
    *:*) echo "${1%:*}+:${1#*:}" ;;
    *) echo "$1+" ;;
    esac
}

# libvirtd_runs: on both hosts. That of Debian 12 (9.0) may end with a segmentation fault in a worker for
# priority calls when a client ends in the middle of one; on a real host systemd starts it again.
libvirtd_runs() {
    local host
    for host in A B; do "$lab" start-libvirtd "$dir" $host; done
}

# crash HOST POINT OPERATION GOAL: the operation is begun, the daemon of HOST dies at POINT and is
# started again; then the operation is repeated until its goal is reached.
crash() {
    local host=$1 point=$2 operation=$3 goal=$4 log=$dir/operation.log worker tries=0 end
    before=$(newest_point $to g1 2>/dev/null || :)
    die_at "$host" "$point"
    "do_$operation" >"$log" 2>&1 &
    worker=$!
    while alive "$host" && kill -0 $worker 2>/dev/null; do
        sleep 0.05
    done
    end=$((SECONDS + 60 * VMR_PATIENCE)) # what follows an operation's end: RETIRE, GUARD
    while alive "$host" && [ $SECONDS -lt $end ]; do
        sleep 0.1
    done
    if alive "$host"; then
        missed+=("$operation:$host:$point")
    else
        died=$((died + 1))
    fi
    rm -f "$dir/$host/run/vmreplica-die-at"
    alive "$host" || mortal_start "$host"
    wait $worker || :
    end=$((SECONDS + 180 * VMR_PATIENCE))
    until "$goal"; do
        tries=$((tries + 1))
        libvirtd_runs
        [ $tries -le 60 ] || [ $SECONDS -lt $end ] || fail "$operation: $host died at $point; it cannot be ended: $(cat "$log")"
        "do_$operation" >"$log" 2>&1 || sleep 0.5
    done
    say "$operation: $host dies at $point$([ $tries -eq 0 ] || echo "; done again $tries times")"
}

# all_died: at each point that was asked for
all_died() {
    [ ${#missed[@]} -eq 0 ] || fail "the daemon did not die at: ${missed[*]}"
    say "died and came back $died times"
}

# A point may be added between the two listings that check_points compares: then look again.
points_equal() {
    (check_points $to g1) 2>/dev/null || (check_points $to g1) 2>/dev/null || check_points $to g1
}

# is_replicating: both hosts say so
is_replicating() {
    is_state $from g1 replicating && is_state $to g1 replicating
}

# ---- a machine that is off, and what it wrote alone ----
disk_of() {
    virsh_on "$1" domblklist g1 | awk '$1 == "vda" { print $2 }'
}

# copy_orphan: the disk of the primary as it is now; keep_copy names it when it has become an orphan point
copy_orphan() {
    mkdir -p "$dir/$from/var/log/oracle/orphan"
    when_free $from qemu-img convert -U -O raw "$(disk_of $from)" /var/log/oracle/orphan/vda.raw
}

orphans() {
    vr "$1" --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID'
}

# name_orphan WHAT UUID: the copy is that of the newest orphan point
name_orphan() {
    local orphan
    orphan=$(orphans $from | tail -n 1)
    [ -n "$orphan" ] || fail "$1: what $(host_name $from) had written alone is no point: $(vr $from points g1)"
    rm -rf "$dir/$from/var/log/oracle/$2/${orphan/:/-}"
    mv "$dir/$from/var/log/oracle/orphan" "$dir/$from/var/log/oracle/$2/${orphan/:/-}"
}
