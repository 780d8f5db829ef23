/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_HTTP_LOGIN_H
#define VR_WSMAN_HTTP_LOGIN_H

#include "base/buf.h"
#include "gss/gss_krb5.h"
#include "wsman/http.h"
#include "wsman/throttle.h"

/* Logins: passwords and Kerberos tokens are judged on workers, because PAM, name services and
 * replay caches block. A failed one is answered late. Knows no HTTP. Control thread only. */

struct wsm_logins;
struct wsm_login; /* one attempt that is under way */

enum wsm_login_end { WSM_LOGIN_BAD, WSM_LOGIN_MORE, WSM_LOGIN_GOOD };

/* What became of an attempt; the receiver takes gss and token out of it or they are freed. */
struct wsm_login_result {
    enum wsm_login_end end;
    struct wsm_identity who; /* when good */
    struct vr_gss *gss;      /* of a token that was accepted */
    struct vr_buf token;     /* to be sent back; may be empty */
};
typedef void (*wsm_login_fn)(void *arg, struct wsm_login_result *r);

/* wsm_logins_new() - @auth and @lim are borrowed. Errors: VR_E_IO when the loop refuses. */
int wsm_logins_new(struct sd_event *ev, const struct wsm_auth *auth,
                   const struct wsm_http_limits *lim, struct wsm_logins **ret, struct vr_err *err);
/* wsm_logins_free() - waits for workers; nobody may be waiting for an attempt. NULL is fine. */
void wsm_logins_free(struct wsm_logins *l);

/* wsm_login_password() / wsm_login_token() - begin an attempt. @done comes later, never from within
 * this call, and not after wsm_login_forget(). NULL: too many are under way, nothing was begun.
 * @take_gss: context that an earlier token began, or NULL; taken in any case */
struct wsm_login *wsm_login_password(struct wsm_logins *l, const char *address, const char *user,
                                     const char *password, wsm_login_fn done, void *arg);
struct wsm_login *wsm_login_token(struct wsm_logins *l, const char *address,
                                  struct vr_gss *take_gss, const struct vr_buf *token,
                                  wsm_login_fn done, void *arg);
/* wsm_login_forget() - nobody waits for it any longer. */
void wsm_login_forget(struct wsm_login *k);
/* wsm_logins_throttle() - where refusals are noted. */
struct wsm_throttle *wsm_logins_throttle(struct wsm_logins *l);

#endif
