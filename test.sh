#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Install what is missing, build, run every test. The last line of the output is always
#   N passed, N failed, N skipped
# and the exit status is 0 only when nothing failed.
#
#   ./test.sh [--unit] [--system] [--only PATTERN] [--list]
#     --unit          unit tests only: the plain build and the one with ASan and UBSan
#     --system        system tests only: tests/sim and tests/system, with real daemons and machines
#     --only PATTERN  only tests whose name matches the extended regular expression
#     --list          print the names, run nothing
#
# Environment: BUILD_DIR (default ./build; the sanitizers' build is $BUILD_DIR-asan), JOBS,
# VMR_SLOTS (scripts at a time; default: the number of processors, and one more if the memory is there),
# VMR_TEST_SECONDS (limit for one of them, default 2400), VMR_NO_INSTALL=1 (never install); those of
# tests/system/lib.sh: VMR_PATIENCE (by which limits are multiplied that end a test that hangs, default 5),
# VMR_QUIET=1 (nothing else runs: what is promised of times is asserted, too).
#
# Scripts spend much of their time waiting. What they leave of the processors goes to the unit tests and
# the build with sanitizers, which run beside them with a lower priority.
set -uo pipefail

cd "$(dirname "$0")" || exit 1
tree=$PWD
exec </dev/null

unit=1 system=1 only='' list=''
while [ $# -gt 0 ]; do
    case $1 in
    --unit) system='' ;;
    --system) unit='' ;;
    --list) list=1 ;;
    --only)
        [ $# -ge 2 ] || {
            echo "test.sh: --only needs a pattern" >&2
            exit 2
        }
        only=$2
        shift
        ;;
    *)
        sed -n '3,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
    esac
    shift
done

build=${BUILD_DIR:-$tree/build}
jobs=${JOBS:-$(nproc)}
limit=${VMR_TEST_SECONDS:-2400}
# A script has two or three hosts with a machine or two on each; the unit tests and the fuzzers need some, too.
lab_mib=1536
memory_mib=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo) / 1024))
slots=${VMR_SLOTS:-$(($(nproc) + (memory_mib >= (jobs + 3) * lab_mib ? 1 : 0)))}
# The scripts that take longest (80 s and more of a whole test), longest first: one of them begun last would run alone in the end.
longest=(crash hv crashback resync verify network power rounds suspend diskset testfailover fuzz killedback splitbrain demo ways changes
    disaster points cmdlets restart disks tsan soon killed clock hung service)
scripts=()
passed=0 failed=0 skipped=0
tally= # where results are noted that a part of this script finds beside the rest
failures=() # what is told of them once more at the end, where it is looked for first

finish() {
    if [ ${#failures[@]} -gt 0 ]; then
        echo "---- what failed"
        printf '%s\n' "${failures[@]}"
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

wanted() {
    [ -z "$only" ] || [[ $1 =~ $only ]]
}

# result NAME WORD [SECONDS] [WHY]
result() {
    [ -z "$tally" ] || echo "$2" >>"$tally"
    case $2 in
    passed) passed=$((passed + 1)) ;;
    failed)
        failed=$((failed + 1))
        failures+=("$1: ${4:-}")
        ;;
    skipped) skipped=$((skipped + 1)) ;;
    esac
    printf '%-8s %s%s%s\n' "$2" "$1" "${3:+ (${3}s)}" "${4:+: $4}"
}

excerpt() {
    echo "---- the end of $1"
    tail -n "${2:-60}" "$1"
    echo "----"
}

# configure DIR OPTIONS...: set a build folder up, or once more when it is of no use any longer.
configure() {
    local dir=$1
    shift
    if [ -e "$dir/build.ninja" ]; then
        return 0
    fi
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    meson setup "$dir" "$tree" "$@" >"$dir.log" 2>&1
}

