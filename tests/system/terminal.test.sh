#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# vmreplica as somebody sees it who sits at a terminal: bars that grow, a status that is drawn anew,
# Ctrl-C that leaves the work alone, and questions: whoever does not type "yes" has changed nothing.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up bandwidth=1 # what is looked at in the initial copy has half a minute
pair_hosts
"$guest" create "$dir" A g1 --fill 32
"$guest" start "$dir" A g1 >/dev/null
vr A --quiet enable g1 --to hostb --interval 5

# at HOST STATUS [REGEX KEYS]... -- ARGS...: vmreplica at a terminal, what it showed is in $dir/seen
at() {
    local host=$1 expected=$2 got=0 keys=()
    shift 2
    while [ "$1" != -- ]; do
        keys+=("$1")
        shift
    done
    shift
    on "$host" env TERM=xterm "$tree/tests/lab/terminal.py" "${keys[@]}" -- "$build/src/cli/vmreplica" "$@" >"$dir/seen" || got=$?
    [ $got = "$expected" ] || fail "vmreplica $* at a terminal: exit status $got, not $expected: $(cat -v "$dir/seen")"
}
shown() {
    tr '\r' '\n' <"$dir/seen"
}

# ---- a bar grows; Ctrl-C leaves the job, and it can be seen again ----
at A 130 '\] +[2-6][0-9] %' ^C -- start g1
bars=$(shown | grep -cE '^Initial copy \[#*\.+\] +[0-9]+ %$') || :
[ "$bars" -ge 3 ] || fail "there is no bar that grows: $(cat -v "$dir/seen")"
shown | awk -F'[][]' '/^Initial copy/ { n = gsub("#", "", $2); if (n < last) exit 1; last = n }' || fail "the bar shrinks: $(cat -v "$dir/seen")"
job=$(shown | sed -n 's/^The job goes on. To follow it: vmreplica jobs \([^ ]*\)$/\1/p')
[ -n "$job" ] || fail "after Ctrl-C it says: $(cat -v "$dir/seen")"
is_state A g1 "initial copy" || fail "Ctrl-C ended the job: $(status A g1 State)"
ok "$bars bars were drawn; Ctrl-C: vmreplica jobs $job"

# ---- the status is drawn anew, until Ctrl-C ----
at A 0 'g1.*initial copy[\s\S]*\x1b\[H\x1b\[2J[\s\S]*g1.*initial copy[\s\S]*\x1b\[H' ^C -- status --watch
grep -q 'MiB of .* MiB (' "$dir/seen" || fail "--watch does not show how far it is: $(cat -v "$dir/seen")"
[ "$(grep -o 'MiB of [^ ]* MiB ([0-9]* %)' "$dir/seen" | sort -u | wc -l)" -ge 2 ] || fail "--watch shows always the same: $(cat -v "$dir/seen")"
ok "status --watch is drawn anew: $(grep -o '[^ ]* MiB of [^ ]* MiB ([0-9]* %)' "$dir/seen" | tail -n 1)"

# ---- the job that was left is followed to its end ----
at A 0 -- jobs "$job"
shown | seen -E '\[#{32}\] +100 %$' || fail "the bar does not come to its end: $(cat -v "$dir/seen")"
wait_state A g1 replicating
wait_points B g1 1
ok "the job was followed to its end: $(shown | grep . | tail -n 1)"

# ---- nobody at a terminal: lines, no bar ----
vr A resync g1 >"$dir/seen" 2>&1
grep -q $'[\r\033]' "$dir/seen" && fail "a bar is drawn into a file: $(cat -v "$dir/seen")"
grep -qE '^Resynchronisation: 100 %$' "$dir/seen" || fail "no lines of progress: $(cat "$dir/seen")"
ok "without a terminal: $(tail -n 1 "$dir/seen")"
wait_state A g1 replicating

# ---- a failover while the machine runs at the primary: asked, and "no" changes nothing ----
unchanged() {
    is_state B g1 replicating || fail "$1 changed the state: $(status B g1 State)"
    domain_off B g1 || fail "$1 started the machine"
    [ "$(virsh_on A domstate g1)" = running ] || fail "$1 stopped the machine on hosta"
    [ "$(vr B --json jobs | jq '[.[] | select(.JobType == 97)] | length')" = 0 ] || fail "$1 began a job: $(vr B jobs)"
}
question='Type "yes" to make two copies of g1: '
at B 1 "$question" 'no\n' -- failover g1
grep -q 'nothing was changed' "$dir/seen" || fail "after no it says: $(cat -v "$dir/seen")"
unchanged no
at B 1 "$question" '\n' -- failover g1
unchanged "the return key"
at B 1 "$question" 'y\n' -- failover g1
unchanged y
at B 130 "$question" ^C -- failover g1
grep -q 'nothing was changed' "$dir/seen" || fail "after Ctrl-C it says: $(cat -v "$dir/seen")"
unchanged Ctrl-C
wait_points B g1 1
check_points B g1
ok "asked before a failover: no, nothing, y and Ctrl-C change nothing, and replication goes on"

# ---- yes is yes; and a commit asks again ----
at B 0 "$question" 'yes\n' -- failover g1
grep -q 'was failed over and is started' "$dir/seen" || fail "after yes it says: $(cat -v "$dir/seen")"
[ "$(virsh_on B domstate g1)" = running ] || fail "the machine does not run on hostb"
at B 1 'Type "yes" to give it up: ' 'no\n' -- commit g1
grep -q 'nothing was changed' "$dir/seen" || fail "after no it says: $(cat -v "$dir/seen")"
is_state B g1 "failed over, waiting for completion" || fail "no to commit changed the state: $(status B g1 State)"
vr B --quiet cancel g1 --discard
wait_state B g1 replicating
wait_points B g1 1 180
check_points B g1
ok "yes to the failover, no to its commit; taken back, and replication goes on"
