#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The receiving side as its administrator sets it up, between two hosts: who may replicate here and
# where to, trust groups, the listener that opens, closes and moves while everything runs, and what a
# connection test says about each thing that can be wrong.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up

# machine_call HOST UUID METHOD BODY: the same of a machine.
machine_call() {
    local uri=http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_ComputerSystem
    envelope "$uri" "$3" "<w:SelectorSet><w:Selector Name=\"CreationClassName\">Msvm_ComputerSystem</w:Selector><w:Selector Name=\"Name\">${2^^}</w:Selector></w:SelectorSet>" "$4" |
        send "$1"
}

# returns HOST CODE METHOD BODY
returns() {
    local out
    out=$(invoke "$1" "$3" "$4")
    grep -q "<p:ReturnValue>$2</p:ReturnValue>" <<<"$out" || fail "$3 on $1 does not return $2: $out"
}

system_ref() {
    echo "<p:ComputerSystem>Msvm_ComputerSystem.CreationClassName=&quot;Msvm_ComputerSystem&quot;,Name=&quot;${1^^}&quot;</p:ComputerSystem>"
}

entry_xml() {
    echo "<p:AuthorizationEntry>&lt;INSTANCE CLASSNAME=&quot;Msvm_ReplicationAuthorizationSettingData&quot;&gt;&lt;PROPERTY NAME=&quot;AllowedPrimaryHostSystem&quot; TYPE=&quot;string&quot;&gt;&lt;VALUE&gt;$1&lt;/VALUE&gt;&lt;/PROPERTY&gt;&lt;/INSTANCE&gt;</p:AuthorizationEntry>"
}

test_xml() {
    echo "<p:RecoveryConnectionPoint>hostb</p:RecoveryConnectionPoint><p:RecoveryServerPortNumber>8443</p:RecoveryServerPortNumber>$1"
}

server() {
    vr "$1" --json server | jq -r ".[0].$2"
}

# ---- before anything is paired ----
[ "$(server B RecoveryServerEnabled)" = false ] || fail "a new host says that it receives replicas"
refused A 1 'not paired' check hostb
vr B --quiet server --window-hours 6
pair_hosts
[ "$(server B RecoveryServerEnabled)" = true ] || fail "a paired host does not receive"
[ "$(server B MonitoringInterval)" = 21600 ] || fail "the window was forgotten"
vr A --quiet check hostb
ok "paired hosts accept each other"
certificate=$(invoke B GetSystemCertificates '' | grep -o '<p:EncodedCertificates>[^<]*' | cut -d'>' -f2)
[ "$(base64 -d <<<"$certificate" | openssl x509 -inform der -noout -fingerprint -sha256)" = \
    "$(openssl x509 -in "$dir/B/var/lib/vmreplica/host.crt" -noout -fingerprint -sha256)" ] || fail "GetSystemCertificates of hostb: $certificate"
ok "GetSystemCertificates tells the certificate that hostb uses"

# ---- what can be wrong, in words ----
refused A 1 'no keytab' check hostb --auth kerberos
returns A 32773 TestReplicationConnection "$(test_xml '<p:AuthenticationType>2</p:AuthenticationType><p:CertificateThumbPrint>0123456789ABCDEF0123456789ABCDEF01234567</p:CertificateThumbPrint>')"
returns A 32773 TestReplicationConnection "$(test_xml '<p:AuthenticationType>3</p:AuthenticationType>')"
refused A 1 'nothing listens at .* port 9999.*RecoveryServerEnabled' check hostb --port 9999
refused A 1 'port 5986 may not be the port for peers.*does not speak' check hostb --port 5986

# ---- who may replicate here, and where to ----
vr B --quiet allow other.example --storage /srv/other --group red
refused A 1 'no authorization entry.*hosta' check hostb
refused B 1 '\*' allow '*' --storage /srv/any
vr B --quiet allow hosta --storage /srv/from-a --group red
vr A --quiet check hostb
"$guest" create "$dir" A g1 --fill 4
uuid=$(uuid_of A g1)
protect g1
[ "$(point_files B "$uuid" | awk '{ print $4 }' | grep -vc ^/srv/from-a/ || :)" = 0 ] ||
    fail "the replica is not in the folder of its entry: $(point_files B "$uuid")"
ok "the replica is stored where its entry says"