# compile NAME DIR OPTIONS...
compile() {
    local name=$1 dir=$2 began=$SECONDS
    shift 2
    if configure "$dir" "$@" && ninja -C "$dir" -j "$jobs" >"$dir.log" 2>&1; then
        echo "built    $name ($((SECONDS - began))s)"
        return 0
    fi
    # A folder made by another version of the tree or of meson may be beyond repair: start afresh,
    # unless it is the compiler that objects.
    if ! grep -q '^FAILED: .*\.o' "$dir.log" && rm -rf "$dir" && configure "$dir" "$@" && ninja -C "$dir" -j "$jobs" >"$dir.log" 2>&1; then
        echo "built    $name ($((SECONDS - began))s)"
        return 0
    fi
    excerpt "$dir.log"
    result "$name" failed $((SECONDS - began)) "does not build"
    return 1
}

# Names of the meson tests of a build folder, those that --only asks for.
meson_names() {
    meson introspect --tests "$1" | jq -r '.[].name' | sort -u | while read -r name; do
        if wanted "$name"; then echo "$name"; fi
    done
}

# run_meson NAME DIR: run its tests, count them from meson's own log.
run_meson() {
    local name=$1 dir=$2 log=$2/meson-logs/testlog.json word test seconds
    local -a names
    mapfile -t names < <(meson_names "$dir")
    if [ ${#names[@]} -eq 0 ]; then
        return 0
    fi
    if [ -n "$list" ]; then
        printf "$name/%s\n" "${names[@]}"
        return 0
    fi
    rm -f "$log"
    # With what others leave of the processors a test takes longer: its limit is there for one that hangs.
    meson test -C "$dir" --no-rebuild --timeout-multiplier 10 --num-processes "$jobs" "${names[@]}" >"$dir.log" 2>&1
    if [ ! -s "$log" ]; then
        excerpt "$dir.log"
        result "$name" failed '' "meson test wrote no log"
        return 0
    fi
    while IFS=$'\t' read -r word test seconds; do
        case $word in
        OK | EXPECTEDFAIL) result "$name/${test##* / }" passed "$seconds" ;;
        SKIP) result "$name/${test##* / }" skipped "$seconds" "$(skip_reason "$log" "$test")" ;;
        *)
            jq -r --arg t "$test" 'select(.name == $t) | (.stdout // ""), (.stderr // "")' "$log" |
                tail -n 60
            result "$name/${test##* / }" failed "$seconds" "$word"
            ;;
        esac
    done < <(jq -r '[.result, .name, (.duration * 10 | round / 10 | tostring)] | @tsv' "$log")
}

skip_reason() {
    jq -r --arg t "$2" 'select(.name == $t) | (.stdout // ""), (.stderr // "")' "$1" |
        grep -v '^ *$' | tail -n 1
}

# units: the unit tests, then the same with sanitizers.
units() {
    run_meson unit "$build"
    # With the other compiler: both build everything.
    if CC=clang compile build-asan "$build-asan" -Db_sanitize=address,undefined -Db_lundef=false; then
        export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1}
        export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
        run_meson asan "$build-asan"
        unset ASAN_OPTIONS UBSAN_OPTIONS
    fi
}

# units_over FILE: show what they found, and count it.
units_over() {
    local name why
    cat "$1"
    passed=$((passed + $(grep -c -x passed "$1.tally")))
    failed=$((failed + $(grep -c -x failed "$1.tally")))
    skipped=$((skipped + $(grep -c -x skipped "$1.tally")))
    while read -r _ name why; do failures+=("$name $why"); done < <(grep '^failed ' "$1")
    rm -f "$1" "$1.tally"
}

# script_log NAME: where the output of a script goes.
script_log() {
    echo "$build/system-logs/$(basename "$1").log"
}

# why_failed LOG: the line that tells it.
why_failed() {
    {
        grep -a -m 1 -E '^(\[.*\] )?FAILED: ' "$1" || grep -a -m 1 '^exit status ' "$1" || tail -n 1 "$1"
    } | cut -c 1-800
}

