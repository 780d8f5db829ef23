#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the properties of the classes of root/virtualization/v2 hold, as the recorded exchanges show it.

usage: propdoc.py [--check] DOC GOLDEN_FOLDER PROVIDERS_FOLDER FILE.mof...

Writes DOC; with --check it only compares and fails if DOC is another than it would write.  Counted are
the instances in replies, as elements and as CIM-XML in strings.  The properties are those of the MOF
files, so that one without a value in any exchange is listed, too.  Such a one is always NULL if no
source file of the providers names it for that class."""
import argparse
import os
import re
import sys
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mofgen  # noqa: E402

NAMESPACE = 'root/virtualization/v2'
NIL = '{http://www.w3.org/2001/XMLSchema-instance}nil'
TYPE = '{http://www.w3.org/2001/XMLSchema-instance}type'
LONG = 60
HOST = 'hosta'  # of the recorded exchanges
MASKED = re.compile(r'(TIME|N|HOST|GUID-\d+|\(.*\).*)$', re.S)  # what differs in each run is not recorded


def replies(text):
    """The bodies of the replies of one file of recorded exchanges."""
    for part in re.split(r'^==== .*$', text, flags=re.M)[1:]:
        halves = re.split(r'^---- .*$', part, flags=re.M)
        for half in halves[1:]:
            if half.strip():
                yield ET.fromstring(half.strip())


def local(tag):
    return tag.rsplit('}', 1)[-1]


def value_of(e):
    """Text of an element. References and instances begin with what they are."""
    text = ''.join(e.itertext()).strip()
    if any(local(c.tag) == 'ReferenceParameters' for c in e):
        return '(reference) ' + text
    return '(instance) ' + text if text.startswith(('<INSTANCE', '<?xml')) else text


def of_element(e):
    """Property -> list of values, or None for NULL, of an instance that is an element."""
    got = {}
    for c in e:
        if c.get(NIL) == 'true':
            got[local(c.tag)] = None
        else:
            got.setdefault(local(c.tag), []).append(value_of(c))
    return got


def of_cimxml(e):
    """The same of an INSTANCE of CIM-XML."""
    got = {}
    for c in e:
        values = [v.text or '' for v in c.iter('VALUE')]
        refs = ['(reference)' for _ in c.iter('VALUE.REFERENCE')]
        there = c.find('VALUE.ARRAY') is not None or values or refs
        got[c.get('NAME')] = (values or refs) if there else None
    return e.get('CLASSNAME'), got


def instances(root):
    for e in root.iter():
        kind = e.get(TYPE, '').rsplit(':', 1)[-1]
        if kind.endswith('_Type'):
            yield kind[:-len('_Type')], of_element(e)
        text = (e.text or '').lstrip()
        if text.startswith(('<INSTANCE', '<?xml')):
            yield from (of_cimxml(i) for i in ET.fromstring(text).iter('INSTANCE'))


def collect(folder, classes):
    """Class -> the different instances that were recorded, as they came; and who has a file. Those of
    other namespaces are left out: what they say of the host is masked in their files."""
    found, named = {}, set()
    for name in sorted(os.listdir(folder)):
        if name[:-len('.txt')] not in classes:
            continue
        named.add(name[:-len('.txt')])
        with open(os.path.join(folder, name), encoding='utf-8') as f:
            text = f.read()
        for root in replies(text):
            for cls, got in instances(root):
                if got not in found.setdefault(cls, []):
                    found[cls].append(got)
    return found, named


def cell(values):
    text = ', '.join(values) if values else '(empty)'
    text = re.sub(r'\s+', ' ', text).replace('|', '\\|')
    return '`%s`' % (text if len(text) <= LONG else text[:LONG] + '...')


def set_by(folder):
    """(CLASS, PROPERTY), upper case, of what the providers' source files name: CIM_P_CLASS_PROPERTY, or
    the macro of a file that puts CIM_P_CLASS_ before a property."""
    named = set()
    for name in sorted(os.listdir(folder)):
        if not name.endswith(('.c', '.h')) or name.startswith('test'):
            continue
        with open(os.path.join(folder, name), encoding='utf-8') as f:
            text = f.read()
        for macro, cls in re.findall(r'#define (\w+)\(n\) CIM_P_(\w+)_##n', text):
            named.update((cls, p) for p in re.findall(r'\b%s\((\w+)\)' % macro, text))
        named.update(re.findall(r'\bCIM_P_([A-Z0-9]+_[A-Z0-9]+)_([A-Z0-9]+)\b', text))
    return named


def says(cls, prop, all_of_class, named):
    """What the recorded instances have in it."""
    # an empty array is no element, which is not NULL
    values = [i.get(prop['name'], [] if prop['array'] else None) for i in all_of_class]
    some = [v for v in values if v is not None]
    if not some:
        return 'NULL' if (cls.upper(), prop['name'].upper()) in named else 'always NULL'
    if any(MASKED.match(t) for v in some for t in v):
        return 'filled' if len(some) == len(values) else 'filled or NULL'
    if len(all_of_class) > 1 and len(some) == len(values) and all(v == some[0] for v in some):
        return ('constant on a host, ' if any(HOST in t for t in some[0]) else 'constant ') + cell(some[0])
    if len(all_of_class) == 1:
        return 'filled, ' + cell(some[0])
    return 'filled' if len(some) == len(values) else 'filled or NULL'


def document(classes, found, files, named):
    out = ['<!-- Made by tools/propdoc.py from schema/ and tests/exchanges/golden; do not edit. -->',
           '# What the properties hold', '',
           'Every property of the served classes of %s, as the recorded exchanges' % NAMESPACE,
           '(`tests/exchanges/golden`) have it. The number after a class is that of different instances',
           'in them.', '',
           '* constant: the value is the same in all of them; on a host: it has the name of the host in it',
           '* filled: there is a value in each of them, and it differs; with the value where there is one instance only',
           '* filled or NULL: in some there is none',
           '* NULL: in none of them is there a value; it gets one in situations that are not among them',
           '* always NULL: nothing here ever gives it a value; [conformance.md](conformance.md) has remarks about these', '',
           'To write this page anew:',
           '`tools/propdoc.py docs/conformance-properties.md tests/exchanges/golden src/cim/providers schema/*.mof`.', '']
    for c in classes:
        if c['ns'] != NAMESPACE or (c['name'] not in found and c['name'] not in files):
            continue
        mine = found.get(c['name'], [])
        out += ['## %s (%d)' % (c['name'], len(mine)), '']
        if not mine:
            out += ['There is no instance of this class itself in the recorded exchanges.', '']
            continue
        out += ['| property | |', '|---|---|']
        out += ['| %s | %s |' % (p['name'], says(c['name'], p, mine, named)) for p in c['allprops']]
        out.append('')
    return '\n'.join(out).rstrip('\n') + '\n'


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--check', action='store_true')
    ap.add_argument('doc')
    ap.add_argument('golden')
    ap.add_argument('providers')
    ap.add_argument('mof', nargs='+')
    a = ap.parse_args()
    try:
        classes = mofgen.load(a.mof)
    except mofgen.MofError as e:
        sys.exit('propdoc: %s' % e)
    found, files = collect(a.golden, {c['name'] for c in classes if c['ns'] == NAMESPACE})
    strange = sorted(set(found) - {c['name'] for c in classes})
    if strange:
        sys.exit('propdoc: not in the MOF files: %s' % ', '.join(strange))
    text = document(classes, found, files, set_by(a.providers))
    if not a.check:
        mofgen.write(a.doc, text)
        return
    with open(a.doc, encoding='utf-8') as f:
        if f.read() != text:
            sys.exit('%s is out of date; write it anew with tools/propdoc.py, without --check' % a.doc)


if __name__ == '__main__':
    main()
