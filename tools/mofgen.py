#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turn the MOF files of schema/ into the C tables of src/cim and into docs/cim-classes.md.

usage: mofgen.py [--header H] [--source C] [--types H] [--docs MD] [--json OUT] FILE.mof...

The subset of MOF understood: pragma namespace, classes with a superclass, qualifiers with and
without values, properties (arrays, references, embedded objects by class name, defaults) and
methods with parameters.  An overriding property inherits the qualifiers it does not repeat.
Anything else is an error that names file and line."""
import argparse
import json
import re
import sys

SCALARS = ['boolean', 'uint8', 'sint8', 'uint16', 'sint16', 'uint32', 'sint32', 'uint64', 'sint64',
           'real32', 'real64', 'char16', 'string', 'datetime']
FLAGS = {'abstract', 'association', 'key', 'write', 'in', 'out', 'implemented', 'static'}
TEXTS = {'description', 'override', 'embeddedinstance'}
NUMBERS = {'maxlen', 'id'}
LISTS = {'valuemap', 'values', 'deprecated'}

TOKEN = re.compile(r'''(?P<space>\s+|//[^\n]*|/\*.*?\*/)
                     |(?P<string>"(?:[^"\\]|\\.)*")
                     |(?P<number>[+-]?\d+)
                     |(?P<name>[A-Za-z_]\w*)
                     |(?P<punct>[\[\](){},:;=\#])''', re.X | re.S)


class MofError(Exception):
    pass


class Lexer:
    """Tokens of one file with one token of look-ahead."""

    def __init__(self, name, text):
        self.name, self.pos, self.line, self.text = name, 0, 1, text
        self.advance()

    def fail(self, what):
        raise MofError('%s:%d: %s' % (self.name, self.line, what))

    def advance(self):
        while self.pos < len(self.text):
            m = TOKEN.match(self.text, self.pos)
            if not m:
                self.fail('unexpected character %r' % self.text[self.pos])
            self.pos = m.end()
            kind, text = m.lastgroup, m.group()
            self.line += text.count('\n')
            if kind != 'space':
                self.kind, self.tok = kind, text
                return
        self.kind, self.tok = 'end', ''

    def accept(self, tok):
        if self.kind in ('punct', 'name') and self.tok.lower() == tok:
            self.advance()
            return True
        return False

    def expect(self, tok):
        if not self.accept(tok):
            self.fail('expected %r, found %r' % (tok, self.tok))

    def name_(self):
        if self.kind != 'name':
            self.fail('expected a name, found %r' % self.tok)
        t = self.tok
        self.advance()
        return t

    def literal(self):
        """A constant: str, int, bool or None. Adjacent strings are one string."""
        if self.kind == 'string':
            out = ''
            while self.kind == 'string':
                out += re.sub(r'\\(.)', lambda m: {'n': '\n', 't': '\t'}.get(m.group(1), m.group(1)),
                              self.tok[1:-1])
                self.advance()
            return out
        t = self.tok
        if self.kind == 'number':
            self.advance()
            return int(t)
        if self.kind == 'name' and t.lower() in ('true', 'false', 'null'):
            self.advance()
            return {'true': True, 'false': False, 'null': None}[t.lower()]
        return self.fail('expected a constant, found %r' % t)

    def literals(self):
        """{ constant, ... } after the opening brace was taken."""
        out = []
        while not self.accept('}'):
            out.append(self.literal())
            if not self.accept(','):
                self.expect('}')
                break
        return out


def parse_qualifiers(lx):
    quals = {}
    if not lx.accept('['):
        return quals
    while True:
        name = lx.name_().lower()
        if name not in FLAGS | TEXTS | NUMBERS | LISTS:
            lx.fail('unknown qualifier %s' % name)
        if name in quals:
            lx.fail('qualifier %s given twice' % name)
        value = True
        if lx.accept('('):
            value = lx.literal()
            lx.expect(')')
        elif lx.accept('{'):
            value = lx.literals()
        want = bool if name in FLAGS else str if name in TEXTS else int if name in NUMBERS else list
        if type(value) is not want:
            lx.fail('qualifier %s: wrong kind of value' % name)
        quals[name] = value
        if lx.accept(']'):
            return quals
        lx.expect(',')


def parse_type(lx):
    """type [REF] name [[]] -> dict"""
    t = lx.name_()
    e = {'type': t.lower() if t.lower() in SCALARS else t, 'ref': lx.accept('ref')}
    if e['ref'] and t.lower() in SCALARS:
        lx.fail('REF needs a class')
    e['line'] = '%s:%d' % (lx.name, lx.line)
    e['name'] = lx.name_()
    e['array'] = False
    if lx.accept('['):
        lx.expect(']')
        e['array'] = True
    return e


def parse_params(lx):
    params = []
    while not lx.accept(')'):
        q = parse_qualifiers(lx)
        p = parse_type(lx)
        p['quals'] = q
        if q.get('id') != len(params):
            lx.fail('parameter %s: ID(%d) expected' % (p['name'], len(params)))
        if not (q.get('in') or q.get('out')):
            lx.fail('parameter %s: neither In nor Out' % p['name'])
        params.append(p)
        if not lx.accept(','):
            lx.expect(')')
            break
    return params


def parse_feature(lx, cls):
    q = parse_qualifiers(lx)
    f = parse_type(lx)
    f['quals'] = q
    if lx.accept('('):
        f['params'] = parse_params(lx)
        cls['methods'].append(f)
    else:
        f['default'] = None
        if lx.accept('='):
            if f['array']:
                lx.expect('{')
                f['default'] = lx.literals()
            else:
                f['default'] = [lx.literal()]
        cls['props'].append(f)
    lx.expect(';')
    m = q.get('valuemap')
    if 'values' in q and (m is None or len(m) != len(q['values'])):
        lx.fail('%s: ValueMap and Values differ in length' % f['name'])


def parse_file(path, classes):
    with open(path, encoding='utf-8') as fh:
        lx = Lexer(path, fh.read())
    ns = None
    while lx.kind != 'end':
        if lx.accept('#'):
            lx.expect('pragma')
            lx.expect('namespace')
            lx.expect('(')
            ns = lx.literal()
            lx.expect(')')
            continue
        q = parse_qualifiers(lx)
        lx.expect('class')
        c = {'ns': ns, 'quals': q, 'name': lx.name_(), 'super': None, 'props': [], 'methods': []}
        if ns is None:
            lx.fail('class before #pragma namespace')
        if c['name'].lower() in (x.lower() for x in classes):
            lx.fail('class %s declared twice' % c['name'])
        if lx.accept(':'):
            c['super'] = lx.name_()
        lx.expect('{')
        while not lx.accept('}'):
            parse_feature(lx, c)
        lx.expect(';')
        classes[c['name']] = c


def override(old, new, cls, what):
    """new in place of old: qualifiers that are not repeated are inherited."""
    if new['quals'].get('override', '').lower() != old['name'].lower():
        raise MofError('%s: %s.%s hides an inherited %s without Override' %
                       (new['line'], cls['name'], new['name'], what))
    q = dict(old['quals'])
    if 'valuemap' in new['quals']:
        q.pop('values', None)
    q.update(new['quals'])
    for k in ('implemented', 'deprecated', 'static'):
        if what == 'method' and k not in new['quals']:
            q.pop(k, None)
    e = dict(new, quals=q, name=old['name'], origin=old['origin'])
    if what == 'property':
        if e['array'] != old['array'] or (not e['ref'] and e['type'] != old['type']):
            raise MofError('%s: %s.%s changes its type' % (new['line'], cls['name'], new['name']))
        if e['default'] is None:
            e['default'] = old['default']
    return e


def merge(inherited, own, cls, what):
    out = [dict(x, local=False) for x in inherited]
    for f in own:
        same = [i for i, x in enumerate(out) if x['name'].lower() == f['name'].lower()]
        if same and out[same[0]]['local']:
            raise MofError('%s: %s.%s given twice' % (f['line'], cls['name'], f['name']))
        if same:
            out[same[0]] = dict(override(out[same[0]], f, cls, what), local=True)
        elif 'override' in f['quals']:
            raise MofError('%s: %s.%s overrides nothing' % (f['line'], cls['name'], f['name']))
        else:
            out.append(dict(f, local=True, origin=cls['name']))
    return out


def flatten(name, classes, done, busy=()):
    if name in done:
        return done[name]
    if name in busy:
        raise MofError('%s is its own superclass' % name)
    c = classes[name]
    up = {'allprops': [], 'allmethods': [], 'quals': {}}
    if c['super']:
        if c['super'] not in classes:
            raise MofError('%s: superclass %s is not declared' % (name, c['super']))
        up = flatten(c['super'], classes, done, busy + (name,))
        if up['ns'] != c['ns']:
            raise MofError('%s: superclass in another namespace' % name)
    c['allprops'] = merge(up['allprops'], c['props'], c, 'property')
    c['allmethods'] = merge(up['allmethods'], c['methods'], c, 'method')
    c['assoc'] = bool(c['quals'].get('association') or up.get('assoc'))
    done[name] = c
    return c


# ---- C tables -------------------------------------------------------------------------------

def cstr(s):
    if s is None:
        return 'NULL'
    return '"' + s.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n') + '"'


def ctype(e):
    if e['ref']:
        return 'CIM_REFERENCE'
    return 'CIM_' + e['type'].upper() if e['type'] in SCALARS else 'CIM_INSTANCE'


def cref(e):
    return cstr(e['type'] if ctype(e) in ('CIM_REFERENCE', 'CIM_INSTANCE') else None)


def cflags(*pairs):
    on = [n for n, v in pairs if v]
    return ' | '.join(on) if on else '0'


class Pool:
    """Static tables that several rows share."""

    def __init__(self, stem, ctype_):
        self.stem, self.ctype, self.seen, self.lines = stem, ctype_, {}, []

    def add(self, body):
        if body not in self.seen:
            self.seen[body] = '%s_%d' % (self.stem, len(self.seen))
            self.lines.append('static const %s %s[] = {\n%s};\n' %
                              (self.ctype, self.seen[body], body))
        return self.seen[body]


def deftext(v):
    if isinstance(v, bool):
        return 'TRUE' if v else 'FALSE'
    return str(v)


class Emitter:
    def __init__(self, classes):
        self.strs = Pool('s', 'char *const')
        self.maps = Pool('m', 'struct cim_valuemap')
        self.classes = classes
        self.out = []

    def strings(self, items):
        return self.strs.add(''.join('    %s,\n' % cstr(x) for x in items))

    def valuemap(self, q):
        if 'valuemap' not in q:
            return 'NULL'
        codes = self.strings(q['valuemap'])
        texts = self.strings(q['values']) if 'values' in q else 'NULL'
        return self.maps.add('    { %s, %s, %d },\n' % (codes, texts, len(q['valuemap'])))

    def prop(self, p):
        q = p['quals']
        d = p['default']
        if d is not None and d == [None]:
            d = None
        return ('    { .name = %s, .type = %s, .ref_class = %s, .embedded = %s, .map = %s, '
                '.def = %s, .n_def = %d, .maxlen = %d, .origin = %s, .flags = %s },\n' %
                (cstr(p['name']), ctype(p), cref(p), cstr(q.get('embeddedinstance')),
                 self.valuemap(q), self.strings([deftext(x) for x in d]) if d is not None else 'NULL',
                 len(d or []), q.get('maxlen', 0), cid(p['origin']),
                 cflags(('CIM_F_ARRAY', p['array']), ('CIM_F_KEY', q.get('key')),
                        ('CIM_F_WRITE', q.get('write')), ('CIM_F_DEPRECATED', q.get('deprecated')),
                        ('CIM_F_LOCAL', p['local']))))

    def param(self, p):
        q = p['quals']
        return ('    { .name = %s, .type = %s, .ref_class = %s, .embedded = %s, .map = %s, '
                '.flags = %s },\n' %
                (cstr(p['name']), ctype(p), cref(p), cstr(q.get('embeddedinstance')),
                 self.valuemap(q), cflags(('CIM_F_ARRAY', p['array']), ('CIM_F_IN', q.get('in')),
                                          ('CIM_F_OUT', q.get('out')))))

    def method(self, m, pool):
        q = m['quals']
        ps = pool.add(''.join(self.param(p) for p in m['params'])) if m['params'] else 'NULL'
        return ('    { .name = %s, .type = %s, .map = %s, .params = %s, .n_params = %d, '
                '.origin = %s, .flags = %s },\n' %
                (cstr(m['name']), ctype(m), self.valuemap(q), ps, len(m['params']),
                 cid(m['origin']),
                 cflags(('CIM_F_STATIC', q.get('static')),
                        ('CIM_F_IMPLEMENTED', q.get('implemented')),
                        ('CIM_F_DEPRECATED', q.get('deprecated')), ('CIM_F_LOCAL', m['local']))))

    def source(self):
        params = Pool('a', 'struct cim_param')
        tables, rows = [], []
        for c in self.classes:
            n = c['name'].lower()
            pt = mt = 'NULL'
            if c['allprops']:
                pt = 'p_' + n
                tables.append('static const struct cim_prop %s[] = {\n%s};\n' %
                              (pt, ''.join(self.prop(p) for p in c['allprops'])))
            if c['allmethods']:
                mt = 'm_' + n
                tables.append('static const struct cim_method %s[] = {\n%s};\n' %
                              (mt, ''.join(self.method(m, params) for m in c['allmethods'])))
            rows.append('    { .id = %s, .name = %s, .ns = %s, .super = %s, .desc = %s, '
                        '.props = %s, .n_props = %d, .n_keys = %d, .methods = %s, '
                        '.n_methods = %d, .is_abstract = %s, .is_association = %s },\n' %
                        (cid(c['name']), cstr(c['name']), cstr(c['ns']),
                         '&cim_classes[%s]' % cid(c['super']) if c['super'] else 'NULL',
                         cstr(c['quals'].get('description')), pt, len(c['allprops']),
                         sum(1 for p in c['allprops'] if p['quals'].get('key')), mt,
                         len(c['allmethods']), 'true' if c['quals'].get('abstract') else 'false',
                         'true' if c['assoc'] else 'false'))
        return ('/* Made by tools/mofgen.py from schema/; do not edit. */\n'
                '#include "cim/class.h"\n\n' +
                '\n'.join(self.strs.lines + self.maps.lines + params.lines + tables) +
                '\nconst struct cim_class cim_classes[CIM_CLASS_COUNT] = {\n' + ''.join(rows) +
                '};\n')


def cid(name):
    return 'CIM_C_' + name.upper()


def header(classes):
    out = ['/* Made by tools/mofgen.py from schema/; do not edit. */',
           '#ifndef CIM_CLASSES_GEN_H', '#define CIM_CLASSES_GEN_H', '',
           '/* Classes in the order of their names without regard to case. */',
           'enum cim_class_id {']
    out += ['    %s,' % cid(c['name']) for c in classes]
    out += ['    CIM_CLASS_COUNT', '};', '']
    for c in classes:
        if c['allprops']:
            out.append('/* Properties of %s in class order. */' % c['name'])
            out.append('enum {')
            out += ['    CIM_P_%s_%s,' % (c['name'].upper(), p['name'].upper())
                    for p in c['allprops']]
            out += ['};', '']
        if c['allmethods']:
            out.append('/* Methods of %s. */' % c['name'])
            out.append('enum {')
            out += ['    CIM_M_%s_%s,' % (c['name'].upper(), m['name'].upper())
                    for m in c['allmethods']]
            out += ['};', '']
    out += ['#endif', '']
    return '\n'.join(out)


def types(classes):
    """What the command line knows of the schema: which properties are no plain texts."""
    out = ['/* Made by tools/mofgen.py from schema/; do not edit. class, property, kind, array */']
    for c in classes:
        for p in c['allprops']:
            kind = ('TEXT' if p['ref'] or p['type'] not in SCALARS or
                    p['type'] in ('string', 'datetime', 'char16') else
                    'BOOL' if p['type'] == 'boolean' else 'NUMBER')
            if kind != 'TEXT' or p['array']:
                out.append('X(%s, %s, %s, %s)' % (cstr(c['name']), cstr(p['name']), kind,
                                                  'true' if p['array'] else 'false'))
    return '\n'.join(out) + '\n'


# ---- documentation --------------------------------------------------------------------------

def typetext(e):
    return e['type'] + (' REF' if e['ref'] else '') + ('[]' if e['array'] else '')


def cell(s):
    return str(s).replace('|', '\\|').replace('\n', ' ')


def values_text(q):
    m = q.get('valuemap')
    if not m:
        return ''
    if 'values' not in q:
        return ', '.join(m)
    pairs = ['%s %s' % x for x in zip(m, q['values'])]
    if len(pairs) > 30:
        pairs = pairs[:30] + ['…']
    return ', '.join(pairs)


def doc_class(c):
    out = ['### %s%s' % (c['name'], ' : ' + c['super'] if c['super'] else ''), '']
    words = [w for w, on in (('abstract', c['quals'].get('abstract')), ('association', c['assoc']))
             if on]
    head = ' '.join(filter(None, [c['quals'].get('description'),
                                  '(%s)' % ', '.join(words) if words else '']))
    if head:
        out += [head, '']
    own = [p for p in c['allprops'] if p['local']]
    if own:
        out += ['| property | type | notes |', '|---|---|---|']
        for p in own:
            q = p['quals']
            notes = [q.get('description', '')]
            notes += [w for w in ('key', 'write', 'deprecated') if q.get(w)]
            if q.get('maxlen'):
                notes.append('at most %d characters' % q['maxlen'])
            if q.get('embeddedinstance'):
                notes.append('embedded %s' % q['embeddedinstance'])
            if p['default'] is not None:
                notes.append('default %s' % ', '.join(deftext(x) for x in p['default']))
            notes.append(values_text(q))
            out.append('| %s | %s | %s |' %
                       (p['name'], typetext(p), cell('; '.join(n.rstrip('.') for n in notes if n))))
        out.append('')
    for m in c['allmethods']:
        if not m['local']:
            continue
        ps = ', '.join('%s %s %s' % ('/'.join(w for w in ('in', 'out') if p['quals'].get(w)),
                                     typetext(p), p['name']) for p in m['params'])
        out.append('- `%s %s(%s)`' % (m['type'], m['name'], ps))
        text = m['quals'].get('description', '')
        codes = values_text(m['quals'])
        if text or codes:
            out.append('  ' + ' '.join(filter(None, [text, 'Returns: %s.' % codes if codes else ''])))
    if out[-1]:
        out.append('')
    return out


def docs(classes):
    out = ['<!-- Made by tools/mofgen.py from schema/; do not edit. -->', '# CIM classes', '',
           'Every class that the daemon serves. A class lists what it declares itself or',
           'changes; the rest is inherited from its superclass.', '']
    for ns in sorted({c['ns'] for c in classes}):
        out += ['## Namespace %s' % ns, '']
        for c in classes:
            if c['ns'] == ns:
                out += doc_class(c)
    return '\n'.join(out).rstrip('\n') + '\n'


def plain(classes):
    """What the conformance test compares."""
    def prop(p):
        q = p['quals']
        d = p['default']
        return {'type': typetext(p), 'key': bool(q.get('key')), 'write': bool(q.get('write')),
                'maxlen': q.get('maxlen'), 'default': d if d is None or p['array'] else d[0],
                'origin': p['origin'], 'embedded': q.get('embeddedinstance'),
                'values': dict(zip(q['valuemap'], q['values'])) if 'values' in q else None,
                'codes': q['valuemap'] if 'valuemap' in q and 'values' not in q else None,
                'deprecated': bool(q.get('deprecated')),
                'overrides': q.get('override') if p['local'] else None}

    def method(m):
        q = m['quals']
        return {'returns': m['type'],
                'codes': dict(zip(q['valuemap'], q['values'])) if 'values' in q else None,
                'params': [['in' * bool(p['quals'].get('in')) + 'out' * bool(p['quals'].get('out')),
                            typetext(p), p['name'], p['quals'].get('embeddedinstance')]
                           for p in m['params']],
                'maps': {p['name']: param_map(p['quals']) for p in m['params']
                         if 'valuemap' in p['quals']},
                'deprecated': bool(q.get('deprecated')),
                'implemented': bool(q.get('implemented'))}

    def param_map(q):
        return dict(zip(q['valuemap'], q['values'])) if 'values' in q else q['valuemap']
    return {c['name']: {'super': c['super'], 'ns': c['ns'],
                        'abstract': bool(c['quals'].get('abstract')), 'association': c['assoc'],
                        'properties': {p['name']: prop(p) for p in c['allprops']},
                        'methods': {m['name']: method(m) for m in c['allmethods']}}
            for c in classes}


def load(paths):
    classes, done = {}, {}
    for p in paths:
        parse_file(p, classes)
    for n in classes:
        flatten(n, classes, done)
    return [done[n] for n in sorted(done, key=str.lower)]


def write(path, text):
    with open(path, 'w', encoding='utf-8') as fh:
        fh.write(text)


def main():
    ap = argparse.ArgumentParser()
    for o in ('header', 'source', 'types', 'docs', 'json'):
        ap.add_argument('--' + o)
    ap.add_argument('mof', nargs='+')
    a = ap.parse_args()
    try:
        classes = load(a.mof)
    except MofError as e:
        sys.exit('mofgen: %s' % e)
    if a.header:
        write(a.header, header(classes))
    if a.source:
        write(a.source, Emitter(classes).source())
    if a.types:
        write(a.types, types(classes))
    if a.docs:
        write(a.docs, docs(classes))
    if a.json:
        write(a.json, json.dumps(plain(classes), indent=1) + '\n')


if __name__ == '__main__':
    main()
