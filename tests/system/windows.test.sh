#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The page for Windows administrators, docs/windows.md: its section "From nothing to protected, and over" is
# carried out line by line with the MI client's requests, from pairing to the end of replication, between two
# real hosts with a real machine. A client certificate lets in, as on the page.
. "$(dirname "$0")/lib.sh"
system_begin
/usr/bin/python3 -c 'import lxml, requests' 2>/dev/null || skip "python3-lxml or python3-requests is not installed"
mkdir "$dir/cert"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/cert/key.pem" -out "$dir/cert/cert.pem" -subj /CN=monitor -days 2 2>/dev/null
thumb=$(openssl x509 -in "$dir/cert/cert.pem" -noout -fingerprint -sha256 | cut -d= -f2)
hosts_up "administrators=certificate:$thumb"
"$guest" create "$dir" A web --fill 4
on B timeout 1800 /usr/bin/python3 "$tree/tests/wsman/windows.py" "$tree/docs/windows.md" "$dir/cert/cert.pem" "$dir/cert/key.pem" \
    hosta "$dir/A/var/lib/vmreplica/host.crt" hostb "$dir/B/var/lib/vmreplica/host.crt" >"$dir/windows" || fail "$(cat "$dir/windows")"
sed 's/^/    /' "$dir/windows"
[ "$(tail -n 1 "$dir/windows")" = "ok: all of it" ] || fail "not all was done: $(cat "$dir/windows")"

# It was reversed: what hostb has now is web, running, and no host replicates any more.
is_on() { [ "$(on B virsh domstate web | head -n 1)" = running ]; }
wait_for 60 "web runs on hostb" is_on
for host in A B; do
    [ -z "$(status "$host" web State)" ] || is_state "$host" web "not replicated" || fail "web is '$(status "$host" web State)' on $host"
done
ok "web runs on hostb, and is not replicated any more"
