#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""WS-Management clients that nobody here wrote, against a real daemon over HTTPS: dracclient (which
manages Dell's servers) and pywinrm. Each line of the output is one thing that was seen to be right.

  clients.py URL CA USER PASSWORD CERTIFICATE KEY MACHINE
  clients.py --relationship URL CA CERTIFICATE KEY GUID     until it was suspended and resumed

CA is the daemon's own certificate, which pywinrm checks. CERTIFICATE and KEY are PEM files of a caller whom the daemon knows, MACHINE is a libvirt machine that
is off. The whole conversation of each client is its own: headers, envelopes, pages, connections.
"""
import sys
import threading
from urllib.parse import urlparse

import requests
import urllib3
import winrm
import winrm.exceptions
import xmltodict
from dracclient import exceptions as drac
from dracclient import wsman
from lxml import etree

VIRT = 'http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/'
ENUM = 'http://schemas.xmlsoap.org/ws/2004/09/enumeration'
EVENTING = 'http://schemas.xmlsoap.org/ws/2004/08/eventing'
SOAP = 'http://www.w3.org/2003/05/soap-envelope'
WQL = 'http://schemas.microsoft.com/wbem/wsman/1/WQL'
PULL = 'http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull'


def must(what, condition, *more):
    if not condition:
        sys.exit('FAILED: ' + ' '.join(str(m) for m in (what,) + more))
    print('ok:', what, flush=True)


def local(element):
    return etree.QName(element).localname


def values(tree, name):
    return [e.text for e in tree.iter() if isinstance(e.tag, str) and local(e) == name]


# ---- dracclient ----
def dracclient(url, user, password, machine):
    where = urlparse(url)
    client = wsman.Client(where.hostname, user, password, port=where.port)
    tree = client.enumerate(VIRT + 'Msvm_ComputerSystem', max_elems=1)
    must('dracclient: all machines, one on a page', machine in values(tree, 'ElementName'))
    tree = client.enumerate('http://schemas.microsoft.com/wbem/wsman/1/wmi/root/__NAMESPACE', max_elems=1)
    must('dracclient: namespaces', values(tree, 'Name') == ['cimv2', 'virtualization', 'vmreplica'])
    tree = client.enumerate(VIRT + 'Msvm_ComputerSystem', optimization=False, auto_pull=False)
    context = values(tree, 'EnumerationContext')[0]
    tree = client.pull(VIRT + 'Msvm_ComputerSystem', context, max_elems=100)
    must('dracclient: a plain enumeration, then Pull', machine in values(tree, 'ElementName'))
    tree = client.enumerate('http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/Msvm_ReplicationRelationship')
    must('dracclient: DMTF resource URI', len(values(tree, 'InstanceID')) >= 1)
    query = "SELECT * FROM Msvm_ComputerSystem WHERE ElementName = '%s'" % machine
    tree = client.enumerate(VIRT + '*', filter_query=query, filter_dialect='wql')
    must('dracclient: WQL', values(tree, 'ElementName') == [machine])
    guid = values(tree, 'Name')[0]
    try:
        client.enumerate(VIRT + '*', filter_query=query, filter_dialect='cql')
        must('dracclient: CQL is refused', False)
    except drac.WSManInvalidResponse as refused:
        must('dracclient: CQL is refused', '400' in str(refused))
    keys = {'CreationClassName': 'Msvm_ComputerSystem', 'Name': guid}
    tree = client.invoke(VIRT + 'Msvm_ComputerSystem', 'RequestStateChange', keys, {'RequestedState': '99'})
    must('dracclient: a method refuses', values(tree, 'ReturnValue') == ['32773'])
    tree = client.invoke(VIRT + 'Msvm_ComputerSystem', 'RequestStateChange', keys, {'RequestedState': '2'})
    must('dracclient: a method starts a job', values(tree, 'ReturnValue') == ['4096'] and
         any('Msvm_ConcreteJob' in (u or '') for u in values(tree, 'ResourceURI')))
    return guid


# ---- pywinrm ----
def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


class Caller:
    """Envelopes of ours in pywinrm's headers and over its transport."""

    def __init__(self, url, **how):
        self.protocol = winrm.Protocol(endpoint=url, server_cert_validation='validate', read_timeout_sec=120,
                                       operation_timeout_sec=90, **how)

    def ask(self, resource, action, body, header=None):
        env = {'env:Envelope': self.protocol._get_soap_header(resource_uri=resource, action=action)}
        env['env:Envelope'].setdefault('env:Header', {}).update(header or {})
        env['env:Envelope']['env:Body'] = body
        return etree.fromstring(as_bytes(self.protocol.send_message(xmltodict.unparse(env))))


