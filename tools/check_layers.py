#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the #include lines of src/ and fails on an arrow that runs back, on a foreign library met
in a second place, on a source file without its licence line and on a file that is too long.

    check_layers.py [SRC]     default: the src of the tree that it lies in"""
import os
import re
import sys

# folder -> folders whose headers it may include (docs/architecture.md has the drawing)
MAY = {
    'base': {'base'},
    'model': {'base', 'model'},
    'hypervisor': {'base', 'model', 'hypervisor'},
    'transfer': {'base', 'model', 'transfer'},
    'store': {'base', 'model', 'transfer', 'store'},
    'gss': {'base', 'gss'},
    'transport': {'base', 'model', 'gss', 'transport'},
    'replication': {'base', 'model', 'replication'},
    'cim': {'base', 'model', 'cim'},
    'cim/providers': {'base', 'model', 'hypervisor', 'store', 'replication', 'cim', 'cim/providers'},
    'wsman': {'base', 'gss', 'cim', 'wsman'},
    'daemon': {'base', 'model', 'hypervisor', 'transfer', 'store', 'gss', 'transport', 'replication',
               'cim', 'cim/providers', 'wsman', 'daemon'},
    'cli': {'base', 'wsman', 'cli'},
}
# foreign header -> the files that may include it
FOREIGN = {
    r'libvirt/': {'hypervisor/hv_libvirt_priv.h'},
    r'libxml/': {'hypervisor/domxml_priv.h'},
    r'libnbd\.h': {'transfer/nbd_libnbd.c'},
    r'zstd\.h': {'transfer/zstd.c', 'transfer/codec_zstd.c', 'transfer/compress_zstd.c'},
    r'xxhash\.h': {'transfer/digest_xxhash.c'},
    r'sqlite3\.h': {'store/db_sqlite.c'},
    r'gnutls/': {'transport/tls_gnutls_int.h', 'wsman/tls.c', 'store/sha256_gnutls.c'},
    r'microhttpd\.h': {'wsman/http_mhd.h'},
    r'gssapi/|krb5': {'gss/gss_int.h'},
    r'security/pam': {'wsman/auth_pam.c'},
    r'expat\.h': {'base/xml.c'},
    r'ini\.h': {'daemon/config.c'},
    r'jansson\.h': {'cli/output.c', 'hypervisor/imginfo.c'},
}
MAX_LINES = 800


def folder_of(path):
    d = os.path.dirname(path)
    while d and d not in MAY:
        d = os.path.dirname(d)
    return d


def check_file(root, rel, bad):
    with open(os.path.join(root, rel), encoding='utf-8') as f:
        lines = f.read().split('\n')
    if 'SPDX-License-Identifier: LGPL-2.1-or-later' not in lines[0]:
        bad.append(f'{rel}: first line is not the licence')
    if len(lines) > MAX_LINES and rel.endswith(('.c', '.h')):
        bad.append(f'{rel}: {len(lines)} lines, at most {MAX_LINES}')
    here = folder_of(rel)
    is_test = os.path.basename(rel).startswith('test-')
    for n, line in enumerate(lines, 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if m and '/' in m.group(1):
            there = folder_of(m.group(1))
            if there and there not in MAY.get(here, set()) and not is_test:
                bad.append(f'{rel}:{n}: {here} must not include {m.group(1)}')
            if here == 'cli' and there == 'wsman' and m.group(1) != 'wsman/client.h':
                bad.append(f'{rel}:{n}: of wsman the command line may use the client only')
        m = re.match(r'\s*#\s*include\s+<([^>]+)>', line)
        if m and not is_test:
            for pattern, files in FOREIGN.items():
                if re.match(pattern, m.group(1)) and rel not in files:
                    bad.append(f'{rel}:{n}: {m.group(1)} belongs into {", ".join(sorted(files))}')


def main():
    here = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'src')
    root = sys.argv[1] if len(sys.argv) > 1 else here
    bad = []
    count = 0
    for d, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            if name.endswith(('.c', '.h', '.def')):
                check_file(root, os.path.relpath(os.path.join(d, name), root), bad)
                count += 1
    for line in bad:
        print(line)
    print(f'{count} files read, {len(bad)} faults')
    return 1 if bad or not count else 0


if __name__ == '__main__':
    sys.exit(main())
