#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Install what packages.txt lists and is missing. Quick when nothing is missing;
# fetches the package lists only when the packages cannot be found with those at hand.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)

wanted() {
    sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$here/packages.txt"
}

missing() {
    local have name
    have=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | awk '$1 == "ii" { print $2 }')
    while read -r name; do
        grep -qxF -- "$name" <<<"$have" || echo "$name"
    done < <(wanted)
}

mapfile -t need < <(missing)
if [ ${#need[@]} -eq 0 ]; then
    exit 0
fi
if [ "${1:-}" = "--check" ]; then
    printf '%s\n' "${need[@]}"
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "install-packages: not root, and these packages are missing: ${need[*]}" >&2
    exit 1
fi

echo "install-packages: installing ${need[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# Services are not started by the installation: the lab runs its own, and a container has no init.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ] && [ ! -d /run/systemd/system ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=1
fi
# shellcheck disable=SC2317 # called by the trap
cleanup() {
    if [ -n "$made_policy" ]; then rm -f "$policy"; fi
}
trap cleanup EXIT

apt_install() {
    apt-get -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends install "${need[@]}" \
        </dev/null >&2
}

if ! apt-get -s -q --no-install-recommends install "${need[@]}" >/dev/null 2>&1 || ! apt_install; then
    apt-get -q -o DPkg::Lock::Timeout=300 update >&2
    apt_install
fi

mapfile -t need < <(missing)
if [ ${#need[@]} -ne 0 ]; then
    echo "install-packages: still missing after the installation: ${need[*]}" >&2
    exit 1
fi
