#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make tests/conformance/schema-facts.json: what the tests compare schema/ with.

usage: schema_facts.py SCHEMA.json [FACTS.json]
SCHEMA.json describes Microsoft's classes as their MOF and documents have them (for each class:
superclass, properties and methods with all qualifiers, value maps and where each fact is from). Of it
the tests need the shape only: texts are left out, value maps that occur often are kept once. With
FACTS.json the result is compared with that file, else it is printed."""
import json
import sys


def type_of(p):
    return p['type'] + (' REF' if p.get('ref') else '') + ('[]' if p['array'] else '')


# What stands for a value in the documents is no default.
PLACEHOLDERS = ('GUID', 'VMID')


# Parts of containers that only the first builds of Windows 10 had, and which are not in schema/
# (docs/conformance.md).
GONE = ('Msvm_VirtualSystemSettingData.ParentPackage',
        'Msvm_VirtualSystemSettingData.ParentContainerImage',
        'Msvm_VirtualSystemSettingData.ContainerRuntimeType')


def default_of(p):
    d = p.get('default')
    return None if isinstance(d, str) and any(x in d for x in PLACEHOLDERS) else d


class Facts:
    def __init__(self, schema):
        self.maps = []
        self.deprecated = []
        self.lists = {}
        self.parameter_maps = {}
        self.classes = {}
        for name, c in schema.items():
            if 'namespace' not in c:  # those of other namespaces are not served
                self.classes[name] = self.one_class(name, c)

    def map_number(self, m):
        if m not in self.maps:
            self.maps.append(m)
        return self.maps.index(m)

    def one_property(self, where, p):
        o = {}
        if p['key']:
            o['key'] = True
        if 'w' in p['access']:
            o['write'] = True
        if p.get('maxlen') is not None:
            o['maxlen'] = p['maxlen']
        if default_of(p) is not None:
            o['default'] = default_of(p)
        o['origin'] = p['origin']
        if p.get('embedded'):
            o['embedded'] = p['embedded']
        if isinstance(p.get('valuemap'), dict):
            o['values'] = self.map_number(p['valuemap'])
        elif p.get('valuemap'):
            self.lists[where] = p['valuemap']
        if p.get('deprecated'):
            self.deprecated.append(where)
        return [type_of(p), o]

    def one_method(self, where, m):
        r = {'returns': m['return_type']}
        if m.get('returns'):
            r['codes'] = self.map_number(m['returns'])
        r['params'] = []
        for p in m['params']:
            r['params'].append([p['dir'], type_of(p), p['name']] +
                               ([p['embedded']] if p.get('embedded') else []))
            if p.get('valuemap'):
                self.parameter_maps['%s(%s)' % (where, p['name'])] = p['valuemap']
        if m.get('deprecated') or m.get('deprecated_by'):
            self.deprecated.append(where + '()')
        return r

    def one_class(self, name, c):
        return {'super': c['superclass'],
                'abstract': c.get('abstract', False),
                'association': c.get('association', False),
                'properties': {k: self.one_property('%s.%s' % (name, k), p)
                               for k, p in c['properties'].items()
                               if '%s.%s' % (name, k) not in GONE},
                'methods': {k: self.one_method('%s.%s' % (name, k), m)
                            for k, m in c['methods'].items()}}

    def as_dict(self):
        return {'maps': self.maps, 'classes': self.classes, 'deprecated': self.deprecated,
                'maps_without_texts': self.lists, 'parameter_maps': self.parameter_maps}


def differences(a, b, where=''):
    if isinstance(a, dict) and isinstance(b, dict):
        for k in list(a) + [k for k in b if k not in a]:
            if k not in a or k not in b:
                yield '%s/%s: only in %s' % (where, k, 'the schema' if k in a else 'the facts')
            else:
                yield from differences(a[k], b[k], '%s/%s' % (where, k))
        if list(a) != list(b) and set(a) == set(b):
            yield '%s: in another order' % where
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, '%s/%d' % (where, i))
    elif a != b:
        yield '%s: schema %.100r, facts %.100r' % (where, a, b)


def main():
    with open(sys.argv[1], encoding='utf-8') as f:
        made = Facts(json.load(f)).as_dict()
    if len(sys.argv) == 2:
        json.dump(made, sys.stdout, ensure_ascii=False, indent=1)
        print()
        return 0
    with open(sys.argv[2], encoding='utf-8') as f:
        bad = list(differences(made, json.load(f)))
    for line in bad:
        print(line)
    return 1 if bad else 0


sys.exit(main())