def pywinrm(url, how, name, machine):
    caller = Caller(url, **how)
    tree = caller.ask(VIRT + 'Msvm_ComputerSystem', ENUM + '/Enumerate', {'n:Enumerate': {
        '@xmlns:n': ENUM, '@xmlns:w': 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd',
        'w:OptimizeEnumeration': None, 'w:MaxElements': '100'}})
    must('pywinrm, %s: all machines' % name, machine in values(tree, 'ElementName'))
    try:
        caller.protocol.open_shell()
        must('pywinrm, %s: there is no shell' % name, False)
    except winrm.exceptions.WinRMError as refused:
        must('pywinrm, %s: there is no shell' % name, 'is not served' in str(refused), refused)
    return caller


def wrong_password(url, ca, user):
    try:
        Caller(url, transport='ssl', username=user, password='wrong', ca_trust_path=ca).ask(
            VIRT + '*', ENUM + '/Enumerate', {'n:Enumerate': {'@xmlns:n': ENUM}})
        must('pywinrm: a wrong password is refused', False)
    except winrm.exceptions.InvalidCredentialsError:
        must('pywinrm: a wrong password is refused', True)


# ---- events ----
def subscribe(caller, query, heartbeat=None):
    delivery = {'@Mode': PULL}
    if heartbeat:
        delivery['w:Heartbeats'] = heartbeat
    tree = caller.ask(VIRT + '*', EVENTING + '/Subscribe', {'e:Subscribe': {
        '@xmlns:e': EVENTING, '@xmlns:w': 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd',
        'e:Delivery': delivery, 'w:Filter': {'@Dialect': WQL, '#text': query}}})
    return values(tree, 'EnumerationContext')[0]


def pull(caller, context, seconds=60):
    return caller.ask(VIRT + '*', ENUM + '/Pull', {'n:Pull': {
        '@xmlns:n': ENUM, 'n:EnumerationContext': context, 'n:MaxTime': 'PT%dS' % seconds,
        'n:MaxElements': '50'}})


def pull_until(caller, context, what):
    """Events until @what says that enough were seen."""
    seen = []
    for _ in range(60):
        tree = pull(caller, context)
        items = [e for e in tree.iter() if isinstance(e.tag, str) and local(e) == 'Items'][0]
        seen += list(items)
        if what(seen):
            return seen
    sys.exit('FAILED: only these events came: %s' % [local(e) for e in seen])


def instance(event, name='TargetInstance'):
    found = [e for e in event if local(e) == name]
    return found[0] if found else None


def states(events, guid):
    return [values(instance(e), 'EnabledState')[0] for e in events
            if instance(e) is not None and guid in values(instance(e), 'Name')]


def new_job_is_over(seen):
    """Was the beginning of a job seen, and later that it is completed? Older ones may still run."""
    new = [values(instance(e), 'InstanceID')[0] for e in seen if local(e) == '__InstanceCreationEvent']
    return any(values(instance(e), 'JobState') == ['7'] and values(instance(e), 'InstanceID')[0] in new
               for e in seen if local(e) != '__InstanceDeletionEvent' and instance(e) is not None)