# ---- the window of the statistics ends when its time is moved ----
stats() { vr A --json stats g1 | jq -r "if type == \"array\" then .[0] else . end | .$1"; }
of_window() { [ "$(stats ReplicationSuccessCount)" -gt 0 ]; }
wait_for 60 "a cycle is counted" of_window
from=$(stats StartStatisticTime)
pos=$(log_pos A)
boundary=$(($(date +%s) + 30))
vr A --quiet server --window-hours 24 # its start is far from now, or what follows would end nothing
settings="<p:SettingData>&lt;INSTANCE CLASSNAME=&quot;Msvm_ReplicationServiceSettingData&quot;&gt;&lt;PROPERTY NAME=&quot;MonitoringStartTime&quot; TYPE=&quot;datetime&quot;&gt;&lt;VALUE&gt;00000000$(date -u -d "@$boundary" +%H%M%S).000000:000&lt;/VALUE&gt;&lt;/PROPERTY&gt;&lt;/INSTANCE&gt;</p:SettingData>"
returns A 4096 ModifyServiceSettings "$settings"
until=$(stats StartStatisticTime)
[ "$until" = "$from" ] || [ "$(date +%s)" -ge "$boundary" ] || fail "the window ended before its time"
wait_for 120 "the daemon ends the window" log_has A "$pos" 'g1: statistics of the window that ended: [1-9]'
ended=$(date +%s)
[ "$ended" -ge "$boundary" ] || fail "the window ended at $ended, its boundary is $boundary"
[ "$(stats StartStatisticTime)" != "$from" ] || fail "the statistics still begin at $from"
ok "the window of the statistics ends where its new start time says"

vr B --quiet allow hosta --group blue
vr A --quiet check hostb
# Bound to an entry of another group: its primary belongs to blue now, the machine to red.
returns B 4096 SetAuthorizationEntry "$(system_ref "$uuid")$(entry_xml other.example)"
fails() { grep -qE "$1" <<<"$(status A g1 LastError)"; }
wait_for 60 "hosta learns that the machine is of another group" fails 'trust group red'
ok "hosta says: $(status A g1 LastError)"
returns B 32777 SetAuthorizationEntry "$(system_ref 6e7a2f20-1111-4222-8333-0000000000ff)$(entry_xml hosta)"
returns A 32775 SetAuthorizationEntry "$(system_ref "$uuid")$(entry_xml hosta)"
returns B 32773 SetAuthorizationEntry "$(system_ref "$uuid")$(entry_xml nobody)"
returns B 4096 SetAuthorizationEntry "$(system_ref "$uuid")$(entry_xml hosta)"
vr A --quiet resume g1
wait_points B g1 1
ok "the right entry lets it in again"
vr B --quiet deny hosta
wait_for 60 "hosta learns that it may not" fails 'no authorization entry'
refused B 1 'no authorization entry|no entry|there is' deny hosta
vr B --quiet deny other.example
vr B --quiet allow '*' --storage /srv/any
refused B 1 '\*' allow hosta --storage /srv/x
vr A --quiet resume g1
wait_points B g1 1
ok "any paired host may replicate: * lets it in"

# ---- what the hypervisor's host knows of a machine ----
[ "$(machine A g1 OnTimeInMilliseconds)" = 0 ] || fail "a machine that is off has been running"
"$guest" start "$dir" A g1 >/dev/null
runs() { [ -n "$(machine A g1 ProcessID)" ]; }
wait_for 60 "the process of g1 is known" runs
on A grep -q qemu "/proc/$(machine A g1 ProcessID)/cmdline" || fail "ProcessID is not that of QEMU"
[ "$(machine A g1 OnTimeInMilliseconds)" -lt 600000 ] || fail "g1 runs since $(machine A g1 OnTimeInMilliseconds) ms"
[ -n "$(machine A g1 TimeOfLastConfigurationChange)" ] || fail "nobody knows when g1 was defined"
ok "process, uptime and definition of a running machine"

# ---- a machine that is saved ----
state_of() { [ "$(machine A g1 EnabledState)" = "$1" ]; }
machine_call A "$uuid" RequestStateChange '<p:RequestedState>6</p:RequestedState>' | seen '<p:ReturnValue>4096<' ||
    fail "the machine cannot be saved"
