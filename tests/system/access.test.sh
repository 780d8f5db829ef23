#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Who may come in, with a real daemon, a real Kerberos domain controller and real PAM: administrators,
# operators, readers and strangers, at the local socket, by password, by certificate and by Kerberos.
. "$(dirname "$0")/lib.sh"
kdc=$tree/tests/lab/kdc.sh
system_begin
command -v krb5kdc >/dev/null || [ -x /usr/sbin/krb5kdc ] || skip "krb5kdc is not installed"
"$lab" up "$dir" A B
"$lab" start-libvirtd "$dir" A

# ---- users of hosta, with passwords ----
users=$dir/users
mkdir -p "$users"
(
    umask 022
    cp /etc/passwd /etc/group "$users"
    cp -a /etc/pam.d "$users/pam.d"
    cp "$tree/packaging/pam/vmreplica" "$users/pam.d/"
    id=7100
    for name in anna otto rita nina; do # administrator, operator, reader, nobody
        id=$((id + 1))
        echo "$name:x:$id:7100::/nonexistent:/bin/sh" >>"$users/passwd"
    done
    { echo "tests:x:7100:"; echo "vmreplica:x:7200:anna"; echo "oncall:x:7201:otto"; } >>"$users/group"
    umask 077
    cp /etc/shadow "$users/shadow"
    for name in anna otto rita nina; do
        echo "$name:$(printf 'word of %s' $name | openssl passwd -6 -stdin):19000:0:99999:7:::" >>"$users/shadow"
    done
)
for file in passwd group shadow pam.d; do on A mount --bind "$users/$file" "/etc/$file"; done

# ---- the domain ----
mkdir -p "$dir/kdc"
on A "$kdc" up "$dir/kdc" 10.99.0.1
on A "$kdc" service "$dir/kdc" hosta "$dir/A/etc/vmreplica/krb5.keytab"
for name in alice rosa eve; do
    on A "$kdc" user "$dir/kdc" $name
    on B "$kdc" login "$dir/kdc" $name "$dir/kdc/$name.cc"
done
on B "$kdc" login-other "$dir/kdc" alice "$dir/kdc/stranger.cc"

# ---- a certificate ----
mkdir -p "$dir/cert"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/cert/host.key" -out "$dir/cert/host.crt" -subj /CN=monitor -days 2 2>/dev/null
thumb=$(openssl x509 -in "$dir/cert/host.crt" -noout -fingerprint -sha256 | cut -d= -f2)

daemon_config A "operators=group:oncall" "readers=user:rita, principal:rosa@VMR.TEST" "readers=certificate:$thumb" \
    "administrators=group:vmreplica, principal:alice@VMR.TEST"
"$daemon" start "$dir" A env "KRB5_CONFIG=$dir/kdc/krb5.conf"
pin=$(on A openssl x509 -in /var/lib/vmreplica/host.crt -outform DER | sha256sum | cut -d' ' -f1)
said() {
    wait_for 30 "the log does not say: $1" grep -qE -- "$1" "$("$daemon" log "$dir" A)"
}

# try WHAT STATUS REGEX COMMAND...: exit status of the command line and what it says.
try() {
    local what=$1 status=$2 regex=$3 out got=0
    shift 3
    out=$("$@" 2>&1) || got=$?
    [ "$got" = "$status" ] || fail "$what: exit status $got, not $status: $out"
    grep -qiE -- "$regex" <<<"$out" || fail "$what: $out (expected: $regex)"
    ok "$what"
}

# ---- the local socket ----
as() {
    local name=$1
    shift
    on A setpriv --reuid "$name" --regid tests --init-groups "$build/src/cli/vmreplica" "$@"
}
try "socket: an administrator makes a pairing code" 0 '"Code"' as anna --json pair
try "socket: an operator looks" 0 '^\[' as otto --json machines
try "socket: an operator may not pair" 1 'administrator' as otto --json pair
try "socket: a reader looks" 0 '^\[' as rita --json machines
try "socket: a reader may not pair" 1 'administrator' as rita --json pair
try "socket: a stranger sees nothing" 1 'no role' as nina --json machines
said 'CreatePairingCode by local:7102 from local refused with 32769'
said 'local:7104: .* from local refused: you have no role'

