#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The whole story on one machine, for real: two hosts, each with its own network, libvirtd and
# vmreplicad; a Linux guest that never stops writing and remembers what it wrote. It is protected,
# fails over to the second host, is replicated back, comes home, and is protected again. At the end
# a table of what was measured; every recovery point was compared with the primary's disks, byte for
# byte. The exit status is 0 only when every promise was kept.
#
#   ./demo.sh [--keep] [--verbose]     as root, from a clean clone
#   ./demo.sh --down                   remove what --keep left
#     --keep      leave the two hosts up at the end and say what to try
#     --verbose   show the daemons' logs at the end
#
# Environment: BUILD_DIR (default ./build), VMR_DEMO_DIR (default /tmp/vmreplica-demo),
# VMR_NO_INSTALL=1 (install no packages), VMR_NO_BUILD=1 (take BUILD_DIR as it is).
set -euo pipefail

cd "$(dirname "$0")"
here=$PWD
build=${BUILD_DIR:-$here/build}
demo_dir=${VMR_DEMO_DIR:-/tmp/vmreplica-demo}
keep='' verbose=''

usage() {
    sed -n '4,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$here/demo.sh"
}

while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=1 ;;
    --verbose) verbose=1 ;;
    --down)
        tests/lab/lab.sh down "$demo_dir"
        echo "The two hosts are gone."
        exit 0
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        echo "demo: unknown argument '$1'" >&2
        usage >&2
        exit 2
        ;;
    esac
    shift
done
if [ "$(id -u)" != 0 ]; then
    echo "demo: two hosts on one machine need root" >&2
    exit 1
fi

# ---- build ----
quietly() {
    local what=$1 log
    shift
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        echo "demo: $what failed" >&2
        exit 1
    fi
    rm -f "$log"
}

if [ -z "${VMR_NO_INSTALL:-}" ]; then
    echo "Packages ..."
    quietly "installing packages" packaging/install-packages.sh
fi
if [ -z "${VMR_NO_BUILD:-}" ]; then
    echo "Build ..."
    if [ ! -e "$build/build.ninja" ]; then
        quietly "meson setup" meson setup "$build" "$here"
    fi
    quietly "building" ninja -C "$build" src/daemon/vmreplicad src/cli/vmreplica
fi
echo "Guest ..."
quietly "making the guest" tests/lab/guest.sh build

# ---- two hosts ----
export VMR_TREE=$here VMR_BUILD=$build
. tests/system/lib.sh
"$lab" down "$demo_dir"
system_begin "$demo_dir"

heading() {
    printf '\n[%6s s] == %s\n' "$(elapsed)" "$*"
}

shown() {
    local host=$1
    shift
    printf '%s# vmreplica %s\n' "$(host_name "$host")" "$*"
    vr "$host" "$@"
}

now_ms() {
    date +%s%3N
}

name=g1

# transfers HOST FROM: "EPOCH CHANGED_KIB WIRE_KIB MS" of the points the host has sent, from its log.
transfers() {
    sed -nE "s/^.*machine $name: point ([0-9]+) at [^:]*: ([0-9]+) KiB changed, ([0-9]+) KiB on the wire, ([0-9]+) ms\$/\1 \2 \3 \4/p" \
        "$dir/$1/var/log/vmreplicad.log"
}

# The guest stopped at a tick; the other host's boot must find exactly that, all of it.
nothing_lost() {
    local from=$1 to=$2 said found
    said=$(guest_last_words "$from" "$name")
    "$guest" wait-line "$dir" "$to" "$name" 90 '^VMR (boot|verify BAD|cannot)' "${3:-0}" >/dev/null
    found=$(guest_boot_counter "$to" "$name")
    [ "${said:-?}" = "$found" ] ||
        fail "the guest stopped on $(host_name "$from") at tick ${said:-?} and found ${found:-nothing} on $(host_name "$to")"
    ok "the guest stopped at tick $said, checked all its files on $(host_name "$to") and goes on from $found: nothing lost"
}

console_size() {
    stat -c %s "$("$guest" log "$dir" "$1" "$name")" 2>/dev/null || echo 0
}

heading "Two hosts, hosta and hostb, each with libvirtd and vmreplicad"
hosts_up
ok "both hosts are up"
"$guest" create "$dir" A "$name" --disks 2 --size 512M --fill 48 --tick-ms 200
"$guest" start "$dir" A "$name"
ok "machine $name runs on hosta: two disks, writes on both five times a second"

