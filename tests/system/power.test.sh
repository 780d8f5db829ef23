#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What people do to a machine while it is replicated: shutdown, start, reboot, reset, pause, destroy;
# and what happens to it: QEMU killed, the host reset. Replication goes on by itself, with no full copy.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
fill=32 # on each of two disks
"$guest" create "$dir" A g1 --disks 2 --fill $fill --size 256M
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1

# goes_on WHAT: two more points, and not so many bytes on the cable as a full copy of one disk.
goes_on() {
    local what=$1
    wait_points B g1 2 180
    wait_state A g1 replicating
    sent=$(($(sent_by A) - sent))
    [ $sent -lt $((fill << 20)) ] || fail "$what: $(human $sent) were sent: that looks like a full copy"
    check_points B g1
    ok "$what: replication went on by itself, $(human $sent) sent"
    sent=$(sent_by A)
}

# during_cycle COMMAND...: while an instant is held
during_cycle() {
    oracle_hold A
    wait_for 60 "a cycle begins" oracle_held A
    "$@"
    oracle_release A
}

hard_start() {
    "$guest" start "$dir" A g1 >/dev/null
}

sent=$(sent_by A)
during_cycle "$guest" shutdown "$dir" A g1
goes_on "shutdown during a cycle"
hard_start
goes_on "start"
console=$(stat -c %s "$("$guest" log "$dir" A g1)")
virsh_on A reset g1
"$guest" wait-line "$dir" A g1 240 '^VMR boot' "$console" >/dev/null
goes_on "reset"
# as a guest's power button does it: it shuts down in order, and libvirt starts it again in the same QEMU
console=$(stat -c %s "$("$guest" log "$dir" A g1)")
pid=$(cat "$dir/A/run/libvirt/qemu/g1.pid")
during_cycle virsh_on A reboot g1 --mode acpi
"$guest" wait-line "$dir" A g1 240 '^VMR power button' "$console" >/dev/null
"$guest" wait-line "$dir" A g1 240 "^VMR boot counter=$(guest_last_words A g1)\$" "$console" >/dev/null
[ "$(cat "$dir/A/run/libvirt/qemu/g1.pid")" = "$pid" ] || fail "that was no reboot: QEMU is another one"
goes_on "reboot, the guest answers"
virsh_on A suspend g1
goes_on "paused machine"
virsh_on A resume g1
during_cycle virsh_on A destroy g1
goes_on "virsh destroy during a cycle"
hard_start
goes_on "start after destroy"
vr A --quiet set g1 --resync-window never # to have the reason looked at
pid=$(cat "$dir/A/run/libvirt/qemu/g1.pid")
on A kill -9 "$pid"
wait_for 60 "libvirt notices" domain_off A g1
wait_state A g1 "waiting to resynchronise"
[ "$(status A g1 TrackingLost)" = UNCLEAN ] || fail "QEMU was killed, and hosta says: $(vr A explain g1)"
vr A --quiet set g1 --resync-window always
goes_on "QEMU killed"
hard_start
"$guest" wait-tick "$dir" A g1 5 >/dev/null
goes_on "start after the crash"

# The host is reset, and the machine runs again before anybody looks: nobody saw its end.
vr A --quiet set g1 --resync-window never
"$lab" crash "$dir" A
"$lab" boot "$dir" A
sent=$(sent_by A) # the cable is another one
"$lab" start-libvirtd "$dir" A
hard_start
"$daemon" start "$dir" A
wait_state A g1 "waiting to resynchronise"
[ "$(status A g1 TrackingLost)" = UNCLEAN ] || fail "hosta was reset, and it says: $(vr A explain g1)"
vr A --quiet set g1 --resync-window always
goes_on "host reset"
