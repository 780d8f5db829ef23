#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What users wait for, in the lab with real machines, each time with its limit: failovers of a host that
# crashed, is cut off or hangs, of 1 TiB with some 50 points (and `virsh start` of the same machine to compare
# with), beside a held merge, verification and reception; and the demo. As root, on a machine that has nothing
# else to do. These are the system tests themselves, which assert no times when ./test.sh runs them.
# Usage: bench/failover.sh
# The exit status is not 0 when a limit was missed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
status=0
VMR_QUIET=1 VMR_SLOTS=1 "$root/test.sh" --system --only '^system/(soon|disaster|splitbrain|held|silent|demo)$' || status=$?
for name in soon disaster splitbrain held silent demo; do
    sed -n "s/^.*ok: \(.*: [0-9]* ms\)$/$name: \1/p" "${BUILD_DIR:-$root/build}/system-logs/$name.log"
done
exit $status
