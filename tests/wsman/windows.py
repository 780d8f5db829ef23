#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries out the second block of docs/windows.md, "From nothing to protected, and over", line by line
with the requests that the MI client makes of it (options, DMTF resource URIs, references, embedded instances
whose NULL arrays are arrays of one NULL, client certificate). Only the forms of lines that the page has are
known; any other ends the test.

  windows.py PAGE CERTIFICATE KEY HOSTA HOSTA.CRT HOSTB HOSTB.CRT"""
import fnmatch
import re
import sys
import time
import uuid
from xml.sax.saxutils import escape, quoteattr

import requests
from lxml import etree

ADDR = 'http://schemas.xmlsoap.org/ws/2004/08/addressing'
ANONYMOUS = ADDR + '/role/anonymous'
EVENTING = 'http://schemas.xmlsoap.org/ws/2004/08/eventing'
ENUM = 'http://schemas.xmlsoap.org/ws/2004/09/enumeration'
TRANSFER = 'http://schemas.xmlsoap.org/ws/2004/09/transfer'
WSMAN = 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'
MS = 'http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd'
XSI = 'http://www.w3.org/2001/XMLSchema-instance'
CLASS = 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
ALL = 'http://schemas.dmtf.org/wbem/wscim/1/*'
SCHEMA = 'http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*'
WQL = 'http://schemas.microsoft.com/wbem/wsman/1/WQL'
ASSOCIATION = 'http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter'
MUTUAL = 'http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual'
OPTIONS = [('__MI_CallbackRegistration', 'xs:int', '11')] + [
    ('wmiarray:__MI_OPERATIONOPTIONS_CHANNELVALUE', 'xs:unsignedInt', str(n)) for n in range(3)] + [
    ('wmi:__MI_OPERATIONOPTIONS_WRITEERRORMODE', 'xs:unsignedInt', '1'),
    ('msftwinrm:UsePreciseArrays', 'xs:boolean', 'true')]
SCHEMA_OPTIONS = [(n, 'xs:boolean', 'true') for n in
                  ('IncludeInheritanceHierarchy', 'IncludeInheritedElements', 'IncludeQualifiers')]
JOB_S = 300

SESSION = str(uuid.uuid4()).upper()


def fail(*what):
    sys.exit('FAILED: ' + ' '.join(str(x) for x in what))


def local(e):
    return etree.QName(e).localname


class Instance:
    """keys: of its reference, values: {property: text, None, list or Reference}"""

    def __init__(self, cls, namespace, keys):
        self.cls, self.namespace, self.keys, self.values, self.arrays = cls, namespace, keys, {}, set()

    def reference(self):
        return '<a:Address>%s</a:Address><a:ReferenceParameters><w:ResourceURI>%s</w:ResourceURI>%s</a:ReferenceParameters>' % (
            ANONYMOUS, CLASS + self.cls, selectors(self.namespace, self.keys))

    def embedded(self):
        out = '<INSTANCE CLASSNAME="%s">' % self.cls
        for name, value in self.values.items():
            if name in self.arrays:
                all_ = ''.join('<VALUE>%s</VALUE>' % escape(v) for v in value) if value is not None else '<VALUE.NULL/>'
                out += '<PROPERTY.ARRAY NAME="%s"><VALUE.ARRAY>%s</VALUE.ARRAY></PROPERTY.ARRAY>' % (name, all_)
            elif value is None:
                out += '<PROPERTY NAME="%s"></PROPERTY>' % name
            else:
                out += '<PROPERTY NAME="%s"><VALUE>%s</VALUE></PROPERTY>' % (name, escape(value))
        return out + '</INSTANCE>'


def selectors(namespace, keys):
    return '<w:SelectorSet>%s</w:SelectorSet>' % ''.join(
        '<w:Selector Name=%s>%s</w:Selector>' % (quoteattr(n), escape(v))
        for n, v in [('__cimnamespace', namespace)] + list(keys.items()))


def reference_of(element):
    """(class, namespace, keys) of an endpoint reference"""
    cls, keys = None, {}
    for e in element.iter('{%s}ResourceURI' % WSMAN, '{%s}Selector' % WSMAN):
        if local(e) == 'ResourceURI':
            cls = e.text.rsplit('/', 1)[1]
        else:
            keys[e.get('Name')] = e.text or ''
    return cls, keys.pop('__cimnamespace'), keys


def value_of(e):
    if len(e) and etree.QName(e[0]).namespace == ADDR:
        return Instance(*reference_of(e))
    return e[0].text if len(e) else e.text or ''


def read(instance, element):
    for e in element:
        name, nil = local(e), e.get('{%s}nil' % XSI) == 'true'
        if e.get('{%s}IsNullArray' % MS) == 'true':
            instance.arrays.add(name)
        if name in instance.values:                # repeated: an array
            have = instance.values[name]
            instance.arrays.add(name)
            instance.values[name] = (have if isinstance(have, list) else [have]) + [value_of(e)]
        else:
            instance.values[name] = None if nil else value_of(e)
    return instance


class Session:
    def __init__(self, host, trusted, certificate, key):
        self.url = 'https://%s:5986/wsman' % host
        self.http = requests.Session()
        self.http.trust_env = False            # it would trust others than we say
        self.http.cert, self.http.verify = (certificate, key), trusted
        self.http.headers.update({'Content-Type': 'application/soap+xml;charset=UTF-8', 'Authorization': MUTUAL,
                                  'User-Agent': 'Microsoft WinRM Client'})

    def ask(self, uri, action, namespace, keys, body, options=()):
        reply = self.http.post(self.url, data=(
            '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="%s" xmlns:n="%s" xmlns:w="%s" xmlns:p="%s" '
            'xmlns:b="http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"><s:Header><a:To>%s</a:To>'
            '<w:ResourceURI s:mustUnderstand="true">%s</w:ResourceURI>'
            '<a:ReplyTo><a:Address s:mustUnderstand="true">%s</a:Address></a:ReplyTo>'
            '<a:Action s:mustUnderstand="true">%s</a:Action><w:MaxEnvelopeSize s:mustUnderstand="true">512000</w:MaxEnvelopeSize>'
            '<a:MessageID>uuid:%s</a:MessageID><w:Locale xml:lang="en-US" s:mustUnderstand="false"/>'
            '<p:DataLocale xml:lang="en-US" s:mustUnderstand="false"/><p:SessionId s:mustUnderstand="false">uuid:%s</p:SessionId>'
            '<p:OperationID s:mustUnderstand="false">uuid:%s</p:OperationID><p:SequenceId s:mustUnderstand="false">1</p:SequenceId>'
            '%s<w:OptionSet xmlns:xsi="%s">%s</w:OptionSet><w:OperationTimeout>PT60.000S</w:OperationTimeout></s:Header>'
            '<s:Body>%s</s:Body></s:Envelope>' % (
                ADDR, ENUM, WSMAN, MS, self.url, uri, ANONYMOUS, action, str(uuid.uuid4()).upper(), SESSION,
                str(uuid.uuid4()).upper(), selectors(namespace, keys), XSI,
                ''.join('<w:Option Name="%s" Type="%s">%s</w:Option>' % o for o in list(options) + OPTIONS), body)).encode(),
            timeout=120)
        if reply.status_code != 200:
            fail(action, 'on', uri, reply.status_code, reply.text)
        return etree.fromstring(reply.content)

    def enumerate(self, uri, namespace, keys, more='', options=()):
        """the items of all pages"""
        body = '<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements>%s</n:Enumerate>' % more
        tree, out = self.ask(uri, ENUM + '/Enumerate', namespace, keys, body, options), []
        while True:
            for items in tree.iter('{%s}Items' % WSMAN, '{%s}Items' % ENUM):
                out += list(items)
            context = [e.text for e in tree.iter('{%s}EnumerationContext' % ENUM) if e.text]
            if not context:
                return out
            tree = self.ask(uri, ENUM + '/Pull', namespace, keys,
                            '<n:Pull><n:EnumerationContext>%s</n:EnumerationContext><n:MaxElements>32000</n:MaxElements></n:Pull>'
                            % context[0], options)

    def instances(self, uri, namespace, more=''):
        out = []
        for item in self.enumerate(uri, namespace, {}, '<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>' + more):
            found, where = item
            out.append(read(Instance(*reference_of(where)), found))
        return out

    def query(self, namespace, text):
        return self.instances(ALL, namespace, '<w:Filter Dialect="%s">%s</w:Filter>' % (WQL, escape(text)))

    def associated(self, namespace, of, association, result):
        more = ''.join('<b:%s>%s</b:%s>' % (n, v, n) for n, v in
                       (('AssociationClassName', association), ('ResultClassName', result)) if v)
        return self.instances(ALL, namespace, '<w:Filter Dialect="%s"><b:AssociatedInstances><b:Object>%s</b:Object>%s'
                              '</b:AssociatedInstances></w:Filter>' % (ASSOCIATION, of.reference(), more))

    def get(self, of):
        tree = self.ask(CLASS + of.cls, TRANSFER + '/Get', of.namespace, of.keys, '')
        return read(Instance(of.cls, of.namespace, of.keys), tree.find('.//{*}Body')[0])

    def invoke(self, of, method, arguments):
        uri = CLASS + of.cls
        body = '<p0:%s_INPUT xmlns:p0="%s" xmlns:xsi="%s" xmlns:xs="http://www.w3.org/2001/XMLSchema" ' \
               'xsi:type="%s_INPUT_Type">%s</p0:%s_INPUT>' % (method, uri, XSI, method, ''.join(
                   '<p0:%s%s>%s</p0:%s>' % (n, t, v, n) for n, t, v in arguments), method)
        tree = self.ask(uri, uri + '/' + method, of.namespace, of.keys, body)
        return read(Instance(method, of.namespace, {}), tree.find('.//{*}Body')[0])

    def subscribe(self, namespace, query):
        tree = self.ask(ALL, EVENTING + '/Subscribe', namespace, {}, (
            '<e:Subscribe xmlns:e="%s"><e:Delivery Mode="http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull">'
            '<w:Heartbeats>PT60.000S</w:Heartbeats><w:Locale xml:lang="en-US" s:mustUnderstand="false"/>'
            '<p:DataLocale xml:lang="en-US" s:mustUnderstand="false"/><w:ContentEncoding>UTF-16</w:ContentEncoding></e:Delivery>'
            '<e:Expires>PT600.000S</e:Expires><w:Filter Dialect="%s">%s</w:Filter></e:Subscribe>' % (EVENTING, WQL, escape(query))))
        return tree.find('.//{%s}EnumerationContext' % ENUM).text

    def pull(self, namespace, context):
        """what was told: pairs of instances, before and after"""
        tree = self.ask(ALL, ENUM + '/Pull', namespace, {}, '<n:Pull><n:EnumerationContext>%s</n:EnumerationContext>'
                        '<n:MaxElements>20</n:MaxElements></n:Pull>' % context)
        if tree.find('.//{%s}EndOfSequence' % ENUM) is not None:
            fail('the subscription has ended')
        for event in tree.find('.//{%s}Items' % ENUM):
            pair = [event.find('{*}' + n) for n in ('PreviousInstance', 'TargetInstance')]
            if None not in pair:
                yield [read(Instance('', namespace, {}), e) for e in pair]

    def job(self, of, method, arguments):
        """Invoke-Job"""
        r = self.invoke(of, method, arguments)
        code = r.values['ReturnValue']
        if code not in ('0', '4096'):
            host = self.instances(CLASS + 'Vmr_Host', 'root/vmreplica/v1')[0]
            fail(method, code, self.invoke(host, 'LastRefusal', []).values['Message'])
        end = time.monotonic() + JOB_S
        while code == '4096':
            j = self.get(r.values['Job'])
            if j.values['JobState'] not in ('2', '3', '4', '5'):
                if j.values['JobState'] not in ('7', '32768'):
                    fail(method, 'ends in state', j.values['JobState'], self.invoke(j, 'GetErrorEx', []).values)
                break
            if time.monotonic() > end:
                fail(method, 'is still under way')
            time.sleep(0.2)
        return r


class Page:
    """The variables of the page and the forms of its lines."""
    EXPRESSION = r"(\[ref\]\$\w+|\[uint16\]\d+|'[^']*'|\$\w+\.\w+|ConvertTo-Embedded \$\w+)"
    FILTER = r"(?: \| \? (\w+) -like '([^']*)')?(?: \| sort (\w+) \| select -Last 1)?"

    def __init__(self, sessions):
        self.names = {}
        self.at = {}
        for letter, session in zip('ab', sessions):
            self.at['v' + letter] = (session, 'root/virtualization/v2')
            self.at['o' + letter] = (session, 'root/vmreplica/v1')

    def value(self, text):
        """(attributes, XML, plain) of an expression"""
        if text.startswith('[ref]$'):
            return '', self.names[text[6:]].reference(), None
        if text.startswith('[uint16]'):
            return ' xsi:type="xs:unsignedShort"', text[8:], text[8:]
        if text.startswith("'"):
            return '', escape(text[1:-1]), text[1:-1]
        if text.startswith('ConvertTo-Embedded $'):
            xml = self.names[text[20:]].embedded()
            return '', escape(xml), xml
        name, prop = text[1:].split('.')
        plain = self.names[name].values[prop]
        return '', escape(plain), plain

    @staticmethod
    def like(found, prop, pattern):
        return [x for x in found if not prop or fnmatch.fnmatchcase(x.values[prop] or '', pattern)]

    @classmethod
    def one(cls, found, prop, pattern):
        found = cls.like(found, prop, pattern)
        if len(found) != 1:
            fail('%d instances instead of one:' % len(found), [x.keys for x in found])
        return found[0]

    def get(self, m):
        session, namespace = self.at[m[2]]
        found = session.query(namespace, 'SELECT * FROM %s WHERE %s' % (m[3], m[4])) if m[4] else \
            session.instances(CLASS + m[3], namespace)
        self.names[m[1]] = self.one(found, None, None)

    def walk(self, m):
        session, namespace = self.at[m[4]]
        of = self.names[m[2]]
        of = of.values[m[3]] if m[3] else of
        found = session.associated(namespace, of, m[5], m[6])
        if m[9]:                                   # texts of instants sort as these do
            found = sorted(self.like(found, m[7], m[8]), key=lambda x: x.values[m[9]] or '')[-1:]
        self.names[m[1]] = self.one(found, m[7], m[8])

    def set(self, m):
        if m[2] not in self.names[m[1]].values:
            fail(m[1], 'has no', m[2])
        self.names[m[1]].values[m[2]] = self.value(m[3])[2]

    def call(self, m):
        session = self.at[m[2]][0]
        arguments = []
        for piece in (m[5] or '').split('; '):
            if piece:
                name, text = piece.split(' = ', 1)
                if not re.fullmatch(self.EXPRESSION, text):
                    fail('no such expression:', text)
                kind, xml, _ = self.value(text)
                arguments.append((name, kind, xml))
        r = session.job(self.names[m[3]], m[4], arguments)
        if m[1]:
            self.names[m[1]] = r

    def classes(self, m):
        session, namespace = self.at[m[1]]
        found = session.enumerate(SCHEMA, namespace, {'ClassName': ''}, options=SCHEMA_OPTIONS)
        names = [e.get('NAME') for e in found if fnmatch.fnmatchcase(e.get('NAME'), m[2])]
        if 'Msvm_ReplicationService' not in names or len(names) < 5:
            fail('Get-CimClass finds', names)

    def register(self, m):
        session, namespace = self.at[m[1]]
        self.names['event ' + m[2]] = (session, namespace, session.subscribe(namespace, m[3]))

    def events(self, m):
        """the machine's relationship went 3, 7, 3, whatever else of it has changed"""
        session, namespace, context = self.names['event ' + m[1]]
        steps, end = [], time.monotonic() + JOB_S
        while len(steps) < 2 and time.monotonic() < end:
            for before, after in session.pull(namespace, context):
                states = before.values[m[2]], after.values[m[2]]
                if after.values['InstanceID'] != self.names['rel'].values['InstanceID']:
                    fail('an event of', after.values)
                if states[0] != states[1]:
                    steps.append(states)
        if steps != [('3', '7'), ('7', '3')]:
            fail('the states that were told:', steps)

    def show(self, m):
        texts = self.names[m[1]].values[m[2]]
        for text in texts if isinstance(texts, list) else [texts]:
            if not etree.fromstring(text).findall('PROPERTY'):
                fail('nothing in', text)

    def run(self, line):
        forms = [
            (r"\$(\w+) = Get-CimInstance @(\w+) (\w+)(?: -Filter \"([^\"]*)\")?", self.get),
            (r"\$(\w+) = Get-CimAssociatedInstance -InputObject \$(\w+)(?:\.(\w+))? @(\w+)(?: -Association (\w+))?"
             r"(?: -ResultClassName (\w+))?" + self.FILTER, self.walk),
            (r"\$(\w+)\.CimInstanceProperties\['(\w+)'\]\.Value = " + self.EXPRESSION, self.set),
            (r"(?:\$(\w+) = )?Invoke-Job \$(\w+) \$(\w+) (\w+)(?: @\{ (.*) \})?", self.call),
            (r"Register-CimIndicationEvent @(\w+) -SourceIdentifier (\w+) -Query \"([^\"]*)\"", self.register),
            (r"Get-Event -SourceIdentifier (\w+) \| % \{ \$_\.SourceEventArgs\.NewEvent\.TargetInstance\.(\w+) \}", self.events),
            (r"Get-CimClass @(\w+) (\S+)", self.classes),
            (r"\$(\w+)\.(\w+) \| % \{ \(\[xml\]\$_\)\.INSTANCE\.PROPERTY \} \| ft NAME, VALUE", self.show),
        ]
        for pattern, do in forms:
            m = re.fullmatch(pattern, line)
            if m:
                do(m)
                return
        fail('a line that is not known:', line)


def main():
    page, certificate, key, *hosts = sys.argv[1:]
    with open(page, encoding='utf-8') as f:
        section = f.read().split('## From nothing to protected, and over')[1].split('\n## ')[0]
    blocks = re.findall(r'```powershell\n(.*?)```', section, re.S)
    run = Page([Session(h, crt, certificate, key) for h, crt in zip(hosts[::2], hosts[1::2])])
    for line in blocks[1].splitlines():
        if line.startswith('#'):
            print('ok:', line[2:], flush=True)
        elif line:
            run.run(line)
    print('ok: all of it', flush=True)


if __name__ == '__main__':
    main()
