#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The clock of either host jumps by a day, forward and back, while replication goes on: no point is lost or
# expires, ages stay what they are, and both hosts tell by how much their clocks differ. Failing over and
# reversing do not mind.
. "$(dirname "$0")/lib.sh"
command -v gcc >/dev/null || skip "there is no gcc"
system_begin
"$lab" up "$dir" A B
gcc -std=gnu17 -D_GNU_SOURCE -O1 -shared -fPIC -o "$dir/skew.so" "$tree/tests/lab/skew.c" -ldl
for host in A B; do
    "$lab" start-libvirtd "$dir" $host
    daemon_config $host
    "$daemon" start "$dir" $host env "LD_PRELOAD=$dir/skew.so" VMR_SKEW=/run/skew
done
pair_hosts
"$guest" create "$dir" A g1 --fill 4 # it is off: what happens here has nothing to do with a guest
protect g1
vr A --quiet retention g1 --every 1h # none is given up while the test looks, however long that takes
wait_points B g1 2
disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')
at=32
wrote() {
    at=$((at + 1))
    head -c 65536 /dev/urandom >"$dir/$1/var/log/random"
    when_free "$1" qemu-io -f qcow2 -c "write -q -s /var/log/random ${at}M 64k" "$2"
}

# set_clock HOST SECONDS: so much more than is true, from now on
set_clock() {
    echo "$2" >"$dir/$1/run/skew.new"
    mv "$dir/$1/run/skew.new" "$dir/$1/run/skew"
}
# tells HOST REGEX: what explain says of the clocks; "" nothing
tells() {
    local said
    said=$(vr "$1" --json explain g1 | jq -r '.[0].ReasonTexts[] | select(test("clock of"))')
    if [ -n "$2" ]; then seen -E -- "$2" <<<"$said"; else [ -z "$said" ]; fi
}
old_enough() { # no day more or less
    [ "$1" -ge 0 ] && [ "$1" -le 20000 ]
}
# sane REGEX_A REGEX_B: both hosts tell it, replication goes on, nothing has gone, ages are as they were
sane() {
    local before host age
    before=$(points B g1)
    wrote A "$disk"
    wait_points B g1 2 # the first one may be from before the jump
    wait_for 60 "hosta tells '$1'" tells A "$1"
    wait_for 60 "hostb tells '$2'" tells B "$2"
    for id in $before; do
        points B g1 | seen -x "$id" || fail "point $id has gone"
    done
    for host in A B; do
        age=$(status $host g1 DataAgeSeconds)
        old_enough "$age" || fail "the data are $age s old, says host $host"
        is_state $host g1 replicating || fail "host $host is $(status $host g1 State)"
    done
    age=$(vr B --json failover g1 --dry-run | jq .PointAgeSeconds)
    old_enough "$age" || fail "the dry run says that the point is $age s old"
    check_points B g1
}
for host in B A; do
    for jump in 86400 -86400; do
        set_clock $host $jump
        case $host$jump in
        B86400 | A-86400) sane 'hostb is 24 h ahead of' 'hosta is 24 h behind' ;;
        *) sane 'hostb is 24 h behind' 'hosta is 24 h ahead of' ;;
        esac
        vr A explain g1 | seen 'clock of host hostb is 24 h' || fail "explain says nothing: $(vr A explain g1)"
        ok "the clock of host $host is wrong by $jump s: $(vr A explain g1 | grep -m1 'clock of host')"
    done
    set_clock $host 0
done
sane '' ''
ok "both clocks are right again"

# ---- from the wrong time of one host into the right one of the other, and back ----
set_clock A 86400
wait_points B g1 1
vr A --quiet failover g1 --planned --no-start
wrote B "$(virsh_on B domblklist g1 | awk '$1 == "vda" { print $2 }')"
vr B --quiet reverse g1
wait_points A g1 2
check_points A g1
set_clock A -86400
wait_points A g1 2
check_points A g1
ok "failed over and reversed with clocks a day apart"
