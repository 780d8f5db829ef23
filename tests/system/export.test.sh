#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A recovery point that is open for reading: both its disks hold the primary's bytes of that instant, while
# points come and go, while what serves it or the daemon dies, over a failover, and when it is an orphan or has
# wrong blocks. Closed, nothing of it is left, whatever died in the middle of opening or closing it.
. "$(dirname "$0")/lib.sh"
system_begin
start_b() {
    mortal_start B
}
hosts_up
"$daemon" stop "$dir" B
start_b
pair_hosts
"$guest" create "$dir" A g1 --disks 2 --fill 4
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_state A g1 replicating
wait_points B g1 3
uuid=$(uuid_of A g1)

step() {
    say "---- $1"
}
# open_point HOST ARGS...: "TARGET URI" for each disk
open_point() {
    local host=$1
    shift
    vr "$host" --json export g1 "$@" | jq -r '.[0] | [.Targets, .URIs] | transpose[] | join(" ")'
}
# holds HOST POINT DISKS: each disk that is served is the primary's at the instant of the point
holds() {
    local target uri n=0 copy
    copy=$(oracle_of "$uuid" "$(tr 'A-F' 'a-f' <<<"${2/:/-}")")
    [ -d "$copy" ] || fail "no copy of the primary's disks at point $2"
    while read -r target uri; do
        on "$1" qemu-img compare -q -f raw -F raw "$copy/$target.raw" "$uri" ||
            fail "point $2, disk $target: what $uri serves differs from the primary's bytes"
        n=$((n + 1))
    done <<<"$3"
    [ $n = 2 ] || fail "point $2: $n disks are served: $3"
}
servers() {
    on B sh -c 'for f in /proc/[0-9]*/cmdline; do tr "\0" " " <"$f" 2>/dev/null; echo; done' |
        grep -c '^qemu-nbd .*/run/vmreplica/export/' || :
}
is_clean() {
    [ "$(servers)" = 0 ] && ! compgen -G "$dir/B/run/vmreplica/export/*" >/dev/null &&
        [ "$(database B 'SELECT count(*) FROM point WHERE pinned')" = 0 ] &&
        [ "$(database B "SELECT count(*) FROM doc WHERE kind = 'export'")" = 0 ]
}

step read-while-points-come-and-go
old=$(points B g1 | tail -n 2 | head -n 1)
disks=$(open_point B --point "$old")
holds B "$old" "$disks"
mapfile -t uris < <(awk '{ print $2 }' <<<"$disks")
"$guest" check "$dir" B "${uris[@]}" | seen 'VMR verify ok' || fail "the guest's own check fails"
[ "$(stat -c %a "$dir/B/run/vmreplica/export")" = 700 ] || fail "others can reach the sockets"
if on B qemu-io -f raw -c 'write -q 0 512' "$(awk 'NR == 1 { print $2 }' <<<"$disks")" >/dev/null 2>&1; then
    fail "what is served can be written"
fi
newest=$(open_point B)
[ "$newest" != "$disks" ] || fail "without --point the old one is opened"
[ "$(servers)" = 4 ] || fail "$(servers) servers run for two points"
vr A --quiet retention g1 --every 0 --hourly 0 # of what nobody holds the newest point only
cycles() {
    local i
    for ((i = 0; i < $1; i++)); do vr A --quiet sync g1; done
}
cycles 4
holds B "$old" "$disks"
points B g1 | seen -x "$old" || fail "the point that is read was given up"
vr B points g1 | grep -F "$old" | seen 'in use' || fail "points does not say that it is in use"
vr B explain g1 | seen "Open for reading: recovery point .*$old" || fail "explain does not tell: $(vr B explain g1)"
check_points B g1
ok "both disks hold the primary's bytes while points come and go"

step servers-and-daemon-die
on B sh -c 'kill -9 $(cat /run/vmreplica/export/*/vda.sock.pid)'
[ "$(open_point B --point "$old")" = "$disks" ] || fail "opened again it is served elsewhere"
holds B "$old" "$disks"
"$daemon" stop "$dir" B
[ "$(servers)" -ge 2 ] || fail "the servers went with the daemon"
holds B "$old" "$disks"
start_b
holds B "$old" "$disks"
"$daemon" kill "$dir" B
on B sh -c 'kill -9 $(cat /run/vmreplica/export/*/*.pid); rm -rf /run/vmreplica/export' # as after a reboot
start_b
served() {
    on B nbdinfo --size "$(awk 'NR == 2 { print $2 }' <<<"$disks")"
}
wait_for 60 "it is served again after a restart" served
holds B "$old" "$disks"
ok "served again on the same sockets"

