#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The management interface of a daemon as it is installed, with a real libvirtd that has 1,000 machines:
# over the local socket, HTTPS with a client certificate and with a password (PAM), and HTTP with sealed
# Kerberos, each on one connection, client and daemon on ONE core (of the machine's own speed: the goals of
# docs/wsman.md). The machines are not replicated; cimbench has those that are. As root.
# Usage: bench/management.sh [--check] [MACHINES]   (1000)   With --check the exit status is not 0 when a
# goal is missed by more than twice, in time of the processor: others may use it, too.
check=
if [ "${1:-}" = --check ]; then
    check=--check
    shift
fi
machines=${1:-1000}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VMR_TREE=$root . "$root/tests/system/lib.sh"
kdc=$root/tests/lab/kdc.sh
system_begin
[ -x "$build/bench/cimclient" ] || fail "cimclient is not built in $build"
command -v krb5kdc >/dev/null || [ -x /usr/sbin/krb5kdc ] || skip "krb5kdc is not installed"
"$lab" up "$dir" A
mkdir -p "$dir/kdc" "$dir/users" "$dir/cert"
on A "$kdc" up "$dir/kdc" 10.99.0.1
on A "$kdc" user "$dir/kdc" alice
on A "$kdc" service "$dir/kdc" hosta "$dir/A/etc/vmreplica/krb5.keytab" HTTP WSMAN
on A "$kdc" login "$dir/kdc" alice "$dir/kdc/alice.cc"
(
    umask 022
    cp /etc/passwd /etc/group "$dir/users"
    cp -a /etc/pam.d "$dir/users/pam.d"
    cp "$root/packaging/pam/vmreplica" "$dir/users/pam.d/"
    echo "anna:x:7101:7100::/nonexistent:/bin/sh" >>"$dir/users/passwd"
    { echo "tests:x:7100:"; echo "vmreplica:x:7200:anna"; } >>"$dir/users/group"
    umask 077
    cp /etc/shadow "$dir/users/shadow"
    echo "anna:$(openssl passwd -6 secret):19000:0:99999:7:::" >>"$dir/users/shadow"
)
for file in passwd group shadow pam.d; do on A mount --bind "$dir/users/$file" "/etc/$file"; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$dir/cert/key.pem" \
    -out "$dir/cert/cert.pem" -subj /CN=monitor -days 2 2>/dev/null
sha256() { openssl x509 -in "$1" -noout -fingerprint -sha256 | cut -d= -f2; }

"$lab" start-libvirtd "$dir" A
for i in $(seq "$machines"); do
    echo "<domain type='qemu'><name>m$i</name><memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os></domain>" >"$dir/A/run/m$i.xml"
done
seq "$machines" | sed 's|.*|define /run/m&.xml|' | on A virsh -q -c qemu:///system >/dev/null
say "$machines machines are defined"
daemon_config A "readers=certificate:$(sha256 "$dir/cert/cert.pem"), principal:alice@VMR.TEST" "administrators=group:vmreplica"
core=$(taskset -cp $$ | sed 's/.*: *//; s/[-,].*//')
"$daemon" start "$dir" A env "KRB5_CONFIG=$dir/kdc/krb5.conf" taskset -c "$core"
pid=$("$daemon" pid "$dir" A)
all_seen() { [ "$(vr A --json machines | jq length)" = "$machines" ]; }
wait_for 120 "all machines are known" all_seen

missed=0
ask() {
    on A env "KRB5_CONFIG=$dir/kdc/krb5.conf" "KRB5CCNAME=FILE:$dir/kdc/alice.cc" \
        taskset -c "$core" "$build/bench/cimclient" ${check:+--check "$pid"} "$@" || missed=1
}
pin=$(sha256 "$dir/A/var/lib/vmreplica/host.crt" | tr -d :)
echo "a daemon with $machines machines of libvirt, client and daemon on one core:"
ask "local socket" local "$dir/A/run/vmreplica/wsman.sock"
ask "HTTPS, certificate" certificate hosta "$pin" "$dir/cert/cert.pem" "$dir/cert/key.pem"
ask "HTTPS, password" basic hosta "$pin" anna secret
ask "HTTP, sealed Kerberos" kerberos hosta
peak=$(on A awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$pid/status")
echo "  peak of the daemon's memory: $peak MiB (goal: 100)"
if [ -n "$check" ]; then
    [ "$peak" -le 200 ] || missed=1
    [ $missed = 0 ] || fail "a goal is missed by more than twice"
fi
