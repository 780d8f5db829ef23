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
refused A 2 'usage' enable
refused A 2 '--dry-run and --force do not go together' failover g1 --force --dry-run
refused A 2 '--planned and --point do not go together' failover g1 --planned --point x
refused A 2 '--force goes with --stop-old' reverse g1 --force
vr A disable g1 --help | seen 'Usage: vmreplica disable' || fail "disable g1 --help: $(vr A disable g1 --help 2>&1)"
refused A 2 'to HOST is needed' enable g1
for verb in enable set retention failover test reverse verify; do
    vr A "$verb" --help | seen '^  --' || fail "$verb --help does not tell its options"
done
refused A 2 'unknown option' status --colour
refused A 2 'needs a value' enable g1 --to
refused A 3 'connect|reach|no such' --socket /run/nothing.sock status

# ---- machines and peers ----
"$guest" create "$dir" A g1 --fill 4
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
for _ in 1 2 3 4 5 6 7 8 9 10; do
    vr B pair hosta --code BBBB-BBBB-BBBB-BBBB-BBBB >/dev/null 2>&1 && fail "a wrong code was accepted"
done
refused B 1 'code|refused|attempt' pair hosta --code "$code"
ok "a code dies after some wrong attempts"
pair_hosts
code=$(vr A --json pair | jq -r .Code)
vr B --quiet pair hosta --code "$code"
refused B 1 'code|refused' pair hosta --code "$code"
ok "a code serves once"

# ---- settings ----
refused A 1 'interval' enable g1 --to hostb --interval 3
refused A 1 'interval' enable g1 --to hostb --interval 7200
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
for verb in start sync suspend resume reverse commit cancel resync; do
    refused A 1 'state|not replicated|not possible' $verb g1
done
refused A 1 'state|not' failover g1 --planned
vr A --quiet enable g1 --to hostb --interval 5 --exclude vdb
refused A 1 'already|state' enable g1 --to hostb --exclude vdb
refused B 1 'started on the primary: vmreplica --host hosta start' start g1
refused B 1 'state|point' failover g1
vr A --quiet start g1
"$guest" start "$dir" A g1 >/dev/null
refused A 1 'state|already|not possible' start g1
refused A 1 'replica' failover g1
refused A 1 'state|not possible' reverse g1
refused A 1 'state|not possible' commit g1
refused B 1 'state|not|replica' sync g1
refused B 1 'no recovery point' failover g1 --point 00000000-0000-0000-0000-000000000000:7
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
wait_for 3 "hosta knows at once" eval 'vr A --json status g1 | jq -e ".[0].Reasons | index(\"replica_ended\")"'
wait_for 60 "hosta tells that hostb knows nothing of it" eval '[ -n "$(status A g1 LastError)" ]'
ok "hosta says: $(status A g1 LastError)"
vr A --quiet disable g1
vr A --quiet unpair hostb
refused A 1 'not paired' enable g1 --to hostb --exclude vdb
refused B 1 'trust|refused|not paired|know|revoked' enable g1 --to hosta
