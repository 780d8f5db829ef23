#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The cable is pulled in the middle of the initial copy and in the middle of a cycle. Nothing needs
# to be done about it; what was durable before the break is not sent again.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up bandwidth=3
pair_hosts
fill=60
"$guest" create "$dir" A g1 --fill $fill --slots 16
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 5
sent0=$(sent_by A)
vr A --quiet --no-wait start g1 >/dev/null

sent_more() {
    [ $(($(sent_by A) - sent0)) -ge $(($1 << 20)) ]
}

wait_for 120 "a third of it is sent" sent_more 20
before=$(($(sent_by A) - sent0))
"$lab" net-down "$dir" B
pulled=$SECONDS
is_state A g1 "initial copy" || fail "too late: $(status A g1 State)"
ok "the cable of hostb is out, $(human $before) are sent"
wait_for 180 "hosta notices" eval '[ -n "$(status A g1 LastError)" ]'
ok "hosta noticed after $((SECONDS - pulled)) s: $(status A g1 LastError)"
wait_for 200 "two minutes without a network" eval "[ \$SECONDS -ge $((pulled + 120)) ]"
"$guest" wait-tick "$dir" A g1 5 >/dev/null
"$lab" net-up "$dir" B
wait_state A g1 replicating 240
sent=$(($(sent_by A) - sent0 - before))
[ $sent -lt $(((fill - 6) << 20)) ] || fail "after the break $(human $sent) were sent, before it $(human $before), of $fill MiB"
ok "it went on by itself: $(human $before) before the break, $(human $sent) after it, for $fill MiB of data"
check_points B g1

sending() {
    [ -n "$(status A g1 BytesTotal)" ]
}

for host in A B; do
    sent0=$(sent_by A)
    wait_for 60 "a cycle is sending" sending
    "$lab" net-down "$dir" $host
    wait_for 180 "hosta notices" eval '[ -n "$(status A g1 LastError)" ]'
    "$guest" wait-tick "$dir" A g1 10 >/dev/null
    "$lab" net-up "$dir" $host
    wait_points B g1 2 240
    wait_state A g1 replicating
    [ -z "$(status A g1 LastError)" ] || fail "the error stays: $(status A g1 LastError)"
    sent=$(($(sent_by A) - sent0))
    [ $sent -lt $((fill << 20)) ] || fail "$(human $sent) were sent: that looks like a full copy"
    check_points B g1
    ok "a cycle broken by the cable of $(host_name $host): $(human $sent) sent until two points later"
done
