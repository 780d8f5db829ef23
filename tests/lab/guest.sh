#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The guest of the lab: a real Linux kernel whose process 1 (guest.c) writes to its disks without
# end and checks at each start all that it ever wrote. Needs a lab (lab.sh) with libvirtd running.
#
#   guest.sh build                        kernel, initramfs and checker into the cache
#   guest.sh create DIR HOST NAME [--disks N] [--size 256M] [--tick-ms N] [--kib N] [--slots N]
#                    [--fill MIB] [--raw D] [--agent]   make the disks and define the machine; MIB of
#                                         other data on each, which nobody changes and no one can
#                                         compress; disk number D is raw, in a file of the same name
#                                         as the others; with the real qemu-guest-agent in it
#   guest.sh start DIR HOST NAME          and wait until it has booted and checked its disks
#   guest.sh shutdown DIR HOST NAME [S]   orderly, within S seconds (default 60)
#   guest.sh destroy DIR HOST NAME        the hard way
#   guest.sh undefine DIR HOST NAME       forget machine and disks
#   guest.sh wait-line DIR HOST NAME S REGEX [FROM]   wait at most S seconds for a line of its console
#                                         beyond byte FROM (default 0) to match; print it
#   guest.sh wait-tick DIR HOST NAME N [S]     wait until it has done N ticks more than now
#   guest.sh tick DIR HOST NAME           print the last tick of the console
#   guest.sh log DIR HOST NAME            print the path of the console's log
#   guest.sh state DIR HOST NAME          libvirt's word for its state
#   guest.sh wait-agent DIR HOST NAME [S] until its agent answers
#   guest.sh stall DIR HOST NAME S        its agent stops for S seconds, in a second from now; "kill":
#                                         it dies
#   guest.sh check DIR HOST IMAGE...      check the disks of a machine that is off (or points of it,
#                                         or NBD URIs that can be reached from the host):
#                                         prints "VMR verify ok files=N counter=N journal=clean|used"
#   guest.sh counter DIR HOST IMAGE...    the same, but prints only the counter
#
# Lines on the console: "VMR verify ok files=N counter=N" or "VMR verify BAD ...", "VMR boot
# counter=N", "VMR tick N", "VMR power button counter=N", "VMR halted clean".
# Environment: VMR_LAB_CACHE (default /var/cache/vmreplica-lab); VMR_KVM=0 or 1 instead of probing;
# VMR_PATIENCE (default 5), by which every limit in seconds is multiplied on a busy machine.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${VMR_LAB_CACHE:-/var/cache/vmreplica-lab}
lab=$here/lab.sh
patience=${VMR_PATIENCE:-5}
# What the kernel need not do here: a fifth of the processor time of a boot without KVM. It does not check its timer,
# either: when QEMU gets no processor time just then, it takes the timer for broken ("MP-BIOS bug") and hangs.
bare='no_timer_check cryptomgr.notests noreplace-smp mitigations=off apparmor=0 audit=0 ipv6.disable=1'
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk
    button evdev virtio_console)

die() {
    echo "guest: $*" >&2
    exit 1
}

on() {
    "$lab" exec "$@"
}

virsh_on() {
    local dir=$1 host=$2
    shift 2
    on "$dir" "$host" virsh -q -c qemu:///system "$@"
}

kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n1
}

