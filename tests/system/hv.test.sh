#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The hypervisor adapter against a real libvirtd and a running guest: brings up one host of the lab
# with one guest and runs test-hv-lab inside.
#   hv.test.sh [FILTER]     FILTER: names of tests, with wildcards
# Environment: VMR_BUILD, the build folder (default: build beside tests).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
lab=$here/../lab/lab.sh
guest=$here/../lab/guest.sh
program=$(realpath "${VMR_BUILD:-$here/../../build}/src/hypervisor/test-hv-lab")
if [ "$(id -u)" != 0 ]; then
    echo "the lab needs root"
    exit 77
fi
if [ ! -x "$program" ]; then
    echo "$program is not built"
    exit 77
fi
dir=$(mktemp -d /tmp/vmr-hv-test.XXXXXX)
trap '"$lab" down "$dir"' EXIT
"$lab" up "$dir" A
"$lab" start-libvirtd "$dir" A
"$guest" create "$dir" A g1 --disks 2 --tick-ms 100 --size 64M
result=0
"$lab" exec "$dir" A "$program" g1 "$@" || result=$?
if [ $result != 0 ]; then
    tail -n 20 "$dir/A/var/log/libvirt/libvirtd.log" >&2 || :
fi
exit $result
