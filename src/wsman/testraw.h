/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_TESTRAW_H
#define VR_WSMAN_TESTRAW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wsman/http_gss.h"

/* Raw connections to the listener for Kerberos, for tests that do what no client would. What fails
 * ends the test. */

#define SOAP "application/soap+xml;charset=UTF-8"

extern uint16_t raw_port;      /* of the server on this host */
extern const char *raw_source; /* the project's folder */

struct raw {
    int fd;
    struct vr_gss *g;
    int status;
    char head[16384];
    struct vr_buf body;
};

/* raw_must() - fail with the error's text unless @rc is 0. */
void raw_must(int rc, const struct vr_err *e);
/* raw_open() - connect. raw_close() - the end. */
struct raw raw_open(void);
void raw_close(struct raw *r);
#define autoraw __attribute__((cleanup(raw_close)))
/* raw_post() - send a request and read the reply into head, body and status (0: closed).
 * @extra: further header lines with their ends. */
void raw_post(struct raw *r, const char *type, const char *extra, const void *p, size_t n);
/* raw_first_token() - header line with a token; the caller frees. raw_login() - with both ways. */
char *raw_first_token(struct raw *r, bool spnego);
void raw_login(struct raw *r, bool spnego);
/* raw_exchange() - post an envelope of tests/wsman sealed, with @context in its place; returns the
 * reply in clear text, which the caller frees. */
char *raw_exchange(struct raw *r, const char *file, const char *context, int status);
/* raw_sealed() - a sealed Identify. raw_identify: the same in clear text. */
void raw_sealed(struct raw *r, enum wsm_protocol p, struct vr_buf *sealed);
extern const char raw_identify[];
/* raw_assert_closed() - the reply said so and it is. raw_assert_offers_kerberos_only() - 401 with
 * both schemes and no other. */
void raw_assert_closed(struct raw *r);
void raw_assert_offers_kerberos_only(const struct raw *r);

#endif