# Unpack the kernel's package, without installing it, into $1/kernel.
fetch_kernel() {
    local work=$1 package
    package=$(kernel_package)
    mkdir -p "$work/deb"
    if [ -z "$package" ] || ! (cd "$work/deb" && apt-get download "$package" >/dev/null 2>"$work/apt.log"); then
        apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || :
        package=$(kernel_package)
        [ -n "$package" ] || die "no package linux-image-cloud-amd64 to be had"
        (cd "$work/deb" && apt-get download "$package" >/dev/null 2>"$work/apt.log") ||
            die "cannot download $package: $(cat "$work/apt.log")"
    fi
    dpkg-deb -x "$work"/deb/*.deb "$work/kernel"
}

# Unpack the guest agent's package into $1/agent.
fetch_agent() {
    local work=$1
    mkdir -p "$work/agent-deb" "$work/agent"
    if ! (cd "$work/agent-deb" && apt-get download qemu-guest-agent >/dev/null 2>"$work/apt.log"); then
        apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null 2>&1 || :
        (cd "$work/agent-deb" && apt-get download qemu-guest-agent >/dev/null 2>"$work/apt.log") ||
            die "cannot download qemu-guest-agent: $(cat "$work/apt.log")"
    fi
    dpkg-deb -x "$work"/agent-deb/*.deb "$work/agent"
}

# The initramfs of guests with an agent: the other one and, behind it, the agent with its libraries,
# which QEMU's packages have brought to this host. Others boot faster without.
make_agent_initramfs() {
    local work=$1 root=$1/agent-root file
    mkdir -p "$root"/{bin,sys,tmp,run}
    cp "$work/agent/usr/sbin/qemu-ga" "$root/bin/"
    ldd "$root/bin/qemu-ga" | sed -n 's/^[^/]*\(\/[^ ]*\) (.*/\1/p' | while read -r file; do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
    [ -e "$root"/lib64/ld-linux-x86-64.so.2 ] || die "the guest agent's libraries cannot be found"
    {
        cat "$work/initramfs.gz"
        (cd "$root" && find . | sort | cpio --quiet -o -H newc | gzip -1)
    } >"$work/initramfs-agent.gz"
}

