#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# capture_hook of vmreplicad in the tests: while an instant is held, copy the primary's disks byte
# for byte, with another program than the daemon, to
# /var/log/oracle/MACHINE/LINEAGE-EPOCH/TARGET.raw.
# Whatever the replica later lists as a point is compared with these.
# While /var/log/oracle/hold exists, the instant stays held after that (at most 7 minutes: the daemon ends a hook after 10).
# Arguments: MACHINE LINEAGE EPOCH [TARGET SOCKET EXPORT]...
set -euo pipefail

folder=/var/log/oracle
name=$1/$2-$3
mkdir -p "$folder/$1"
shift 3
[ ! -e "$folder/off" ] || exit 0
work=$folder/.new.$$
mkdir "$work"
trap 'rm -rf "$work"' EXIT
while [ $# -ge 3 ]; do
    nbdcopy "nbd+unix:///$3?socket=$2" "$work/$1.raw"
    shift 3
done
rm -rf "${folder:?}/$name"
mv "$work" "$folder/$name"
for _ in $(seq 4000); do
    [ -e "$folder/hold" ] || break
    : >"$folder/held"
    sleep 0.1
done
