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

# ---- whatever only looks is the same, asked from the other host ----
vr A --quiet suspend g1
wait_state A g1 suspended
wait_for 60 "the last cycle is over" eval '! vr A --json jobs | jq -e ".[] | select(.JobState == 4)"'
have=$(n_points B g1)
# same HOST ARGS...: the same is told by the host itself and to the other one
same() {
    local there=$1 from here far try
    shift
    if [ "$there" = A ]; then from=B; else from=A; fi
    for try in 1 2 3 4 5 6 7 8 9; do # between the two a job may grow too old to be listed, and the like
        here=$(vr "$there" "$@") || fail "vmreplica $* on $there: $here"
        far=$(vr $from --host "$(host_name "$there")" "$@") || fail "vmreplica --host $(host_name "$there") $* on $from: $far"
        # numbers that grow by themselves while one looks
        here=$(sed -E 's/[0-9][0-9.]*( (s|min|B|KiB|MiB|GiB))?/N/g' <<<"$here")
        far=$(sed -E 's/[0-9][0-9.]*( (s|min|B|KiB|MiB|GiB))?/N/g' <<<"$far")
        [ "$here" != "$far" ] || break
        say "vmreplica $*: attempt $try differs"
    done
    [ "$here" = "$far" ] || fail "vmreplica $* says on $there: $(diff <(echo "$here") <(echo "$far"))"
    [ -n "$here" ] || fail "vmreplica $* says nothing"
}
for host in A B; do
    for verb in peers server allow machines jobs 'retention g1' 'points g1' 'stats g1' 'export g1 --list' 'status g1' 'status'; do
        # shellcheck disable=SC2086 # verb and machine
        same $host --json $verb
    done
    for verb in peers server allow machines 'retention g1' 'points g1' 'explain g1' 'status g1' status; do
        # shellcheck disable=SC2086
        out=$(vr A --host "$(host_name B)" $verb 2>&1) || fail "vmreplica --host hostb $verb: $out"
        [ -n "$out" ] || fail "vmreplica --host hostb $verb says nothing"
    done
done
vr A --host hostb failover g1 --dry-run | seen 'A failover of g1 now (state: ' || fail "--dry-run of hostb, asked from hosta"
# A paired host is no operator of the other one.
refused B 1 'acts with its certificate on machines .* only.*[Ll]og in as an operator' --host hosta check hostb
[ "$(n_points B g1)" = "$have" ] || fail "looking has made points"
ok "what only looks is the same from the other host"
# Who listens there hears it.
on B timeout -s INT 1200 "$build/src/cli/vmreplica" --host hosta events >"$dir/events" 2>&1 &
listens=$!

# ---- a command that is told then can be given as it is told ----
told() {
    vr B --host hosta explain g1 | grep -oE 'vmreplica --host hosta resume g1' | head -n 1
}
command=$(told) || fail "explain of hosta, asked from hostb: $(vr B --host hosta explain g1)"
vr A explain g1 | seen 'vmreplica resume g1' || fail "explain on hosta: $(vr A explain g1)"
# shellcheck disable=SC2086 # its words
vr B ${command#vmreplica }
wait_state A g1 replicating
# When it has begun to listen is not told: something happens until it is heard.
heard() {
    grep -q . "$dir/events" || { vr A --quiet sync g1 && false; }
}
wait_for 60 "hostb hears of what happens on hosta" heard
kill $listens 2>/dev/null || :
wait $listens || :
out=$(vr A --host hostb test g1 --no-start)
command=$(grep -oE 'vmreplica --host hostb test g1 --end' <<<"$out") || fail "test on hostb, asked from hosta, says: $out"
# shellcheck disable=SC2086
vr A ${command#vmreplica } | seen 'nothing is left of it' || fail "$command"
refused A 1 'see vmreplica --host hostb points g1' --host hostb failover g1 --point 00000000-0000-0000-0000-000000000000:7
ok "commands that are told of hostb ask hostb: $command"

# An operator is no administrator.
refused B 1 'needs the role administrator.*on host hosta itself.*--user' --host hosta disable g1
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
on B sh -c '(sleep 5; echo) | timeout 60 openssl s_client -connect hosta:8443 -alpn vmreplica/1 -quiet' >/dev/null 2>&1 || :
wait_for 20 "hosta refuses who has no certificate" log_has A "$pos" 'refused .*10\.99\.0\.2'
pos=$(log_pos A)
on B sh -c '(printf "\3\0\0\0\0\0\0\0"; sleep 5) | timeout 60 openssl s_client -connect hosta:8443 -alpn vmreplica/1 -quiet -cert /run/c.pem -key /run/k.pem' >/dev/null 2>&1 || :
wait_for 20 "hosta refuses a stranger" log_has A "$pos" 'refused .*10\.99\.0\.2'
[ "$(vr A --json peers | jq length)" = 1 ] || fail "a stranger became a peer"
