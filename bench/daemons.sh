#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Measures the programs as they are installed: two hosts on this machine (tests/lab), vmreplicad on each,
# a machine whose QEMU runs (its processors are held, so that nothing is written but what is written here).
# Peak memory of each daemon in the initial copy of IMAGE and of a disk of 8 TiB; a cycle in which nothing
# changed and one with 256 MiB dirty, from `vmreplica sync` to its end. Called by bench/run.sh; as root.
# Usage: bench/daemons.sh IMAGE [RUNS]   IMAGE: qcow2 of 2 GiB   (5)   BENCH_DIR=where to put 8 GiB
# The exit status is not 0 when a copy differs or a daemon takes 150 MiB.
# shellcheck disable=SC2317 # rewrite is called by its name
image=$(realpath "$1")
runs=${2:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/system/lib.sh"
export VMR_QEMU_USER=${VMR_QEMU_USER-root}
system_begin "$(mktemp -d "${BENCH_DIR:-/var/tmp}/vr-daemons-XXXXXX")"
images=$dir/A/var/lib/libvirt/images
ticks=$(getconf CLK_TCK)
status_over=0

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

daemon_file() { on "$1" cat "/proc/$("$daemon" pid "$dir" "$1")/$2"; }

# cpu FIELDS: seconds of both daemons; of themselves (14 and 15 of stat) or of what they ran (16 and 17)
cpu() {
    local host
    for host in A B; do daemon_file $host stat; done |
        sed 's/^.*) //' | awk -v hz="$ticks" -v own="$1" '{ n += own ? $12 + $13 : $14 + $15 } END { print n / hz }'
}

# From now on the peak is counted anew.
new_peak() {
    local host
    for host in A B; do
        on $host sh -c "echo 5 >/proc/$("$daemon" pid "$dir" $host)/clear_refs"
    done
}

peaks() {
    local host peak text=
    for host in A B; do
        peak=$(daemon_file $host status | awk '/^VmHWM/ { printf "%d", $2 / 1024 }')
        text+="${text:+, }$([ $host = A ] && echo primary || echo replica) $peak MiB"
        if [ "$peak" -ge 150 ]; then status_over=1; fi
    done
    echo "$text (goal: under 150)"
}

# begin NAME DISK: a machine of this disk, enabled; its QEMU runs, its processors do not.
begin() {
    "$guest" create "$dir" A "$1" --size 16M
    mv "$2" "$images/$1-0.qcow2"
    virsh_on A start "$1" --paused >/dev/null
    vr A --quiet enable "$1" --to hostb --interval 3600
}

# initial NAME TITLE
initial() {
    local from
    new_peak
    from=$(date +%s%N)
    vr A --quiet start "$1"
    awk -v t="$2" -v ns=$(($(date +%s%N) - from)) -v p="$(peaks)" \
        'BEGIN { printf "  initial copy, %s: %.2f s; peak memory: %s\n", t, ns / 1e9, p }'
}

# equal NAME: the newest point on B is what the disk on A is now.
equal() {
    local id target format path last_format='' last_path=''
    while read -r id target format path; do
        last_format=$format last_path=$path
    done < <(point_files B "$(uuid_of A "$1")")
    [ -n "$last_path" ] || fail "hostb holds no point of $1"
    on B qemu-img compare -U -q -F "$last_format" "$images/$1-0.qcow2" "$last_path" || fail "the newest point of $1 differs from its disk"
}

# cycles NAME TITLE [CHANGE]: RUNS of them; CHANGE is called with the number of each before it.
cycles() {
    local i from sent own=0 others=0 times=$dir/times wires=$dir/wires
    rm -f "$times" "$wires"
    new_peak
    for ((i = 0; i < runs; i++)); do
        [ -z "${3:-}" ] || "$3" "$1" "$i"
        # The kernel counts in hundredths of a second: only their sum says something.
        own+=" - $(cpu 1)" others+=" - $(cpu 0)"
        sent=$(sent_by A) from=$(date +%s%N)
        vr A --quiet sync "$1"
        awk -v ns=$(($(date +%s%N) - from)) 'BEGIN { printf "%.3f\n", ns / 1e9 }' >>"$times"
        echo $(($(sent_by A) - sent)) >>"$wires"
        own+=" + $(cpu 1)" others+=" + $(cpu 0)"
    done
    awk -v t="$2" -v s="$(median <"$times")" -v c="$(awk "BEGIN { print ($own) / $runs }")" -v r="$(awk "BEGIN { print ($others) / $runs }")" \
        -v w="$(median <"$wires")" -v dirty="${4:-0}" 'BEGIN {
        printf "  sync, %s: %.3f s; CPU of both daemons %.3f s, of the programs they ran %.3f s; on the cable %d bytes", t, s, c, r, w
        if (dirty) printf " = %.2f of the dirty bytes", w / dirty
        print "" }'
    printf '    peak memory: %s\n' "$(peaks)"
    equal "$1"
}

# qemu_io NAME COMMAND: by the machine's own QEMU, through its disk
qemu_io() {
    virsh_on A qemu-monitor-command "$1" --hmp "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"$2\"" |
        grep . && fail "QEMU does not $2"
    return 0
}

# 256 MiB that are new, into the next eighth of the disk; by the running QEMU, as a guest's writes are.
rewrite() {
    local part=$images/part
    [ "$2" != 0 ] || "$root/build/bench/vrbench" image "$dir/other.raw"
    # another place of the image for each run
    dd if="$dir/other.raw" of="$part" bs=1M skip=$((($2 * 256 + 128) % 1792)) count=256 status=none
    qemu_io "$1" "write -q -s /var/lib/libvirt/images/part $(($2 % 8 * 256))M 256M"
    qemu_io "$1" flush # its tables, too, for who looks at the file from outside
    rm "$part"
}

hosts_up capture_hook=
pair_hosts
echo "two daemons, a machine that runs, median of $runs:"
cp "$image" "$dir/first.qcow2"
begin g1 "$dir/first.qcow2"
initial g1 "2 GiB, 60 % filled"
equal g1
cycles g1 "nothing changed"
cycles g1 "256 MiB dirty" rewrite $((256 << 20))
vr A --quiet disable g1
vr B --quiet disable g1
virsh_on A destroy g1 >/dev/null

# Memory does not grow with the disk: 8 TiB, of which 64 MiB in 1,024 places are filled.
qemu-img create -q -f qcow2 "$dir/large.qcow2" 8T
for ((i = 0; i < 1024; i++)); do
    printf 'write -q -P %d %dM 64k\n' $((i % 255 + 1)) $((i * 8191 + 1))
done | qemu-io -f qcow2 "$dir/large.qcow2" >/dev/null
begin g2 "$dir/large.qcow2"
initial g2 "8 TiB, 64 MiB filled"
cycles g2 "nothing changed"
exit $status_over
