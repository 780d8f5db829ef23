#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What only this host may read is readable by nobody else; the age of a point is counted from its instant, not
# from when it was there; and a host that shows another certificate than the one it was paired with gets
# nothing, and status says what to do.
. "$(dirname "$0")/lib.sh"
system_begin
hosts_up
pair_hosts
"$guest" create "$dir" A g1 --fill 4
"$guest" start "$dir" A g1 >/dev/null
protect g1
wait_points B g1 1

# ---- who may read what the daemon makes ----
# Nobody but root writes anything of it, except QEMU's own user its images; others pass through folders and
# read nothing that is secret.
for host in A B; do
    # A file may go while it is listed: find minds that.
    on $host find /var/lib/vmreplica /run/vmreplica -printf '%m %u %y %p\n' >"$dir/modes" 2>/dev/null || :
    [ "$(wc -l <"$dir/modes")" -ge 8 ] || fail "the daemon of $host made nothing: $(cat "$dir/modes")"
    bad=$(awk '$3 != "l" && $3 != "s" && substr($1, length($1)) ~ /[2367]/' "$dir/modes")
    [ -z "$bad" ] || fail "anybody may write on $(host_name $host): $bad"
    bad=$(awk '$3 == "f" && $4 !~ /\.pid$|host\.crt$|guard/ && substr($1, length($1)) != 0' "$dir/modes")
    [ -z "$bad" ] || fail "anybody may read on $(host_name $host): $bad"
    bad=$(awk -v u="${VMR_QEMU_USER:-root}" '$2 != "root" && $2 != u' "$dir/modes")
    [ -z "$bad" ] || fail "somebody else owns on $(host_name $host): $bad"
    for file in host.key state.db; do
        [ "$(on $host stat -c %a /var/lib/vmreplica/$file)" = 600 ] || fail "$file of $(host_name $host): $(on $host ls -l /var/lib/vmreplica/$file)"
    done
    # what somebody else can really open
    on $host setpriv --reuid nobody --regid nogroup --clear-groups find /var/lib/vmreplica /run/vmreplica -type f -readable \
        >"$dir/readable" 2>/dev/null || :
    bad=$(grep -vE '\.pid$|/host\.crt$|/guard' "$dir/readable" || :)
    [ -z "$bad" ] || fail "nobody (the user) can read on $(host_name $host): $bad"
done
ok "$(wc -l <"$dir/modes") files and folders: nobody else reads or writes them"

# ---- the age of a point is that of its instant ----
vr A --quiet set g1 --interval 3600
vr A --quiet sync g1 # when it is over nothing is under way for an hour
oracle_hold A
vr A --quiet sync g1 &
syncing=$!
wait_for 60 "the instant is held" oracle_held A
from=$(date +%s)
held_long() { [ $(($(date +%s) - from)) -ge 11 ]; } # whole seconds: 10 of them are over
wait_for 60 "it is held for ten seconds" held_long
oracle_release A
wait $syncing
for host in A B; do
    age=$(status $host g1 DataAgeSeconds)
    [ "$age" -ge 10 ] || fail "the newest point is of an instant 10 s ago, but $(host_name $host) says that it is $age s old"
done
check_points B g1
ok "a point whose instant was held for 10 s is $age s old when it is there"

# ---- another certificate ----
vr A --quiet set g1 --interval 5
"$daemon" stop "$dir" B
on B sh -c 'cd /var/lib/vmreplica && cp -p host.crt /run/old.crt && cp -p host.key /run/old.key && umask 077 &&
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout host.key -out host.crt -subj /CN=hostb -days 30 2>/dev/null'
"$daemon" start "$dir" B
have=$(n_points B g1)
says() { vr A status g1 | grep -qiE "hostb.*certificate"; }
wait_for 60 "status of hosta tells of the certificate" says
wait_state A g1 error
vr A explain g1 | seen -iE 'pair (it |them |the hosts )?again|vmreplica pair|unpair' || fail "hosta does not say what to do: $(vr A explain g1)"
refused A 1 'certificate' check hostb
[ "$(n_points B g1)" = "$have" ] || fail "a host with another certificate got a point"
ok "another certificate: $(vr A status g1 | grep -ioE '[^.]*certificate[^.]*' | head -n 1)"
"$daemon" stop "$dir" B
on B sh -c 'cd /var/lib/vmreplica && cp -p /run/old.crt host.crt && cp -p /run/old.key host.key'
"$daemon" start "$dir" B
wait_points B g1 1 180
check_points B g1
! says || fail "hosta still tells of a certificate: $(vr A status g1)"
ok "with its own certificate again, replication goes on by itself"
