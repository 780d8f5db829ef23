#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ways back after a crash, when QEMU took the change map of one host or of both with it. The old
# primary reads its own disk and compares it with digests; the new one reads what it wrote since the
# failover, which its overlay tells without a change map, and what differs. After an orderly stop nobody reads
# more than what differs. How much QEMU and the daemon have read there is the kernel's count; what may differ at
# most is counted from copies of the disks.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/reading.sh"
system_begin
hosts_up
pair_hosts
fill=160
"$guest" create "$dir" A g1 --size 512M --fill $fill
"$guest" start "$dir" A g1 >/dev/null
uuid=$(uuid_of A g1)
vr A --quiet enable g1 --to hostb --interval 3600 --start
wait_state A g1 replicating
wait_for 60 "the first point" more_points B g1 0

copy_disk() { # HOST
    mkdir -p "$dir/$1/var/log/oracle/apart"
    when_free "$1" qemu-img convert -U -O raw "$(disk_of "$1")" /var/log/oracle/apart/vda.raw
}
# way_back FROM TO [written]: FROM is the new primary, which is reversed to TO; what it reads and ships is
# bounded, and the bytes are right. What may differ is counted from copies; "written": all that was written
# on FROM since the failover.
way_back() {
    local from=$1 to=$2 before read shipped may said orphan copy old=$dir/$2/var/log/oracle/apart
    no_copies "$from" # the copy of the instant would be read by QEMU, too
    before=$(bytes_read "$from")
    here=$(read_by_daemon "$from")
    there=$(read_by_daemon "$to")
    vr "$from" --quiet reverse g1
    wait_for 120 "reversed" eval 'is_state "$from" g1 replicating && [ "$(status "$from" g1 LastReverseBytes)" != 0 ]'
    read=$(($(bytes_read "$from") - before))
    here=$(($(read_by_daemon "$from") - here))
    there=$(($(read_by_daemon "$to") - there))
    copies_again "$from"
    may=$(allocated "$from")
    shipped=$(status "$from" g1 LastReverseBytes)
    said=$(vr "$from" --json jobs | jq -r '[.[] | select(.JobType == "104" or .JobType == 104)] | last | .JobStatus')
    [[ $said =~ ^Completed:\ ([0-9]+)\ KiB\ may.*\;\ ([0-9]+)\ KiB\ shipped ]] || fail "the job of the reversal says: $said"
    [ $((BASH_REMATCH[2] * 1024)) = "$shipped" ] || fail "the job says '$said', the status $shipped"
    [[ $said =~ \(([0-9]+)\ KiB\ written\ here,\ (the\ rest|([0-9]+)\ KiB\ written\ there\ alone,\ ([0-9]+)) ]] || fail "the parts are not told: $said"
    [ "$(($(status "$from" g1 LastReverseWrittenBytes) / 1024))" = "${BASH_REMATCH[1]}" ] || fail "F is another number in the status"
    [ "$(status "$from" g1 LastReverseAloneBytes | awk '{ print $1 / 1024 }')" = "${BASH_REMATCH[3]}" ] || fail "D is another number in the status"
    [ "$(status "$from" g1 LastReverseBetweenBytes | awk '{ print $1 / 1024 }')" = "${BASH_REMATCH[4]}" ] || fail "O is another number in the status"
    say "$said"
    vr "$from" --quiet sync g1
    orphan=$(vr "$to" --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID // empty')
    copy=$(oracle_of "$uuid" "$(newest_point "$to" g1 | tr ':' '-' | tr 'A-F' 'a-f')")
    [ -n "$copy" ] || fail "there is no copy of the newest point"
    differ=$(differing "$old" "$copy" 65536)
    if [ "${3:-}" != written ]; then
        [ -n "$orphan" ] || fail "what $(host_name "$to") had written alone is no orphan point"
        [ "$(status "$from" g1 LastReverseOrphan)" = "$orphan" ] || fail "the status names the orphan '$(status "$from" g1 LastReverseOrphan)', not $orphan"
        [[ $said == *"orphan point $orphan" ]] || fail "the job does not name the orphan $orphan: $said"
        rm -rf "$dir/$to/var/log/oracle/$uuid/${orphan/:/-}"
        mv "$old" "$dir/$to/var/log/oracle/$uuid/${orphan/:/-}"
    fi
    equal "$to"
    if [ "${3:-}" != written ]; then may=$differ; fi
    [ "$shipped" -le $((may * 101 / 100)) ] || fail "$(human "$shipped") were shipped, the disks may differ in $(human "$may")"
    [ "$read" -lt $((differ + (24 << 20))) ] || fail "QEMU on $(host_name "$from") has read $(human "$read") of its disk with $fill MiB, $(human "$differ") differ"
    ok "$(human "$shipped") of $(human "$may") that may differ were shipped, $(host_name "$from") read $(human "$read")"
}

differ='' here='' there='' # of the last way_back: bytes, at most; read by the daemons of FROM and of TO

step() {
    say "---- $1"
}

step old-primary-crashed
"$guest" wait-tick "$dir" A g1 4 >/dev/null
"$lab" crash "$dir" A
fail_over_to B
"$lab" boot "$dir" A
"$lab" start-libvirtd "$dir" A
copy_disk A
pos=$(log_pos B)
"$daemon" start "$dir" A
wait_for 60 "hosta learns that it is superseded" is_state A g1 "superseded by a failover"
way_back B A
log_has B "$pos" "found by comparing: host hosta reads" || fail "what the comparison costs is not said"

step both-crashed
# and the new primary runs again
"$guest" wait-tick "$dir" B g1 4 >/dev/null
kill_qemu B
copy_disk B
fail_over_to A
kill_qemu A
boot A
pos=$(log_pos A)
way_back A B
log_has A "$pos" "told by the overlays" || fail "the change map was used"
[ "$(virsh_on A domstate g1)" = running ] || fail "the machine does not run: $(virsh_on A domstate g1)"
[ -z "$(compgen -G "$dir/A/var/lib/vmreplica/guard/*.paused")" ] || fail "a mark of the pause is left"

step daemon-dies-while-the-machine-is-paused
# as it is found then: stopped, with a mark that says by whom
"$daemon" kill "$dir" A
virsh_on A suspend g1 >/dev/null
: >"$dir/A/var/lib/vmreplica/guard/$uuid.paused"
"$daemon" start "$dir" A
runs_again() {
    [ "$(virsh_on A domstate g1)" = running ] && [ ! -e "$dir/A/var/lib/vmreplica/guard/$uuid.paused" ]
}
wait_for 60 "the machine runs again" runs_again

step new-primary-crashed
# and the old one was stopped in an orderly way
vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 90 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
copy_disk A
"$guest" wait-tick "$dir" B g1 4 >/dev/null
kill_qemu B
boot B
pos=$(log_pos A)
way_back B A written
if log_has A "$pos" "reading its disks here for their digests"; then fail "hosta read its disk"; fi

step old-primary-stopped
# in an orderly way, with changes that the other one never received. What came back is read once for its digests,
# in the background: that is held back here.
"$daemon" stop "$dir" B
daemon_config B verify_rate=1
"$daemon" start "$dir" B
"$guest" wait-tick "$dir" B g1 4 >/dev/null
"$guest" shutdown "$dir" B g1 >/dev/null
wait_for 60 "the machine is off" domain_off B g1
copy_disk B
fail_over_to A
wait_for 180 "hostb learns that it is superseded" is_state B g1 "superseded by a failover"
pos=$(log_pos B)
way_back A B
if log_has B "$pos" "reading its disks here for their digests"; then fail "hostb read its disk"; fi
for read in $here $there; do
    [ "$read" -lt $((differ + (24 << 20))) ] ||
        fail "the daemons have read $(human "$here") on hosta, $(human "$there") on hostb, $(human "$differ") differ"
done
ok "$(human "$differ") differ: the daemons read $(human "$here") on hosta and $(human "$there") on hostb, of $fill MiB"