make_initramfs() {
    local work=$1 root=$1/root name file
    mkdir -p "$root/modules" "$root/dev" "$root/proc"
    gcc -std=gnu17 -O2 -Wall -Wextra -static -o "$root/init" "$here/guest.c"
    for name in "${modules[@]}"; do
        file=$(find "$work/kernel/lib/modules" -name "$name.ko" -print -quit)
        [ -n "$file" ] || die "the kernel has no module $name"
        cp "$file" "$root/modules/"
        echo "$name.ko" >>"$root/modules/order"
    done
    (cd "$root" && find . | sort | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"
}

# Only for guests that have an agent: others need no such package.
build_agent() {
    local work
    build
    exec 9>"$cache/lock"
    flock 9
    if [ "$(cat "$cache/agent-stamp" 2>/dev/null)" != "$(cat "$cache/stamp")" ]; then
        work=$(mktemp -d "$cache/work.XXXXXX")
        # shellcheck disable=SC2064 # the value of now
        trap "rm -rf '$work'" EXIT
        ln "$cache/initramfs.gz" "$work/initramfs.gz"
        fetch_agent "$work"
        make_agent_initramfs "$work"
        mv "$work/initramfs-agent.gz" "$cache/"
        cp "$cache/stamp" "$cache/agent-stamp"
        rm -rf "$work"
        trap - EXIT
    fi
    exec 9>&-
}

# Does a machine boot under KVM here? The device may be there and not work.
probe_kvm() {
    local out=$1/probe.log
    [ -w /dev/kvm ] || return 1
    timeout 15 qemu-system-x86_64 -accel kvm -m 192 -nodefaults -display none -no-reboot \
        -kernel "$1/vmlinuz" -initrd "$1/initramfs.gz" -serial "file:$out" \
        -append "console=ttyS0 quiet panic=-1 vmr.disks=0" </dev/null >/dev/null 2>&1 &
    local pid=$! result=1
    for _ in $(seq 150); do
        if grep -q 'VMR boot' "$out" 2>/dev/null; then
            result=0
            break
        fi
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    kill $pid 2>/dev/null || :
    wait $pid 2>/dev/null || :
    return $result
}

build() {
    local work stamp
    stamp=$(cat "$here/guest.c" "$here/guest.sh" | sha256sum | cut -c1-16)
    [ "$(cat "$cache/stamp" 2>/dev/null)" != "$stamp" ] || return 0
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    if [ "$(cat "$cache/stamp" 2>/dev/null)" = "$stamp" ]; then
        exec 9>&-
        return 0
    fi
    work=$(mktemp -d "$cache/work.XXXXXX")
    # shellcheck disable=SC2064 # the value of now
    trap "rm -rf '$work'" EXIT
    if ! ls "$cache"/kernel/boot/vmlinuz-* >/dev/null 2>&1; then
        fetch_kernel "$work"
        rm -rf "$cache/kernel"
        mv "$work/kernel" "$cache/kernel"
    fi
    ln -s "$cache/kernel" "$work/kernel"
    cp "$cache"/kernel/boot/vmlinuz-* "$work/vmlinuz"
    make_initramfs "$work"
    if [ ! -e "$cache/kvm" ]; then
        if probe_kvm "$work"; then echo 1; else echo 0; fi >"$work/kvm"
        mv "$work/kvm" "$cache/"
    fi
    mv "$work/vmlinuz" "$work/initramfs.gz" "$cache/"
    mv "$work/root/init" "$cache/checker"
    echo "$stamp" >"$cache/stamp"
    rm -rf "$work"
    trap - EXIT
    exec 9>&-
}

domain_type() {
    local kvm=${VMR_KVM:-$(cat "$cache/kvm")}
    if [ "$kvm" = 1 ]; then echo kvm; else echo qemu; fi
}

domain_xml() {
    local name=$1 disks=$2 raw_disk=$3 agent=$4 append=$5 letters=abcd d format
    cat <<XML
<domain type='$(domain_type)'>
  <name>$name</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>$cache/vmlinuz</kernel>
    <initrd>$cache/initramfs${agent:+-agent}.gz</initrd>
    <cmdline>$append</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
XML
    for ((d = 0; d < disks; d++)); do
        if [ "$d" = "$raw_disk" ]; then format=raw; else format=qcow2; fi
        cat <<XML
    <disk type='file' device='disk'>
      <driver name='qemu' type='$format' discard='unmap'/>
      <source file='/var/lib/libvirt/images/$name-$d.qcow2'/>
      <target dev='vd${letters:d:1}' bus='virtio'/>
    </disk>
XML
    done
    [ -z "$agent" ] || cat <<XML
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
XML
    cat <<XML
    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='/var/log/libvirt/qemu/$name-console.log' append='on'/>
    </serial>
    <memballoon model='none'/>
  </devices>
</domain>
XML
}

create() {
    local dir=$1 host=$2 name=$3 disks=1 size=256M tick_ms=200 kib=64 slots=256 mib=0 raw_disk='' agent='' d images raw fill
    shift 3
    while [ $# -ge 1 ]; do
        if [ "$1" = --agent ]; then
            agent=1
            shift
            continue
        fi
        [ $# -ge 2 ] || break
        case $1 in
        --disks) disks=$2 ;;
        --size) size=$2 ;;
        --tick-ms) tick_ms=$2 ;;
        --kib) kib=$2 ;;
        --slots) slots=$2 ;;
        --fill) mib=$2 ;;
        --raw) raw_disk=$2 ;;
        *) die "unknown option '$1'" ;;
        esac
        shift 2
    done
    [ $# = 0 ] || die "'$1' has no value"
    build
    [ -z "$agent" ] || build_agent
    images=$dir/$host/var/lib/libvirt/images
    fill=$dir/$host/run/fill.$$
    for ((d = 0; d < disks; d++)); do
        raw=$images/$name-$d.raw
        rm -f "$raw"
        truncate -s "$size" "$raw"
        mkdir "$fill"
        [ "$mib" = 0 ] || head -c "${mib}M" /dev/urandom >"$fill/fill"
        mkfs.ext4 -q -F -L "vmr$d" -E lazy_itable_init=0,lazy_journal_init=0 -d "$fill" "$raw"
        rm -rf "$fill"
        if [ "$d" = "$raw_disk" ]; then
            mv "$raw" "$images/$name-$d.qcow2"
        else
            qemu-img convert -q -f raw -O qcow2 -o compat=1.1 "$raw" "$images/$name-$d.qcow2"
            rm -f "$raw"
        fi
    done
    domain_xml "$name" "$disks" "$raw_disk" "$agent" "console=ttyS0 quiet panic=-1 $bare vmr.disks=$disks \
vmr.tick_ms=$tick_ms vmr.kib=$kib vmr.slots=$slots vmr.agent=${agent:-0}" >"$dir/$host/run/$name.xml"
    virsh_on "$dir" "$host" define "/run/$name.xml" >/dev/null
    told "$dir" "$host" "$name" '. != null'
}

