#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The ErrorCode of jobs, each one as it really comes about: a connection test, a relationship and a
# reversal whose other host does not know this one, is another one, hangs, has such a machine already,
# still runs it, has lost a disk; a port that is taken; a daemon that dies in the middle.
. "$(dirname "$0")/lib.sh"
system_begin

restart() {
    "$daemon" stop "$dir" "$1"
    mortal_start "$1"
}

# job HOST TYPE PROPERTY: of the job of that type that was submitted last.
job() {
    vr "$1" --json jobs | jq -r "[.[] | select(.JobType == $2)] | max_by(.TimeSubmitted) | .$3"
}
# fails_with CODE HOST TYPE REGEX ARGS...: the command fails, and so does its job, with that code and words.
fails_with() {
    local code=$1 host=$2 type=$3 regex=$4
    shift 4
    refused "$host" 1 "$regex" "$@"
    [ "$(job "$host" "$type" ErrorCode) $(job "$host" "$type" JobState)" = "$code 10" ] ||
        fail "$*: ErrorCode $(job "$host" "$type" ErrorCode), JobState $(job "$host" "$type" JobState), not $code and 10"
    grep -qiE -- "$regex" <<<"$(job "$host" "$type" ErrorDescription)" || fail "$*: the job says: $(job "$host" "$type" ErrorDescription)"
    ok "ErrorCode $code"
}

"$lab" up "$dir" A B
for host in A B; do
    "$lab" start-libvirtd "$dir" "$host"
    daemon_config "$host"
    mortal_start "$host"
done
pair_hosts

# ---- a connection test ----
vr A --quiet unpair hostb
fails_with 32769 B 115 'hosta .*does not know your certificate' check hosta
fails_with 32777 B 115 'nothing listens' check hosta --port 9999
fails_with 32770 B 115 'port 5986 may not be the port for peers' check hosta --port 5986
on A sh -c 'exec 9<>/dev/null; python3 -c "
import socket
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((\"::\", 9444)); s.listen(8)
open(\"/run/taken\", \"w\").close()
while True:
    c, _ = s.accept()
    c.sendall(b\"220 mail.example ready\\r\\n\")
    c.close()
" & echo $! >/run/taker.pid' </dev/null >/dev/null 2>&1 &
wait_for 30 "somebody else listens at port 9444" test -e "$dir/A/run/taken"
fails_with 32768 B 115 'port 9444' check hosta --port 9444
on A kill -STOP "$("$daemon" pid "$dir" A)" # it hangs: the kernel takes connections, nobody answers
fails_with 32772 B 115 'hosta' check hosta
on A kill -CONT "$("$daemon" pid "$dir" A)"
fails_with 32774 A 90 '9444.*in use' server --port 9444
vr B --quiet unpair hosta
pair_hosts
vr B --quiet check hosta
[ "$(job B 115 JobState) $(job B 115 ErrorCode)" = "7 0" ] || fail "a good test: $(vr B --json jobs)"

# ---- a reversal that fails ----
"$guest" create "$dir" A g1 --fill 4
"$guest" start "$dir" A g1 >/dev/null
on B virsh -q define /dev/stdin <<XML
<domain type='qemu'><name>other</name><uuid>$(uuid_of A g1)</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>
XML
fails_with 32773 A 91 'already has a machine with the UUID' enable g1 --to hostb
virsh_on B undefine other
protect g1
wait_points B g1 1

# ---- a host that is back is asked again at once ----
peer_machine() { vr B --json failover g1 --dry-run | jq -r .PeerMachine; }
"$daemon" stop "$dir" A
[ "$(peer_machine)" = unreachable ] || fail "while its daemon is stopped host A is $(peer_machine)"
mortal_start A
[ "$(peer_machine)" = running ] || fail "right after the start of its daemon host A is $(peer_machine)"
ok "a host that refused is asked again as soon as it is back"

vr B --quiet failover g1 --force --no-start
fails_with 32775 B 104 'still running' reverse g1
is_state B g1 "failed over, waiting for completion" || fail "after a reversal that failed: $(status B g1 State)"
"$guest" destroy "$dir" A g1 >/dev/null
known_off A g1

disk=$(virsh_on A domblklist g1 | awk '$1 == "vda" { print $2 }')
on A mv "$disk" "$disk.away"
fails_with 32779 B 104 'vda' reverse g1
on A mv "$disk.away" "$disk"

"$daemon" stop "$dir" A
mkdir "$dir/identity"
mv "$dir"/A/var/lib/vmreplica/host.crt "$dir"/A/var/lib/vmreplica/host.key "$dir/identity"
mortal_start A
fails_with 32769 B 104 'another certificate' reverse g1
"$daemon" stop "$dir" A
mv "$dir"/identity/* "$dir/A/var/lib/vmreplica/"
mortal_start A

# ---- the daemon dies in the middle ----
# dies_at HOST POINT: while it reverses; then it is there again.
dies_at() {
    echo "$2" >"$dir/$1/run/vmreplica-die-at"
    vr "$1" --quiet reverse g1 >"$dir/operation.log" 2>&1 &
    local worker=$!
    gone() { ! "$daemon" pid "$dir" "$1" >/dev/null; }
    wait_for 60 "the daemon of $1 dies at $2" gone "$1"
    wait $worker || :
    mortal_start "$1"
    wait_state "$1" g1 replicating
}
ended() { [ "$(job "$1" 104 JobState)" = "$2" ]; }
vr B --quiet reverse g1
wait_points A g1 1
orphan=$(vr A --json points g1 | jq -r '.[] | select(.Kind == "orphan") | .InstanceID') # no copy was made of it
wait_for 60 "the orphan point can be discarded" vr A --quiet discard g1 "$orphan"
check_points A g1
vr A --quiet failover g1 --planned --no-start
dies_at A REVERSE_CALL
wait_for 60 "the job that was interrupted goes on and ends" ended A 7
[ "$(job A 104 ErrorCode)" = 0 ] || fail "the reversal succeeded, its job says $(job A 104 ErrorDescription)"
wait_points B g1 1
check_points B g1
ok "a reversal whose daemon died while the other host was asked: its job goes on"

vr B --quiet failover g1 --planned --no-start
dies_at B BECOME_PRIMARY
[ "$(job B 104 ErrorCode) $(job B 104 JobState)" = "32771 10" ] || fail "the job says: $(vr B --json jobs)"
job B 104 ErrorDescription | seen 'restarted while this ran' || fail "the job says: $(job B 104 ErrorDescription)"
wait_points A g1 1
check_points A g1
ok "ErrorCode 32771: reversed, but the job was not told"
