#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The tests of the parts where threads meet, under ThreadSanitizer: mailbox and executor, peer
# sessions and streams, the transfer pipelines, logins.
set -euo pipefail

tree=${VMR_TREE:-$(cd "$(dirname "$0")/../.." && pwd)}
tsan=${VMR_TSAN_BUILD:-${VMR_BUILD:-$tree/build}-tsan}
programs=(src/base/test-base src/transport/test-xport src/transport/test-stream
    src/transfer/test-xfer src/transfer/test-xfer-compare src/wsman/test-login)

cd "$tree"
if [ ! -e "$tsan/build.ninja" ]; then
    meson setup "$tsan" -Db_sanitize=thread -Db_lundef=false >/dev/null
fi
ninja -C "$tsan" "${programs[@]}" >"$tsan/tsan-build.log" 2>&1 || {
    tail -n 30 "$tsan/tsan-build.log"
    exit 1
}
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
for t in "${programs[@]}"; do
    if ! "$tsan/$t" >"$tsan/$(basename "$t").log" 2>&1; then
        echo "FAILED: $t"
        grep -v '^\[ *\(RUN\|OK\)' "$tsan/$(basename "$t").log" | tail -n 40
        exit 1
    fi
    echo "ok: $(basename "$t")"
done
echo "${#programs[@]} programs without a data race"
