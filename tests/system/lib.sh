# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the system tests and demo.sh share: one lab with daemons, guests that can be checked, waiting
# for conditions with generous limits, and the comparison of every recovery point with a copy of the
# primary's disks that the capture hook made at its instant. Source it; then
#
#   system_begin          root? programs built? else exit 77; a lab folder, removed at the end
#   hosts_up [KEY=VALUE...]   hosts A and B with libvirtd and vmreplicad (parameters for both)
#   pair_hosts
#
# Variables: tree, build, dir (the lab), lab, guest, daemon (scripts). Hosts are A and B.
# A failed promise ends the test with the logs shown. Nothing here sleeps for a fixed time to let
# something happen. A limit says how long somebody waits on a machine of ours that has nothing else to do;
# it is multiplied by VMR_PATIENCE (default 5): it ends a test that hangs, it measures nothing. How long
# something takes is held against what is promised with VMR_QUIET=1 only, which says that nothing else runs.

tree=${VMR_TREE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build=${VMR_BUILD:-$tree/build}
export VMR_BUILD=$build
export VMR_PATIENCE=${VMR_PATIENCE:-5} # for guest.sh, daemon.sh and lab.sh, too
lab=$tree/tests/lab/lab.sh
guest=$tree/tests/lab/guest.sh
daemon=$tree/tests/lab/daemon.sh
hook=$tree/tests/lab/oracle-hook.sh
dir=
keep_lab=
began=$(date +%s%N)

elapsed() {
    local now
    now=$(date +%s%N)
    printf '%d.%d' $(((now - began) / 1000000000)) $(((now - began) / 100000000 % 10))
}

say() {
    printf '[%6s s] %s\n' "$(elapsed)" "$*"
}

ok() {
    say "ok: $*"
}

skip() {
    echo "$*"
    exit 77
}

show_logs() {
    local host file
    for host in A B; do
        echo "---- host $host: vmreplica status, machines; the end of its logs"
        "$daemon" cli "$dir" "$host" status 2>&1 | tail -n 20 || :
        "$lab" exec "$dir" "$host" virsh -q -c qemu:///system list --all 2>&1 || :
        tail -n "${VMR_LOG_LINES:-40}" "$dir/$host/var/log/vmreplicad.log" || :
        file=$dir/$host/var/log/libvirt/libvirtd.log
        grep -vE 'ethtool|dnsmasq|DBus|udev|dmidecode|libvirt version|hostname:|Cgroup|default policy|high-privileges|^$' "$file" |
            tail -n "${VMR_LOG_LINES:-20}" || :
        # Why a QEMU ended; its command line is long, and starts with spaces or variables.
        for file in "$dir/$host"/var/log/libvirt/qemu/*.log; do
            [ -e "$file" ] || continue
            echo "-- QEMU of ${file##*/}"
            grep -vE '^(-|LC_ALL|PATH|HOME|XDG|QEMU_|/usr/bin/qemu)' "$file" | tail -n 6 || :
        done
    done >&2
}

# fail TEXT: works in subshells, too; the logs are shown once, at the end.
fail() {
    printf '[%6s s] FAILED: %s\n' "$(elapsed)" "$*" >&2
    exit 1
}

system_end() {
    local status=$? command=$1
    trap - EXIT
    if [ $status != 0 ]; then
        echo "exit status $status at: $command" >&2
        if [ -d "$dir" ]; then show_logs; fi
    fi
    if [ -z "$keep_lab" ] && { [ $status = 0 ] || [ -z "${VMR_KEEP_LAB:-}" ]; }; then
        "$lab" down "$dir" || status=1
    else
        echo "the lab is kept: $dir" >&2
    fi
    exit $status
}

