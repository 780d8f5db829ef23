#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The management interface of a host with 1,000 machines: no goal of docs/wsman.md that a client sees is
# missed by more than twice. Whoever else uses the processors makes it slower: the best of three counts.
set -euo pipefail
tree=${VMR_TREE:-$(cd "$(dirname "$0")/../.." && pwd)}
bench=${VMR_BUILD:-$tree/build}/bench/cimbench
[ -x "$bench" ] || {
    echo "there is no $bench"
    exit 77
}
for try in 1 2 3; do
    if "$bench" --check; then exit 0; fi
    echo "---- that was attempt $try"
done
exit 1
