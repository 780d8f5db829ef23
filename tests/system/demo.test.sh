#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# demo.sh as a user runs it: it ends well (with VMR_QUIET=1: in three minutes), each command that it names works, and --down
# leaves nothing. A recovery point with one wrong byte makes it fail, and then nothing is left, either.
# Here it brings hosts of its own up, beside those of any other test.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || skip "two hosts on one machine need root"
set -euo pipefail
work=$(mktemp -d /tmp/vmr-demo.XXXXXX)
dir=$work/lab
out=$work/out
demo=
# The demo itself is the only child that may be left; its lab goes with --down.
demo_end() {
    local status=$?
    trap - EXIT
    if [ -n "$demo" ]; then kill "$demo" 2>/dev/null || :; fi
    wait
    if [ $status != 0 ] && [ -e "$out" ]; then tail -n 150 "$out" >&2; fi
    "$lab" down "$dir" || status=1
    rm -rf "$work"
    exit $status
}
trap demo_end EXIT
trap 'exit 143' INT TERM

# As from a clean clone, but packages and programs are there already.
run_demo() {
    BUILD_DIR=$build VMR_DEMO_DIR=$dir VMR_NO_INSTALL=1 VMR_NO_BUILD=1 "$tree/demo.sh" "$@" </dev/null
}

# ours: process ids of everything that lives in the lab's namespaces or was told its folder. The namespaces are
# held open: the number of one that is gone is given to the next one, which may be another script's.
spaces=
held=()
note_spaces() {
    local host fd
    for host in A B switch; do
        exec {fd}<"/proc/$("$lab" pid "$dir" $host)/ns/net"
        held+=("$fd")
        spaces+=" $(readlink "/proc/$BASHPID/fd/$fd")"
    done
}
ours() {
    local proc pid ns
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        ns=$(readlink "$proc/ns/net" 2>/dev/null) || continue
        if [[ " $spaces " == *" $ns "* ]] || tr '\0' ' ' <"$proc/cmdline" 2>/dev/null | seen -F "$dir"; then
            echo "$pid $(tr '\0' ' ' <"$proc/cmdline" 2>/dev/null)"
        fi
    done
}
nothing_left() {
    [ ! -e "$dir" ] || fail "the folder is left: $(ls "$dir")"
    [ -z "$(ours)" ] || fail "processes are left: $(ours)"
    ! grep -qF "$dir" /proc/self/mountinfo || fail "mounts are left: $(grep -F "$dir" /proc/self/mountinfo)"
    local fd
    for fd in "${held[@]}"; do exec {fd}<&-; done
    held=() spaces=
}

# ---- a byte of a point is not what the primary's was ----
has_a_point() {
    uuid=$(on B virsh -q -c qemu:///system domuuid g1) && [ -n "$(point_files B "$uuid")" ]
}
run_demo >"$out" 2>&1 &
demo=$!
wait_for 180 "the first point" has_a_point
note_spaces
read -r id target format path < <(point_files B "$uuid") || :
[ "$format" = raw ] || fail "the first point $id is not in a raw file but $format: $path"
file=$dir/B/${path#/}
byte=$(dd if="$file" bs=1 skip=1000000 count=1 status=none | od -An -tu1)
printf %b "\\x$(printf %x $((255 - byte)))" | dd of="$file" bs=1 seek=1000000 conv=notrunc status=none
got=0
wait $demo || got=$?
demo=
[ $got = 1 ] || fail "the demo ends with $got although a byte of a recovery point is wrong"
grep -q "FAILED: point $id, disk $target: .* differs from the primary's bytes" "$out" || fail "the demo does not name the point $id"
grep -q 'Every promise was kept' "$out" && fail "the demo says that every promise was kept"
nothing_left
ok "one wrong byte: $(sed -n 's/.*FAILED: //p' "$out" | head -n 1); exit status 1, nothing is left"

# ---- as it should be ----
demo_kept() { run_demo --keep >"$out" 2>&1; }
in_time "the demo" 180000 demo_kept
note_spaces
grep -q '== Every promise was kept' "$out" || fail "the demo does not say that every promise was kept"
for row in 'initial copy  *A -> B' 'cycle  *A -> B' 'reverse, first cycle  *B -> A' 'reverse, first cycle  *A -> B' \
    'Planned failover .* 0 bytes lost' 'Age of the newest point now' \
    'Recovery points equal to the primary.s bytes *all [1-9][0-9]* compared, 0 differ' \
    'Peak memory of vmreplicad on hosta' 'Peak memory of vmreplicad on hostb'; do
    grep -qE "^$row" "$out" || fail "the table has no row '$row'"
done
ok "$(grep -E '^Recovery points equal' "$out" | tr -s ' ')"

# ---- what it names ----
sed -n '/^The two hosts are still there/,/^Remove them/p' "$out" | sed -n 's/^  //p' >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 10 ] || fail "the demo names only these commands: $(cat "$work/commands")"
told_again() {
    [ "$(grep -c '^g1 ' "$work/said")" -ge 2 ]
}
while read -r command; do
    got=0
    case $command in
    *--watch*) # it goes on until it is ended: when it has told twice how things are, or after ten minutes
        timeout -s INT 600 bash -c "exec $command" >"$work/said" 2>&1 </dev/null &
        watcher=$!
        wait_for 60 "$command tells it again" told_again
        kill -INT $watcher
        wait $watcher || got=$?
        if [ $got = 130 ]; then got=0; fi # nsenter and the scripts around it are interrupted, too
        ;;
    *) timeout 600 bash -c "$command" >"$work/said" 2>&1 </dev/null || got=$? ;;
    esac
    [ $got = 0 ] || fail "$command: exit status $got: $(cat "$work/said")"
    [ -s "$work/said" ] || fail "$command says nothing"
    ok "${command#"$dir"/}: $(tail -n 1 "$work/said")"
done <"$work/commands"
wait_state B g1 replicating
down=$(sed -n 's/^Remove them with: //p' "$out")
[ "$down" = "VMR_DEMO_DIR=$dir ./demo.sh --down" ] || fail "the demo says how to remove it: '$down'"
(cd "$tree" && bash -c "$down") >"$work/said"
nothing_left
ok "$down: $(cat "$work/said")"
