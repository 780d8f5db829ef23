#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Does the lab itself work? Two hosts, a guest with two disks, an orderly shutdown, a crash of the
# host, the guest's own checks and those from outside; and nothing left at the end.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
lab=$here/lab.sh
guest=$here/guest.sh
dir=$(mktemp -d /tmp/vmr-lab-selftest.XXXXXX)
trap '"$lab" down "$dir"' EXIT

fail() {
    echo "selftest: $*" >&2
    exit 1
}

before=$(ip -o link | wc -l)
"$lab" up "$dir"
"$lab" up "$dir"
[ "$("$lab" list "$dir" | xargs)" = "A B" ] || fail "hosts are not up"
[ "$("$lab" exec "$dir" A hostname)" = hosta ] || fail "host A has the wrong name"

"$lab" start-libvirtd "$dir" A
"$lab" start-libvirtd "$dir" B
a=$("$lab" exec "$dir" A virsh -c qemu:///system capabilities | awk "/<uuid>/ && !n++")
b=$("$lab" exec "$dir" B virsh -c qemu:///system capabilities | awk "/<uuid>/ && !n++")
[ "$a" != "$b" ] || fail "both hosts are the same to libvirt"

"$lab" exec "$dir" B socat -u TCP-LISTEN:7000,reuseaddr OPEN:/run/heard,creat &
for _ in $(seq 600); do
    if echo hello | "$lab" exec "$dir" A socat -u - TCP:hostb:7000 2>/dev/null; then break; fi
    sleep 0.1
done
wait
[ "$(cat "$dir/B/run/heard")" = hello ] || fail "A cannot talk to B"
"$lab" net-down "$dir" B
if echo x | "$lab" exec "$dir" A socat -u - TCP:hostb:7000,connect-timeout=1 2>/dev/null; then
    fail "A talks to B over an unplugged cable"
fi
"$lab" net-up "$dir" B

"$guest" create "$dir" A g1 --disks 2 --tick-ms 100
"$guest" start "$dir" A g1
"$guest" wait-tick "$dir" A g1 10 >/dev/null
began=$SECONDS
"$guest" shutdown "$dir" A g1
echo "selftest: orderly shutdown in $((SECONDS - began)) s"
said=$(sed -n 's/^VMR power button counter=\([0-9]*\).*/\1/p' "$("$guest" log "$dir" A g1)" | tail -n1)
images=(/var/lib/libvirt/images/g1-0.qcow2 /var/lib/libvirt/images/g1-1.qcow2)
out=$("$guest" check "$dir" A "${images[@]}") || fail "$out"
echo "selftest: after the shutdown: $out"
case $out in
*" counter=$said journal=clean") ;;
*) fail "the guest said $said" ;;
esac

"$guest" start "$dir" A g1
"$guest" wait-tick "$dir" A g1 10 >/dev/null
"$lab" crash "$dir" A
out=$("$guest" check "$dir" B "$dir/A${images[0]}" "$dir/A${images[1]}") || fail "$out"
echo "selftest: after the crash: $out"
"$lab" boot "$dir" A
"$lab" start-libvirtd "$dir" A
"$guest" start "$dir" A g1
"$guest" destroy "$dir" A g1

"$lab" down "$dir"
[ ! -e "$dir" ] || fail "the folder is still there"
if pgrep -f "vmr-lab-keeper vmr-lab-keeper $dir" >/dev/null; then fail "a keeper lives on"; fi
if grep -q "$dir" /proc/self/mountinfo; then fail "a mount is left"; fi
[ "$(ip -o link | wc -l)" = "$before" ] || fail "a network device is left"
echo "selftest: ok"