system_begin() {
    set -euo pipefail
    shopt -s inherit_errexit
    [ "$(id -u)" = 0 ] || skip "two hosts on one machine need root"
    [ -x "$build/src/daemon/vmreplicad" ] || fail "vmreplicad is not built in $build"
    [ -x "$build/src/cli/vmreplica" ] || fail "vmreplica is not built in $build"
    # As on a host of Debian: machines do not run as root.
    if id libvirt-qemu >/dev/null 2>&1; then export VMR_QEMU_USER=${VMR_QEMU_USER-libvirt-qemu}; fi
    dir=${1:-$(mktemp -d /tmp/vmr-system.XXXXXX)}
    trap 'system_end "$BASH_COMMAND"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# ---- hosts ----

host_name() {
    echo "host${1,,}"
}

# The oracle's copies are the default; parameters given here come after it and may replace it.
daemon_config() {
    local host=$1
    shift
    "$daemon" config "$dir" "$host" "capture_hook=$hook" "$@"
}

hosts_up() {
    local host
    "$lab" up "$dir" A B
    for host in A B; do
        "$lab" start-libvirtd "$dir" "$host"
        daemon_config "$host" "$@"
        "$daemon" start "$dir" "$host"
    done
}

on() {
    "$lab" exec "$dir" "$@"
}

virsh_on() {
    local host=$1
    shift
    on "$host" virsh -q -c qemu:///system "$@"
}

# vr HOST ARGS...: vmreplica there.
vr() {
    local host=$1
    shift
    on "$host" "$build/src/cli/vmreplica" "$@"
}

# refused HOST STATUS REGEX ARGS...: the command ends with that status and says something like that.
refused() {
    local host=$1 status=$2 regex=$3 out got=0
    shift 3
    out=$(vr "$host" "$@" 2>&1) || got=$?
    [ "$got" = "$status" ] || fail "vmreplica $* on $host: exit status $got, not $status: $out"
    grep -qiE -- "$regex" <<<"$out" || fail "vmreplica $* on $host says: $out (expected: $regex)"
    ok "vmreplica $*: $(tail -n 1 <<<"$out")"
}

# mortal_start HOST [VARIABLE=VALUE...]: vmreplicad-fault (src/daemon/fault.h) there, with these variables.
# By default it dies where /run/vmreplica-die-at says.
mortal_start() {
    local host=$1 program=$build/src/daemon/vmreplicad-fault
    shift
    [ -x "$program" ] || fail "vmreplicad-fault is not built in $build"
    [ $# -gt 0 ] || set -- VMREPLICA_DIE_AT=/run/vmreplica-die-at
    # shellcheck disable=SC2016 # expanded by the shell inside; "$1" is the ordinary program
    "$daemon" start "$dir" "$host" env "$@" sh -c 'shift; exec "$0" "$@"' "$program"
}

pair_hosts() {
    local code
    code=$(vr A --json pair | jq -r .Code)
    vr B --quiet pair hosta --code "$code"
}

# ---- conditions ----

# wait_for SECONDS WHAT COMMAND...: until it succeeds.
wait_for() {
    local seconds=$(($1 * VMR_PATIENCE)) what=$2 end
    shift 2
    end=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "$what: not within $seconds s"
        sleep 0.1
    done
}

# status HOST MACHINE PROPERTY: of the relationship: a string, a number or true; nothing when it is none of
# these. This is asked ten times a second, and jq takes longer to start than all the rest.
status() {
    vr "$1" --json status "$2" 2>/dev/null | sed -nE "
        /^  \}/q
        s/^    \"$3\": \"(.*)\",?\$/\1/
        t text
        s/^    \"$3\": ([-0-9t][^,]*),?\$/\1/p
        d
        :text
        s/\\\\([\"\\\\])/\1/g
        p"
}

# machine HOST MACHINE PROPERTY: of the machine.
machine() {
    vr "$1" --json machines | jq -r ".[] | select(.ElementName == \"$2\") | .$3 // empty"
}

is_state() {
    [ "$(status "$1" "$2" State)" = "$3" ]
}

# wait_state HOST MACHINE STATE [SECONDS]
wait_state() {
    local seconds=$((${4:-120} * VMR_PATIENCE)) end
    end=$((SECONDS + seconds))
    until is_state "$1" "$2" "$3"; do
        [ $SECONDS -lt $end ] ||
            fail "$2 on $1 is not '$3' within $seconds s but '$(status "$1" "$2" State)': $(status "$1" "$2" LastError)"
        sleep 0.1
    done
}

# points HOST MACHINE: ids of the listed points, oldest first.
points() {
    vr "$1" --json points "$2" | jq -r '.[].InstanceID'
}

n_points() {
    points "$1" "$2" | grep -c . || :
}

newest_point() {
    points "$1" "$2" | tail -n 1
}

more_points() {
    [ "$(n_points "$1" "$2")" -gt "$3" ]
}

# wait_points REPLICA MACHINE N [SECONDS]: N that are not listed now. Their number is no measure: of
# many points the older ones are thinned out.
wait_points() {
    local had new seconds=$((${4:-120} * VMR_PATIENCE)) end
    end=$((SECONDS + seconds))
    had=$(points "$1" "$2")
    until new=$(points "$1" "$2" | grep -vxF -c -- "${had:-none}" || :) && [ "${new:-0}" -ge "$3" ]; do
        [ $SECONDS -lt $end ] || fail "no $3 new points of $2 on $1 within $seconds s"
        sleep 0.2
    done
}

domain_off() {
    [ "$(virsh_on "$1" domstate "$2")" = "shut off" ]
}

# known_off HOST MACHINE: returns when its daemon, if one runs, has heard that the machine is off. A failover and a
# reversal ask that daemon, and are refused while it believes that the machine runs.
known_off() {
    "$daemon" pid "$dir" "$1" >/dev/null 2>&1 || return 0
    wait_for 60 "vmreplicad of $(host_name "$1") knows that $2 is off" believed_off "$1" "$2"
}
believed_off() {
    [ "$(machine "$1" "$2" EnabledState)" = 3 ]
}

# What HOST has put on the network since it was switched on, in bytes: counted by the switch.
sent_by() {
    on switch cat "/sys/class/net/port$1/statistics/rx_bytes" 2>/dev/null ||
        on switch ip -s -j link show "port$1" | jq '.[0].stats64.rx.bytes'
}

# when_free HOST PROGRAM ARGS...: a program that opens the disk of a machine that is off, of which a daemon may be
# changing the bitmaps just then: the locks are taken, or what is in the image does not fit together for a
# moment. It is begun again until nobody interferes; what it said last is told when somebody always does. A
# difference that qemu-img compare finds is final.
when_free() {
    local host=$1 said got end=$((SECONDS + 60 * VMR_PATIENCE))
    shift
    while :; do
        got=0
        said=$(on "$host" "$@" 2>&1) || got=$?
        [ $got != 0 ] || return 0
        case "$1 $2 $got" in "qemu-img compare 1") return 1 ;; esac
        [ $SECONDS -lt $end ] || fail "$* on $(host_name "$host"): $said"
        sleep 0.1
    done
}

# ---- the oracle ----

# database HOST SQL
database() {
    sqlite3 -readonly -separator ' ' -cmd '.timeout 120000' "$dir/$1/var/lib/vmreplica/state.db" "$2"
}

uuid_of() {
    virsh_on "$1" domuuid "$2"
}

# point_files HOST UUID: "LINEAGE-EPOCH TARGET FORMAT PATH" for each listed point, oldest first.
point_files() {
    database "$1" "SELECT lower(hex(p.lineage)), p.epoch, d.target, l.format, l.path FROM point p
        JOIN point_disk d ON d.point = p.seq JOIN layer l ON l.id = d.layer
        WHERE p.listed AND lower(hex(p.machine)) = '$(tr -d - <<<"$2" | tr 'A-F' 'a-f')'
        ORDER BY p.seq, d.target" |
        sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}) ([0-9]+) /\1-\2-\3-\4-\5-\6 /'
}

