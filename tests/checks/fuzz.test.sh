#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Every parser that reads what others send, fuzzed for a bounded time (VMR_FUZZ_SECONDS each,
# default 6; five times as long where each input is a whole host), starting from the golden exchanges. A crash, a leak or undefined behaviour fails; the
# input is kept in build-fuzz.
set -euo pipefail

tree=${VMR_TREE:-$(cd "$(dirname "$0")/../.." && pwd)}
seconds=${VMR_FUZZ_SECONDS:-6}
fuzz=${VMR_FUZZ_BUILD:-${VMR_BUILD:-$tree/build}-fuzz}

command -v clang >/dev/null || {
    echo "clang is not installed"
    exit 77
}
cd "$tree"
if [ ! -e "$fuzz/build.ninja" ]; then
    CC=clang meson setup "$fuzz" -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args=-fsanitize=fuzzer-no-link >/dev/null
fi
targets=()
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    targets+=("tests/fuzz/$name")
done
ninja -C "$fuzz" "${targets[@]}" >"$fuzz/fuzz-build.log" 2>&1 || {
    tail -n 30 "$fuzz/fuzz-build.log"
    exit 1
}

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
status=0
for target in "${targets[@]}"; do
    name=$(basename "$target")
    corpus=$fuzz/corpus/$name
    mkdir -p "$corpus"
    case $name in
    fuzz_soap | fuzz_xml) cp -n tests/wsman/*.xml "$corpus/" 2>/dev/null || : ;;
    fuzz_cimxml | fuzz_path | fuzz_calls)
        tests/fuzz/seeds.py "${name#fuzz_}" "$corpus" tests/exchanges/golden/*.txt tests/wsman/*.xml >/dev/null
        ;;
    esac
    time=$seconds
    if [ "$name" = fuzz_calls ]; then time=$((seconds * 5)); fi
    if [ -d "tests/fuzz/corpus/$name" ]; then cp -n "tests/fuzz/corpus/$name"/* "$corpus/"; fi
    if "$fuzz/$target" -max_total_time="$time" -max_len=65536 -rss_limit_mb=2048 -timeout=120 \
        -artifact_prefix="$fuzz/$name-" "$corpus" >"$fuzz/$name.log" 2>&1; then
        echo "ok: $name: $(grep -c '' <(ls "$corpus")) inputs kept, $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$fuzz/$name.log") runs"
    else
        echo "FAILED: $name"
        tail -n 25 "$fuzz/$name.log"
        status=1
    fi
done
exit $status