# told DIR HOST NAME JQ: libvirt tells the daemon, if one is up and answers, of what somebody did to a machine a
# moment later: until it knows. JQ: of the machine's EnabledState, null for a machine it does not know.
told() {
    local end=$((SECONDS + 60 * patience)) known
    while "$here/daemon.sh" pid "$1" "$2" >/dev/null 2>&1 && [ $SECONDS -lt $end ]; do
        known=$(timeout 15 "$here/daemon.sh" cli "$1" "$2" --json machines 2>/dev/null |
            jq --arg n "$3" "[.[] | select(.ElementName == \$n) | .EnabledState][0] | $4") || break
        [ "$known" != true ] || break
        sleep 0.1
    done
}

log_of() {
    echo "$1/$2/var/log/libvirt/qemu/$3-console.log"
}

# hung DIR HOST NAME: the guest's process 1 waits for its disk for ever. Seen once in a thousand boots of a guest
# whose QEMU emulates its processor on a busy host; why is not known. What QEMU's threads do is told, and the
# guest gets one reset: when it is the disk that hangs it will hang again.
hung() {
    echo "guest: $3 hangs in its boot and is reset; the threads of its QEMU:" >&2
    # shellcheck disable=SC2016 # expanded by the shell inside
    on "$1" "$2" sh -c 'for t in "/proc/$(cat "/run/libvirt/qemu/$1.pid")"/task/*; do
        echo "  $(cat "$t/comm") $(cut -d" " -f1 "$t/syscall") $(tr "\n" " " <"$t/stack")"; done' sh "$3" >&2 || :
    virsh_on "$1" "$2" reset "$3" >&2 || :
}

# await DIR HOST NAME OFFSET SECONDS REGEX: the first line of its console beyond OFFSET that matches.
await() {
    local log offset=$4 seconds=$5 regex=$6 end line reset='' new
    log=$(log_of "$@")
    seconds=$((seconds * patience))
    end=$((SECONDS + seconds))
    while :; do
        new=$(tail -c "+$((offset + 1))" "$log" 2>/dev/null | tr -d '\r\0')
        line=$(grep -m1 -E -- "$regex" <<<"$new" || :)
        if [ -n "$line" ]; then
            echo "$line"
            return 0
        fi
        if [ -z "$reset" ] && grep -q 'INFO: task init:1 blocked for more than' <<<"$new"; then
            reset=1
            hung "$1" "$2" "$3"
        fi
        [ $SECONDS -lt "$end" ] || die "no line '$regex' in $log within $seconds s; last: $(tail -n 3 <<<"$new")"
        sleep 0.1
    done
}

size_of() {
    stat -c %s "$1" 2>/dev/null || echo 0
}

start() {
    local log offset
    log=$(log_of "$@")
    offset=$(size_of "$log")
    virsh_on "$1" "$2" start "$3" >/dev/null
    await "$1" "$2" "$3" "$offset" 60 '^VMR (boot|verify BAD|halted|cannot)' | grep '^VMR boot' ||
        die "$3 did not come up well: $(tail -n 5 "$log" | tr -d '\r')"
    told "$1" "$2" "$3" '. != 3'
}

state() {
    virsh_on "$1" "$2" domstate "$3"
}

shut_down() {
    local end=$((SECONDS + ${4:-60} * patience)) last_press=-10 now
    while :; do
        now=$(state "$1" "$2" "$3") || die "$3 is gone"
        [ "$now" != "shut off" ] || break
        # A press while the guest is still booting is lost: press again now and then.
        if [ $((SECONDS - last_press)) -ge 10 ]; then
            virsh_on "$1" "$2" shutdown "$3" >/dev/null 2>&1 || :
            last_press=$SECONDS
        fi
        [ $SECONDS -lt $end ] || die "$3 does not shut down"
        sleep 0.2
    done
    told "$1" "$2" "$3" '. == 3 or . == null'
}

last_tick() {
    tr -d '\r' <"$(log_of "$@")" | sed -n 's/^VMR \(tick \|boot counter=\)\([0-9]*\)$/\2/p' | tail -n 1
}