heading "The hosts trust each other: one command on each, one code"
code=$(vr A --json pair | jq -r .Code)
printf 'hosta# vmreplica pair\nOne-time code: %s\n' "$code"
shown B pair hosta --code "$code"
shown A peers
ok "paired"

heading "Protect the machine: every 5 seconds"
shown A enable "$name" --to hostb --interval 5
shown A start "$name"
wait_state A "$name" replicating
ok "the initial copy is complete; the machine ran meanwhile: tick $("$guest" tick "$dir" A "$name")"

heading "Cycles A -> B while the guest writes"
wait_points B "$name" 3
shown A status
shown B points "$name"
check_points B "$name"

heading "Planned failover to hostb"
began_fo=$(now_ms)
size=$(console_size B)
shown A failover "$name" --planned
nothing_lost A B "$size"
failover_ms=$(($(now_ms) - began_fo))
shown B status
refused_start=$(virsh_on A start "$name" 2>&1) && fail "hosta started its copy while hostb runs the machine"
refused_start=$(grep -oE 'vmreplica: .*' <<<"$refused_start" | head -n 1)
[ -n "$refused_start" ] || fail "hosta does not say why it does not start the machine"
ok "hosta refuses to start its old copy; it says: $refused_start"
check_points B "$name"

heading "Reverse: hostb protects, hosta is the replica; only what changed is shipped"
"$guest" wait-tick "$dir" B "$name" 10 >/dev/null
n_before=$(transfers B | wc -l)
sent_before=$(sent_by B)
began_reverse=$(now_ms)
shown B reverse "$name"
wait_for 120 "the first point B -> A" bash -c "[ \$(grep -c 'machine $name: point .* on the wire' '$dir/B/var/log/vmreplicad.log') -gt $n_before ]"
reverse_ms=$(($(now_ms) - began_reverse))
reverse_sent=$(($(sent_by B) - sent_before))
wait_state B "$name" replicating
ok "direction reversed in $reverse_ms ms; hostb sent $(human "$reverse_sent") in all (the machine's disks hold over 100 MiB)"
[ "$reverse_sent" -lt $((40 << 20)) ] || fail "the reverse shipped $(human "$reverse_sent"): that looks like a full copy"

heading "Cycles B -> A"
wait_points A "$name" 2
shown B status
check_points A "$name"

heading "Planned failover home to hosta"
size=$(console_size A)
began_home=$(now_ms)
shown B failover "$name" --planned
nothing_lost B A "$size"
home_ms=$(($(now_ms) - began_home))
check_points A "$name"

heading "Reverse again: protected as at the beginning"
n_before=$(transfers A | wc -l)
sent_before=$(sent_by A)
began_reverse=$(now_ms)
shown A reverse "$name"
wait_for 120 "the first point A -> B" bash -c "[ \$(grep -c 'machine $name: point .* on the wire' '$dir/A/var/log/vmreplicad.log') -gt $n_before ]"
reverse2_ms=$(($(now_ms) - began_reverse))
reverse2_sent=$(($(sent_by A) - sent_before))
wait_points B "$name" 2
check_points B "$name"
shown A status
age=$(status A "$name" DataAgeSeconds)

# ---- what was measured ----
heading "Measured"

