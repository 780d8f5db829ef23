#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare every class definition as clients fetch it over WS-Management with schema/: superclasses,
properties in order with types, keys and all qualifiers, defaults, methods, parameters.

usage: check_wire_schema.py SOURCE_ROOT TEST_EXCHANGES FILE.mof..."""
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(sys.argv[1], 'tools'))
import mofgen  # noqa: E402

classes = mofgen.load(sys.argv[3:])
have = mofgen.plain(classes)
bad = []
count = 0


def same(where, a, b):
    global count
    count += 1
    if a != b:
        bad.append('%s: on the wire %r, in schema/ %r' % (where, a, b))


def texts(e):
    return [v.text or '' for v in e.findall('VALUE.ARRAY/VALUE')]


def qualifiers(e):
    out = {}
    for q in e.findall('QUALIFIER'):
        assert q.get('NAME') not in out, 'qualifier %s twice' % q.get('NAME')
        out[q.get('NAME')] = texts(q) if q.find('VALUE.ARRAY') is not None else q.findtext('VALUE')
    return out


def type_of(e):
    """As mofgen writes it: "uint16[]", "CIM_System REF", "Class[]" for embedded objects."""
    if e.tag.endswith(('.REFERENCE', '.REFARRAY')):
        return e.get('REFERENCECLASS') + ' REF' + ('[]' if e.tag.endswith('REFARRAY') else '')
    t = e.get('TYPE')
    if e.get('EmbeddedObject') == 'instance':
        t = qualifiers(e)['EmbeddedInstance']
    return t + ('[]' if e.tag.endswith('.ARRAY') else '')


def map_of(q):
    if 'ValueMap' not in q:
        return None
    return dict(zip(q['ValueMap'], q['Values'])) if 'Values' in q else q['ValueMap']


def default_of(e):
    if e.find('VALUE.ARRAY') is not None:
        return texts(e)
    return e.findtext('VALUE')


def check_prop(where, e, p):
    q = qualifiers(e)
    want = p['default']
    if isinstance(want, list):
        want = [mofgen.deftext(x) for x in want]
    elif want is not None:
        want = mofgen.deftext(want)
    same(where + ' type', type_of(e), p['type'])
    same(where + ' Key', q.get('Key') == 'true', p['key'])
    same(where + ' Write', q.get('Write') == 'true', p['write'])
    same(where + ' MaxLen', q.get('MaxLen'), None if p['maxlen'] is None else str(p['maxlen']))
    same(where + ' default', default_of(e), want)
    same(where + ' origin', e.get('CLASSORIGIN', p['origin']), p['origin'])
    same(where + ' Deprecated', 'Deprecated' in q, p['deprecated'])
    same(where + ' Override', q.get('Override'), p['overrides'])
    same(where + ' map', map_of(q), p['values'] if p['values'] is not None else p['codes'])
    if e.get('EmbeddedObject') is None:
        same(where + ' EmbeddedInstance', q.get('EmbeddedInstance'), p['embedded'])


def check_param(where, e, p, maps, number):
    q = qualifiers(e)
    same(where + ' name', e.get('NAME'), p[2])
    same(where + ' type', type_of(e), p[1])
    same(where + ' direction', ('in' if q.get('In') else '') + ('out' if q.get('Out') else ''), p[0])
    same(where + ' ID', q.get('ID'), str(number))
    same(where + ' map', map_of(q), maps.get(p[2]))
    if e.get('EmbeddedObject') is None:
        same(where + ' EmbeddedInstance', q.get('EmbeddedInstance'), p[3])


def check_method(where, e, m):
    q = qualifiers(e)
    params = [x for x in e if x.tag.startswith('PARAMETER')]
    same(where + ' returns', e.get('TYPE'), m['returns'])
    same(where + ' codes', map_of(q), m['codes'])
    same(where + ' Deprecated', 'Deprecated' in q, m['deprecated'])
    same(where + ' Implemented', q.get('Implemented') == 'true', m['implemented'])
    same(where + ' Bypass_GetObject', q.get('Bypass_GetObject') == 'true', m['implemented'])
    same(where + ' parameters', len(params), len(m['params']))
    for i, (x, p) in enumerate(zip(params, m['params'])):
        check_param('%s %s' % (where, p[2]), x, p, m['maps'], i)


def derivation(name):
    out = []
    while have[name]['super']:
        name = have[name]['super']
        out.append(name)
    return ','.join(out) or None


got = {}  # by Get
listed = {}  # by Enumerate and Pull
for line in subprocess.run([sys.argv[2], '--schemas'], check=True, capture_output=True,
                           text=True).stdout.splitlines():
    reply = ET.fromstring(line)
    pages = [x for x in reply.iter() if x.tag.endswith(('}EnumerateResponse', '}PullResponse'))]
    for e in reply.iter('CLASS'):
        into = listed if pages else got
        assert e.get('NAME') not in into, 'class %s twice' % e.get('NAME')
        into[e.get('NAME')] = e
same('classes', sorted(got), sorted(have))
same('classes listed', sorted(listed), sorted(have))
for name, e in listed.items():
    same(name + ' as listed', ET.tostring(e), ET.tostring(got[name]))
for name, e in got.items():
    c = have[name]
    q = qualifiers(e)
    same(name + ' superclass', e.get('SUPERCLASS'), c['super'])
    same(name + ' derivation', e.get('DERIVATION'), derivation(name))
    same(name + ' Abstract', q.get('Abstract') == 'true', c['abstract'])
    same(name + ' Association', q.get('Association') == 'true', c['association'])
    props = [x for x in e if x.tag.startswith('PROPERTY')]
    methods = e.findall('METHOD')
    same(name + ' properties', [x.get('NAME') for x in props], list(c['properties']))
    same(name + ' methods', [x.get('NAME') for x in methods], list(c['methods']))
    for x in props:
        check_prop('%s.%s' % (name, x.get('NAME')), x, c['properties'][x.get('NAME')])
    for x in methods:
        check_method('%s.%s()' % (name, x.get('NAME')), x, c['methods'][x.get('NAME')])
for b in bad:
    print(b)
print('%d facts compared, %d differ' % (count, len(bad)))
sys.exit(1 if bad else 0)
