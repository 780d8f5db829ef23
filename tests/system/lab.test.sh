#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The lab that every other system test stands on.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    echo "the lab needs root"
    exit 77
fi
exec "$(dirname "$0")/../lab/selftest.sh"