# oracle_of UUID ID: the folder of the copy made at that instant. The first point of a lineage (epoch 0) is
# what the machine was when it was failed over: the last copy of the lineage before.
oracle_of() {
    local uuid=$1 id=$2 copy found=
    for copy in "$dir"/[A-Z]/var/log/oracle/"$uuid/$id"; do
        if [ -d "$copy" ]; then found=$copy; fi
    done
    if [ -z "$found" ] && [ "${id##*-}" = 0 ]; then
        while read -r copy; do
            case $copy in
            *"/${id%-*}-"*) break ;;
            *) found=$copy ;;
            esac
        done < <(copies "$uuid")
    fi
    echo "$found"
}

# copies UUID: folders of all copies of a machine, oldest first.
copies() {
    # shellcheck disable=SC2012 # names are ours
    ls -dtr "$dir"/[A-Z]/var/log/oracle/"$1"/* 2>/dev/null || :
}

# seen ARGS...: grep that says nothing and reads to the end. grep -q would leave early, its writer
# would be ended by SIGPIPE, and with it the pipe would fail.
seen() {
    grep "$@" >/dev/null
}

# compare_point HOST UUID ID TARGET FORMAT PATH COPY: 0 equal; 1 not; 2 the point has expired meanwhile:
# nothing is promised of it any more. Of one that is still listed the bytes are promised at any
# moment; only its files may be others after a merge, and one that goes while it is opened is looked
# for again.
compare_point() {
    local host=$1 uuid=$2 id=$3 target=$4 format=$5 path=$6 copy=$7 got now end=$((SECONDS + 60 * VMR_PATIENCE))
    while [ $SECONDS -lt $end ]; do
        got=0
        on "$host" qemu-img compare -U -q -f raw -F "$format" "$copy/$target.raw" "$path" || got=$?
        [ $got != 0 ] || return 0
        now=$(point_files "$host" "$uuid" | awk -v id="$id" -v t="$target" '$1 == id && $2 == t { print $3, $4 }')
        [ -n "$now" ] || return 2
        [ $got != 1 ] || return 1
        read -r format path <<<"$now"
    done
    return 1
}

declare -A compared=() # ids of the points that check_points found equal so far

# check_points REPLICA MACHINE: each point that is listed holds what the primary's disks held at its
# instant, every disk, every byte; and the command line lists exactly these points.
check_points() {
    local uuid id target format path copy n=0 expired=0 got last='' files again listed held end=$((SECONDS + 60 * VMR_PATIENCE))
    uuid=$(uuid_of "$1" "$2")
    # A point may be committed between two looks: both lists are taken until they agree while the
    # store does not change.
    while :; do
        files=$(point_files "$1" "$uuid")
        listed=$(points "$1" "$2" | tr ':' '-' | tr 'A-F' 'a-f' | sort)
        again=$(point_files "$1" "$uuid")
        held=$(awk '{ print $1 }' <<<"$files" | sort -u)
        if [ "$files" = "$again" ] && [ "$held" = "$listed" ]; then break; fi
        [ $SECONDS -lt $end ] || fail "vmreplica points lists $(wc -w <<<"$listed") points, the store holds $(wc -w <<<"$held"): $listed / $held"
        sleep 0.2
    done
    [ -n "$files" ] || fail "$1 holds no point of $2"
    while read -r id target format path; do
        copy=$(oracle_of "$uuid" "$id")
        [ -n "$copy" ] || fail "no copy of the primary's disks at point $id"
        [ -e "$copy/$target.raw" ] || fail "no copy of disk $target at point $id"
        got=0
        compare_point "$1" "$uuid" "$id" "$target" "$format" "$path" "$copy" || got=$?
        [ $got != 1 ] || fail "point $id, disk $target: $path differs from the primary's bytes of that instant"
        if [ $got = 2 ]; then
            expired=$((expired + 1))
            continue
        fi
        if [ "$id" != "$last" ]; then
            last=$id
            n=$((n + 1))
        fi
        # shellcheck disable=SC2034
        compared[$id]=1
    done <<<"$files"
    # The newest one does not expire: nothing compared at all would be a mistake of ours.
    [ $n -gt 0 ] || fail "none of the points of $2 on $1 could be compared ($expired expired meanwhile)"
    ok "$n points on $(host_name "$1") are equal to the primary's disks at their instants, byte for byte"
}

# oracle_hold HOST: the next instant stays held until oracle_release; oracle_held: it is.
oracle_hold() {
    mkdir -p "$dir/$1/var/log/oracle"
    rm -f "$dir/$1/var/log/oracle/held"
    : >"$dir/$1/var/log/oracle/hold"
}

oracle_held() {
    [ -e "$dir/$1/var/log/oracle/held" ]
}

oracle_release() {
    rm -f "$dir/$1/var/log/oracle/hold" "$dir/$1/var/log/oracle/held"
}

# differing OLD NEW: bytes that differ between two copies, in blocks of 4 KiB, all disks.
differing() {
    local old=$1 new=$2 file n total=0
    for file in "$new"/*.raw; do
        n=$("$tree/tests/lab/differ.py" "$old/${file##*/}" "$file" "${3:-4096}")
        total=$((total + n))
    done
    echo "$total"
}

