/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attempts to log in.
 *
 *   begin -> worker judges -> mailbox -> good or more: told at once
 *                                     -> bad: logged, told after a delay that grows by address
 *
 * Invariants: an attempt whose asker is gone tells nobody; passwords are wiped. */
#include "wsman/http_login.h"

#include <poll.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "base/exec.h"
#include "base/mailbox.h"

/* Passwords take seconds when they are wrong: nobody may fill the queue alone. */
enum { RUNNING_MAX = 16, RUNNING_PER_ADDRESS = 4 };

struct wsm_logins {
    sd_event *ev;
    const struct wsm_auth *auth;
    unsigned delay_ms;
    struct vr_mailbox *mail;
    sd_event_source *mail_io;
    struct wsm_login *running[RUNNING_MAX]; /* on workers, or on the way back */
    struct wsm_throttle throttle;
};

/* Owned by the control thread but for work(). */
struct wsm_login {
    struct wsm_logins *l;
    wsm_login_fn done; /* NULL when nobody waits any longer */
    void *arg;
    sd_event_source *delay; /* it has failed and waits */
    char address[64];
    char *user, *password; /* of a password */
    struct vr_gss *gss;    /* of a token */
    struct vr_buf token;
    struct wsm_login_result r;
    struct vr_err err;
};

static void login_free(struct wsm_login *k)
{
    if (k->password)
        explicit_bzero(k->password, strlen(k->password));
    free(k->password);
    free(k->user);
    vr_gss_free(k->gss);
    vr_gss_free(k->r.gss);
    vr_buf_done(&k->token);
    vr_buf_done(&k->r.token);
    sd_event_source_disable_unref(k->delay);
    free(k);
}

static void tell(struct wsm_login *k)
{
    if (k->done)
        k->done(k->arg, &k->r);
    login_free(k);
}

static int on_delay(sd_event_source *s, uint64_t usec, void *arg)
{
    tell(arg);
    return 0;
}

static void leave(struct wsm_login *k)
{
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (k->l->running[i] == k)
            k->l->running[i] = NULL;
}

static bool is_running(const struct wsm_logins *l)
{
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (l->running[i])
            return true;
    return false;
}

/* A place for one more of this address, NULL if there is none. */
static struct wsm_login **place_for(struct wsm_logins *l, const char *address)
{
    struct wsm_login **place = NULL;
    unsigned same = 0;
    for (size_t i = 0; i < RUNNING_MAX; i++)
        if (!l->running[i])
            place = &l->running[i];
        else
            same += !strcmp(l->running[i]->address, address);
    return same < RUNNING_PER_ADDRESS ? place : NULL;
}

static void back(void *arg)
{
    struct wsm_login *k = arg;
    struct wsm_logins *l = k->l;
    leave(k);
    if (k->r.end == WSM_LOGIN_BAD) {
        struct mono_ms now = vr_mono_now();
        wsm_throttle_log(&l->throttle, now, k->address, "login", k->err.msg);
        unsigned wait = wsm_throttle_delay(&l->throttle, now, k->address, l->delay_ms);
        if (k->done && sd_event_add_time(l->ev, &k->delay, CLOCK_MONOTONIC,
                                         (uint64_t)(now.ms + wait) * 1000, 1000, on_delay, k) >= 0)
            return;
    }
    tell(k);
}

static int judge_token(struct wsm_login *k, bool *ret_more)
{
    const struct wsm_auth *a = k->l->auth;
    if (vr_gss_accept(k->gss, a->keys, k->token.data, k->token.len, &k->r.token, ret_more, &k->err))
        return -1;
    if (*ret_more)
        return 0;
    return a->role_of_principal(a->ctx, vr_gss_principal(k->gss), vr_gss_local_user(k->gss),
                                &k->r.who);
}

/* On a worker. */
static void work(void *arg)
{
    struct wsm_login *k = arg;
    const struct wsm_auth *a = k->l->auth;
    bool more = false;
    int rc = k->gss
                 ? judge_token(k, &more)
                 : a->check_password(a->ctx, k->user, k->password, k->address, &k->r.who, &k->err);
    if (rc && k->err.kind == VR_OK)
        vr_fail(&k->err, VR_E_AUTH, 0, "refused");
    k->r.end = rc ? WSM_LOGIN_BAD : more ? WSM_LOGIN_MORE : WSM_LOGIN_GOOD;
    if (!rc)
        k->r.gss = vr_take(k->gss);
    vr_mailbox_post(k->l->mail, back, k);
}

static struct wsm_login *begin(struct wsm_logins *l, const char *address, wsm_login_fn done,
                               void *arg)
{
    struct wsm_login **place = place_for(l, address);
    if (!place)
        return NULL;
    struct wsm_login *k = *place = vr_new(struct wsm_login);
    k->l = l;
    k->done = done;
    k->arg = arg;
    snprintf(k->address, sizeof k->address, "%s", address);
    return k;
}

struct wsm_login *wsm_login_password(struct wsm_logins *l, const char *address, const char *user,
                                     const char *password, wsm_login_fn done, void *arg)
{
    struct wsm_login *k = begin(l, address, done, arg);
    if (!k)
        return NULL;
    k->user = vr_strdup(user);
    k->password = vr_strdup(password);
    vr_exec_post(l->auth->exec, work, k);
    return k;
}

struct wsm_login *wsm_login_token(struct wsm_logins *l, const char *address,
                                  struct vr_gss *take_gss, const struct vr_buf *token,
                                  wsm_login_fn done, void *arg)
{
    vr_auto(vr_gss_free) struct vr_gss *gss = take_gss;
    struct wsm_login *k = begin(l, address, done, arg);
    if (!k)
        return NULL;
    if (vr_buf_add(&k->token, token->data, token->len, NULL)) {
        leave(k);
        login_free(k);
        return NULL;
    }
    k->gss = gss ? vr_take(gss) : vr_gss_new();
    vr_exec_post(l->auth->exec, work, k);
    return k;
}

void wsm_login_forget(struct wsm_login *k)
{
    k->done = NULL;
    if (k->delay)
        login_free(k);
}

struct wsm_throttle *wsm_logins_throttle(struct wsm_logins *l)
{
    return &l->throttle;
}

static int on_mail(sd_event_source *s, int fd, uint32_t ev, void *arg)
{
    struct wsm_logins *l = arg;
    vr_mailbox_run(l->mail);
    return 0;
}

int wsm_logins_new(struct sd_event *ev, const struct wsm_auth *auth,
                   const struct wsm_http_limits *lim, struct wsm_logins **ret, struct vr_err *err)
{
    struct wsm_logins *l = vr_new(struct wsm_logins);
    l->ev = sd_event_ref(ev);
    l->auth = auth;
    l->delay_ms = lim->failed_delay_ms;
    l->mail = vr_mailbox_new();
    int rc = sd_event_add_io(ev, &l->mail_io, vr_mailbox_fd(l->mail), EPOLLIN, on_mail, l);
    if (rc < 0) {
        wsm_logins_free(l);
        return vr_fail(err, VR_E_IO, -rc, "watch the mailbox");
    }
    *ret = l;
    return 0;
}

void wsm_logins_free(struct wsm_logins *l)
{
    if (!l)
        return;
    while (is_running(l)) { /* workers still refer to us */
        struct pollfd p = { .fd = vr_mailbox_fd(l->mail), .events = POLLIN };
        poll(&p, 1, -1);
        vr_mailbox_run(l->mail);
    }
    sd_event_source_disable_unref(l->mail_io);
    vr_mailbox_free(l->mail);
    sd_event_unref(l->ev);
    free(l);
}
