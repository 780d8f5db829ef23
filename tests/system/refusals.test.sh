#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Bad input and wrong moments: each is refused with an exit status and a message that says what to do,
# and nothing is changed by it.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up

# ---- usage ----
refused A 2 'unknown command' frobnicate
refused A 2 'enable needs more arguments' enable
refused A 2 '--dry-run and --force do not go together' failover g1 --force --dry-run
refused A 2 '--planned and --point do not go together' failover g1 --planned --point x
refused A 2 '--force goes with --stop-old' reverse g1 --force
vr A disable g1 --help | seen 'Usage: vmreplica disable' || fail "disable g1 --help: $(vr A disable g1 --help 2>&1)"
refused A 2 'to HOST is needed' enable g1
for verb in enable set retention failover test reverse verify; do
    vr A "$verb" --help | seen '^  --' || fail "$verb --help does not tell its options"
done
refused A 2 'unknown option' status --colour
refused A 2 '.80x. is not a port' --host hostb:80x status
refused A 2 '.80x. is not a port' pair hostb:80x --code AAAA-AAAA-AAAA-AAAA-AAAA
refused A 2 'name the host that showed this code' pair --code AAAA-AAAA-AAAA-AAAA-AAAA
refused A 2 '--user needs --host' --user somebody status
refused A 2 '.--json. takes no value' --json=yes status
refused A 2 '--cancel needs the ID' jobs --cancel
refused A 2 'needs a value' enable g1 --to
refused A 3 'connect to /run/nothing.sock .is vmreplicad running' --socket /run/nothing.sock status

# ---- machines and peers ----
"$guest" create "$dir" A g1 --fill 4
vr A shutdown g1 | seen 'is off already' || fail "shutdown of a machine that is off: $(vr A shutdown g1)"
out=$(on A sh -c "'$build/src/cli/vmreplica' --json machines >/dev/full" 2>&1) && fail "nothing could be written, and that was success"
grep -q 'output could not be written' <<<"$out" || fail "nothing could be written: $out"
refused A 1 "no machine 'nobody'" status nobody
refused A 1 "no job 'nothing'" jobs nothing
refused A 1 "no job 'nothing'" --json jobs nothing --cancel
refused A 1 "no machine 'nobody'" enable nobody --to hostb
refused A 1 'not paired' enable g1 --to hostb
refused A 1 'code|refused' pair hostb --code AAAA-AAAA-AAAA-AAAA-AAAA
refused A 1 'reach|connect|route|resolve' pair 10.99.0.77 --code AAAA-AAAA-AAAA-AAAA-AAAA
refused A 1 'not paired' unpair hostb
[ "$(vr A --json peers | jq length)" = 0 ] || fail "a peer came from a wrong code"

code=$(vr A --json pair | jq -r .Code)
: >"$dir/said"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    vr B pair hosta --code BBBB-BBBB-BBBB-BBBB-BBBB >>"$dir/said" 2>&1 && fail "a wrong code was accepted"
done
grep -q 'wrong pairing codes came from this address: wait [0-9]* seconds' "$dir/said" || fail "nobody who guesses has to wait: $(cat "$dir/said")"
# The guesses of one take the code from nobody.
wait_for 60 "the right code is heard again" vr B --quiet pair hosta --code "$code"
ok "who guesses codes has to wait"
pair_hosts
code=$(vr A --json pair | jq -r .Code)
vr B --quiet pair hosta --code "$code"
refused B 1 'code|refused' pair hosta --code "$code"
ok "a code serves once"

# ---- settings ----
refused A 1 'interval' enable g1 --to hostb --interval 3
refused A 1 'interval' enable g1 --to hostb --interval 7200
refused A 1 '^vmreplica: the interval .--interval. must be 5 to 3600 seconds, not "99999"' enable g1 --to hostb --interval 99999
refused A 1 'history|points' enable g1 --to hostb --points 99
refused A 1 "no disk 'vdq'" enable g1 --to hostb --exclude vdq
refused A 1 'no disk left' enable g1 --to hostb --exclude vda
refused A 1 'itself|paired' enable g1 --to hosta

# ---- a disk that cannot be replicated ----
on A qemu-img create -q -f raw /var/lib/libvirt/images/shared.raw 16M
virsh_on A attach-disk g1 /var/lib/libvirt/images/shared.raw vdb --mode shareable --config >/dev/null
# libvirt tells nobody of such a change: the first answer may be that the disks have just changed.
says() {
    local out
    out=$(vr A enable g1 --to hostb 2>&1) && fail "enabled without the disk that cannot be replicated"
    grep -qE "$1" <<<"$out"
}
says 'try again|exclude' || fail "a changed definition went unnoticed"
wait_for 60 "the new disk is known" says exclude
refused A 1 'vdb.*shared.*exclude' enable g1 --to hostb
[ "$(status A g1 Role)" = none ] || fail "something was begun all the same"
on B virsh -q -c qemu:///system list --all | seen g1 && fail "hostb has a machine g1 already"