def events(caller, other, url, user, password, guid):
    isa = "SELECT * FROM %s WITHIN 1 WHERE TargetInstance ISA '%s'"
    jobs = subscribe(caller, isa % ('__InstanceOperationEvent', 'Msvm_ConcreteJob'))
    machines = subscribe(other, isa % ('__InstanceModificationEvent', 'Msvm_ComputerSystem'))
    where = urlparse(url)
    client = wsman.Client(where.hostname, user, password, port=where.port)
    keys = {'CreationClassName': 'Msvm_ComputerSystem', 'Name': guid}

    def turn(state):
        tree = client.invoke(VIRT + 'Msvm_ComputerSystem', 'RequestStateChange', keys,
                             {'RequestedState': state})
        must('events: RequestStateChange %s' % state, values(tree, 'ReturnValue') == ['4096'])

    waiting = {}
    thread = threading.Thread(target=lambda: waiting.update(seen=pull_until(caller, jobs, new_job_is_over)))
    thread.start()
    turn('3')
    thread.join()
    seen = waiting['seen']
    must('events: a job from its beginning to its end', new_job_is_over(seen))
    seen = pull_until(other, machines, lambda seen: '3' in states(seen, guid))
    must('events: the machine is off', states(seen, guid)[-1] == '3')
    quiet = subscribe(caller, isa % ('__InstanceDeletionEvent', 'Msvm_ReplicationRelationship'), 'PT2S')
    tree = pull(caller, quiet, 30)
    must('events: a heartbeat', any((e.get('Action') or '').endswith('/Heartbeat') for e in tree.iter()
                                    if isinstance(e.tag, str)))
    head = {'e:Identifier': {'@xmlns:e': EVENTING, '#text': jobs}}
    caller.ask(VIRT + '*', EVENTING + '/Unsubscribe', {'e:Unsubscribe': {'@xmlns:e': EVENTING}}, head)
    try:
        pull(caller, jobs, 5)
        must('events: nothing after Unsubscribe', False)
    except winrm.exceptions.WinRMError as refused:
        must('events: nothing after Unsubscribe', 'not open' in str(refused), refused)


# ---- events of a relationship, which others suspend and resume ----
def moves(seen, guid):
    """What the events tell: from which state to which."""
    found = []
    for e in seen:
        before, after = instance(e, 'PreviousInstance'), instance(e)
        if after is None or guid not in values(after, 'InstanceID')[0]:
            continue
        step = (values(before, 'ReplicationState')[0], values(after, 'ReplicationState')[0])
        found += [step] if step[0] != step[1] else []
    return found


def relationship(url, ca, cert, key, guid):
    caller = Caller(url, transport='certificate', cert_pem=cert, cert_key_pem=key, username=None, password=None,
                    ca_trust_path=ca)
    context = subscribe(caller, "SELECT * FROM __InstanceModificationEvent WITHIN 1 "
                        "WHERE TargetInstance ISA 'Msvm_ReplicationRelationship'")
    print('subscribed', flush=True)
    told = []

    def both(seen):
        for step in moves(seen, guid)[len(told):]:
            told.append(step)
            print('event: from %s to %s' % step, flush=True)
        return len(told) >= 2

    pull_until(caller, context, both)
    must('events: a relationship goes from 3 to 7 and back', told == [('3', '7'), ('7', '3')], told)


def main():
    if sys.argv[1] == '--relationship':
        relationship(*sys.argv[2:])
        return
    url, ca, user, password, cert, key, machine = sys.argv[1:]
    urllib3.disable_warnings()
    requests.packages.urllib3.disable_warnings()
    guid = dracclient(url, user, password, machine)
    wrong_password(url, ca, user)
    by_name = pywinrm(url, {'transport': 'ssl', 'username': user, 'password': password,
                            'ca_trust_path': ca}, 'password', machine)
    by_cert = pywinrm(url, {'transport': 'certificate', 'cert_pem': cert, 'cert_key_pem': key,
                            'username': None, 'password': None, 'ca_trust_path': ca}, 'certificate', machine)
    events(by_name, by_cert, url, user, password, guid)


main()
