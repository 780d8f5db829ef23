/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_NS_H
#define VR_WSMAN_NS_H

/* Names of the wire. src:[contract.md E.3] [wsman.md 1-4] [DSP0226 annex A] [DSP0227] */
#define NS_SOAP "http://www.w3.org/2003/05/soap-envelope"
#define NS_SOAP11 "http://schemas.xmlsoap.org/soap/envelope/"
#define NS_ADDR "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define NS_ADDR10 "http://www.w3.org/2005/08/addressing"
#define NS_WSMAN "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
#define NS_IDENTITY "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
#define NS_ENUM "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define NS_TRANSFER "http://schemas.xmlsoap.org/ws/2004/09/transfer"
#define NS_EVENTING "http://schemas.xmlsoap.org/ws/2004/08/eventing"
#define NS_BINDING "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"
#define NS_FAULT "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
#define NS_MS "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
#define NS_CIM "http://schemas.dmtf.org/wbem/wscim/1/common"
#define NS_XSI "http://www.w3.org/2001/XMLSchema-instance"
#define NS_XSD "http://www.w3.org/2001/XMLSchema"
#define NS_XML "http://www.w3.org/XML/1998/namespace"

#define ADDR_ANONYMOUS NS_ADDR "/role/anonymous"
#define ADDR10_ANONYMOUS NS_ADDR10 "/anonymous"
#define DETAIL_BASE "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"

/* Beginnings of resource URIs. */
#define URI_WMI "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
#define URI_DMTF "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
#define URI_DMTF_ALL "http://schemas.dmtf.org/wbem/wscim/1/*"
#define URI_SCHEMA "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/"
#define SELECTOR_NS "__cimnamespace"

#define DIALECT_WQL "http://schemas.microsoft.com/wbem/wsman/1/WQL"
#define DIALECT_SELECTOR "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter"
#define DIALECT_ASSOC "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter"

#define ACT_GET NS_TRANSFER "/Get"
#define ACT_PUT NS_TRANSFER "/Put"
#define ACT_ENUMERATE NS_ENUM "/Enumerate"
#define ACT_PULL NS_ENUM "/Pull"
#define ACT_RELEASE NS_ENUM "/Release"
#define ACT_SUBSCRIBE NS_EVENTING "/Subscribe"
#define ACT_RENEW NS_EVENTING "/Renew"
#define ACT_STATUS NS_EVENTING "/GetStatus"
#define ACT_UNSUBSCRIBE NS_EVENTING "/Unsubscribe"

/* Events. src:[DSP0226 10.2.9] */
#define MODE_PULL "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull"
#define EVENT_HEARTBEAT "http://schemas.dmtf.org/wbem/wsman/1/wsman/Heartbeat"
#define EVENT_DROPPED "http://schemas.dmtf.org/wbem/wsman/1/wsman/DroppedEvents"

#endif
