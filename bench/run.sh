#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Compares the initial copy with nbdcopy and qemu-img convert on the same image, and measures cycles,
# the daemons themselves (daemons.sh, as root) and the management interface.
# Usage: bench/run.sh [RUNS]   (5)   VRBENCH, CIMBENCH=paths of the drivers   BENCH_DIR=where to put 8 GiB
# Two cases: all read from one and the same NBD export, as of a machine that runs; and a machine that
# is off, whose image we and qemu-img read directly (nbdcopy needs a server).
# The peers start with an empty qcow2 file, we with an empty raw one, as the base of a chain is; all end
# with the data on stable storage. They take turns, so that a busy moment of the machine hits all of
# them; medians are compared.
set -eu
runs=${1:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d "${BENCH_DIR:-/var/tmp}/vr-bench-XXXXXX")
pids=()

finish() {
    for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

# driver NAME : its path, after building it
driver() {
    [ -f "$root/build/build.ninja" ] || meson setup "$root/build" "$root" >/dev/null
    ninja -C "$root/build" "bench/$1" >/dev/null
    echo "$root/build/bench/$1"
}
[ -n "${VRBENCH:-}" ] || VRBENCH=$(driver vrbench)
[ -n "${CIMBENCH:-}" ] || CIMBENCH=$(driver cimbench)

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.3f\n", b - a}'; }
median() { sort -g | awk '{v[NR]=$1} END {print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }

# serve SOCKET ARGS... : a qemu-nbd that answers before we go on
serve() {
    local sock=$1
    shift
    rm -f "$sock"
    qemu-nbd -t -e 8 -k "$sock" "$@" >/dev/null 2>&1 </dev/null &
    served=$!
    pids+=("$served")
    until socat -u /dev/null "UNIX-CONNECT:$sock" 2>/dev/null; do
        kill -0 "$served" || { echo "qemu-nbd did not start" >&2; exit 1; }
    done
}
unserve() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

make_keys() {
    local w
    mkdir "$dir/pki"
    cd "$dir/pki"
    printf 'cn=bench\nca\ncert_signing_key\n' >ca.t
    certtool --generate-privkey --key-type=ecdsa --outfile ca-key.pem
    certtool --generate-self-signed --load-privkey ca-key.pem --template ca.t --outfile ca-cert.pem
    for w in server client; do
        printf 'cn=localhost\ndns_name=localhost\ntls_www_%s\nsigning_key\n' $w >$w.t
        certtool --generate-privkey --key-type=ecdsa --outfile $w-key.pem
        certtool --generate-certificate --load-ca-certificate ca-cert.pem \
            --load-ca-privkey ca-key.pem --load-privkey $w-key.pem --template $w.t \
            --outfile $w-cert.pem
    done
    cd "$dir"
}

fresh() {
    rm -f "$dir/dst.qcow2" "$dir/dst.raw" "$dir/dst.dig"
    qemu-img create -q -f qcow2 "$dir/dst.qcow2" 2G
    qemu-img create -q -f raw "$dir/dst.raw" 2G
    sync -f "$dir"
}

# Each contender prints its seconds.
run_clear() {
    local start
    serve "$dir/dst.sock" -f qcow2 "$dir/dst.qcow2"
    start=$(now)
    nbdcopy --flush --destination-is-zero "nbd+unix:///?socket=$dir/src.sock" \
        "nbd+unix:///?socket=$dir/dst.sock"
    since "$start"
    unserve "$served"
}
tls_server() {
    port=$((20000 + RANDOM % 10000))
    qemu-nbd -t -e 8 -f qcow2 -b 127.0.0.1 -p $port --tls-creds t --object \
        tls-creds-x509,id=t,dir="$dir/pki",endpoint=server,verify-peer=yes "$dir/dst.qcow2" \
        >/dev/null 2>&1 </dev/null &
    served=$!
    pids+=("$served")
    until socat -u /dev/null "TCP:127.0.0.1:$port" 2>/dev/null; do
        kill -0 "$served" || { echo "qemu-nbd did not start" >&2; exit 1; }
    done
}
run_nbdcopy() {
    local start
    tls_server
    start=$(now)
    nbdcopy --flush --destination-is-zero "nbd+unix:///?socket=$dir/src.sock" \
        "nbds://localhost:$port/?tls-certificates=$dir/pki&tls-verify-peer=true"
    since "$start"
    unserve "$served"
}
# convert SOURCE-OPTIONS [OPTION]... ; the fastest that it can be told, and as one types it
convert() {
    local start source=$1
    shift
    tls_server
    start=$(now)
    qemu-img convert -n --target-is-zero "$@" --image-opts --object \
        tls-creds-x509,id=t,dir="$dir/pki",endpoint=client "$source" --target-image-opts \
        driver=nbd,server.type=inet,server.host=localhost,server.port=$port,tls-creds=t
    sync "$dir/dst.qcow2"
    since "$start"
    unserve "$served"
}
run_typed() { convert driver=nbd,server.type=unix,server.path="$dir/src.sock" "$@"; }
run_typed_off() { convert driver=qcow2,file.filename="$dir/src.qcow2" "$@"; }
run_convert() { run_typed -W -m 16; }
run_convert_off() { run_typed_off -W -m 16; }
run_vr() {
    "$VRBENCH" copy "$dir/src.sock" "$dir/dst.raw" "$dir/dst.dig" fresh | tee -a "$dir/vr.full" |
        cut -d' ' -f1
}
run_vr_off() {
    VRBENCH_CLOSED=$dir/src.qcow2 "$VRBENCH" copy "$dir/src.sock" "$dir/dst.raw" "$dir/dst.dig" fresh |
        tee -a "$dir/vr_off.full" | cut -d' ' -f1
}

echo "making the image (2 GiB, 60 % filled, half of that random)"
"$VRBENCH" image "$dir/src.raw"
qemu-img convert -f raw -O qcow2 "$dir/src.raw" "$dir/src.qcow2"
rm "$dir/src.raw"
make_keys >/dev/null 2>&1
serve "$dir/src.sock" -r -f qcow2 "$dir/src.qcow2"
src=$served

contenders="clear nbdcopy convert convert_off typed typed_off vr vr_off"
for run in $(seq "$runs"); do
    for who in $contenders; do
        fresh
        run_$who >"$dir/one"
        cat "$dir/one" >>"$dir/$who.times"
        printf 'run %s %-11s %s s\n' "$run" "$who" "$(cat "$dir/one")"
        case $who in vr*)
            qemu-img compare -q -f qcow2 -F raw "$dir/src.qcow2" "$dir/dst.raw" ||
                { echo "copies differ" >&2; exit 1; } ;;
        esac
    done
done
unserve "$src"

for who in $contenders; do
    declare "t_$who=$(median <"$dir/$who.times")"
done
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
# report TITLE OURS CONVERT TYPED FULL
report() {
    echo
    echo "initial copy $1, median of $runs:"
    printf '  %-44s %6.2f s\n' "vmreplica, TLS" "$2" "nbdcopy, TLS" "$t_nbdcopy" \
        "qemu-img convert -W -m 16, TLS" "$3" "qemu-img convert, TLS" "$4" "nbdcopy, clear, UNIX sockets" "$t_clear"
    echo "  as fast as nbdcopy with TLS:          $(ratio "$t_nbdcopy" "$2") x (goal: at least 2)"
    echo "  as fast as qemu-img convert with TLS: $(ratio "$4" "$2") x (goal: at least 2); with -W -m 16: $(ratio "$3" "$2") x"
    echo "  time over clear nbdcopy:              $(ratio "$2" "$t_clear") (goal: at most 1.5)"
    tail -n 1 "$5" | awk '{printf "  on the wire %.0f MiB of %.0f MiB; CPU sender %.2f s, receiver %.2f s; peak memory sender %d MiB, receiver %d MiB (goal: under 150)\n", $2/1048576, $3/1048576, $4, $5, $6/1024, $7/1024}'
}
report "of a machine that is off" "$t_vr_off" "$t_convert_off" "$t_typed_off" "$dir/vr_off.full"
report "from an export, as of a machine that runs" "$t_vr" "$t_convert" "$t_typed" "$dir/vr.full"
echo

# Memory does not grow with the disk: 8 TiB, of which 64 MiB in 1,024 places are filled.
qemu-img create -q -f raw "$dir/large.raw" 8T
qemu-img create -q -f raw "$dir/copy.raw" 8T
for ((i = 0; i < 1024; i++)); do
    printf 'write -q -P %d %dM 64k\n' $((i % 255 + 1)) $((i * 8191 + 1))
done | qemu-io -f raw "$dir/large.raw" >/dev/null
serve "$dir/large.sock" -r -f raw "$dir/large.raw"
VRBENCH_GIB=8192 "$VRBENCH" copy "$dir/large.sock" "$dir/copy.raw" "$dir/copy.dig" fresh |
    awk '{printf "  a disk of 8 TiB: peak memory sender %d MiB, receiver %d MiB (goal: under 150)\n", $6/1024, $7/1024}'
unserve "$served"
rm "$dir/large.raw" "$dir/copy.raw" "$dir/copy.dig"

# The same with the daemons, libvirt and QEMU around it.
echo
ninja -C "$root/build" src/daemon/vmreplicad src/cli/vmreplica >/dev/null
over=0
BENCH_DIR=$dir VMR_BUILD=$root/build "$root/bench/daemons.sh" "$dir/src.qcow2" "$runs" || over=$?
# Others than root cannot make two hosts.
[ $over = 0 ] || [ $over = 77 ] || { echo "bench: the daemons do not keep what is promised" >&2; exit 1; }

# Cycles: nothing changed, then 256 MiB.
cycle() {
    local title=$1 i
    rm -f "$dir/cycle"
    for i in $(seq "$runs"); do
        rm -f "$dir/layer.qcow2" "$dir/layer.dig"
        qemu-img create -q -f qcow2 -F raw -b "$dir/dst.raw" "$dir/layer.qcow2"
        serve "$dir/src.sock" -r -f qcow2 -B bench "$dir/src.qcow2"
        "$VRBENCH" copy "$dir/src.sock" "$dir/layer.qcow2" "$dir/layer.dig" dirty \
            qemu:dirty-bitmap:bench >>"$dir/cycle"
        unserve "$served"
    done
    local med
    med=$(cut -d' ' -f1 "$dir/cycle" | median)
    tail -n 1 "$dir/cycle" | awk -v t="$title" -v m="$med" '{printf "cycle between two vrbench, %s: %.3f s, CPU %.2f s, on the wire %d bytes", t, m, $4+$5, $2; if ($3) printf " = %.2f of the dirty bytes", $2/$3; print ""}'
    qemu-img compare -q "$dir/src.qcow2" "$dir/layer.qcow2" || { echo "copies differ" >&2; exit 1; }
}
echo
qemu-img bitmap --add -f qcow2 "$dir/src.qcow2" bench
cycle "nothing changed"
"$VRBENCH" image "$dir/other.raw"
# 256 MiB of the same mixture, from another place of the image to this one.
qemu-io -f qcow2 -c "write -s $dir/other.raw 0 256M" "$dir/src.qcow2" >/dev/null
cycle "256 MiB dirty"

echo
echo "the management interface with 1,000 machines:"
"$CIMBENCH" 1000
if [ "$(id -u)" = 0 ]; then
    driver cimclient >/dev/null
    VMR_BUILD=$root/build "$root/bench/management.sh"
fi
