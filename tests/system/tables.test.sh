#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Digest tables of disks that were not received: a disk that became a replica in place, and overlays
# that came back, are read once in the background; what has to be compared later is answered from the
# tables. How much QEMU and the daemon (with the programs that it started) have read is the kernel's count.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/reading.sh"
system_begin
hosts_up
pair_hosts
fill=160
small=$((32 << 20))
"$guest" create "$dir" A g1 --size 512M --fill $fill
"$guest" start "$dir" A g1 >/dev/null
uuid=$(uuid_of A g1)
vr A --quiet enable g1 --to hostb --interval 3600 --start
wait_state A g1 replicating
wait_for 60 "the first point" more_points B g1 0

step() {
    say "---- $1"
}

# all_known HOST: every layer there has a table
all_known() {
    [ "$(database "$1" "SELECT count(*) FROM layer WHERE role = 0 AND known = 0")" = 0 ]
}

# planned FROM TO: fail over and reverse
planned() {
    # shellcheck disable=SC2034 # in eval
    local to=$2
    vr "$1" --quiet failover g1 --planned
    "$guest" wait-line "$dir" "$2" g1 90 "^VMR boot counter=$(guest_last_words "$1" g1)\$" >/dev/null
    "$guest" wait-tick "$dir" "$2" g1 4 >/dev/null
    vr "$2" --quiet reverse g1
    wait_for 120 "reversed" eval 'is_state "$to" g1 replicating && [ "$(status "$to" g1 LastReverseBytes)" != 0 ]'
}

step adopted-in-place
pos=$(log_pos A)
planned A B
[ "$(database A "SELECT count(*) FROM layer WHERE adopted")" = 1 ] || fail "the disk of hosta is not the base of its chain"
wait_for 120 "hosta knows the digests of its disk" all_known A
log_has A "$pos" "reading its disks here in the background" || fail "who read the disk?"
[ "$(database A "SELECT known FROM layer WHERE adopted")" = 2 ] || fail "not the whole disk is known"
vr B --quiet sync g1
check_points A g1

step new-primary-crashes-after-its-first-point
kill_qemu B
boot B
pos=$(log_pos A)
before=$(newest_point A g1)
no_copies B
qemu=$(bytes_read B)
theirs=$(read_by_daemon A)
vr B --quiet sync g1 || :
newer() {
    [ "$(newest_point A g1)" != "$before" ] && is_state B g1 replicating
}
wait_for 120 "a point after the crash" newer
qemu=$(($(bytes_read B) - qemu))
theirs=$(($(read_by_daemon A) - theirs))
copies_again B
[ "$qemu" -lt $(($(allocated B) + small)) ] || fail "QEMU on hostb has read $(human "$qemu") of a disk with $fill MiB"
[ "$theirs" -lt $small ] || fail "hosta has read $(human "$theirs")"
if log_has A "$pos" "reading its disks here for their digests"; then fail "hosta read its disks"; fi
vr B --quiet sync g1
equal A
ok "compared after a crash: hostb read $(human "$qemu"), hosta $(human "$theirs")"

step overlay-that-came-back
pos=$(log_pos B)
planned B A
wait_for 120 "hostb knows the digests of its disk" all_known B
log_has B "$pos" "reading its disks here in the background" || fail "who read the overlay?"
vr A --quiet sync g1
equal B
# The old primary loses its change map, and stands on what it knows.
"$guest" wait-tick "$dir" A g1 4 >/dev/null
kill_qemu A
fail_over_to B
pos=$(log_pos A)
theirs=$(read_by_daemon A)
mine=$(allocated A)
no_copies B
qemu=$(bytes_read B)
vr B --quiet reverse g1
wait_for 120 "reversed" eval 'is_state B g1 replicating && [ "$(status B g1 LastReverseBytes)" != 0 ]'
qemu=$(($(bytes_read B) - qemu))
# Its overlay is read to compare, and once more in the background for its table, when it is part of the chain.
wait_for 120 "hosta knows the digests of its disk" all_known A
theirs=$(($(read_by_daemon A) - theirs))
copies_again B
log_has A "$pos" "reading its disks here for their digests" || fail "hosta compared without reading what it wrote"
[ "$theirs" -lt $((2 * mine + small)) ] || fail "hosta has read $(human "$theirs"), its overlay holds $(human "$mine")"
[ "$qemu" -lt $((mine + $(allocated B) + small)) ] || fail "QEMU on hostb has read $(human "$qemu")"
vr B --quiet sync g1
equal A
ok "the way back after a crash: hosta read $(human "$theirs") of a disk with $fill MiB, hostb $(human "$qemu")"

step below-a-machine
