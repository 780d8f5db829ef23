/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the SOAP envelope and its header blocks. Pure; control thread.
 * Invariant: a header block that demands to be understood and is not in the table is refused. */
#include "wsman/msg.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/datetime.h"
#include "wsman/ns.h"

/* Header blocks we understand; NULL stands for both addressing namespaces. src:[wsman.md 2] */
static const struct {
    const char *ns, *name;
} known[] = {
    { NULL, "To" },
    { NULL, "Action" },
    { NULL, "MessageID" },
    { NULL, "ReplyTo" },
    { NULL, "FaultTo" },
    { NULL, "From" },
    { NULL, "RelatesTo" },
    { NS_WSMAN, "ResourceURI" },
    { NS_WSMAN, "SelectorSet" },
    { NS_WSMAN, "OperationTimeout" },
    { NS_WSMAN, "MaxEnvelopeSize" },
    { NS_WSMAN, "Locale" },
    { NS_WSMAN, "OptionSet" },
    { NS_WSMAN, "RequestTotalItemsCountEstimate" },
    { NS_WSMAN, "RequestEPR" },
    { NS_EVENTING, "Identifier" },
    { NS_MS, "DataLocale" },
    { NS_MS, "SessionId" },
    { NS_MS, "OperationID" },
    { NS_MS, "SequenceId" },
    { NS_MS, "ActivityId" },
};

/* Options that change nothing, how NULL arrays are written, and what the class schema reads.
 * src:[contract.md E.3] [MS-WSMV 3.1.4.8] */
static const char *const known_options[] = {
    "IncludeInheritanceHierarchy", "IncludeInheritedElements", "IncludeQualifiers",
    "IncludeClassOrigin",          "IncludeSubClasses",        "IncludePath",
    "ExcludeClassSpecification",   "UsePreciseArrays",         "DataLocale",
};

bool wsm_is_addr(const struct vr_xml *el, const char *name)
{
    return vr_xml_is(el, NS_ADDR, name) || vr_xml_is(el, NS_ADDR10, name);
}

const struct vr_xml *wsm_addr_child(const struct vr_xml *el, const char *name)
{
    const struct vr_xml *c = el ? el->first : NULL;
    while (c && !wsm_is_addr(c, name))
        c = c->next;
    return c;
}

int wsm_number(const char *text, size_t max, size_t *ret)
{
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return -1;
    errno = 0;
    unsigned long long v = strtoull(text, NULL, 10);
    if (errno || v > max)
        return -1;
    *ret = (size_t)v;
    return 0;
}

int wsm_duration(const char *text, uint64_t *ret_ms)
{
    struct cim_datetime d;
    if (*text != 'P' || cim_datetime_parse(text, &d, NULL) || !d.is_interval)
        return -1;
    *ret_ms = ((uint64_t)d.us + 999) / 1000;
    return 0;
}

int wsm_msg_envelope(const struct vr_xml *root, struct wsm_msg *m, struct wsm_fault *f)
{
    if (vr_xml_is(root, NS_SOAP11, "Envelope"))
        return wsm_fail(f, WSM_F_VERSION, "SOAP 1.2 is needed, this is SOAP 1.1");
    if (!vr_xml_is(root, NS_SOAP, "Envelope"))
        return wsm_fail(f, WSM_F_MALFORMED, "the root element is not a SOAP 1.2 Envelope");
    const struct vr_xml *body = vr_xml_child(root, NS_SOAP, "Body");
    if (!body)
        return wsm_fail(f, WSM_F_MALFORMED, "the envelope has no Body");
    m->header = vr_xml_child(root, NS_SOAP, "Header");
    m->body = body->first;
    return 0;
}

static bool is_known(const struct vr_xml *h)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(known); i++)
        if (known[i].ns ? vr_xml_is(h, known[i].ns, known[i].name) : wsm_is_addr(h, known[i].name))
            return true;
    return false;
}

static bool is_true(const char *v)
{
    return v && (!strcasecmp(v, "true") || !strcmp(v, "1"));
}

static int check_understood(const struct wsm_msg *m, struct wsm_fault *f)
{
    for (const struct vr_xml *h = m->header ? m->header->first : NULL; h; h = h->next) {
        if (!is_true(vr_xml_attr(h, NS_SOAP, "mustUnderstand")) || is_known(h))
            continue;
        if (vr_xml_is(h, NS_WSMAN, "FragmentTransfer"))
            continue; /* has a fault of its own */
        f->header_ns = h->ns;
        f->header_name = h->name;
        return wsm_fail(f, WSM_F_NOT_UNDERSTOOD, "the header block {%s}%s is not understood", h->ns,
                        h->name);
    }
    return 0;
}

static int check_options(const struct wsm_msg *m, struct wsm_fault *f)
{
    for (const struct vr_xml *o = m->options ? m->options->first : NULL; o; o = o->next) {
        const char *name = vr_xml_attr(o, "", "Name");
        if (!name || !is_true(vr_xml_attr(o, "", "MustComply")))
            continue;
        const char *colon = strrchr(name, ':');
        bool ok = false;
        for (size_t i = 0; i < VR_ARRAY_LEN(known_options) && !ok; i++)
            ok = !strcasecmp(colon ? colon + 1 : name, known_options[i]);
        if (!ok)
            return wsm_fail(f, WSM_F_BAD_OPTIONS, "the option %s cannot be complied with", name);
    }
    return 0;
}

