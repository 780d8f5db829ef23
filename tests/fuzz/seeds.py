#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inputs for the fuzzing of embedded instances, of object paths and datetimes, and of calls of the
providers: those that stand in the recorded exchanges (tests/exchanges/golden, tests/wsman).

usage: seeds.py cimxml|path|calls FOLDER FILE...   each input becomes a file of FOLDER"""
import hashlib
import html
import os
import re
import sys

QUOTED = r'"(?:[^"\\]|\\.)*"'
# what differs in each run is not recorded; something that can be read stands for it
MASKED = {'TIME': '20260102030405.000000+060', 'N': '00000000000000.250000:000'}
WHAT = {
    # an instance in an instance is escaped once more, so that the first end is the own one
    'cimxml': [r'(<INSTANCE .*?</INSTANCE>)'],
    'path': [r'>\s*([^<>\s"]*\w\.\w+=%s(?:,\w+=%s)*)\s*<' % (QUOTED, QUOTED),
             r'>\s*([^<>\s"]*\w=@)\s*<',
             r'>\s*(\d{14}\.\d{6}[:+-]\d{3})\s*<',
             r'(?:Datetime|Interval)>\s*([^<>]+?)\s*<'],
    # what was asked; that nothing else of its lines is changed makes it the same request
    'calls': [r'==== [^\n]*\n(<s:Envelope .*?</s:Envelope>)']}
# as tests/exchanges/canonical.c shortens
SHORT = {'WMI:': 'http://schemas.microsoft.com/wbem/wsman/1/wmi/root/',
         'ANONYMOUS': 'http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous'}


def main():
    if len(sys.argv) < 4 or sys.argv[1] not in WHAT:
        sys.exit(__doc__)
    what, folder, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    seeds = set()
    for name in files:
        with open(name, 'rb') as f:
            raw = f.read()
        text = raw.decode('utf-16' if raw[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8', 'replace')
        for mask, value in MASKED.items():
            text = text.replace('>%s<' % mask, '>%s<' % value).replace('&gt;%s&lt;' % mask, '&gt;%s&lt;' % value)
        if what == 'calls':
            for short, full in SHORT.items():
                text = text.replace(short, full)
        for form in (text,) if what == 'calls' else (text, html.unescape(text)):
            for pattern in WHAT[what]:
                seeds.update(html.unescape(s) if what == 'path' else s
                             for s in re.findall(pattern, form, re.S))
    if not seeds:
        sys.exit('seeds: there is nothing for %s in %d files' % (what, len(files)))
    os.makedirs(folder, exist_ok=True)
    for seed in seeds:
        data = seed.encode()
        with open(os.path.join(folder, 'seed-' + hashlib.sha1(data).hexdigest()), 'wb') as f:
            f.write(data)
    print('%d inputs' % len(seeds))


if __name__ == '__main__':
    main()