wait_tick() {
    local from now end=$((SECONDS + ${5:-60} * patience))
    from=$(last_tick "$1" "$2" "$3")
    while :; do
        now=$(last_tick "$1" "$2" "$3")
        if [ "${now:-0}" -ge $((${from:-0} + $4)) ]; then
            echo "$now"
            return 0
        fi
        [ $SECONDS -lt $end ] || die "$3 does not tick: at ${now:-nothing}"
        sleep 0.1
    done
}

agent_says() {
    virsh_on "$1" "$2" qemu-agent-command --timeout 5 "$3" "$4"
}

wait_agent() {
    local end=$((SECONDS + ${4:-60} * patience))
    until agent_says "$1" "$2" "$3" '{"execute":"guest-ping"}' >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "the agent of $3 does not answer"
        sleep 0.2
    done
}

stall() {
    agent_says "$1" "$2" "$3" \
        '{"execute":"guest-exec","arguments":{"path":"/init","arg":["stall","'"$4"'"]}}' >/dev/null
}

# The images are copied before anything looks at them: checking replays the journal.
check() {
    local dir=$1 host=$2 work journal=clean image n=0 tries result out
    shift 2
    build
    work=$dir/$host/run/check.$$
    mkdir -p "$work"
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    local -a roots=()
    for image in "$@"; do
        # While a daemon changes bitmaps in the disk it may not be readable for a moment.
        tries=0
        until on "$dir" "$host" qemu-img convert -U -O raw "$image" "/run/check.$$/$n.raw"; do
            { [ $((tries += 1)) -lt 20 ] && on "$dir" "$host" test -f "$image"; } || die "$image cannot be read"
            sleep 0.1
        done
        if dumpe2fs -h "$work/$n.raw" 2>/dev/null | grep '^Filesystem features:.*needs_recovery' >/dev/null; then
            journal=used
            result=0
            e2fsck -y -E journal_only "$work/$n.raw" >"$work/fsck.log" 2>&1 || result=$?
            [ $result -lt 4 ] || die "$image: the journal cannot be replayed: $(cat "$work/fsck.log")"
        fi
        e2fsck -fn "$work/$n.raw" >"$work/fsck.log" 2>&1 ||
            die "$image: the file system is damaged: $(cat "$work/fsck.log")"
        mkdir "$work/$n"
        debugfs -R "rdump / $work/$n" "$work/$n.raw" >/dev/null 2>&1
        roots+=("$work/$n")
        n=$((n + 1))
    done
    result=0
    out=$("$cache/checker" verify "${roots[@]}") || result=$?
    echo "$out journal=$journal"
    return $result
}

[ $# -ge 1 ] || {
    sed -n '3,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}
command=$1
shift
if [ "$command" != build ]; then
    [ $# -ge 3 ] || die "$command: too few arguments"
    [ -d "$1/switch" ] || die "no lab in $1"
    dir=$(cd "$1" && pwd -P)
    shift
    set -- "$dir" "$@"
fi
case $command in
build) build ;;
create) create "$@" ;;
start) start "$@" ;;
shutdown) shut_down "$@" ;;
destroy)
    virsh_on "$1" "$2" destroy "$3"
    told "$1" "$2" "$3" '. == 3 or . == null'
    ;;
undefine)
    virsh_on "$1" "$2" undefine --checkpoints-metadata --snapshots-metadata --nvram "$3" >/dev/null
    rm -f "$1/$2/var/lib/libvirt/images/$3"-[0-9].qcow2 "$(log_of "$@")"
    told "$1" "$2" "$3" '. == null'
    ;;
wait-line) await "$1" "$2" "$3" "${6:-0}" "$4" "$5" ;;
wait-tick) wait_tick "$@" ;;
tick) last_tick "$@" ;;
log) log_of "$@" ;;
state) state "$@" ;;
wait-agent) wait_agent "$@" ;;
stall) stall "$@" ;;
check) check "$@" ;;
counter)
    out=$(check "$@") || die "$out"
    out=${out##*counter=}
    echo "${out%% *}"
    ;;
*) die "unknown command '$command'" ;;
esac
