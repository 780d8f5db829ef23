/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_EXCHANGES_WIRE_H
#define TESTS_EXCHANGES_WIRE_H

#include "base/buf.h"
#include "cim/providers/testways.h"
#include "wsman/wsm.h"

/* Exchanges over WS-Management with the real providers on a fake host, as text that can be
 * recorded. */

#define WMI "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
#define GET "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"
#define PUT "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put"
#define ENUMERATE "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate"
#define PULL "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull"
#define SUBSCRIBE "http://schemas.xmlsoap.org/ws/2004/08/eventing/Subscribe"
#define ANONYMOUS "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"

struct wire {
    struct world *w;
    struct wsm *m;
    struct vr_buf *out; /* what is recorded */
    bool of_host;       /* the class tells of the computer on which the test runs */
};

/* wire_begin() - a new host in @situation, from which @out is told; wire_end() ends it. */
void wire_begin(struct wire *x, struct vr_buf *out, void (*situation)(struct world *w));
void wire_end(struct wire *x);

/* wire_escape() - @text as it stands in XML. wire_reference() - what is in an endpoint reference.
 * wire_path() - dies of a text that is no path. wire_envelope() - a request; @target may be NULL;
 * @options go into its header. The caller frees what is returned. */
void wire_escape(struct vr_buf *b, const char *text);
void wire_reference(struct vr_buf *b, const struct cim_path *p);
struct cim_path *wire_path(const char *text);
char *wire_envelope(const char *uri, const char *action, const struct cim_path *target,
                    const char *options, const char *body);

/* wire_ask() - the reply as it is; the caller frees. wire_exchange() - ask and record both; returns
 * the status. @ret_reply: may be NULL. */
char *wire_ask(const struct wire *x, const char *request, int *ret_status);
int wire_exchange(const struct wire *x, const char *title, const char *request, char **ret_reply);

#endif
