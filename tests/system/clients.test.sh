#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Clients of others against a real daemon and a real libvirt machine: dracclient and pywinrm from
# Debian, by password and by certificate; events of jobs, machines and relationships; wsl, a client made of shell
# scripts; curl without any help.
. "$(dirname "$0")/lib.sh"
system_begin
/usr/bin/python3 -c 'import dracclient.wsman, winrm' 2>/dev/null || skip "python3-dracclient or python3-winrm is not installed"
command -v wslenum uuidgen >/dev/null || skip "wsl or uuid-runtime is not installed"
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
on A virsh -q autostart m1
sees_m1() { vr A --json machines | seen m1; }
wait_for 60 "the machine is listed" sees_m1

# ---- our own, all the time ----
on A sh -c "echo \$\$ >'$dir/follower'; exec '$build/src/cli/vmreplica' events >'$dir/events'" &
follower=$!
vr A --json events >"$dir/events.json" &
wait_for 60 "vmreplica events is there" test -s "$dir/follower"

# ---- the clients ----
out=$(on B timeout 1200 /usr/bin/python3 "$tree/tests/wsman/clients.py" https://hosta:5986/wsman \
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

# ---- wsl. It copies selectors with the prefix that they have in a reply, but declares wsman only ----
classes=http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2
mkdir "$dir/wsl"
cp "$dir/A/var/lib/vmreplica/host.crt" "$dir/wsl/hosta:5986.crt" # by which it knows the host
wsl() {
    on B env -C "$dir/wsl" HOME="$dir/wsl" KEEPHISTORY=0 WSDONTASK=y WSENDPOINT=hosta:5986 WSUSER=anna \
        WSPASS=secret timeout 600 "$@" </dev/null
}
wsl wslid check >"$dir/wsl.out" || fail "wslid: $(cat "$dir/wsl.out")"
grep -q 'ProductVendor>vmreplica<' "$dir/wsl.out" || fail "wslid: $(cat "$dir/wsl.out")"
wsl wslenum $classes/Msvm_ComputerSystem >"$dir/wsl.out"
[ "$(grep -c '<p:ElementName>' "$dir/wsl.out")" = 2 ] || fail "wslenum: $(cat "$dir/wsl.out")"
wsl wslenum $classes/Msvm_ComputerSystem -opti 1 -mode objepr >"$dir/wsl.out"
[ "$(grep -c '<n:PullResponse>' "$dir/wsl.out") $(grep -c '<w:SelectorSet>' "$dir/wsl.out")" = "1 2" ] || fail "wslenum in pages: $(cat "$dir/wsl.out")"
wsl wslget $classes/Msvm_ComputerSystem CreationClassName=Msvm_ComputerSystem "Name=$(uuid_of A m1 | tr a-f A-F)" >"$dir/wsl.out"
grep -q '<p:ElementName>m1<' "$dir/wsl.out" || fail "wslget: $(cat "$dir/wsl.out")"
wsl wslenum $classes/Msvm_ComputerSystem -mode epr -dialect http://schemas.microsoft.com/wbem/wsman/1/WQL \
    -filter "select * from Msvm_ComputerSystem where ElementName='m1'" | sed 's/w:/wsman:/g' >"$dir/wsl/m1.xml"
# what libvirt knows of the machine; that it is started with the host is seen at the next look at all
settings_are_there() {
    wsl wslenum $classes/Msvm_VirtualSystemSettingData >"$dir/wsl.out"
    grep -q "<p:BIOSGUID>{$(uuid_of A m1 | tr a-f A-F)}<" "$dir/wsl.out" && grep -q '<p:AutomaticStartupAction>4<' "$dir/wsl.out" &&
        grep -q '<p:ConfigurationDataRoot>/etc/libvirt/qemu<' "$dir/wsl.out" && grep -q '<p:ConfigurationFile>m1.xml<' "$dir/wsl.out" &&
        grep -q '<p:Version>[0-9]*\.[0-9]*<' "$dir/wsl.out"
}
wait_for 60 "the settings of m1 are there" settings_are_there
is() { [ "$(on A virsh domstate m1 | head -n 1)" = "$1" ]; }
for change in '2 running' '3 shut off'; do
    wsl wslinvoke $classes/Msvm_ComputerSystem RequestStateChange "RequestedState=${change%% *}" -inst m1.xml >"$dir/wsl.out"
    grep -q '<p:ReturnValue>4096<' "$dir/wsl.out" || fail "wslinvoke: $(cat "$dir/wsl.out")"
    wait_for 60 "m1 is ${change#* }" is "${change#* }"
    # Of two changes at once the daemon may see only the last.
    wait_for 60 "vmreplica events tells that m1 is ${change##* }" grep -q "m1: is ${change##* }" "$dir/events"
done
ok "wsl"

# ---- what our own saw meanwhile ----
on A virsh -q undefine m1
wait_for 60 "vmreplica events tells that m1 is gone" grep -q 'm1: is gone' "$dir/events"
for line in 'm1: is running' 'm1: is off' 'Changing machine state: begins' 'Changing machine state: done'; do
    grep -q "$line" "$dir/events" || fail "vmreplica events does not tell '$line': $(cat "$dir/events")"
done
off_in_json() {
    jq -se 'add | any(.[]; .Class == "Msvm_ComputerSystem" and .Object == "m1" and .Text == "is off")' "$dir/events.json"
}
wait_for 60 "vmreplica --json events tells that m1 is off" off_in_json
on A kill -INT "$(cat "$dir/follower")"
wait "$follower" || fail "vmreplica events: exit status $?"
ok "vmreplica events"

# ---- a relationship that is suspended and resumed, as somebody else hears of it ----
"$lab" start-libvirtd "$dir" B
daemon_config B
"$daemon" start "$dir" B
pair_hosts
"$guest" create "$dir" A g1 --fill 4
protect g1
wait_points B g1 1
on B timeout 1200 /usr/bin/python3 "$tree/tests/wsman/clients.py" --relationship https://hosta:5986/wsman \
    "$dir/A/var/lib/vmreplica/host.crt" "$dir/cert/cert.pem" "$dir/cert/key.pem" "$(uuid_of A g1 | tr a-f A-F)" \
    >"$dir/heard" 2>&1 &
listener=$!
wait_for 60 "somebody listens" grep -q subscribed "$dir/heard"
vr A --quiet suspend g1
wait_for 60 "the listener hears that it is suspended" grep -q 'event: from 3 to 7' "$dir/heard"
vr A --quiet resume g1
wait $listener || fail "events of the relationship: $(cat "$dir/heard")"
ok "events of a relationship: $(grep event: "$dir/heard" | paste -sd,)"