step cannot-be-served-again
"$daemon" kill "$dir" B
on B sh -c 'kill -9 $(cat /run/vmreplica/export/*/*.pid); rm -rf /run/vmreplica/export; : >/run/vmreplica/export'
start_b
is_ready() {
    [ "$(vr B --json export g1 --list | jq -r ".[] | select(.PointId == \"$old\") | .Ready")" = "$1" ]
}
warned() {
    grep -q 'serving an open recovery point again' "$dir/B/var/log/vmreplicad.log"
}
wait_for 60 "it is told that it cannot be served" warned
wait_for 60 "it is not ready" is_ready false
vr B export g1 --list | seen -F "vmreplica export g1 --point $old" || fail "nobody says what to do: $(vr B export g1 --list)"
refused B 1 'cannot make folder' export g1 --point "$old"
is_ready false || fail "it is shown ready although nothing serves it"
on B rm /run/vmreplica/export
[ "$(open_point B --point "$old")" = "$disks" ] || fail "opened again it is served elsewhere"
is_ready true || fail "it is served and not ready"
holds B "$old" "$disks"
ok "what cannot be served again is not shown ready, stays open, and is served when the cause is gone"

step failover
vr B --quiet failover g1 --no-start --force
holds B "$old" "$disks"
refused B 1 'open for reading.*--close' disable g1
vr B --quiet cancel g1
wait_state B g1 replicating
vr B export g1 --close --point "$old" >/dev/null
refused B 1 'not open' export g1 --close --point "$old"
vr B --quiet export g1 --close
wait_for 30 "nothing is left of it" is_clean
wait_state A g1 replicating 120
cycles 2
given_up() {
    ! points B g1 | seen -x "$old"
}
wait_for 60 "the point goes when nobody reads it" given_up
check_points B g1
ok "over a failover; closed, nothing is left"

step sudden-death
is_down() {
    ! "$daemon" pid "$dir" B
}
for where in EXPORT_SERVE EXPORT_OPEN EXPORT_END EXPORT_UNPIN; do
    case $where in
    EXPORT_SERVE | EXPORT_OPEN) what= ;;
    *)
        what=--close
        vr B --quiet export g1 >/dev/null
        ;;
    esac
    echo $where >"$dir/B/run/vmreplica-die-at"
    timeout 300 "$lab" exec "$dir" B "$build/src/cli/vmreplica" --quiet export g1 $what >/dev/null 2>&1 || :
    wait_for 60 "the daemon dies at $where" is_down
    start_b
    wait_for 30 "died at $where: nothing is left" is_clean
    ok "died at $where: nothing is left"
done

step quarantined
bad=$(newest_point B g1)
vr A --quiet suspend g1
database_rw() {
    sqlite3 -cmd '.timeout 120000' "$dir/B/var/lib/vmreplica/state.db" "$1"
}
"$daemon" stop "$dir" B
database_rw "INSERT OR REPLACE INTO proof(point, quarantine, since, bad) SELECT max(seq), 1, 1, 3 FROM point WHERE listed"
start_b
bad=$(newest_point B g1)
out=$(vr B export g1 --point "$bad" 2>&1)
grep -q 'WARNING: 3 blocks' <<<"$out" || fail "export of a quarantined point says: $out"
holds B "$bad" "$(open_point B --point "$bad")"
other=$(open_point B 2>&1) || : # whatever is there without being named, it is not this one
[ "$other" != "$(open_point B --point "$bad")" ] || fail "a quarantined point is opened without being named"
if vr B --quiet test g1 --no-start 2>/dev/null; then
    overlay=$(virsh_on B domblklist "g1 - Test" | awk '$1 == "vda" { print $2 }')
    below=$(on B qemu-img info -U --output=json "$overlay" | jq -r '."full-backing-filename"')
    [ -n "$below" ] && [ "$below" != null ] || fail "the disk of the test has nothing below it"
    point_files B "$(uuid_of B g1)" | awk -v id="${bad/:/-}" '$1 == id { print $4 }' | seen -x "$below" && fail "a test takes the quarantined point"
    vr B --quiet test g1 --end
fi
vr B --quiet export g1 --close
wait_for 30 "nothing is left of it" is_clean
"$daemon" stop "$dir" B
database_rw "DELETE FROM proof"
start_b
vr A --quiet resume g1
wait_points B g1 1
ok "a quarantined point is opened with a warning, and only by its name"

step orphan
"$guest" wait-tick "$dir" A g1 2 >/dev/null
"$guest" destroy "$dir" A g1 >/dev/null
known_off A g1
copy=$dir/A/var/log/oracle/orphan
mkdir -p "$copy"
while read -r target file; do
    when_free A qemu-img convert -U -O raw "$file" "/var/log/oracle/orphan/$target.raw"
done < <(virsh_on A domblklist g1 | awk '$2 ~ /^\// { print $1, $2 }')
vr B --quiet failover g1
vr B --quiet reverse g1
wait_state B g1 replicating 180
wait_points A g1 1
orphan=$(vr A --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID')
mv "$copy" "$dir/A/var/log/oracle/$uuid/${orphan/:/-}"
holds A "$orphan" "$(open_point A --point "$orphan")"
[ "$(open_point A)" != "$(open_point A --point "$orphan")" ] || fail "an orphan is opened without being named"
refused A 1 'close its export' discard g1 "$orphan"
wait_points A g1 1
check_points A g1
vr A --quiet export g1 --close
wait_for 60 "the orphan can be discarded" vr A --quiet discard g1 "$orphan"
ok "an orphan point is read, and discarded when it is closed"
