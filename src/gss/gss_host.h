/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_GSS_GSS_HOST_H
#define VR_GSS_GSS_HOST_H

#include "gss/gss_krb5.h"

/* Hosts that prove to each other who they are, with the keys of a keytab on both sides; nobody has
 * to log in. A host is called what its principal SERVICE/HOST@REALM says, in lower case; only those
 * of the own realm count. Both sides name the connection that the proof is for (channel binding),
 * so it is of no use on another one, and needs no replay cache. docs/protocol.md section 7a.
 * Everything here reads files and may wait for the domain controller: no control thread. */

struct vr_gss_conf {
    const char *keytab;    /* path */
    const char *service;   /* of the principals of hosts, "host" */
    const char *host_name; /* chooses when the keytab has keys of several hosts */
};

/* This host, as Kerberos calls it. */
struct vr_gss_self {
    char principal[VR_GSS_PRINCIPAL_MAX];
    char host[VR_GSS_PRINCIPAL_MAX]; /* lower case */
    char realm[VR_GSS_PRINCIPAL_MAX];
};

/* vr_gss_self() - who the keytab says that we are. Reads the file only, asks nobody.
 * Errors: VR_E_NOFILE no keytab, VR_E_INVAL no key of the service in it, or of several hosts none
 * of which has our name; VR_E_AUTH it cannot be read. */
int vr_gss_self(const struct vr_gss_conf *c, struct vr_gss_self *ret, struct vr_err *err);

/* vr_gss_host_begin() - the calling side: the first token, for the host that Kerberos calls @host.
 * vr_gss_host_end() - its second half: what the other answered. Then it is @host.
 * @binding: bytes that only the two ends of the connection know
 * Errors: VR_E_PEER what passes by itself: no controller answers, clocks, a ticket that ran out;
 * VR_E_AUTH what somebody must mend; those of vr_gss_self(). The message says what to do. */
int vr_gss_host_begin(struct vr_gss *g, const struct vr_gss_conf *c, const char *host,
                      const void *binding, size_t n_binding, struct vr_buf *token,
                      struct vr_err *err);
int vr_gss_host_end(struct vr_gss *g, const struct vr_gss_conf *c, const void *binding,
                    size_t n_binding, const void *token, size_t n, struct vr_err *err);
/* vr_gss_host_accept() - the called side: check the token; @reply gets the answer.
 * Errors as above. */
int vr_gss_host_accept(struct vr_gss *g, const struct vr_gss_conf *c, const void *binding,
                       size_t n_binding, const void *token, size_t n, struct vr_buf *reply,
                       struct vr_err *err);
/* vr_gss_host_name() - the host that was accepted; lives as long as @g. */
const char *vr_gss_host_name(const struct vr_gss *g);

#endif
