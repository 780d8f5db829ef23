#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Clients of others against a real daemon and a real libvirt machine: dracclient and pywinrm from
# Debian, by password and by certificate; events of jobs and machines; curl without any help.
. "$(dirname "$0")/lib.sh"
system_begin
/usr/bin/python3 -c 'import dracclient.wsman, winrm' 2>/dev/null || skip "python3-dracclient or python3-winrm is not installed"
"$lab" up "$dir" A B
"$lab" start-libvirtd "$dir" A

# ---- an administrator with a password, an operator with a certificate ----
users=$dir/users
mkdir -p "$users" "$dir/cert"
(
    umask 022
    cp /etc/passwd /etc/group "$users"
    cp -a /etc/pam.d "$users/pam.d"
    cp "$tree/packaging/pam/vmreplica" "$users/pam.d/"
    echo "anna:x:7101:7100::/nonexistent:/bin/sh" >>"$users/passwd"
    { echo "tests:x:7100:"; echo "vmreplica:x:7200:anna"; } >>"$users/group"
    umask 077
    cp /etc/shadow "$users/shadow"
    echo "anna:$(openssl passwd -6 secret):19000:0:99999:7:::" >>"$users/shadow"
)
for file in passwd group shadow pam.d; do on A mount --bind "$users/$file" "/etc/$file"; done
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/cert/key.pem" -out "$dir/cert/cert.pem" -subj /CN=monitor -days 2 2>/dev/null
thumb=$(openssl x509 -in "$dir/cert/cert.pem" -noout -fingerprint -sha256 | cut -d= -f2)
daemon_config A "operators=certificate:$thumb" "administrators=group:vmreplica"
"$daemon" start "$dir" A

# ---- a machine without anything to boot ----
on A virsh -q define /dev/stdin <<'XML'
<domain type='qemu'><name>m1</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>
XML
sees_m1() { vr A --json machines | grep -q m1; }
wait_for 60 "the machine is listed" sees_m1

# ---- our own, all the time ----
on A sh -c "echo \$\$ >'$dir/follower'; exec '$build/src/cli/vmreplica' events >'$dir/events'" &
follower=$!
vr A --json events >"$dir/events.json" &
wait_for 60 "vmreplica events is there" test -s "$dir/follower"

# ---- the clients ----
out=$(on B timeout 300 /usr/bin/python3 "$tree/tests/wsman/clients.py" https://hosta:5986/wsman \
    "$dir/A/var/lib/vmreplica/host.crt" anna secret \
    "$dir/cert/cert.pem" "$dir/cert/key.pem" m1) || fail "$out"
sed 's/^/    /' <<<"$out"
[ "$(tail -n 1 <<<"$out")" = "ok: events: nothing after Unsubscribe" ] || fail "not all was tried: $out"
ok "dracclient, pywinrm, events"

# ---- curl, and nothing else ----
sent=$(on B curl -s -k -u anna:secret -H 'Content-Type: application/soap+xml;charset=UTF-8' \
    --data-binary @"$tree/tests/wsman/030-enumerate-optimized.req.xml" https://hosta:5986/wsman)
grep -q 'EnumerateResponse' <<<"$sent" || fail "curl: $sent"
[ "$(on B curl -s -k -o /dev/null -w '%{http_code}' --data-binary @"$tree/tests/wsman/010-identify.req.xml" \
    -H 'Content-Type: application/soap+xml' https://hosta:5986/wsman)" = 200 ] || fail "curl: Identify without a name"
ok "curl"

# ---- what our own saw meanwhile ----
on A virsh -q undefine m1
wait_for 60 "vmreplica events tells that m1 is gone" grep -q 'm1: is gone' "$dir/events"
for line in 'm1: is running' 'm1: is off' 'Changing machine state: begins' 'Changing machine state: done'; do
    grep -q "$line" "$dir/events" || fail "vmreplica events does not tell '$line': $(cat "$dir/events")"
done
jq -se 'add | any(.[]; .Class == "Msvm_ComputerSystem" and .Object == "m1" and .Text == "is off")' "$dir/events.json" >/dev/null ||
    fail "vmreplica --json events: $(cat "$dir/events.json")"
on A kill -INT "$(cat "$dir/follower")"
wait "$follower" || fail "vmreplica events: exit status $?"
ok "vmreplica events"
