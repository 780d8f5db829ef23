#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the daemon works with is killed under it (SIGKILL), on either host: QEMU, libvirtd, the qemu-nbd
# that writes a layer; in the initial copy, at an instant, while a cycle is sent, during a test failover.
# Replication goes on by itself with no full copy, and every point holds its bytes.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/killing.sh"
system_begin
fill=48
hosts_up bandwidth=2 # half of the initial copy takes 12 s
pair_hosts
"$guest" create "$dir" A g1 --fill $fill --kib 128
"$guest" start "$dir" A g1 >/dev/null

# ---- steps: step_X VICTIM HOST WHAT ----
step_copy() {
    vr A --quiet --no-wait start g1 >/dev/null
    wait_for 180 "half is sent" eval "[ \$(sent_by A) -ge $((sent + (fill << 19))) ]"
    is_state A g1 "initial copy" || fail "too late: $(status A g1 State)"
    strike "$@"
    wait_state A g1 replicating 240
    sent=$(($(sent_by A) - sent))
    [ $sent -lt $(((fill + fill / 3) << 20)) ] || fail "$3: $(human $sent) were sent, half of $fill MiB before"
    check_points B g1
    ok "$3: $(human $sent) sent"
}
step_capture() {
    oracle_hold $from
    wait_for 180 "an instant is held" oracle_held $from
    strike "$@"
    oracle_release $from
    goes_on "$3"
}
step_transfer() {
    wait_for 180 "a cycle is under way" under_way
    strike "$@"
    goes_on "$3"
}
step_test() {
    local log
    vr $to --quiet test g1
    log=$("$guest" log "$dir" $to "g1 - Test")
    wait_for 120 "the test machine boots" grep -q '^VMR verify ok' "$log"
    if [ "$1" = QEMU ]; then
        on "$2" kill -9 "$(pid_of "$2" QEMU "g1 - Test")"
        wait_for 60 "libvirt sees that QEMU is gone" domain_off "$2" "g1 - Test"
    else
        strike "$@"
        "$guest" wait-tick "$dir" $to "g1 - Test" 2 >/dev/null
    fi
    goes_on "$3"
    vr $to --quiet test g1 --end
    wait_for 60 "nothing is left of the test machine" eval "! virsh_on $to list --all --name | seen Test"
}

vr A --quiet enable g1 --to hostb --interval 5
strikes "copy QEMU primary"
slowly
strikes "capture  QEMU     primary
         transfer QEMU     primary
         transfer qemu-nbd replica
         transfer libvirtd primary
         transfer libvirtd replica
         test     QEMU     replica
         test     libvirtd replica"
