#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every test that docs/faults.md names exists, and every fault of the simulator is named there."""
import os
import re
import sys


def exists(root, name):
    path, _, what = name.partition('#')
    file = os.path.join(root, path)
    if not os.path.isfile(file):
        return False
    if not what:
        return True
    with open(file, encoding='utf-8') as f:
        text = f.read()
    if path.endswith('.def'):
        return re.search(r'^F\(' + re.escape(what) + r',', text, re.M) is not None
    if path.endswith('.sh'):
        return re.search(r'^step ' + re.escape(what) + r'\b', text, re.M) is not None
    defined = re.search(r'^(static )?void ' + re.escape(what) + r'\(', text, re.M)
    # A test function that no list names is not run.
    return defined is not None and len(re.findall(r'\b' + re.escape(what) + r'\b', text)) > 1 or (
        defined is not None and os.path.basename(path)[:5] != 'test-')


def main(root):
    bad = []
    with open(os.path.join(root, 'docs/faults.md'), encoding='utf-8') as f:
        rows = [line for line in f if line.startswith('|') and not line.startswith('|---')]
    named = set()
    for row in rows:
        tests = re.findall(r'`((?:src|tests)/[^`]+)`', row)
        named.update(tests)
        if not tests and not re.search(r'\| *Tests *\|', row):
            bad.append('no test: ' + row.strip()[:100])
        bad += [f'{t} does not exist' for t in tests if not exists(root, t)]
    with open(os.path.join(root, 'tests/sim/faults.def'), encoding='utf-8') as f:
        for name in re.findall(r'^F\((\w+),', f.read(), re.M):
            if f'tests/sim/faults.def#{name}' not in named:
                bad.append(f'docs/faults.md does not name the simulator\'s fault {name}')
    for b in bad:
        print(b)
    print(f'{len(rows)} rows, {len(named)} tests named, {len(bad)} faults')
    return 1 if bad or len(named) < 50 else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else '.'))
