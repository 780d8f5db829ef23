#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The primary's host is lost, and on the replica's what the daemon works with is killed under it (SIGKILL)
# while it fails over, cancels and commits: libvirtd in the middle of each, QEMU of the machine that was
# started. Each is carried out or can be repeated with the same command, the points keep their bytes, and the
# way back has no full copy.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/killing.sh"
system_begin
fill=48
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill $fill
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 2
"$guest" wait-tick "$dir" A g1 8 >/dev/null
"$lab" crash "$dir" A
newest=$(newest_point B g1)
image=$(point_files B "$(uuid_of B g1)" | tail -n 1 | awk '{ print $4 }')
held=$("$guest" counter "$dir" B "$image")

# under_blow SINCE-REGEX COMMAND...: libvirtd of hostb dies when the daemon there has begun with the command, or
# when that was too soon over for it
under_blow() {
    local begun=$1 pos worker
    shift
    pos=$(log_pos B)
    "$@" >"$dir/command.log" 2>&1 &
    worker=$!
    wait_for 60 "hostb begins: $*" log_has B "$pos" "$begun"
    killed B "$(pid_of B libvirtd)"
    "$lab" start-libvirtd "$dir" B
    if wait $worker; then say "$*: went on"; else say "$*: $(tail -n 1 "$dir/command.log")"; fi
}
over() {
    case $(status B g1 State) in
    "failed over"*) return ;;
    replicating) vr B --quiet failover g1 --no-start || : ;;
    esac
    false
}
runs() {
    [ "$(virsh_on B domstate g1)" = running ] || { vr B --quiet boot g1 || : && false; }
}
# boots COUNTER: the guest begins there
boots() {
    wait_for 180 "the machine runs on hostb" runs
    "$guest" wait-line "$dir" B g1 180 "^VMR boot counter=$1\$" "$console" >/dev/null
}
console_now() {
    console=$(stat -c %s "$("$guest" log "$dir" B g1)" 2>/dev/null || echo 0)
}
back() {
    case $(status B g1 State) in
    replicating) return ;;
    "failed over"*) vr B --quiet cancel g1 --discard || : ;;
    esac
    false
}
done_for_good() {
    is_state B g1 "failed over" || { vr B --quiet commit g1 || : && false; }
}

console_now
under_blow '-> failing over' vr B --quiet failover g1 --no-start
wait_for 240 "failed over" over
boots "$held"
ok "libvirtd is killed in a failover: $newest runs, tick $held"

killed B "$(pid_of B QEMU)"
wait_for 60 "libvirt sees that QEMU is gone" domain_off B g1
[[ "$(status B g1 State)" = "failed over"* ]] || fail "QEMU was killed, and now it is: $(status B g1 State)"
console_now
vr B --quiet boot g1
"$guest" wait-line "$dir" B g1 180 '^VMR boot counter=' "$console" >/dev/null
ok "QEMU of the machine failed over is killed: it is started again and has all that it wrote"

under_blow '-> cancelling' vr B --quiet cancel g1 --discard
wait_for 240 "cancelled" back
check_points B g1
ok "libvirtd is killed in a cancel: the points are what they were"

console_now
vr B --quiet failover g1
boots "$held"
killed B "$(pid_of B libvirtd)"
vr B --quiet commit g1 >"$dir/command.log" 2>&1 || say "commit without libvirtd: $(tail -n 1 "$dir/command.log")"
"$lab" start-libvirtd "$dir" B
[ "$(virsh_on B domstate g1)" = running ] || fail "the machine does not run any more"
wait_for 240 "committed" done_for_good
ok "libvirtd is killed before a commit: it is for good, the machine ran on"

"$guest" wait-tick "$dir" B g1 8 >/dev/null
"$lab" boot "$dir" A
"$lab" start-libvirtd "$dir" A
# What hosta's disk holds now, nobody else has.
mkdir -p "$dir/A/var/log/oracle/orphan"
when_free A qemu-img convert -O raw /var/lib/libvirt/images/g1-0.qcow2 /var/log/oracle/orphan/vda.raw
"$daemon" start "$dir" A
sent=$(sent_by B)
from=B to=A
turned() {
    is_state B g1 replicating || { vr B --quiet reverse g1 || : && false; }
}
wait_for 240 "reversed" turned
first=$(vr A --json points g1 | jq -r '[.[] | select(.Kind == "orphan")] | last | .InstanceID')
mv "$dir/A/var/log/oracle/orphan" "$dir/A/var/log/oracle/$(uuid_of B g1)/${first/:/-}"
goes_on "the way back"