wait_for 120 "g1 is saved" state_of 6
wait_points B g1 1
refused A 1 'saved, not off' failover g1 --planned
vr A --quiet boot g1
wait_for 60 "g1 goes on" state_of 2
[ "$(virsh_on A domstate g1)" = running ] || fail "g1 does not run"
wait_points B g1 2
ok "saved and started again: cycles went on"
machine_call A "$uuid" RequestStateChange '<p:RequestedState>6</p:RequestedState>' >/dev/null
wait_for 120 "g1 is saved again" state_of 6
vr A --quiet shutdown g1 --force
wait_for 60 "nothing is saved any more" state_of 3
on A test ! -e /var/lib/libvirt/qemu/save/g1.save || fail "the saved memory is still there"
ok "turned off: what was saved is discarded"
"$guest" start "$dir" A g1 >/dev/null

# ---- the listener moves ----
on B sh -c 'exec 9<>/dev/null; python3 -c "
import socket, time
s = socket.socket(socket.AF_INET6); s.bind((\"::\", 9444)); s.listen(1)
open(\"/run/taken\", \"w\").close(); time.sleep(600)" & echo $! >/run/taker.pid' </dev/null >/dev/null 2>&1 &
wait_for 30 "a port is taken" test -e "$dir/B/run/taken"
refused B 1 '9444.*(in use|taken)' server --port 9444
[ "$(server B HttpsPort)" = 8443 ] || fail "a port that is taken was noted"
vr A --quiet check hostb
vr B --quiet server --port 9443
knows() { [ "$(vr A --json peers | jq -r '.[0].Port')" = "$1" ]; }
wait_for 60 "hosta learns the new port" knows 9443
refused A 1 'nothing listens at .* port 8443' check hostb --port 8443
vr A --quiet check hostb
wait_points B g1 1
ok "the listener moved to port 9443, replication goes on"
vr A --quiet set g1 --port 9998
fails() { grep -qE "$1" <<<"$(status A g1 LastError)"; }
wait_for 60 "hosta connects where the settings say" fails 9998
vr A --quiet set g1 --port 9443
wait_points B g1 1
ok "a wrong port is told, the right one puts it in order"

# Nobody is left behind: hosta is away while hostb moves again.
"$daemon" stop "$dir" A
vr B --quiet server --port 9445
"$daemon" start "$dir" A
wait_for 90 "hosta learns the port of a host that moved while it was away" knows 9445
vr B --quiet server --port 9443
wait_for 60 "hosta learns the port" knows 9443
wait_points B g1 1
ok "a host that was away learns the port"

# ---- the listener closes ----
vr B --quiet server --receive no
[ "$(server B AllowedAuthenticationType)" = 0 ] || fail "an authentication type of a host that receives nothing"
refused A 1 'nothing listens at .* port 9443.*RecoveryServerEnabled' check hostb
refused B 1 'does not listen.*--receive yes' pair
wait_for 60 "hosta notices" fails 'refused|9443'
"$daemon" stop "$dir" B
"$daemon" start "$dir" B
refused A 1 'nothing listens' check hostb
[ "$(server B HttpsPort)" = 9443 ] || fail "the port did not survive a restart"
[ "$(server B MonitoringInterval)" = 21600 ] || fail "the window did not survive a restart"
[ "$(vr B --json allow | jq -r '.[].AllowedPrimaryHostSystem')" = '*' ] || fail "the entry did not survive a restart"
vr B --quiet server --receive yes
vr A --quiet check hostb
wait_points B g1 1
check_points B g1
ok "closed over a restart, open again: replication went on by itself"

# ---- there and back: an entry of somebody else on the old primary keeps nobody from reversing ----
vr A --quiet allow other.example --storage /srv/other --group red
vr B --quiet failover g1 --planned --no-start
vr B --quiet reverse g1
wait_state B g1 replicating
wait_points A g1 1
check_points A g1
refused B 1 'no authorization entry.*hostb' check hosta
"$daemon" stop "$dir" A
"$daemon" start "$dir" A
vr B --quiet sync g1
vr B --quiet failover g1 --planned --no-start
vr A --quiet reverse g1
wait_state A g1 replicating
vr A --quiet deny other.example
ok "reversed without an entry, and home again; the entries count for all else"

# ---- another certificate ----
"$daemon" stop "$dir" B
rm -f "$dir"/B/var/lib/vmreplica/host.crt "$dir"/B/var/lib/vmreplica/host.key
"$daemon" start "$dir" B
refused A 1 'another certificate.*pair again' check hostb
pair_hosts_again() {
    local code
    code=$(vr B --json pair | jq -r .Code)
    vr A --quiet pair 10.99.0.2:9443 --code "$code"
}
pair_hosts_again
vr A --quiet check hostb
vr A --quiet resume g1
wait_points B g1 1
ok "a host with a new certificate, paired again"
