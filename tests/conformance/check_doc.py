#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/conformance.md against what there is: the recorded exchanges (which a test compares with the code), the
table of docs/access.md (likewise), the sources of the providers.

usage: check_doc.py TOP

Every class that is served has a row with the right word (full, partial, empty), and no row is of a class that
is not; every method that is offered has a row with its role, and those that are marked "no" never succeed in
the exchanges, the others do; the codes of Msvm_SummaryInformation, the states that occur and the classes with
events are those of the sources."""
import os
import re
import sys

TOP = sys.argv[1]
GOLDEN = os.path.join(TOP, 'tests', 'exchanges', 'golden')
WALKS = {'associations', 'superclasses', 'events'}  # files of no class
bad = []


def read(*path):
    with open(os.path.join(TOP, *path), encoding='utf-8') as f:
        return f.read()


def wrong(text):
    bad.append(text)


def section(doc, title):
    """What stands below a title, up to the next one of its level or above."""
    level, rest = title.split(' ')[0], doc.split('\n' + title + '\n', 1)
    if len(rest) < 2:
        sys.exit('docs/conformance.md has no section "%s"' % title)
    return re.split(r'\n#{1,%d} ' % len(level), rest[1])[0]


def rows(text):
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip('|').split('|')]
        if line.startswith('|') and not re.fullmatch(r'[|\- ]+', line):
            yield cells


def table(doc, title):
    """The rows of the first table of a section, without its head."""
    return list(rows(section(doc, title).split('\n### ')[0]))[1:]


# ---- what there is ----
def exchanges(cls):
    """(method or other title, reply) of the recorded exchanges of a class."""
    for part in re.split(r'^==== ', read('tests', 'exchanges', 'golden', cls + '.txt'), flags=re.M)[1:]:
        title, rest = part.split('\n', 1)
        yield title, rest.split('\n---- ', 1)[1]


def has_instance(cls):
    return any('xsi:type="p:%s_Type"' % cls in reply for _, reply in exchanges(cls))


def return_values(cls, method):
    return {int(n) for title, reply in exchanges(cls) if title == method
            for n in re.findall(r'<p:ReturnValue>(\d+)<', reply)}


def served():
    return {n[:-len('.txt')] for n in os.listdir(GOLDEN)} - WALKS


def offered():
    """(class, method) -> role, of docs/access.md"""
    return {(r[0], r[1]): r[2] for r in rows(read('docs', 'access.md'))
            if len(r) == 3 and re.fullmatch(r'[A-Z][a-z]+_\w+', r[0])}


# ---- classes ----
def names(cell):
    return [n.strip() for n in cell.split(',')]


def check_classes(doc):
    there, seen = served(), set()
    for cell, word, remark in table(doc, '## Classes of root/virtualization/v2'):
        for cls in names(cell):
            seen.add(cls)
            if remark.startswith('embedded'):
                if cls in there:
                    wrong('%s is served, not only embedded' % cls)
            elif cls not in there:
                wrong('%s has a row and is not served' % cls)
            elif word not in ('full', 'partial', 'empty'):
                wrong('%s: "%s"' % (cls, word))
            elif (word == 'empty') == has_instance(cls):
                wrong('%s is "%s", but there are %s instances in the recorded exchanges'
                      % (cls, word, 'no' if word != 'empty' else 'some'))
    for cls in sorted(c for c in there if c.startswith('Msvm_')):
        if cls not in seen:
            wrong('%s is served and has no row' % cls)
    for cells in table(doc, '### Classes that are not served'):
        if cells[1] != 'no' or cells[0] in there:
            wrong('%s: "%s" among those that are not served' % (cells[0], cells[1]))


# ---- methods ----
def methods(cell, cls=None):
    """(class, method) of "A, B", "A, -Ex", "Class.A, B" and "Class and Class: A, B"."""
    classes = [cls]
    if ':' in cell:
        head, cell = cell.split(':', 1)
        classes = re.findall(r'\w+', head.replace(' and ', ' '))
    last = None
    for name in names(cell):
        if '.' in name:
            head, name = name.split('.')
            classes = [head]
        last = last + name[1:] if name.startswith('-') else name
        for c in classes:
            yield c, last


def check_method(key, word, role, remark, roles):
    if key not in roles:
        wrong('%s.%s has a row and is not offered' % key)
        return
    if role and role != roles[key]:
        wrong('%s.%s: role %s, docs/access.md says %s' % (key + (role, roles[key])))
    got = return_values(*key)
    if 'always 1,' in remark:
        if got != {1}:
            wrong('%s.%s: always 1, but %s' % (key + (sorted(got),)))
    elif word == 'no':
        if not got or got & {0, 4096}:
            wrong('%s.%s: no, but %s' % (key + (sorted(got),)))
        for code in got:
            if str(code) not in remark:
                wrong('%s.%s: %d is not said' % (key + (code,)))
    elif not got & {0, 4096}:
        wrong('%s.%s: %s, but there is no success in the recorded exchanges' % (key + (word,)))


def check_methods(doc):
    roles, seen = offered(), set()
    places = [('Msvm_ReplicationService', table(doc, '## Methods of Msvm_ReplicationService')),
              (None, table(doc, '## Methods of other classes'))]
    for cls, there in places:
        for cell, word, role, remark in there:
            for key in methods(cell, cls):
                seen.add(key)
                check_method(key, word, role, remark, roles)
    own = section(doc, '## Classes of root/vmreplica/v1')
    for key in roles:
        if key[0].startswith('Vmr_'):
            if not re.search(r'\b%s\b' % key[1], own):
                wrong('%s.%s is offered and not said' % key)
        elif key not in seen:
            wrong('%s.%s is offered and has no row' % key)


# ---- the rest ----
def numbers(text):
    """{0, 1, 107, 108, 109} of "0, 1, 107 to 109"."""
    got = set()
    for a, b in re.findall(r'(\d+)(?: to (\d+))?', text):
        got.update(range(int(a), int(b or a) + 1))
    return got


def check_rest(doc):
    codes = {int(n) for n in re.findall(r'\{ (\d+), set_', read('src', 'cim', 'providers', 'summary.c'))}
    said = numbers(re.search(r'\| codes ([\d, to]+(?:and \d+)?)', doc).group(1))
    if codes != said:
        wrong('codes of Msvm_SummaryInformation: %s' % sorted(codes ^ said))
    states = {int(n) for n in re.findall(r'^S\(\w+, \d, (\d+),', read('src', 'replication', 'states.def'), re.M)}
    never = numbers(re.search(r'\b([\d, ]+and \d+ to \d+) never occur', doc).group(1))
    if states & never or states | never != set(range(22)):
        wrong('states that never occur: %s, those that do: %s' % (sorted(never), sorted(states)))
    reasons = {(int(a), int(b)) for a, b in
               re.findall(r'^R\(\w+, (\d), (\d{2,}),', read('src', 'replication', 'explain.def'), re.M)}
    health = {(int(r[0]), int(r[1])) for r in table(doc, '## Health, statistics')}
    if reasons != health:
        wrong('reasons of health: %s' % sorted(reasons ^ health))
    tests = ''.join(read('src', 'cim', 'providers', n)
                    for n in os.listdir(os.path.join(TOP, 'src', 'cim', 'providers')) if n.startswith('test-'))
    for cells in table(doc, '### The fourteen return values of ReverseReplicationRelationship'):
        for name in names(cells[2]) if cells[2] else []:
            script = os.path.join(TOP, 'tests', name + '.test.sh')
            if 'static void %s(' % name not in tests and not os.path.exists(script):
                wrong('there is no test %s' % name)
    for path in set(re.findall(r'`((?:src|tests|docs|tools|schema)/[\w./-]+)`', doc)):
        if not os.path.exists(os.path.join(TOP, path)):
            wrong('there is no %s' % path)
    watched = set()
    folder = os.path.join(TOP, 'src', 'cim', 'providers')
    for name in os.listdir(folder):
        if not name.startswith('test') and name.endswith('.c'):
            for part in read('src', 'cim', 'providers', name).split('cim_server_register(')[1:]:
                if '.watch =' in part.split(';')[0]:
                    watched.update(re.findall(r'\.cls = CIM_C_(\w+)', part.split(';')[0]))
    events = re.findall(r'\w+_\w+', section(doc, '## Events').split('.')[0])
    if watched != {e.upper() for e in events}:
        wrong('classes with events: %s' % sorted(watched ^ {e.upper() for e in events}))


def main():
    doc = read('docs', 'conformance.md')
    check_classes(doc)
    check_methods(doc)
    check_rest(doc)
    for text in bad:
        print('docs/conformance.md:', text)
    sys.exit(1 if bad else 0)


if __name__ == '__main__':
    main()
