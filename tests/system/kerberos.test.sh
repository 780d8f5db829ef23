#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Two hosts replicate by Kerberos, without having been paired: refusals that say what to do, enable,
# initial copy, cycles, planned failover, reverse, restarts of daemons and of the domain controller.
. "$(dirname "$0")/lib.sh"
kdc=$tree/tests/lab/kdc.sh
system_begin
command -v krb5kdc >/dev/null || [ -x /usr/sbin/krb5kdc ] || skip "krb5kdc is not installed"
"$lab" up "$dir" A B
mkdir -p "$dir/kdc"
on A "$kdc" up "$dir/kdc" 10.99.0.1
on A "$kdc" user "$dir/kdc" alice
for host in A B; do
    "$lab" start-libvirtd "$dir" "$host"
    daemon_config "$host" "administrators=group:vmreplica, principal:alice@VMR.TEST"
done
start() {
    "$daemon" start "$dir" "$1" env "KRB5_CONFIG=$dir/kdc/krb5.conf"
}
start A
start B
keys() {
    rm -f "$dir/$1/etc/vmreplica/krb5.keytab"
    on A "$kdc" service "$dir/kdc" "$(host_name "$1")" "$dir/$1/etc/vmreplica/krb5.keytab" host HTTP WSMAN
    on "$1" kill -HUP "$("$daemon" pid "$dir" "$1")"
}
# kvr HOST ARGS...: vmreplica there, with alice's tickets for the other host.
kvr() {
    local host=$1
    shift
    on "$host" env "KRB5_CONFIG=$dir/kdc/krb5.conf" "KRB5CCNAME=FILE:$dir/kdc/alice.cc" "$build/src/cli/vmreplica" "$@"
}

# ---- what is not in order, is told ----
refused A 1 'no keytab /etc/vmreplica/krb5.keytab on host hosta' check hostb --auth kerberos
refused B 1 'no keytab' server --receive yes --auth kerberos
keys A
keys B
refused A 1 'nothing listens at hostb port 80.*AllowedAuthenticationType' check hostb --auth kerberos
vr B --quiet server --receive yes --auth kerberos
[ "$(vr B --json server | jq -r '.[0].AllowedAuthenticationType')" = 1 ] || fail "hostb: $(vr B server)"
if on A timeout 5 bash -c '</dev/tcp/hostb/8443' 2>/dev/null; then fail "hostb still listens for certificates"; fi
refused B 1 'does not listen for peers' pair
refused A 1 'no authorization entry of host hostb names hosta.*vmreplica allow hosta --storage' check hostb --auth kerberos
refused A 1 'full name, not as "10.99.0.2"' check 10.99.0.2 --auth kerberos
on B mkdir -p /var/lib/vmreplica/from-a
vr B --quiet allow hosta --storage /var/lib/vmreplica/from-a
vr A check hostb --auth kerberos
[ -z "$(vr A --json peers | jq -r '.[]?.Thumbprint // empty')" ] || fail "somebody is paired: $(vr A peers)"
ok "hosta is admitted by its name in Kerberos, nobody is paired"

# hosta as a host of another realm; a daemon that was not restarted would use the connection that it has
"$daemon" stop "$dir" A
mv "$dir/A/etc/vmreplica/krb5.keytab" "$dir/A/etc/vmreplica/good.keytab"
on A "$kdc" service-other "$dir/kdc" hosta "$dir/A/etc/vmreplica/krb5.keytab" host
start A
refused A 1 'is it of another realm' check hostb --auth kerberos
mv "$dir/A/etc/vmreplica/good.keytab" "$dir/A/etc/vmreplica/krb5.keytab"
vr A --quiet check hostb --auth kerberos

# ---- a machine ----
"$guest" create "$dir" A g1 --fill 16
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --auth kerberos --interval 5 --start
wait_state A g1 replicating
wait_points B g1 2
check_points B g1
ls -d "$dir"/B/var/lib/vmreplica/from-a/* >/dev/null || fail "the replica is not where the entry says"
ok "initial copy and cycles by Kerberos, kept where the entry says"

# ---- restarts, of each daemon and of the controller ----
"$daemon" stop "$dir" B
start B
wait_points B g1 1
"$daemon" kill "$dir" A
start A
wait_points B g1 1
ok "replication goes on after either daemon was restarted"
on A "$kdc" down "$dir/kdc"
"$daemon" stop "$dir" A
start A
wait_for 60 "hosta says that no domain controller answers" grep -qE 'it is tried again' "$("$daemon" log "$dir" A)"
on A "$kdc" start "$dir/kdc"
wait_points B g1 1
wait_state A g1 replicating
ok "a domain controller that was away is no reason to stop for good"

# ---- a clock that is wrong ----
if ! ldd "$build/src/daemon/vmreplicad" | seen libasan; then
    gcc -std=gnu17 -D_GNU_SOURCE -O1 -shared -fPIC -o "$dir/skew.so" "$tree/tests/lab/skew.c" -ldl
    "$daemon" stop "$dir" B
    "$daemon" start "$dir" B env "KRB5_CONFIG=$dir/kdc/krb5.conf" "LD_PRELOAD=$dir/skew.so" VMR_SKEW=600
    refused A 1 'skew.*set the clocks of both hosts' check hostb --auth kerberos
    "$daemon" stop "$dir" B
    start B
    wait_points B g1 1
    wait_state A g1 replicating
    ok "a clock that was wrong is no reason to stop for good"
fi

# ---- somebody who is no longer allowed ----
vr B --quiet deny hosta
wait_for 60 "hosta is told that it is not admitted" eval '[ "$(status A g1 State)" != replicating ]'
grep -qE 'no authorization entry' <<<"$(status A g1 LastError)" || fail "the reason on hosta: $(status A g1 LastError)"
vr B --quiet allow hosta --storage /var/lib/vmreplica/from-a
vr A --quiet resume g1
wait_points B g1 1
wait_state A g1 replicating
ok "an entry that goes takes the admission along"

# ---- there and back ----
on A "$kdc" login "$dir/kdc" alice "$dir/kdc/alice.cc"
kvr A failover g1 --planned
"$guest" wait-line "$dir" B g1 60 '^VMR boot' >/dev/null
[ "$(guest_boot_counter B g1)" = "$(guest_last_words A g1)" ] || fail "B found $(guest_boot_counter B g1), A stopped at $(guest_last_words A g1)"
ok "planned failover: nothing lost"
vr A --quiet server --receive yes --auth both
[ "$(vr A --json allow | jq 'length')" = 0 ] || fail "hosta has an entry: $(vr A allow)"
kvr B reverse g1 # hosta chose hostb as its replica: that lets it send the machine back
wait_state B g1 replicating
wait_points A g1 2
check_points A g1
[ "$(vr B --json status g1 | jq -r '.[0].Role')" = primary ] || fail "hostb is not the primary"
"$daemon" stop "$dir" A
start A
wait_points A g1 1
kvr B failover g1 --planned
"$guest" wait-line "$dir" A g1 60 "^VMR boot counter=$(guest_last_words B g1)\$" >/dev/null
kvr A reverse g1
wait_points B g1 2
check_points B g1
ok "there and back again by Kerberos"

# ---- the port moves, and the other host follows ----
vr B --quiet server --kerberos-port 8088
wait_points B g1 1
wait_for 60 "hosta knows the new port" eval '[ "$(on A "$build/src/cli/vmreplica" --json peers | jq -r ".[0].Port")" = 8088 ]'
ok "another HttpPort is told to the primary"
