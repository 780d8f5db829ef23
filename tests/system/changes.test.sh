#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Somebody else changes the machine under replication: its disks' size and set, snapshots, checkpoints,
# backups, its definition, its name. Each has a defined answer (docs/faults.md names these steps), and
# every point that is listed holds the primary's bytes of its instant.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
fill=16
"$guest" create "$dir" A g1 --disks 2 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 10 --resync-window never --start
images=/var/lib/libvirt/images
uuid=$(uuid_of A g1)

# step NAME: begin of a named test.
step() {
    say "---- $1"
}

xml_of() {
    virsh_on A dumpxml g1 --inactive
}

define() {
    cat >"$dir/A/var/log/g1.xml"
    virsh_on A define /var/log/g1.xml >/dev/null
}

disk_path() {
    virsh_on A domblklist g1 --inactive | awk -v t="$1" '$1 == t { print $2 }'
}

# told REASON [PROPERTY REGEX]: explain on hosta names it.
told() {
    local out
    out=$(vr A --json explain g1) || return 1
    jq -e --arg r "$1" '.[0].Reasons | index($r)' <<<"$out" >/dev/null || return 1
    [ $# = 1 ] || jq -r ".[0].$2 | if type == \"array\" then join(\" \") else . end" <<<"$out" | seen -E -- "$3"
}

# check_newest: the newest point on hostb holds the primary's bytes of its instant.
check_newest() {
    local id copy target format path
    id=$(point_files B "$uuid" | tail -n 1 | cut -d ' ' -f 1)
    copy=$(oracle_of "$uuid" "$id")
    [ -n "$copy" ] || fail "no copy of the primary's disks at point $id"
    while read -r _ target format path; do
        compare_point B "$uuid" "$id" "$target" "$format" "$path" "$copy" ||
            fail "point $id, disk $target differs from the primary's bytes of that instant"
    done < <(point_files B "$uuid" | grep "^$id ")
    ok "point ${id##*-} is equal to the primary's disks, byte for byte"
}

# go_on [NAME]: a cycle that begins now ends well, and its point is right.
go_on() {
    wait_state A "${1:-g1}" replicating
    vr A --quiet sync "${1:-g1}" || vr A --quiet sync "${1:-g1}"
    check_newest
}

off() {
    "$guest" shutdown "$dir" A g1 90
}

go_on
[ "$(vr A --json explain g1 | jq -r '.[0].Reasons | length')" = 0 ] || fail "explain: $(vr A explain g1)"
vr A explain g1 | seen 'could start the machine as it was' || fail "explain: $(vr A explain g1)"

ahead_known() {
    vr A explain g1 | seen 'at least .* written since then would be lost'
}
wait_for 90 "explain tells how much would be lost now" ahead_known
ok "$(vr A explain g1 | grep 'at risk')"

step foreign-backup-job
cat >"$dir/A/var/log/backup.xml" <<'X'
<domainbackup mode='pull'><server transport='unix' socket='/var/log/foreign.sock'/>
<disks><disk name='vda' backup='yes' type='file'><scratch file='/var/log/foreign.scratch'/></disk><disk name='vdb' backup='no'/></disks></domainbackup>
X
cat >"$dir/A/var/log/checkpoint.xml" <<'X'
<domaincheckpoint><name>foreign</name><disks><disk name='vda' checkpoint='bitmap'/><disk name='vdb' checkpoint='no'/></disks></domaincheckpoint>
X
foreign_begin() {
    virsh_on A backup-begin g1 /var/log/backup.xml --checkpointxml /var/log/checkpoint.xml
}
chmod 777 "$dir/A/var/log"
wait_for 60 "a foreign backup begins between two cycles" foreign_begin
wait_for 120 "explain tells of the other job" told failing ReasonTexts 'job is running'
vr A explain g1
virsh_on A domjobabort g1
go_on
virsh_on A checkpoint-list g1 --name | seen -x foreign || fail "the foreign checkpoint is gone"
[ "$(virsh_on A checkpoint-list g1 --name | grep -c '^vmr\.')" -le 2 ] || fail "checkpoints pile up"
ok "a foreign backup made cycles wait; its checkpoint is left alone"

step checkpoint-deleted-by-somebody
for name in $(virsh_on A checkpoint-list g1 --name | grep '^vmr\.'); do
    virsh_on A checkpoint-delete g1 "$name" >/dev/null 2>&1 || :
done
# libvirt 9.0 can end when somebody asks about a checkpoint that another deletes; the system starts it again
on A kill -0 "$(cat "$dir/A/run/libvirtd.pid")" || "$lab" start-libvirtd "$dir" A
wait_state A g1 "waiting to resynchronise" 120
told resync_required ReasonTexts 'no change map|replaced' || fail "explain: $(vr A explain g1)"
[ "$(status A g1 TrackingLost)" = MISSING ] || fail "lost by: $(status A g1 TrackingLost)"
vr A explain g1
sent=$(sent_by A)
vr A --quiet resync g1
sent=$(($(sent_by A) - sent))
[ $sent -lt $((fill << 20)) ] || fail "the comparison sent $(human $sent)"
go_on
ok "compared again when asked, $(human $sent) sent; points from before are there still"

step snapshot-external-running
base=$(disk_path vda)
virsh_on A snapshot-create-as g1 s1 --disk-only --atomic >/dev/null
[ "$(disk_path vda)" != "$base" ] || fail "no snapshot was made: $(disk_path vda)"
go_on
[ -z "$(status A g1 TrackingLost)" ] || fail "tracking was lost: $(status A g1 TrackingLost)"
ok "cycles went on over an external snapshot"

step snapshot-reverted
off
go_on
tops=$(disk_path vda)
virsh_on A snapshot-delete g1 s1 --metadata >/dev/null
xml_of | sed -E "s#(/g1-[0-9])\.s1#\1.qcow2#; /<backingStore /,/<\/backingStore>/d" | define
[ "$(disk_path vda)" = "$base" ] || fail "still $tops"
wait_state A g1 "waiting to resynchronise" 120
vr A explain g1
vr A --quiet resync g1
go_on
"$guest" start "$dir" A g1 >/dev/null
go_on
ok "set back to a snapshot: compared, $(status A g1 LastCycleBytes) bytes in the last cycle"

step snapshot-internal-reverted
off
go_on
virsh_on A snapshot-create-as g1 s2 >/dev/null 2>&1 || when_free A qemu-img snapshot -c s2 "$(disk_path vda)"
# refuses: for that, and not because a cycle has the disk just then
refuses() {
    if on A qemu-img snapshot -a s2 "$(disk_path vda)" 2>"$dir/said"; then : >"$dir/set-back"; fi
    [ -e "$dir/set-back" ] || grep -q 'dirty bitmaps' "$dir/said"
}
wait_for 60 "QEMU refuses because of the change maps" refuses
[ ! -e "$dir/set-back" ] || fail "QEMU set the disk back under its change maps"
no_snapshot() {
    local disk list
    for disk in vda vdb; do
        list=$(on A qemu-img snapshot -l "$(disk_path $disk)") || return
        [[ $list == *s2* ]] || continue
        on A qemu-img snapshot -d s2 "$(disk_path $disk)" || return
    done
}
virsh_on A snapshot-delete g1 s2 >/dev/null 2>&1 || :
wait_for 60 "the snapshot is deleted" no_snapshot
go_on
ok "QEMU refuses to set a disk back to an internal snapshot while changes are tracked"

step disk-grows-off
when_free A qemu-img resize -q "$(disk_path vdb)" +32M
go_on
ok "a disk that grew while the machine was off"

step disk-shrinks
size=$(on A qemu-img info -U --output json "$(disk_path vdb)" | jq '."virtual-size"')
when_free A qemu-img resize -q --shrink "$(disk_path vdb)" $((size - (16 << 20)))
wait_state A g1 error 120
told error ReasonTexts 'vdb.*shrunk' || fail "explain: $(vr A explain g1)"
vr A explain g1
[ "$(vr A --json explain g1 | jq -r '.[0].ReasonCommands[0]')" = "vmreplica resume g1" ] || fail "no command"
have=$(n_points B g1)
check_points B g1
when_free A qemu-img resize -q "$(disk_path vdb)" "$size"
vr A --quiet resume g1
vr A --quiet sync g1
ok "a disk that shrank: an error in words, the $have points stay; large enough again, it goes on"
# What was cut off is zeros now, and no change map says so (docs/faults.md): a comparison finds it.
vr A --quiet suspend g1
vr A --quiet resync g1
go_on

step disk-replaced
path=$(disk_path vdb)
when_free A sh -c "qemu-img convert -q -O qcow2 '$path' '$path.new' && mv '$path.new' '$path'"
if id libvirt-qemu >/dev/null 2>&1; then on A chown libvirt-qemu: "$path"; fi
wait_state A g1 "waiting to resynchronise" 120
[ "$(status A g1 TrackingLost)" = MISSING ] || fail "lost by: $(status A g1 TrackingLost)"
told resync_required ReasonTexts "$path" || fail "explain: $(vr A explain g1)"
sent=$(sent_by A)
vr A --quiet resync g1
sent=$(($(sent_by A) - sent))
[ $sent -lt $((4 << 20)) ] || fail "an equal disk in another file: $(human $sent) sent"
go_on
ok "a disk in another file: compared, $(human $sent) sent"

step disk-removed
xml_of >"$dir/before.xml"
virsh_on A detach-disk g1 vdb --config >/dev/null
xml_of | define
wait_for 120 "explain tells of the missing disk" told disks_gone ReasonTexts vdb
vr A explain g1
virsh_on A attach-disk g1 "$path" vdc --subdriver qcow2 --config >/dev/null
xml_of | define # libvirt tells nobody of the change, but of this
wait_for 60 "explain tells of the new one" told new_disks ReasonTexts vdc
step disk-target-renamed
ok "to us, one is missing and one is new"
virsh_on A detach-disk g1 vdc --config >/dev/null
define <"$dir/before.xml"
go_on
if told disks_gone; then fail "explain still misses a disk"; fi
ok "a disk taken away and given back: replication went on by itself"

step disk-added
on A qemu-img create -q -f qcow2 $images/extra.qcow2 16M
virsh_on A attach-disk g1 $images/extra.qcow2 vdc --subdriver qcow2 --config >/dev/null
xml_of | define
wait_for 60 "explain tells of the new disk" told new_disks ReasonTexts vdc
go_on
virsh_on A detach-disk g1 vdc --config >/dev/null
ok "a disk that was added is not replicated, and explain says so"

step machine-renamed
xml_of >"$dir/before.xml"
virsh_on A domrename g1 g2
wait_for 60 "hosta calls it by its new name" eval '[ -n "$(status A g2 State)" ]'
go_on g2
[ -z "$(status A g2 TrackingLost)" ] || fail "tracking was lost: $(status A g2 TrackingLost)"
ok "under another name it goes on; on hostb it keeps its old one"

step machine-undefined-and-redefined
virsh_on A undefine g2 --checkpoints-metadata >/dev/null
gone() {
    vr A --json status | jq -e --arg u "${uuid^^}" '.[] | select(.InstanceID | contains($u)) | .Reasons | index("machine_gone")'
}
wait_for 120 "explain tells that the machine is gone" gone
vr A status | seen ' critical ' || fail "status says of a machine that is gone: $(vr A status)"
have=$(n_points B g1)
define <"$dir/before.xml"
go_on
[ -z "$(status A g1 TrackingLost)" ] || fail "tracking was lost: $(status A g1 TrackingLost)"
ok "undefined and defined again: it went on from where it was"

"$guest" start "$dir" A g1 >/dev/null
go_on
vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
ok "and after all that it fails over with everything it had written"