/* A missing ReplyTo is taken for the connection, on purpose: clients leave it out, and there is no
 * other place that a reply could go to. */
static int check_reply_to(const struct wsm_msg *m, struct wsm_fault *f)
{
    static const char *const names[] = { "ReplyTo", "FaultTo" };
    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++) {
        const struct vr_xml *a = wsm_addr_child(wsm_addr_child(m->header, names[i]), "Address");
        if (!a)
            continue;
        /* Clients spell it in more than one way; all end alike. */
        size_t n = strlen(a->trim), k = strlen("/anonymous");
        if (n < k || strcasecmp(a->trim + n - k, "/anonymous"))
            return wsm_fail(f, WSM_F_NO_REPLY_TO, "replies go back on the same connection only");
    }
    return 0;
}

/* Texts are in English only; who insists on another language is told so. src:[DSP0226 6.3] */
static int check_locale(const struct wsm_msg *m, struct wsm_fault *f)
{
    const struct vr_xml *l = vr_xml_child(m->header, NS_WSMAN, "Locale");
    const char *lang = vr_xml_attr(l, NS_XML, "lang");
    if (!lang || !is_true(vr_xml_attr(l, NS_SOAP, "mustUnderstand")) || !strncasecmp(lang, "en", 2))
        return 0;
    return wsm_fail(f, WSM_F_NO_LOCALE, "texts are in English only, not in \"%.40s\"", lang);
}

static int read_timeout(struct wsm_msg *m, struct wsm_fault *f)
{
    const char *t = vr_xml_child_trim(m->header, NS_WSMAN, "OperationTimeout");
    if (!t)
        return 0;
    if (wsm_duration(t, &m->timeout_ms) || !m->timeout_ms)
        return wsm_fail(f, WSM_F_HEADER_INVALID,
                        "OperationTimeout \"%.40s\" is no duration such as PT60S", t);
    return 0;
}

static int read_limits(struct wsm_msg *m, struct wsm_fault *f)
{
    const char *max = vr_xml_child_trim(m->header, NS_WSMAN, "MaxEnvelopeSize");
    if (!max)
        return 0;
    if (wsm_number(max, SIZE_MAX / 2, &m->max_envelope))
        return wsm_fail(f, WSM_F_HEADER_INVALID, "MaxEnvelopeSize \"%.40s\" is not a number", max);
    if (m->max_envelope < WSM_ENVELOPE_LEAST)
        return wsm_fail(f, WSM_F_TOO_SMALL_LIMIT, "MaxEnvelopeSize must be at least %d",
                        WSM_ENVELOPE_LEAST);
    return 0;
}

int wsm_msg_header(struct wsm_msg *m, struct wsm_fault *f)
{
    const struct vr_xml *action = wsm_addr_child(m->header, "Action");
    const struct vr_xml *id = wsm_addr_child(m->header, "MessageID");
    const struct vr_xml *to = wsm_addr_child(m->header, "To");
    const struct vr_xml *any = action ? action : id ? id : to;
    m->addr10 = any && !strcmp(any->ns, NS_ADDR10);
    m->action = action ? action->trim : NULL;
    m->message_id = id ? id->trim : NULL;
    m->to = to ? to->trim : NULL;
    m->resource_uri = vr_xml_child_trim(m->header, NS_WSMAN, "ResourceURI");
    m->selectors = vr_xml_child(m->header, NS_WSMAN, "SelectorSet");
    m->options = vr_xml_child(m->header, NS_WSMAN, "OptionSet");
    m->identifier = vr_xml_child_trim(m->header, NS_EVENTING, "Identifier");
    m->want_epr = vr_xml_child(m->header, NS_WSMAN, "RequestEPR");
    m->want_estimate = vr_xml_child(m->header, NS_WSMAN, "RequestTotalItemsCountEstimate");
    if (check_understood(m, f))
        return -1;
    if (!m->action || !*m->action)
        return wsm_fail(f, WSM_F_HEADER_MISSING, "the header block Action is missing");
    if (!m->message_id || !*m->message_id)
        return wsm_fail(f, WSM_F_HEADER_MISSING, "the header block MessageID is missing");
    if (strlen(m->message_id) > 1024)
        return wsm_fail(f, WSM_F_HEADER_INVALID, "the MessageID is too long");
    if (vr_xml_child(m->header, NS_WSMAN, "FragmentTransfer"))
        return wsm_fail(f, WSM_F_NO_FRAGMENTS, "fragment transfer is not served");
    if (check_reply_to(m, f) || check_locale(m, f) || read_limits(m, f) || read_timeout(m, f))
        return -1;
    return check_options(m, f);
}

const char *wsm_msg_option(const struct wsm_msg *m, const char *name)
{
    for (const struct vr_xml *o = m->options ? m->options->first : NULL; o; o = o->next) {
        const char *n = vr_xml_attr(o, "", "Name");
        const char *colon = n ? strrchr(n, ':') : NULL;
        if (n && !strcasecmp(colon ? colon + 1 : n, name))
            return o->trim;
    }
    return NULL;
}