# fact_rows: every point that was made, in the order of the copies that the hook took of the
# primary's disks: what differed between two of them is counted here, not by the daemon.
fact_rows() {
    local copy id epoch lineage previous='' host what line changed wire ms differed label
    while read -r copy; do
        id=${copy##*/}
        epoch=${id##*-}
        lineage=${id%-*}
        host=${copy#"$dir"/}
        host=${host%%/*}
        # An epoch is shipped once by each lineage; lineages of one host do not share their numbers
        # only by chance, so ask for the nearest line in time.
        line=$(transfers_of "$host" "$lineage" "$epoch")
        [ -n "$line" ] || continue
        read -r changed wire ms <<<"$line"
        if [ -z "$previous" ]; then
            what="initial copy" differed=$(used_bytes "$copy")
        else
            differed=$(differing "$previous" "$copy")
            if [ "$lineage" != "$last_lineage" ]; then what="reverse, first cycle"; else what=cycle; fi
        fi
        label=$([ "$host" = A ] && echo "A -> B" || echo "B -> A")
        printf '%-22s %-7s %12s %12s %12s %8s\n' "$what" "$label" "$(human "$differed")" \
            "$(human $((changed * 1024)))" "$(human $((wire * 1024)))" "$(seconds "$ms")"
        previous=$copy
        last_lineage=$lineage
    done < <(copies "$uuid")
}

seconds() {
    awk -v ms="$1" 'BEGIN { printf "%.2f s", ms / 1000 }'
}

# Bytes of a copy that are not zero, in blocks of 4 KiB.
used_bytes() {
    local file n total=0
    : >"$dir/empty"
    for file in "$1"/*.raw; do
        n=$("$tree/tests/lab/differ.py" "$dir/empty" "$file")
        total=$((total + n))
    done
    echo "$total"
}

# transfers_of HOST LINEAGE EPOCH: "CHANGED_KIB WIRE_KIB MS". The k-th lineage that a host sends is
# recognised by its numbers starting over.
transfers_of() {
    local host=$1 lineage=$2 epoch=$3 rank
    rank=$(copies "$uuid" | grep -F "$dir/$host/" | sed 's|.*/||; s|-[0-9]*$||' | awk '!seen[$0]++' | grep -n "^$lineage\$" | cut -d: -f1)
    transfers "$host" | awk -v rank="$rank" -v epoch="$epoch" '
        NR == 1 || $1 <= last { k++ }
        { last = $1 }
        k == rank && $1 == epoch { print $2, $3, $4 }'
}

last_lineage=
uuid=$(uuid_of A "$name")
printf '%-22s %-7s %12s %12s %12s %8s\n' TRANSFER WAY "DIFFERED 4K" "CHANGED" "ON THE WIRE" TIME
fact_rows
echo
printf '%-46s %s\n' \
    "Planned failover to hostb, until it had booted" "$(seconds "$failover_ms"), 0 bytes lost" \
    "Planned failover home, until it had booted" "$(seconds "$home_ms"), 0 bytes lost" \
    "Reverse B -> A, until the first point" "$(seconds "$reverse_ms"), $(human "$reverse_sent") on the cable" \
    "Reverse A -> B, until the first point" "$(seconds "$reverse2_ms"), $(human "$reverse2_sent") on the cable" \
    "Age of the newest point now" "$age s" \
    "Recovery points equal to the primary's bytes" "all ${#compared[@]} compared, 0 differ" \
    "" "(those that a failover began with had no transfer)"
for host in A B; do
    peak=$(on $host awk '/^VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$("$daemon" pid "$dir" $host)/status")
    printf '%-46s %s\n' "Peak memory of vmreplicad on $(host_name $host)" "$peak MiB (promised: under 150 MiB)"
    [ "$peak" -lt 150 ] || fail "vmreplicad of $(host_name $host) took $peak MiB of memory"
done

# no_copies HOST: they are removed; false while one is being made.
no_copies() {
    local folder=$dir/$1/var/log/oracle
    [ -z "$(find "$folder" -mindepth 1 -maxdepth 1 -name '.new.*')" ] || return
    rm -rf "${folder:?}"/*/
    [ -z "$(find "$folder" -mindepth 1 -maxdepth 1 -type d)" ]
}

if [ -n "$verbose" ]; then VMR_LOG_LINES=1000 show_logs; fi
if [ -n "$keep" ]; then
    keep_lab=1
    for host in A B; do
        # No more copies of the disks at each instant: they would fill this machine's disk.
        mkdir -p "$dir/$host/var/log/oracle"
        : >"$dir/$host/var/log/oracle/off"
        wait_for 60 "the copies of the disks are gone" no_copies "$host"
        cat >"$dir/$(host_name $host)" <<SCRIPT
#!/bin/sh
PATH=$build/src/cli:\$PATH exec $lab exec $dir $host "\$@"
SCRIPT
        chmod +x "$dir/$(host_name $host)"
    done
    cat <<TEXT

The two hosts are still there. Try:
  $dir/hosta vmreplica status --watch
  $dir/hostb vmreplica points $name
  $dir/hostb vmreplica failover $name --dry-run
  $dir/hosta vmreplica explain $name
  $dir/hosta vmreplica verify $name
  $dir/hostb vmreplica test $name
  $dir/hostb vmreplica test $name --end
  $dir/hosta vmreplica failover $name --planned
  $dir/hostb vmreplica reverse $name
  $dir/hostb vmreplica --host hosta status
  $dir/hosta virsh list --all
Remove them with: ${VMR_DEMO_DIR:+VMR_DEMO_DIR=$VMR_DEMO_DIR }./demo.sh --down
TEXT
fi
heading "Every promise was kept"