# ---- passwords ----
by_password() {
    local name=$1 word=$2
    shift 2
    on B env "VMREPLICA_PASSWORD=$word" "$build/src/cli/vmreplica" --host hosta --pin "$pin" --user "$name" "$@"
}
try "password: an administrator makes a pairing code" 0 '"Code"' by_password anna "word of anna" --json pair
try "password: an operator may not pair" 1 'administrator' by_password otto "word of otto" --json pair
try "password: a reader looks" 0 '^\[' by_password rita "word of rita" --json machines
try "password: a stranger with the right one sees nothing" 1 'no role' by_password nina "word of nina" --json machines
try "password: a wrong one is refused" 1 'who we are' by_password anna "word of otto" --json machines
said 'login from 10.99.0.2 refused: wrong user name or password'
said 'CreatePairingCode by user:otto from 10.99.0.2 refused with 32769'

# ---- certificates ----
try "certificate: a reader looks" 0 '^\[' vr B --host hosta --pin "$pin" --state-dir "$dir/cert" --json machines
try "certificate: a reader may not pair" 1 'administrator' vr B --host hosta --pin "$pin" --state-dir "$dir/cert" --json pair

# ---- Kerberos ----
by_ticket() {
    local cache=$1 conf=$2
    shift 2
    on B env "KRB5_CONFIG=$dir/kdc/$conf" "KRB5CCNAME=FILE:$dir/kdc/$cache.cc" "$build/src/cli/vmreplica" --host hosta --kerberos "$@"
}
try "Kerberos: an administrator makes a pairing code" 0 '"Code"' by_ticket alice krb5.conf --json pair
try "Kerberos: a reader looks" 0 '^\[' by_ticket rosa krb5.conf --json machines
try "Kerberos: a reader may not pair" 1 'administrator' by_ticket rosa krb5.conf --json pair
try "Kerberos: a stranger of the realm sees nothing" 1 'no role' by_ticket eve krb5.conf --json machines
try "Kerberos: another realm is refused" 1 'refused the Kerberos login' by_ticket stranger other.conf --json machines
try "Kerberos: without a ticket there is advice" 1 'kinit' by_ticket none krb5.conf --json machines
said 'CreatePairingCode by principal:rosa@VMR.TEST from 10.99.0.2 refused with 32769'
try "--kerberos is for other hosts" 2 'needs --host' vr A --kerberos machines
out=$(on B env "KRB5_CONFIG=$dir/kdc/krb5.conf" "KRB5CCNAME=FILE:$dir/kdc/rosa.cc" /usr/bin/python3 \
    "$tree/tests/wsman/pywinrm_kerberos.py" http://hosta:5985/wsman)
grep -qx 'service True' <<<"$out" || fail "pywinrm got: $out"
grep -qx 'fault True' <<<"$out" || fail "pywinrm got: $out"
grep -qx 'heartbeat True' <<<"$out" || fail "pywinrm got: $out"
ok "pywinrm with message encryption, as a reader"

# ---- nothing in clear text ----
reply=$(on B curl -s -D - -o /dev/null -u 'anna:word of anna' -H 'Content-Type: application/soap+xml;charset=UTF-8' --data '<x/>' http://hosta:5985/wsman)
grep -q '^HTTP/1.1 401' <<<"$reply" || fail "a password over HTTP: $reply"
if grep -qi basic <<<"$reply"; then fail "Basic is offered over HTTP: $reply"; fi
grep -qi '^connection: close' <<<"$reply" || fail "the connection goes on after a password in clear text"
said 'a password came in clear text'
ok "a password over HTTP is not looked at"

# ---- mistakes in the configuration ----
"$daemon" stop "$dir" A
daemon_config A "operators=alice"
got=0
out=$(on A timeout 300 "$build/src/daemon/vmreplicad" -c /etc/vmreplica/vmreplicad.conf 2>&1) || got=$?
[ "$got" = 1 ] || fail "a bad list of operators: exit status $got"
grep -q "operators: 'alice' is none of user:NAME" <<<"$out" || fail "a bad list of operators: $out"
ok "a row that nobody can be is told at the start"
echo nonsense >"$dir/A/etc/vmreplica/krb5.keytab"
daemon_config A
"$daemon" start "$dir" A env "KRB5_CONFIG=$dir/kdc/krb5.conf"
vr A --quiet machines || fail "a broken keytab keeps the daemon from running"
said 'ERROR.*no Kerberos.*keytab /etc/vmreplica/krb5.keytab'
if on B curl -s -o /dev/null --max-time 5 http://hosta:5985/wsman; then fail "the HTTP port is open without keys"; fi
vr A server | seen 'managed by Kerberos: no: keytab /etc/vmreplica/krb5.keytab' || fail "server does not say that Kerberos is missing"
ok "without good keys there is no HTTP port, and all else works"

# ---- changes while it runs ----
hang_up() {
    on A kill -HUP "$("$daemon" pid "$dir" A)"
}
# One connection to the socket, as nina: asks at once and again when the file "go" is there.
chmod 711 "$dir"
mkdir -m 777 "$dir/ask"
on A setpriv --reuid nina --regid tests --init-groups /usr/bin/python3 - "$dir/ask" >"$dir/ask.out" <<'X' &
import http.client, os, socket, sys, time
w = 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'
e = 'http://schemas.xmlsoap.org/ws/2004/09/enumeration'
body = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
        ' xmlns:w="%s"><s:Header><a:To>x</a:To><w:ResourceURI>http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/'
        'Msvm_ComputerSystem</w:ResourceURI><a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous'
        '</a:Address></a:ReplyTo><a:Action>%s/Enumerate</a:Action><a:MessageID>uuid:1</a:MessageID></s:Header>'
        '<s:Body><n:Enumerate xmlns:n="%s"/></s:Body></s:Envelope>') % (w, e, e)
c = http.client.HTTPConnection('localhost')
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect('/run/vmreplica/wsman.sock')
mine = c.sock


def ask():
    c.request('POST', '/wsman', body, {'Content-Type': 'application/soap+xml;charset=UTF-8'})
    reply = c.getresponse()
    text = reply.read().decode()
    print('denied' if 'AccessDenied' in text else 'answered' if 'EnumerateResponse' in text else text,
          'again' if c.sock is mine else 'anew', flush=True)


ask()
for _ in range(6000):
    if os.path.exists(sys.argv[1] + '/go'):
        break
    time.sleep(0.1)
ask()
X
asker=$!
wait_for 30 "nina is told that she has no role" grep -qx 'denied again' "$dir/ask.out"
daemon_config A "readers=user:nina" "administrators=nonsense"
hang_up
said 'ERROR.*who may manage this host stays as it was.*administrators.*none of user:NAME'
rm "$dir/A/etc/vmreplica/krb5.keytab"
on A "$kdc" service "$dir/kdc" hosta "$dir/A/etc/vmreplica/krb5.keytab"
daemon_config A "readers=user:nina, principal:rosa@VMR.TEST"
hang_up
said 'who may manage this host was read anew'
touch "$dir/ask/go"
wait "$asker" || fail "the connection was cut: $(cat "$dir/ask.out")"
grep -qx 'answered again' "$dir/ask.out" || fail "nina's connection: $(cat "$dir/ask.out")"
ok "a new reader counts at once, also on a connection that was there"
try "socket: the new reader looks" 0 '^\[' as nina --json machines
try "socket: who is in no list any more sees nothing" 1 'no role' as rita --json machines
said 'Kerberos on HTTP port 5985'
on B "$kdc" login "$dir/kdc" rosa "$dir/kdc/rosa.cc" # with the old ticket in it nothing is asked for
try "Kerberos: the keytab came later" 0 '^\[' by_ticket rosa krb5.conf --json machines
on A "$kdc" service "$dir/kdc" hosta "$dir/A/etc/vmreplica/krb5.keytab"
on B "$kdc" login "$dir/kdc" rosa "$dir/kdc/rosa.cc"
try "Kerberos: a new key in the keytab counts at once" 0 '^\[' by_ticket rosa krb5.conf --json machines
