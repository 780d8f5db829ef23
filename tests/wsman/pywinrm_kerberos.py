#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pywinrm, a client that nobody here wrote, logs in by Kerberos with message_encryption='always' and
asks for Identify, all machines and one call.

Debian's python3-kerberos lacks the two functions that seal a message, so what pywinrm gets from
requests_kerberos comes from python3-gssapi here: the context, wrap and unwrap. The framing of bodies,
the conversation on one kept connection and the envelope's header are pywinrm's.

  pywinrm_kerberos.py URL     prints one line per answer; the environment names krb5.conf and cache
"""
import base64
import sys
from urllib.parse import urlparse

import gssapi
import requests
import winrm.protocol
import winrm.transport
import xmltodict
from gssapi import raw

SPNEGO = gssapi.OID.from_int_seq('1.3.6.1.5.5.2')
VIRT = 'http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/'
EVENTING = 'http://schemas.xmlsoap.org/ws/2004/08/eventing'
ENUM = 'http://schemas.xmlsoap.org/ws/2004/09/enumeration'


class GssAuth(requests.auth.AuthBase):
    """What pywinrm expects of requests_kerberos.HTTPKerberosAuth."""
    winrm_encryption_available = True

    def __init__(self, mutual_authentication=None, service='HTTP', delegate=False,
                 force_preemptive=False, principal=None, hostname_override=None,
                 sanitize_mutual_error_response=True, send_cbt=True):
        self.service = service
        self.context = None

    def __call__(self, request):
        if self.context is None:
            request.register_hook('response', self.on_response)
        return request

    def on_response(self, response, **kwargs):
        if response.status_code != 401 or self.context is not None:
            return response
        offered = response.headers.get('WWW-Authenticate', '')
        if 'negotiate' not in offered.lower() or 'basic' in offered.lower():
            sys.exit('offered: ' + offered)
        host = urlparse(response.url).hostname
        name = gssapi.Name('HTTP@' + host, gssapi.NameType.hostbased_service)
        flags = gssapi.RequirementFlag
        context = gssapi.SecurityContext(
            name=name, mech=SPNEGO, usage='initiate',
            flags=[flags.mutual_authentication, flags.out_of_sequence_detection])
        token = context.step()
        response.content  # so that the connection is used again
        response.raw.release_conn()
        response.request.headers['Authorization'] = 'Negotiate ' + base64.b64encode(token).decode()
        again = response.connection.send(response.request, **kwargs)
        scheme, _, back = again.headers.get('WWW-Authenticate', '').partition(' ')
        if again.status_code == 200 and scheme == 'Negotiate':
            context.step(base64.b64decode(back))
            if not context.complete or gssapi.RequirementFlag.mutual_authentication not in context.actual_flags:
                sys.exit('the server did not prove who it is')
            self.context = context
        return again

    def wrap_winrm(self, host, message):
        iov = raw.IOV(raw.IOVBufferType.header, message, raw.IOVBufferType.padding,
                      std_layout=False)
        raw.wrap_iov(self.context, iov, confidential=True)
        return iov[1].value + (iov[2].value or b''), iov[0].value

    def unwrap_winrm(self, host, message, header):
        iov = raw.IOV((raw.IOVBufferType.header, False, header), message, raw.IOVBufferType.data,
                      std_layout=False)
        result = raw.unwrap_iov(self.context, iov)
        if not result.encrypted:
            sys.exit('the reply is not encrypted')
        return iov[1].value


def envelope(protocol, resource, action, body):
    header = {'env:Envelope': protocol._get_soap_header(resource_uri=resource, action=action)}
    header['env:Envelope']['env:Body'] = body
    return xmltodict.unparse(header)


def wait_for_heartbeat(protocol):
    """A request that the server holds back for a while is sealed like any other."""
    resource = VIRT + '*'
    reply = protocol.send_message(envelope(protocol, resource, EVENTING + '/Subscribe', {'e:Subscribe': {
        '@xmlns:e': EVENTING, '@xmlns:w': 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd',
        'e:Delivery': {'@Mode': 'http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull', 'w:Heartbeats': 'PT1S'},
        'w:Filter': {'@Dialect': 'http://schemas.microsoft.com/wbem/wsman/1/WQL', '#text':
                     "SELECT * FROM __InstanceDeletionEvent WHERE TargetInstance ISA 'Msvm_ConcreteJob'"}}}))
    text = reply.decode() if isinstance(reply, bytes) else reply
    context = text.partition('<n:EnumerationContext>')[2].partition('<')[0]
    reply = protocol.send_message(envelope(protocol, resource, ENUM + '/Pull', {'n:Pull': {
        '@xmlns:n': ENUM, 'n:EnumerationContext': context, 'n:MaxTime': 'PT20S', 'n:MaxElements': '5'}}))
    text = reply.decode() if isinstance(reply, bytes) else reply
    return 'wsman/Heartbeat' in text


def main():
    winrm.transport.HTTPKerberosAuth = GssAuth
    winrm.transport.HAVE_KERBEROS = True
    protocol = winrm.protocol.Protocol(sys.argv[1], transport='kerberos', username='ignored',
                                       message_encryption='always')
    cls = VIRT + 'Msvm_ComputerSystem'
    reply = protocol.send_message(envelope(protocol, cls, ENUM + '/Enumerate', {
        'n:Enumerate': {'@xmlns:n': ENUM,
                        'w:OptimizeEnumeration': None,
                        'w:MaxElements': '50'}}))
    text = reply.decode() if isinstance(reply, bytes) else reply
    print('machines', text.count('<p:Msvm_ComputerSystem '))
    service = VIRT + 'Msvm_ReplicationService'
    for _ in range(3):  # further messages of the same context, in order
        reply = protocol.send_message(envelope(
            protocol, service, 'http://schemas.xmlsoap.org/ws/2004/09/transfer/Get', None))
    text = reply.decode() if isinstance(reply, bytes) else reply
    print('service', 'Msvm_ReplicationService' in text)
    try:
        protocol.send_message(envelope(protocol, VIRT + 'No_Such_Class',
                                       'http://schemas.xmlsoap.org/ws/2004/09/transfer/Get', None))
        print('fault none')
    except winrm.exceptions.WinRMError as e:  # made from the fault that pywinrm unsealed
        print('fault', 'DestinationUnreachable' in str(e))
    print('heartbeat', wait_for_heartbeat(protocol))


main()
