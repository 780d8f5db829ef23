#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Two or three hosts on one machine: each is a set of namespaces (network, mounts, host name,
# processes, System V) with its own /run, /etc/libvirt, /var/lib/libvirt, /var/log and the like,
# kept alive by one keeper process that is its process 1. A further keeper holds the switch that
# joins them. Nothing exists outside DIR and those namespaces: when the keepers are gone, so is
# everything in them, whatever state a test left behind.
#
#   lab.sh up DIR [HOST...]         make the hosts (default: A B); also repairs a half-made lab
#   lab.sh down DIR                 remove everything, DIR too
#   lab.sh exec DIR HOST CMD...     run a command on a host
#   lab.sh start-libvirtd DIR HOST  and wait until it answers
#   lab.sh stop-libvirtd DIR HOST   orderly; machines go on running
#   lab.sh crash DIR HOST           power off the host: every process is killed at once
#   lab.sh boot DIR HOST            switch a crashed host on again (libvirtd is not started)
#   lab.sh net-down DIR [HOST]      pull the host's network cable (default: every host's)
#   lab.sh net-up DIR [HOST]        and plug it in again
#   lab.sh net-shape DIR HOST MBIT  limit what reaches the host, in Mbit/s; 0 for no limit
#   lab.sh address HOST             print its IPv4 address
#   lab.sh pid DIR HOST             print the keeper's process id
#   lab.sh list DIR                 print the hosts that are up
#
# Host A is named hosta, 10.99.0.1, and so on; every host knows every other by name.
# Environment: VMR_LIBVIRT_HOOK  file to install as /etc/libvirt/hooks/qemu
#              (default: packaging/libvirt-hook-qemu when it is there).
#              VMR_QEMU_USER  user that runs the machines of a host that is made (default: root; Debian
#              itself takes libvirt-qemu).
set -euo pipefail

tree=$(cd "$(dirname "$0")/../.." && pwd)
self=$tree/tests/lab/lab.sh
marker=vmr-lab-keeper
patience=${VMR_PATIENCE:-5} # by which every limit is multiplied: this machine may have much else to do
private_dirs=(run etc/libvirt var/lib/libvirt var/log var/lib/vmreplica etc/vmreplica var/cache/libvirt)

die() {
    echo "lab: $*" >&2
    exit 1
}

address() {
    local index
    case $1 in
    [A-Z]) index=$(printf '%d' "'$1") ;;
    *) die "a host is called by one capital letter, not '$1'" ;;
    esac
    echo "10.99.0.$((index - 64))"
}

host_name() {
    echo "host${1,,}"
}

