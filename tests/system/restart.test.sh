#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The daemons end, in order and by kill -9, on either side, in the middle of the initial copy and of
# a cycle. Each time replication goes on from the last durable position.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up bandwidth=3
pair_hosts
fill=64 # at 3 MiB/s, four times broken after 7 or 8 MiB: half of it is left in the end
"$guest" create "$dir" A g1 --fill $fill --size 256M
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 5

# mib_done: of the transfer that runs
at_mib() {
    local moved
    moved=$(status A g1 BytesDone)
    [ "${moved:-0}" -ge $(($1 << 20)) ]
}

again() {
    "$daemon" "$2" "$dir" "$1"
    "$daemon" start "$dir" "$1"
}

sent0=$(sent_by A)
vr A --quiet --no-wait start g1 >/dev/null
for step in "A stop 7" "A kill 8" "B stop 8" "B kill 8"; do
    read -r host how mib <<<"$step"
    # What was done before is not done again, but looked at: progress counts it quickly.
    before=$(sent_by A)
    wait_for 120 "the initial copy moves on by $mib MiB" eval "[ \$(sent_by A) -ge $((before + (mib << 20))) ]"
    is_state A g1 "initial copy" || fail "the initial copy was over too soon for this test: $(status A g1 State)"
    again "$host" "$how"
    ok "initial copy: daemon of $(host_name "$host") ended ($how) and started again"
done
wait_state A g1 replicating 180
sent=$(($(sent_by A) - sent0))
[ $sent -lt $(((fill * 14 / 10 + 8) << 20)) ] || fail "the initial copy of $fill MiB, broken four times, sent $(human $sent)"
ok "the initial copy was broken four times and sent $(human $sent) for $fill MiB of data"
wait_points B g1 1
check_points B g1

sending() {
    [ -n "$(status A g1 BytesTotal)" ]
}

for step in "A stop" "A kill" "B stop" "B kill"; do
    read -r host how <<<"$step"
    sent=$(sent_by A)
    wait_for 60 "a cycle is sending" sending
    again "$host" "$how"
    wait_points B g1 2 180
    sent=$(($(sent_by A) - sent))
    [ $sent -lt $((fill << 20)) ] || fail "$how of $host in a cycle: $(human $sent) sent: that looks like a full copy"
    ok "cycle: daemon of $(host_name "$host") ended ($how); two points later $(human $sent) were sent"
done
sent=$(sent_by A)
wait_for 60 "a cycle is sending" sending
"$lab" crash "$dir" B
"$lab" boot "$dir" B
"$lab" start-libvirtd "$dir" B
"$daemon" start "$dir" B
wait_points B g1 2 240
sent=$(($(sent_by A) - sent))
[ $sent -lt $((fill << 20)) ] || fail "hostb was reset in a cycle: $(human $sent) sent: that looks like a full copy"
check_points B g1
ok "cycle: hostb was reset and booted; two points later $(human $sent) were sent"
oracle_hold A
wait_for 60 "an instant is held" oracle_held A
again A kill
oracle_release A
wait_points B g1 2 180
check_points B g1
ok "daemon killed while it held an instant"
[ "$(virsh_on A checkpoint-list g1 --name | grep -c .)" -le 2 ] || fail "checkpoints pile up: $(virsh_on A checkpoint-list g1 --name | xargs)"