# ---- wrong state, wrong side ----
# refused_in HOST STATE COMMAND...: each is refused with 1, and names the state, and the command that helps, or
# what one waits for.
refused_in() {
    local host=$1 state=$2 command out got wrong=0
    shift 2
    for command in "$@"; do
        got=0
        # shellcheck disable=SC2086 # its words
        out=$(vr "$host" $command 2>&1) || got=$?
        if [ $got != 1 ] || [[ $out != *"$state"* ]] ||
            ! grep -qE 'vmreplica( --host [a-z]+)? [a-z]+ g1|vmreplica enable g1 --to|wait until' <<<"$out"; then
            echo "vmreplica $command on $host, where it is '$state': exit status $got: $out" >&2
            wrong=1
        fi
    done
    [ $wrong = 0 ] || fail "refusals of $host in state '$state'"
    ok "$host, $state: $# commands are refused, the last: $out"
}
refused_in A 'not replicated' 'start g1' 'sync g1' 'suspend g1' 'resume g1' 'reverse g1' 'commit g1' 'cancel g1' 'resync g1' \
    'failover g1' 'failover g1 --planned' 'failover g1 --dry-run' 'test g1' 'verify g1' 'set g1 --interval 30'
vr A --quiet enable g1 --to hostb --interval 5 --exclude vdb
refused_in A 'ready for initial copy' 'enable g1 --to hostb --exclude vdb' 'sync g1' 'suspend g1' 'failover g1' 'failover g1 --planned' \
    'reverse g1' 'commit g1' 'resync g1' 'test g1' 'verify g1'
refused_in B 'waiting for initial copy' 'enable g1 --to hosta' 'start g1' 'sync g1' 'failover g1' 'failover g1 --dry-run' 'set g1 --interval 30' \
    'reverse g1' 'commit g1' 'cancel g1' 'resync g1' 'test g1' 'verify g1'
refused B 1 'on hosta it is "ready for initial copy".*vmreplica --host hosta explain g1' failover g1 --planned
refused B 1 'started on the primary: vmreplica --host hosta start' start g1
vr A --quiet start g1
"$guest" start "$dir" A g1 >/dev/null
wait_state A g1 replicating
refused_in A replicating 'enable g1 --to hostb' 'start g1' 'failover g1' 'reverse g1' 'commit g1' 'cancel g1' 'test g1'
refused A 1 'hostb.*: vmreplica --host hostb failover g1' failover g1
refused_in B replicating 'enable g1 --to hosta' 'start g1' 'sync g1' 'reverse g1' 'commit g1' 'cancel g1' 'resync g1'
refused B 1 'no recovery point .*vmreplica points g1' failover g1 --point 00000000-0000-0000-0000-000000000000:7
vr A --quiet suspend g1
refused_in A suspended 'start g1' 'sync g1' 'failover g1 --planned' 'reverse g1' 'commit g1' 'cancel g1'
vr A --quiet resume g1
refused A 1 'disable it first' unpair hostb
refused B 1 'must not be started|replica|no such file' boot g1
domain_off B g1 || fail "hostb started its replica"
wait_points B g1 1
check_points B g1
ok "replication goes on after all that"

# ---- the machine's disk changes its size ----
virsh_on A blockresize g1 vda 320M >/dev/null
wait_points B g1 2
check_points B g1
ok "a disk that grew: cycles go on"

# ---- somebody deletes the checkpoints ----
sent=$(sent_by A)
for name in $(virsh_on A checkpoint-list g1 --name); do
    virsh_on A checkpoint-delete g1 "$name" >/dev/null 2>&1 || :
done
wait_points B g1 2 180
sent=$(($(sent_by A) - sent))
check_points B g1
ok "checkpoints deleted by somebody: compared again, $(human $sent) sent"

# ---- unknown to the peer ----
vr B --quiet disable g1
wait_for 15 "hosta knows at once" eval 'vr A --json status g1 | jq -e ".[0].Reasons | index(\"replica_ended\")"'
wait_for 60 "hosta tells that hostb knows nothing of it" eval '[ -n "$(status A g1 LastError)" ]'
ok "hosta says: $(status A g1 LastError)"
vr A --quiet disable g1
vr A --quiet unpair hostb
refused A 1 'not paired' enable g1 --to hostb --exclude vdb
refused B 1 'trust|refused|not paired|know|revoked' enable g1 --to hosta
