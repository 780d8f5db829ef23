#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The life of a replicated machine by the requests of Microsoft's cmdlets (tests/wsman/walk.py), over
# HTTPS to two real daemons: replica server, authorization, initial copy, settings, pauses,
# resynchronisation, test failover, planned and unplanned failover, reversals, removal. The states of
# both sides are looked at after each step, and the points are compared byte for byte.
. "$(dirname "$0")/lib.sh"
system_begin
mkdir -p "$dir/cert"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/cert/key.pem" -out "$dir/cert/cert.pem" -subj /CN=windows -days 2 2>/dev/null
thumb=$(openssl x509 -in "$dir/cert/cert.pem" -noout -fingerprint -sha256 | cut -d= -f2)
hosts_up "administrators=certificate:$thumb"
pair_hosts
"$guest" create "$dir" A g1 --disks 2 --tick-ms 50 --kib 16 --fill 8
"$guest" start "$dir" A g1 >/dev/null

walk() {
    local out
    out=$(on B timeout 1500 /usr/bin/python3 "$tree/tests/wsman/walk.py" "$dir/cert/cert.pem" "$dir/cert/key.pem" \
        "$dir/A/var/lib/vmreplica/host.crt" "$dir/B/var/lib/vmreplica/host.crt" g1 "$@" 2>&1) || fail "$out"
    sed 's/^/    /' <<<"$out"
    ok "$*: $(grep -c '^ok' <<<"$out") checks"
}

walk server enable settings
check_points B g1
walk pause extend test
check_points B g1
walk planned
check_points A g1
walk unplanned
uuid=$(uuid_of B g1)
mkdir "$dir/was" # what hostb wrote last: its seed keeps that as a point
while read -r target path; do
    when_free B qemu-img convert -O raw "$path" "$dir/was/$target.raw"
done < <(virsh_on B domblklist g1 | awk '$2 ~ /^\// { print $1, $2 }')
walk back
orphan=$(vr B --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID' | tr ':A-F' '-a-f')
[ -n "$orphan" ] || fail "no orphan point: $(vr B points g1)"
mkdir -p "$dir/B/var/log/oracle/$uuid"
mv "$dir/was" "$dir/B/var/log/oracle/$uuid/$orphan"
check_points B g1
walk remove