# script_over NAME STATUS SECONDS: exit status 0 is passed, 77 is skipped, its last line says why.
script_over() {
    local log
    log=$(script_log "$1")
    case $2 in
    0) result "$1" passed "$3" ;;
    77) result "$1" skipped "$3" "$(grep -v '^ *$' "$log" | tail -n 1)" ;;
    124 | 137)
        excerpt "$log"
        result "$1" failed "$3" "not done within $limit s: $(why_failed "$log")"
        ;;
    *)
        excerpt "$log"
        result "$1" failed "$3" "exit status $2: $(why_failed "$log")"
        ;;
    esac
}

# What is under way: process id -> name, and when each began. units_pid: one of them, when it runs.
declare -A running=() began=()
units_pid=

# wait_script: until one of them is over.
wait_script() {
    local pid='' status
    wait -n -p pid "${!running[@]}"
    status=$?
    if [ "$pid" = "$units_pid" ]; then
        units_pid=
        unset "running[$pid]" "began[$pid]"
        units_over "$build/units.out"
        return
    fi
    script_over "${running[$pid]}" "$status" $((SECONDS - began[$pid]))
    unset "running[$pid]" "began[$pid]"
}

# in_order FILE...: the same, those that take longest first.
in_order() {
    local name file
    for name in "${longest[@]}"; do
        for file in "$@"; do
            [ "${file##*/}" != "$name.test.sh" ] || echo "$file"
        done
    done
    for file in "$@"; do
        name=${file##*/}
        [[ " ${longest[*]} " == *" ${name%.test.sh} "* ]] || echo "$file"
    done
}

# run_scripts FILE...: as many at a time as VMR_SLOTS says. Each has a lab of its own, and spends much
# of its time waiting.
run_scripts() {
    local file name
    mkdir -p "$build/system-logs"
    for file in "$@"; do
        [ -x "$file" ] || continue
        name=${file#tests/}
        name=${name%.test.sh}
        wanted "$name" || continue
        if [ -n "$list" ]; then
            echo "$name"
            continue
        fi
        while [ $((${#running[@]} - (${units_pid:-0} != 0))) -ge "$slots" ]; do wait_script; done
        VMR_TREE=$tree VMR_BUILD=$build timeout -k 20 "$limit" "$tree/$file" \
            >"$(script_log "$name")" 2>&1 &
        running[$!]=$name
        began[$!]=$SECONDS
    done
    while [ ${#running[@]} -gt 0 ]; do wait_script; done
}

if [ -z "${VMR_NO_INSTALL:-}" ] && ! packaging/install-packages.sh >"${TMPDIR:-/tmp}/vmr-install.$$" 2>&1; then
    excerpt "${TMPDIR:-/tmp}/vmr-install.$$"
    rm -f "${TMPDIR:-/tmp}/vmr-install.$$"
    result packages failed '' "cannot be installed"
    finish
fi
rm -f "${TMPDIR:-/tmp}/vmr-install.$$"

compile build "$build" || finish

if [ -n "$unit" ]; then
    scripts+=(tests/checks/*.test.sh)
fi
if [ -n "$system" ]; then
    scripts+=(tests/system/*.test.sh tests/sim/*.test.sh)
fi
if [ -n "$unit" ] && [ -n "$list$only" ]; then
    units
elif [ -n "$unit" ]; then
    tally=$build/units.out.tally
    : >"$tally"
    (
        renice -n 10 "$BASHPID" >/dev/null
        units
    ) >"$build/units.out" 2>&1 &
    tally=
    units_pid=$!
    running[$!]=units
    began[$!]=$SECONDS
fi
mapfile -t scripts < <(in_order "${scripts[@]}")
run_scripts "${scripts[@]}"

[ -z "$list" ] || exit 0
if [ $((passed + failed + skipped)) -eq 0 ]; then
    result tests failed '' "none matches ${only:-anything}"
fi
finish
