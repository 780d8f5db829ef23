#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare the classes of schema/ with the facts of the management interface, one by one.

usage: check_schema.py SOURCE_ROOT FILE.mof...
The facts, schema-facts.json, are made from a full description by tools/schema_facts.py.
Also checks that docs/cim-classes.md is what the MOF files say."""
import json
import os
import sys

sys.dont_write_bytecode = True
root = sys.argv[1]
sys.path.insert(0, os.path.join(root, 'tools'))
import mofgen  # noqa: E402

classes = mofgen.load(sys.argv[2:])
have = mofgen.plain(classes)
with open(os.path.join(root, 'tests/conformance/schema-facts.json'), encoding='utf-8') as fh:
    facts = json.load(fh)
maps = facts['maps']
deprecated = set(facts['deprecated'])
bad = []
count = 0
# Codes that we add to value maps on purpose, as hosts use them although the schema lacks them: what
# becomes of the map's range they are taken from.
EXTENDED = {('Msvm_ConcreteJob', 'JobState'): ('32768', '32769..65535', '32768..65535')}
# Declared by us because references point at it; the facts only name it.
OURS = {'CIM_LogicalDevice'}


def same(where, a, b):
    global count
    count += 1
    if a != b:
        bad.append('%s: schema has %r, facts say %r' % (where, a, b))


def check_prop(where, key, h, f):
    kind, o = f
    same(where + ' type', h['type'], kind)
    same(where + ' key', h['key'], o.get('key', False))
    same(where + ' write', h['write'], o.get('write', False))
    same(where + ' maxlen', h['maxlen'], o.get('maxlen'))
    d = o.get('default')
    same(where + ' default', h['default'], [d] if d is not None and kind.endswith('[]') else d)
    same(where + ' origin', h['origin'], o.get('origin', h['origin']))
    same(where + ' embedded', h['embedded'], o.get('embedded'))
    if 'values' in o:
        values = dict(h['values'])
        if key in EXTENDED:
            ours, rest, whole = EXTENDED[key]
            same(where + ' code of ours', ours in values, True)
            del values[ours]
            values[whole] = values.pop(rest)
        same(where + ' values', values, maps[o['values']])


    same(where + ' codes', h['codes'], facts['maps_without_texts'].get(where))
    same(where + ' deprecated', h['deprecated'], where in deprecated)


def check_method(where, h, f):
    same(where + ' deprecated', h['deprecated'], where in deprecated)
    for p in h['params']:
        same('%s %s map' % (where, p[2]), h['maps'].get(p[2]),
             facts['parameter_maps'].get('%s(%s)' % (where[:-2], p[2])))
    same(where + ' returns', h['returns'], f['returns'])
    if 'codes' in f:
        same(where + ' codes', h['codes'], maps[f['codes']])
    same(where + ' parameters', h['params'], [(p + [None])[:4] for p in f['params']])


for name, f in facts['classes'].items():
    if name not in have:
        bad.append('%s: missing' % name)
        continue
    h = have[name]
    same(name + ' superclass', h['super'], f['super'])
    same(name + ' abstract', h['abstract'], f['abstract'])
    same(name + ' association', h['association'], f['association'])
    same(name + ' properties in order', list(h['properties']), list(f['properties']))
    same(name + ' methods in order', list(h['methods']), list(f['methods']))
    for p in set(h['properties']) & set(f['properties']):
        check_prop('%s.%s' % (name, p), (name, p), h['properties'][p], f['properties'][p])
    for m in set(h['methods']) & set(f['methods']):
        check_method('%s.%s()' % (name, m), h['methods'][m], f['methods'][m])
extra = [n for n, c in have.items()
         if c['ns'] == 'root/virtualization/v2' and n not in facts['classes'] and n not in OURS]
same('classes without facts', extra, [])

with open(os.path.join(root, 'docs/cim-classes.md'), encoding='utf-8') as fh:
    if fh.read() != mofgen.docs(classes):
        bad.append('docs/cim-classes.md is stale: run tools/mofgen.py --docs docs/cim-classes.md '
                   'schema/*.mof')
for b in bad:
    print(b)
print('%d facts compared, %d differ' % (count, len(bad)))
sys.exit(1 if bad else 0)
