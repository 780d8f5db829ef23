#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libvirtd is restarted, or killed, on either side, during the initial copy and during cycles.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up bandwidth=2
pair_hosts
# Random bytes that the guest never touches: a full copy sends at least so much, whatever the machine is
# slow at. MiB.
fill=32
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 5
sent=$(sent_by A)
vr A --quiet --no-wait start g1 >/dev/null
wait_for 60 "more than half is sent" eval "[ \$(sent_by A) -ge $((sent + (18 << 20))) ]"
is_state A g1 "initial copy" || fail "too late: $(status A g1 State)"
"$lab" stop-libvirtd "$dir" A
"$lab" start-libvirtd "$dir" A
ok "libvirtd of hosta restarted during the initial copy"
wait_state A g1 replicating 180
sent=$(($(sent_by A) - sent))
[ $sent -lt $((44 << 20)) ] || fail "the initial copy of $fill MiB sent $(human $sent), 18 MiB of it before the restart"
check_points B g1

kill_libvirtd() {
    on "$1" kill -9 "$(cat "$dir/$1/run/libvirtd.pid")"
}

for host in A B; do
    for how in stop kill; do
        sent=$(sent_by A)
        oracle_hold A
        wait_for 60 "an instant is held" oracle_held A
        if [ $how = stop ]; then "$lab" stop-libvirtd "$dir" $host; else kill_libvirtd $host; fi
        oracle_release A
        "$lab" start-libvirtd "$dir" $host
        wait_points B g1 2 180
        wait_state A g1 replicating
        sent=$(($(sent_by A) - sent))
        [ $sent -lt $((fill << 20)) ] || fail "libvirtd of $host: $(human $sent) sent: that looks like a full copy"
        check_points B g1
        ok "libvirtd of $(host_name $host), $how, during a cycle: $(human $sent) sent"
    done
done
[ "$(virsh_on A domjobinfo g1 | awk '/^Job type/ { print $3 }')" = None ] || wait_points B g1 1
"$guest" shutdown "$dir" A g1
vr A --quiet failover g1 --planned
"$guest" wait-line "$dir" B g1 60 "^VMR boot counter=$(guest_last_words A g1)\$" >/dev/null
ok "and a planned failover after all that"