# ---- methods as any client calls them ----

# envelope URI METHOD SELECTORS BODY
envelope() {
    cat <<XML
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header><a:To>http://localhost/wsman</a:To>
<w:ResourceURI s:mustUnderstand="true">$1</w:ResourceURI><a:Action s:mustUnderstand="true">$1/$2</a:Action>
<a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>
<a:MessageID>uuid:00000000-0000-0000-0000-000000000001</a:MessageID>$3</s:Header>
<s:Body><p:$2_INPUT xmlns:p="$1">$4</p:$2_INPUT></s:Body></s:Envelope>
XML
}

# send HOST: an envelope to the local socket there
send() {
    on "$1" curl -s --unix-socket /run/vmreplica/wsman.sock -H 'Content-Type: application/soap+xml;charset=UTF-8' \
        --data-binary @- http://localhost/wsman
}

# invoke HOST METHOD BODY [SERVICE]: a method of the replication service, or of another one
invoke() {
    envelope http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/${4:-Msvm_ReplicationService} "$2" '' "$3" |
        send "$1"
}

# ---- the time of a failover ----

# in_time WHAT LIMIT COMMAND...: it takes less than so many milliseconds on a machine that has nothing else to
# do, as VMR_QUIET=1 says. Otherwise it is told how long it took: what must not be waited for is held by the test.
in_time() {
    local what=$1 limit=$2 from ms
    shift 2
    from=$(date +%s%N)
    "$@" || fail "$what: $*"
    ms=$((($(date +%s%N) - from) / 1000000))
    [ -z "${VMR_QUIET:-}" ] || [ $ms -lt "$limit" ] || fail "$what: took $ms ms, not less than $limit"
    ok "$what: $ms ms"
}

