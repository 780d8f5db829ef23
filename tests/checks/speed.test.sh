#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The management interface of a host with 1,000 machines: no goal of docs/wsman.md that a client sees is
# missed by more than twice, of a host that is pretended and (as root) of a daemon with a real libvirtd, over
# TLS and Kerberos. Whoever else uses the processors makes it slower: the best of three counts.
set -euo pipefail
tree=${VMR_TREE:-$(cd "$(dirname "$0")/../.." && pwd)}
bench=${VMR_BUILD:-$tree/build}/bench/cimbench
[ -x "$bench" ] || {
    echo "there is no $bench"
    exit 77
}
best_of_three() {
    local try got
    for try in 1 2 3; do
        got=0
        "$@" || got=$?
        if [ $got = 0 ] || [ $got = 77 ]; then return 0; fi
        echo "---- that was attempt $try"
    done
    exit 1
}
best_of_three "$bench" --check
if [ "$(id -u)" = 0 ]; then best_of_three "$tree/bench/management.sh" --check; fi
