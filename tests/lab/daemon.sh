#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# vmreplicad on a host of the lab (lab.sh). The programs are those of the build folder.
#
#   daemon.sh config DIR HOST [KEY=VALUE...]  write /etc/vmreplica/vmreplicad.conf anew
#   daemon.sh start DIR HOST [WRAPPER...]     and wait until it answers
#   daemon.sh stop DIR HOST                   SIGTERM, and wait until it is gone
#   daemon.sh kill DIR HOST                   SIGKILL, likewise
#   daemon.sh wait-ready DIR HOST [S]         wait until it answers, within S seconds (default 60)
#   daemon.sh pid DIR HOST                    its process id inside the host; fails when it is not up
#   daemon.sh log DIR HOST                    path of its log, seen from outside
#   daemon.sh cli DIR HOST ARGS...            vmreplica on that host
#
# Environment: VMR_BUILD (default ./build of the tree); VMR_PATIENCE (default 5), by which limits are multiplied.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
lab=$here/lab.sh
patience=${VMR_PATIENCE:-5}
build=${VMR_BUILD:-$(cd "$here/../.." && pwd)/build}
program=$build/src/daemon/vmreplicad
client=$build/src/cli/vmreplica

die() {
    echo "daemon: $*" >&2
    exit 1
}

on() {
    "$lab" exec "$dir" "$host" "$@"
}

log_file() {
    echo "$dir/$host/var/log/vmreplicad.log"
}

pid_of() {
    local pid
    pid=$(cat "$dir/$host/run/vmreplicad.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && on kill -0 "$pid" 2>/dev/null || return 1
    # A zombie answers to kill -0 as well.
    [ "$(on awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null)" != Z ] || return 1
    echo "$pid"
}

config() {
    local pair
    {
        echo "# written by tests/lab/daemon.sh"
        for pair in "$@"; do
            case $pair in
            ?*=*) echo "${pair%%=*} = ${pair#*=}" ;;
            *) die "'$pair' is not KEY=VALUE" ;;
            esac
        done
    } >"$dir/$host/etc/vmreplica/vmreplicad.conf"
}

wait_ready() {
    local end=$((SECONDS + ${1:-60} * patience))
    until on "$client" --quiet machines >/dev/null 2>&1; do
        pid_of >/dev/null || die "vmreplicad of $host is not there: $(tail -n 5 "$(log_file)")"
        [ $SECONDS -lt $end ] || die "vmreplicad of $host does not answer: $(tail -n 5 "$(log_file)")"
        sleep 0.1
    done
}

start() {
    if pid_of >/dev/null; then
        die "vmreplicad of $host is up already"
    fi
    [ -x "$program" ] || die "there is no $program: build first"
    [ -e "$dir/$host/etc/vmreplica/vmreplicad.conf" ] || config
    rm -f "$dir/$host/run/vmreplicad.pid"
    # shellcheck disable=SC2016 # expanded by the shell inside
    on setsid --fork sh -c 'cd / && echo $$ >/run/vmreplicad.pid && exec </dev/null >>/var/log/vmreplicad.log 2>&1 "$@"' \
        sh "$@" "$program" -c /etc/vmreplica/vmreplicad.conf
    for _ in $(seq $((200 * patience))); do
        [ ! -s "$dir/$host/run/vmreplicad.pid" ] || break
        sleep 0.05
    done
    wait_ready 60
}

end_with() {
    local pid end=$((SECONDS + 60 * patience))
    pid=$(pid_of) || return 0
    on kill "-$1" "$pid"
    while pid_of >/dev/null; do
        [ $SECONDS -lt $end ] || die "vmreplicad of $host does not end"
        sleep 0.05
    done
}

[ $# -ge 3 ] || {
    sed -n '3,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}
command=$1
dir=$(cd "$2" 2>/dev/null && pwd -P) || die "no lab in $2"
host=$3
shift 3
case $command in
config) config "$@" ;;
start) start "$@" ;;
stop) end_with TERM ;;
kill) end_with KILL ;;
wait-ready) wait_ready "$@" ;;
pid) pid_of ;;
log) log_file ;;
cli) on "$client" "$@" ;;
*) die "unknown command '$command'" ;;
esac