runs_after() {
    local host=$1 name=$2 end=$((SECONDS + 60 * VMR_PATIENCE))
    shift 2
    "$@" || return
    until [ "$(virsh_on "$host" domstate "$name")" = running ]; do
        [ $SECONDS -lt $end ] || return
        sleep 0.05
    done
}

# runs_soon WHAT HOST MACHINE COMMAND...: the machine runs there, less than 5 s after the command on a quiet
# machine: that is promised of a failover.
runs_soon() {
    in_time "failover, $1" 5000 runs_after "${@:2}"
}

# ---- guests ----

# guest_boot_counter HOST NAME: what the guest said it found when it booted last: it checks all that
# it ever wrote first.
guest_boot_counter() {
    tr -d '\r' <"$("$guest" log "$dir" "$1" "$2")" | sed -n 's/^VMR boot counter=\([0-9]*\)$/\1/p' | tail -n 1
}

guest_last_words() {
    tr -d '\r' <"$("$guest" log "$dir" "$1" "$2")" | sed -n 's/^VMR power button counter=\([0-9]*\).*/\1/p' | tail -n 1
}

# protect NAME [OPTIONS...]: from A to B, initial copy done.
protect() {
    local name=$1
    shift
    vr A --quiet enable "$name" --to hostb --interval 5 --start "$@"
}

# log_since HOST: position in the daemon's log; log_has HOST FROM REGEX
log_pos() {
    stat -c %s "$dir/$1/var/log/vmreplicad.log"
}

log_has() {
    tail -c "+$(($2 + 1))" "$dir/$1/var/log/vmreplicad.log" | seen -E -- "$3"
}

# human BYTES
human() {
    awk -v n="$1" 'BEGIN { split("B KiB MiB GiB", u, " "); i = 1; while (n >= 1024 && i < 4) { n /= 1024; i++ }
        printf(i == 1 ? "%d %s" : "%.1f %s", n, u[i]) }'
}