# keepers DIR [NAME]: process ids of the living keepers of this lab, those that are process 1 of
# their namespaces and the unshare(1) that waits for them alike, found by their command line so
# that a lost or stale pid file does no harm.
keepers() {
    local dir=$1 name=${2:-} proc
    local -a argv
    for proc in /proc/[0-9]*; do
        argv=()
        mapfile -d '' -t argv 2>/dev/null <"$proc/cmdline" || continue
        [ ${#argv[@]} -ge 4 ] || continue
        if [ "${argv[-3]}" = "$marker" ] && [ "${argv[-2]}" = "$dir" ] &&
            { [ -z "$name" ] || [ "${argv[-1]}" = "$name" ]; }; then
            echo "${proc#/proc/}"
        fi
    done
}

# keeper_pid DIR NAME: the process to enter; fails when the host is not up.
keeper_pid() {
    local file=$1/$2/keeper.pid pid
    local -a argv=()
    [ -r "$file" ] || return 1
    pid=$(<"$file")
    mapfile -d '' -t argv 2>/dev/null <"/proc/$pid/cmdline" || return 1
    if [ ${#argv[@]} -lt 3 ] || [ "${argv[-3]}" != "$marker" ] ||
        [ "${argv[-2]}" != "$1" ] || [ "${argv[-1]}" != "$2" ]; then
        return 1
    fi
    echo "$pid"
}

# inside DIR NAME CMD...: run in the namespaces of a host or of the switch.
inside() {
    local dir=$1 name=$2 pid
    shift 2
    pid=$(keeper_pid "$dir" "$name") || die "host $name of $dir is not up"
    nsenter -t "$pid" -m -n -u -i -p -- "$@"
}

# The keeper: process 1 of a host. It adopts and reaps whatever is left without a parent.
# shellcheck disable=SC2016 # expanded by the keeper
keeper_program='
trap : TERM INT HUP
while :; do
    sleep 3600 &
    wait $! || :
done
'

start_keeper() {
    local dir=$1 name=$2 pid
    rm -f "$dir/$name/keeper.pid"
    setsid unshare --net --mount --uts --ipc --pid --fork --mount-proc \
        bash -c "$keeper_program" "$marker" "$marker" "$dir" "$name" \
        </dev/null >"$dir/$name/keeper.log" 2>&1 &
    disown
    for _ in $(seq $((200 * patience))); do
        # Two processes match: unshare and its child; the child is process 1 of a namespace.
        for pid in $(keepers "$dir" "$name"); do
            if [ "$(awk '/^NSpid:/ { print $NF }' "/proc/$pid/status" 2>/dev/null)" = 1 ] &&
                [ "$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n1)" = bash ]; then
                echo "$pid" >"$dir/$name/keeper.pid"
                return 0
            fi
        done
        sleep 0.05
    done
    die "the keeper of $name did not start: $(cat "$dir/$name/keeper.log")"
}

# A zombie is not alive: its parent may be slow, but nothing of it is left.
alive() {
    local state
    state=$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) || return 1
    [ -n "$state" ] && [ "$state" != Z ]
}

kill_keepers() {
    local pid
    local -a pids
    mapfile -t pids < <(keepers "$@")
    [ ${#pids[@]} -gt 0 ] || return 0
    # The kernel kills every process of a namespace with its process 1 and lets go of process 1 last.
    kill -9 "${pids[@]}" 2>/dev/null || :
    for pid in "${pids[@]}"; do
        for _ in $(seq $((300 * patience))); do
            alive "$pid" || break
            sleep 0.05
        done
    done
}

host_files() {
    local dir=$1 host=$2 root=$1/$2 sub hook other letter
    for sub in "${private_dirs[@]}"; do
        mkdir -p "$root/$sub"
    done
    local qemu_user=${VMR_QEMU_USER:-root} qemu_group=root
    if [ "$qemu_user" != root ]; then qemu_group=$(id -gn "$qemu_user"); fi
    if [ ! -e "$root/etc/libvirt/qemu.conf" ]; then
        mkdir -p "$root"/var/lib/libvirt/{images,qemu} "$root"/var/log/libvirt/qemu
        mkdir -p "$root"/etc/libvirt/{hooks,qemu}
        cat >"$root/etc/libvirt/qemu.conf" <<CONF
user = "$qemu_user"
group = "$qemu_group"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
lock_manager = "nop"
CONF
        cat >"$root/etc/libvirt/libvirtd.conf" <<CONF
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
CONF
        : >"$root/etc/libvirt/libvirt.conf"
    fi
    chmod 711 "$root/var/lib/vmreplica"
    hook=${VMR_LIBVIRT_HOOK:-$tree/packaging/libvirt-hook-qemu}
    if [ -e "$hook" ]; then
        install -m 755 "$hook" "$root/etc/libvirt/hooks/qemu"
    fi
    host_name "$host" >"$root/hostname"
    {
        echo "127.0.0.1 localhost"
        for letter in A B C D; do
            other=$(host_name "$letter")
            echo "$(address "$letter") $other"
        done
    } >"$root/hosts"
}

# Bring a host from "files are there" to "running": namespaces, mounts, cable.
boot() {
    local dir=$1 host=$2 root=$1/$2 sub pid mac
    if keeper_pid "$dir" "$host" >/dev/null; then
        return 0
    fi
    kill_keepers "$dir" "$host"
    rm -rf "$root/run"
    mkdir -p "$root/run/libvirt" "$root/run/lock"
    start_keeper "$dir" "$host"
    pid=$(keeper_pid "$dir" "$host")
    inside "$dir" "$host" mount --make-rprivate /
    for sub in "${private_dirs[@]}"; do
        mkdir -p "/$sub"
        inside "$dir" "$host" mount --bind "$root/$sub" "/$sub"
    done
    inside "$dir" "$host" mount --bind "$root/hosts" /etc/hosts
    if [ -e /etc/hostname ]; then
        inside "$dir" "$host" mount --bind "$root/hostname" /etc/hostname
    fi
    inside "$dir" "$host" hostname "$(host_name "$host")"
    # If root may use /dev/kvm and the machines' user may not, libvirt asks QEMU for its abilities
    # anew at every call, which takes seconds.
    if [ -c /dev/kvm ] && rm -f "$root/kvm" && mknod -m 666 "$root/kvm" c 10 232; then
        inside "$dir" "$host" mount --bind "$root/kvm" /dev/kvm
    fi

    mac=$(printf '52:54:00:99:00:%02x' "$(($(printf '%d' "'$host") - 64))")
    inside "$dir" switch ip link delete "port$host" 2>/dev/null || :
    plug "$dir" "$host" "$pid" "$mac"
    inside "$dir" switch ip link set "port$host" master br0 up
    inside "$dir" "$host" ip link set lo up
    inside "$dir" "$host" ip address add "$(address "$host")/24" dev eth0
    inside "$dir" "$host" ip link set eth0 up
}

# The hosts do not see each other's process ids: make the pair out here and hand both ends over.
plug() {
    local dir=$1 host=$2 pid=$3 mac=$4 a=vmra$3 b=vmrb$3
    ip link add "$a" type veth peer name "$b" address "$mac"
    ip link set "$a" netns "$(keeper_pid "$dir" switch)"
    inside "$dir" switch ip link set "$a" name "port$host"
    ip link set "$b" netns "$pid"
    inside "$dir" "$host" ip link set "$b" name eth0
}

up() {
    local dir=$1 host
    shift
    [ "$(id -u)" = 0 ] || die "needs root"
    mkdir -p "$dir/switch"
    dir=$(cd "$dir" && pwd -P)
    if ! keeper_pid "$dir" switch >/dev/null; then
        # Cables do not outlive the switch, so the hosts start anew with it.
        kill_keepers "$dir"
        start_keeper "$dir" switch
        inside "$dir" switch mount --make-rprivate /
        inside "$dir" switch ip link add br0 type bridge
        inside "$dir" switch ip link set br0 up
    fi
    for host in "${@:-A}"; do
        address "$host" >/dev/null
        mkdir -p "$dir/$host"
        host_files "$dir" "$host"
        boot "$dir" "$host"
    done
}

down() {
    local dir=$1 mount
    [ -d "$dir" ] || return 0
    dir=$(cd "$dir" && pwd -P)
    # Never remove a folder that is not a lab.
    if [ ! -d "$dir/switch" ]; then
        [ -z "$(ls -A "$dir")" ] || die "$dir is not a lab"
    fi
    kill_keepers "$dir"
    # Belt and braces: a mount below DIR in our own namespace would be a user's doing.
    while read -r mount; do
        umount -l "$mount" || :
    done < <(awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    rm -rf "$dir"
}

libvirtd_pid() {
    local pid
    pid=$(cat "$1/$2/run/libvirtd.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] || return 1
    inside "$1" "$2" kill -0 "$pid" 2>/dev/null || return 1
    echo "$pid"
}

start_libvirtd() {
    local dir=$1 host=$2 end=$((SECONDS + 60 * patience))
    until inside "$dir" "$host" virsh -q -c qemu:///system list >/dev/null 2>&1; do
        # One that was killed may be there for a moment still.
        if ! libvirtd_pid "$dir" "$host" >/dev/null; then
            rm -f "$dir/$host/run/libvirtd.pid"
            inside "$dir" "$host" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root \
                sh -c 'cd / && setsid libvirtd -d -p /run/libvirtd.pid </dev/null >>/var/log/libvirtd.start 2>&1' ||
                die "libvirtd of $host does not start: $(tail -n 5 "$dir/$host/var/log/libvirtd.start")"
        fi
        [ $SECONDS -lt $end ] || die "libvirtd of $host does not answer"
        sleep 0.1
    done
}

stop_libvirtd() {
    local dir=$1 host=$2 pid
    pid=$(libvirtd_pid "$dir" "$host") || return 0
    inside "$dir" "$host" kill "$pid"
    for _ in $(seq $((300 * patience))); do
        libvirtd_pid "$dir" "$host" >/dev/null || return 0
        sleep 0.1
    done
    die "libvirtd of $host does not stop"
}

ports() {
    local dir=$1 host
    if [ -n "${2:-}" ]; then
        echo "port$2"
        return
    fi
    for host in "$dir"/[A-Z]; do
        echo "port${host##*/}"
    done
}

cable() {
    local dir=$1 state=$2 host=${3:-} port
    for port in $(ports "$dir" "$host"); do
        inside "$dir" switch ip link set "$port" "$state"
    done
}

shape() {
    local dir=$1 host=$2 mbit=$3
    inside "$dir" switch tc qdisc delete dev "port$host" root 2>/dev/null || :
    if [ "$mbit" != 0 ]; then
        inside "$dir" switch tc qdisc add dev "port$host" root tbf rate "${mbit}mbit" \
            burst 256kb latency 100ms
    fi
}

[ $# -ge 2 ] || {
    sed -n '3,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$self" >&2
    exit 2
}
command=$1
if [ "$command" = address ]; then
    address "$2"
    exit
fi
dir=$2
shift 2
if [ "$command" != up ] && [ "$command" != down ]; then
    dir=$(cd "$dir" 2>/dev/null && pwd -P) || die "no lab in $dir"
fi
case $command in
up)
    [ $# -gt 0 ] || set -- A B
    up "$dir" "$@"
    ;;
down) down "$dir" ;;
exec) inside "$dir" "$@" ;;
start-libvirtd) start_libvirtd "$dir" "$1" ;;
stop-libvirtd) stop_libvirtd "$dir" "$1" ;;
crash) kill_keepers "$dir" "$1" ;;
boot)
    host_files "$dir" "$1"
    boot "$dir" "$1"
    ;;
net-down) cable "$dir" down "${1:-}" ;;
net-up) cable "$dir" up "${1:-}" ;;
net-shape) shape "$dir" "$1" "$2" ;;
pid) keeper_pid "$dir" "$1" ;;
list)
    for host in "$dir"/[A-Z]; do
        if keeper_pid "$dir" "${host##*/}" >/dev/null; then echo "${host##*/}"; fi
    done
    ;;
*) die "unknown command '$command'" ;;
esac
