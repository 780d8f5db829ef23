#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The command line asks other hosts over HTTPS, by the certificates that pairing left; and nobody
# else gets anything.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
refused B 1 'not paired' --host hosta status
pair_hosts

# ---- unpairing counts at once, on a connection that is there, too ----
mkdir "$dir/ask"
on B /usr/bin/python3 - "$dir/ask" >"$dir/ask.out" 2>&1 <<'X' &
import http.client, os, ssl, sys, time
t = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
t.check_hostname = False
t.verify_mode = ssl.CERT_NONE
t.load_cert_chain('/var/lib/vmreplica/host.crt', '/var/lib/vmreplica/host.key')
c = http.client.HTTPSConnection('hosta', 5986, context=t, timeout=60)
c.connect()
mine = c.sock


def ask():
    c.request('POST', '/wsman', '<x/>', {'Content-Type': 'application/soap+xml;charset=UTF-8'})
    reply = c.getresponse()
    reply.read()
    print('refused' if reply.status in (401, 403) else 'heard', 'again' if c.sock is mine else 'anew', flush=True)


ask()
while not os.path.exists(sys.argv[1] + '/go'):
    time.sleep(0.1)
ask()
X
asking=$!
wait_for 30 "hostb was heard" grep -q . "$dir/ask.out"
vr A --quiet unpair hostb
touch "$dir/ask/go"
# To hostb, hosta is a peer still: what it says is a stranger's.
pos=$(log_pos A)
refused B 1 'does not know your certificate|not paired' check hosta
wait_for 20 "hosta notes who was refused" log_has A "$pos" 'refused .*10\.99\.0\.2.*not know your certificate'
wait "$asking" || fail "the connection of hostb: $(cat "$dir/ask.out")"
[ "$(cat "$dir/ask.out")" = $'heard again\nrefused again' ] || fail "after unpair: $(cat "$dir/ask.out")"
vr B --quiet unpair hosta
pair_hosts
ok "unpaired: refused at once, on the connection that was there"

"$guest" create "$dir" A g1 --fill 4
"$guest" start "$dir" A g1 >/dev/null
vr B --host hosta machines | seen g1 || fail "B does not see A's machine"
[ "$(vr B --host hosta --json machines | jq -r '.[0].Name')" = "$(vr A --json machines | jq -r '.[0].Name')" ] ||
    fail "B sees another machine than A has"
protect g1
[ "$(vr B --host hosta --json status g1 | jq -r '.[0].Role')" = primary ] || fail "the role of A, asked from B"
have=$(n_points B g1)
vr B --host hosta --quiet sync g1
more_points B g1 "$have" || fail "no new point after sync over HTTPS"
vr B --host hosta jobs | seen . || fail "no jobs"
ok "status, sync and jobs of hosta, asked from hostb over HTTPS"
vr B --host hosta suspend g1
wait_state A g1 suspended
vr B --host hosta:5986 resume g1
wait_state A g1 replicating
[ "$(vr A --host 10.99.0.2 --json status g1 | jq -r '.[0].Role')" = replica ] || fail "the role of B, asked by address"
ok "suspend and resume over HTTPS, by name and by address"
# An operator is no administrator.
refused B 1 'administrator|denied' --host hosta disable g1
vr A --quiet failover g1 --planned
vr A --quiet --host hostb reverse g1
wait_state B g1 replicating
wait_points A g1 1
ok "planned failover on hosta, reverse on hostb asked from hosta"

thumb=$(on A openssl x509 -in /var/lib/vmreplica/host.crt -outform DER | sha256sum | cut -d' ' -f1)
vr B --host hosta --pin "$thumb" machines >/dev/null || fail "--pin with the right certificate"
refused B 1 'another certificate' --host hosta --pin "${thumb//[0-9]/0}" machines
ok "another certificate than the pinned one is not talked to"

url=https://hosta:5986/wsman
reply=$(on B curl -sk -o /dev/null -w '%{http_code}' -H 'Content-Type: application/soap+xml;charset=UTF-8' \
    --data '<x/>' "$url")
[ "$reply" = 401 ] || fail "without a certificate or a password: HTTP $reply instead of 401"
on B sh -c 'cd /run && openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=hostb -days 2 2>/dev/null'
reply=$(on B curl -sk -o /dev/null -w '%{http_code}' --cert /run/c.pem --key /run/k.pem \
    -H 'Content-Type: application/soap+xml;charset=UTF-8' --data '<x/>' "$url") || reply=none
[[ $reply = 401 || $reply = 403 || $reply = none ]] || fail "with a stranger's certificate: HTTP $reply"
ok "no certificate: 401; a stranger's of the same name: $reply"
for version in 1.0 1.1 1.2; do
    if [ $version != 1.2 ] && on B curl -sk --tls-max $version -o /dev/null "$url" 2>/dev/null; then
        fail "TLS $version is accepted"
    fi
done
if on B curl -s -o /dev/null "http://hosta:5986/wsman"; then fail "plain HTTP is answered"; fi
on B curl -s -o /dev/null --max-time 5 "http://hosta:5985/wsman" && fail "there is a plain HTTP port"
ok "nothing in clear text"
# The peers' port wants a certificate that is paired.
pos=$(log_pos A)
on B sh -c '(sleep 5; echo) | timeout 20 openssl s_client -connect hosta:8443 -alpn vmreplica/1 -quiet' >/dev/null 2>&1 || :
wait_for 20 "hosta refuses who has no certificate" log_has A "$pos" 'refused .*10\.99\.0\.2'
pos=$(log_pos A)
on B sh -c '(printf "\3\0\0\0\0\0\0\0"; sleep 5) | timeout 20 openssl s_client -connect hosta:8443 -alpn vmreplica/1 -quiet -cert /run/c.pem -key /run/k.pem' >/dev/null 2>&1 || :
wait_for 20 "hosta refuses a stranger" log_has A "$pos" 'refused .*10\.99\.0\.2'
[ "$(vr A --json peers | jq length)" = 1 ] || fail "a stranger became a peer"
