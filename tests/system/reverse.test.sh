#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# There and back three times, with every point compared and every reverse small.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill 32
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1
from=A to=B
for round in 1 2 3; do
    vr $from --quiet failover g1 --planned
    "$guest" wait-line "$dir" $to g1 60 "^VMR boot counter=$(guest_last_words $from g1)\$" >/dev/null
    sent=$(sent_by $to)
    vr $to --quiet reverse g1
    wait_state $to g1 replicating
    wait_points $from g1 1
    sent=$(($(sent_by $to) - sent))
    [ $sent -lt $((12 << 20)) ] || fail "round $round: reverse and a cycle sent $(human $sent)"
    check_points $from g1
    ok "round $round: the machine runs on $(host_name $to), the way back cost $(human $sent)"
    to=$from
    from=$([ $from = A ] && echo B || echo A)
done
"$guest" shutdown "$dir" $from g1 60
wait_for 60 "the guest is off" domain_off $from g1
out=$("$guest" check "$dir" $from "$(virsh_on $from domblklist g1 | awk '$1 == "vda" { print $2 }')") || fail "$out"
ok "the guest's own check of its disk from outside: $out"
