# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the tests share that count how much of a disk is read, of machine g1 with disk vda. To be sourced
# after lib.sh.

disk_of() {
    virsh_on "$1" domblklist g1 | awk '$1 == "vda" { print $2 }'
}

qemu_pid() {
    cat "$dir/$1/run/libvirt/qemu/g1.pid"
}

# bytes_read HOST: by the machine's QEMU, from whatever, since it runs
bytes_read() {
    on "$1" awk '$1 == "rchar:" { print $2 }' "/proc/$(qemu_pid "$1")/io"
}

# read_by_daemon HOST: by vmreplicad there and by the programs that it started and that have ended
read_by_daemon() {
    on "$1" awk '$1 == "rchar:" { print $2 }' "/proc/$("$daemon" pid "$dir" "$1")/io"
}

kill_qemu() {
    on "$1" kill -9 "$(qemu_pid "$1")"
    wait_for 60 "libvirt sees that QEMU is gone" domain_off "$1" g1
    known_off "$1" g1
}

# boot HOST: start the machine there again
boot() {
    "$guest" start "$dir" "$1" g1 >/dev/null
    "$guest" wait-tick "$dir" "$1" g1 4 >/dev/null
}

fail_over_to() {
    local size
    size=$(stat -c %s "$("$guest" log "$dir" "$1" g1)" 2>/dev/null || echo 0)
    vr "$1" --quiet failover g1
    "$guest" wait-line "$dir" "$1" g1 90 '^VMR boot' "$size" >/dev/null
    "$guest" wait-tick "$dir" "$1" g1 4 >/dev/null
}

no_copies() {
    mkdir -p "$dir/$1/var/log/oracle"
    : >"$dir/$1/var/log/oracle/off"
}

copies_again() {
    rm "$dir/$1/var/log/oracle/off"
}

# allocated HOST: bytes that the machine's disk there holds itself, beyond what lies below it
allocated() {
    on "$1" qemu-img map -U --output=json "$(disk_of "$1")" |
        jq '[.[] | select(.depth == 0) | .length] | add // 0'
}

# equal REPLICA: the newest point holds what its instant's copy holds, and so does every other point that has
# a copy.
equal() {
    local id target format path copy got last=''
    while read -r id target format path; do
        copy=$(oracle_of "$uuid" "$id")
        last=$copy
        [ -n "$copy" ] || continue
        got=0
        compare_point "$1" "$uuid" "$id" "$target" "$format" "$path" "$copy" || got=$?
        [ $got != 1 ] ||
            fail "point $id: $path differs from the primary's bytes of that instant"
    done < <(point_files "$1" "$uuid")
    [ -n "$last" ] || fail "the newest point has no copy"
}
