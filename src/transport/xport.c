/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transport as a whole: identity, the list of live sessions, the ticker that keeps transfers
 * alive while their users compute, and the last word on a transfer. Calling is in client.c,
 * serving in server.c.
 *
 * Every session is on one list from before its handshake until it is freed, so that xport_free()
 * and xport_unlisten() can break whatever is in progress. Thread: any. */
#include "transport/xport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "transport/ident.h"
#include "transport/impl.h"

/* Sessions -------------------------------------------------------------------------------- */

/* Called with the lock; releases it. */
static void sessions_unref_unlock(struct sessions *all)
{
    bool last = --all->refs == 0;
    pthread_mutex_unlock(&all->lock);
    if (last) {
        pthread_mutex_destroy(&all->lock);
        free(all);
    }
}

/* The session's stream is being freed. */
static void session_gone(void *arg)
{
    struct session *e = arg;
    struct sessions *all = e->all;
    pthread_mutex_lock(&all->lock);
    if (e->prev)
        e->prev->next = e->next;
    else
        all->first = e->next;
    if (e->next)
        e->next->prev = e->prev;
    free(e);
    sessions_unref_unlock(all);
}

int session_new(struct xport *x, int take_fd, int way, struct tls **ret, struct vr_err *err)
{
    struct sessions *all = x->sessions;
    struct tls *t = NULL;
    bool incoming = way != SESSION_OURS;
    if (tls_new(x->id, take_fd, incoming, x->idle_ms, &t, err) < 0)
        return -1;
    pthread_mutex_lock(&all->lock);
    if (all->stopping || (incoming && all->closed[way])) {
        pthread_mutex_unlock(&all->lock);
        vr_stream_free(tls_stream(t));
        return vr_fail(err, VR_E_CANCELLED, 0, "the transport is being stopped");
    }
    struct session *e = vr_new(struct session);
    *e = (struct session){ .all = all, .next = all->first, .tls = t, .way = way };
    if (e->next)
        e->next->prev = e;
    all->first = e;
    all->refs++;
    pthread_mutex_unlock(&all->lock);
    tls_on_free(t, session_gone, e);
    *ret = t;
    return 0;
}

void session_transfer(struct xport *x, struct tls *t, const struct xport_peer *peer)
{
    pthread_mutex_lock(&x->sessions->lock);
    for (struct session *e = x->sessions->first; e; e = e->next)
        if (e->tls == t) {
            e->transfer = true;
            snprintf(e->with, sizeof e->with, "%s", peer->name);
        }
    pthread_mutex_unlock(&x->sessions->lock);
}

struct mono_ms xport_transfer_heard(struct xport *x, const struct xport_peer *peer)
{
    struct mono_ms last = { 0 };
    pthread_mutex_lock(&x->sessions->lock); /* keeps the streams from being freed */
    for (struct session *e = x->sessions->first; e; e = e->next) {
        struct mono_ms heard = tls_heard(e->tls);
        if (e->transfer && !strcasecmp(e->with, peer->name) && heard.ms > last.ms)
            last = heard;
    }
    pthread_mutex_unlock(&x->sessions->lock);
    return last;
}

void sessions_break(struct sessions *all, int way)
{
    pthread_mutex_lock(&all->lock);
    if (way == SESSION_ALL)
        all->stopping = true;
    else
        all->closed[way] = true;
    for (struct session *e = all->first; e; e = e->next)
        if (way == SESSION_ALL || e->way == way)
            tls_stream(e->tls)->shutdown(tls_stream(e->tls));
    pthread_mutex_unlock(&all->lock);
}

void sessions_admit(struct sessions *all, enum xport_way way)
{
    pthread_mutex_lock(&all->lock);
    all->closed[way] = false;
    pthread_mutex_unlock(&all->lock);
}

static void sessions_keepalive(struct sessions *all)
{
    pthread_mutex_lock(&all->lock); /* keeps the streams from being freed; nothing here blocks */
    for (struct session *e = all->first; e; e = e->next)
        if (e->transfer)
            tls_keepalive(e->tls);
    pthread_mutex_unlock(&all->lock);
}

/* The ticker ------------------------------------------------------------------------------ */

static void *tick(void *arg)
{
    struct xport *x = arg;
    int64_t every = x->idle_ms / 4 > 15000 ? 15000 : x->idle_ms / 4 + 1;
    pthread_setname_np(pthread_self(), "xport-ticker");
    pthread_mutex_lock(&x->ticker.lock);
    while (!x->ticker.stop) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        int64_t ns = ts.tv_nsec + every % 1000 * 1000000;
        ts.tv_sec += every / 1000 + ns / 1000000000;
        ts.tv_nsec = ns % 1000000000;
        if (pthread_cond_timedwait(&x->ticker.wake, &x->ticker.lock, &ts) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&x->ticker.lock);
        sessions_keepalive(x->sessions);
        client_trim(x);
        pthread_mutex_lock(&x->ticker.lock);
    }
    pthread_mutex_unlock(&x->ticker.lock);
    return NULL;
}

static int ticker_start(struct xport *x, struct vr_err *err)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->ticker.wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&x->ticker.lock, NULL);
    int rc = pthread_create(&x->ticker.thread, NULL, tick, x);
    if (!rc)
        return 0;
    pthread_cond_destroy(&x->ticker.wake);
    pthread_mutex_destroy(&x->ticker.lock);
    return vr_fail(err, VR_E_NOMEM, rc, "cannot start a thread");
}

static void ticker_stop(struct xport *x)
{
    pthread_mutex_lock(&x->ticker.lock);
    x->ticker.stop = true;
    pthread_cond_signal(&x->ticker.wake);
    pthread_mutex_unlock(&x->ticker.lock);
    pthread_join(x->ticker.thread, NULL);
    pthread_cond_destroy(&x->ticker.wake);
    pthread_mutex_destroy(&x->ticker.lock);
}

/* Life ------------------------------------------------------------------------------------ */

static void release(struct xport *x)
{
    pthread_mutex_lock(&x->sessions->lock);
    sessions_unref_unlock(x->sessions);
    pair_store_done(&x->pair);
    expected_done(&x->expected);
    pthread_mutex_destroy(&x->server.lock);
    pthread_mutex_destroy(&x->cache.lock);
    pthread_cond_destroy(&x->cache.quiet);
    tls_identity_free(x->id);
    if (x->stop_fd >= 0)
        close(x->stop_fd);
    free(x);
}

int xport_new(const struct xport_config *cfg, const struct xport_handlers *h, struct xport **ret,
              struct vr_err *err)
{
    if (!cfg->host_name || !frame_is_host(cfg->host_name))
        return vr_fail(err, VR_E_INVAL, 0, "\"%s\" cannot be the name of a host",
                       cfg->host_name ? cfg->host_name : "");
    if (cfg->idle_seconds > XPORT_IDLE_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "an idle time of %u seconds is too long",
                       cfg->idle_seconds);
    struct xport *x = vr_new(struct xport);
    x->h = *h;
    snprintf(x->host_name, sizeof x->host_name, "%s", cfg->host_name);
    x->idle_ms = (cfg->idle_seconds ? cfg->idle_seconds : XPORT_IDLE_DEFAULT) * 1000;
    x->handshake_ms = x->idle_ms < XPORT_HANDSHAKE_MS ? x->idle_ms : XPORT_HANDSHAKE_MS;
    x->max_connections = cfg->max_connections ? cfg->max_connections : XPORT_CONNECTIONS;
    for (int i = 0; i < XPORT_WAYS; i++)
        x->server.at[i] =
            (struct listener){ .x = x, .way = (enum xport_way)i, .listen_fd = -1, .stop_fd = -1 };
    snprintf(x->keytab, sizeof x->keytab, "%s", cfg->keytab ? cfg->keytab : "");
    snprintf(x->service, sizeof x->service, "%s", cfg->service ? cfg->service : "host");
    x->sessions = vr_new(struct sessions);
    x->sessions->refs = 1;
    pthread_mutex_init(&x->sessions->lock, NULL);
    pthread_mutex_init(&x->server.lock, NULL);
    pthread_mutex_init(&x->cache.lock, NULL);
    pthread_cond_init(&x->cache.quiet, NULL);
    pair_store_init(&x->pair);
    expected_init(&x->expected);
    x->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (x->stop_fd < 0) {
        vr_fail(err, VR_E_IO, errno, "cannot make a descriptor");
    } else if (ident_load(cfg->dir, x->host_name, &x->id, err) == 0) {
        x->facts = tls_identity_facts(x->id);
        if (ticker_start(x, err) == 0) {
            *ret = x;
            return 0;
        }
    }
    release(x);
    return -1;
}

void xport_free(struct xport *x)
{
    if (!x)
        return;
    eventfd_write(x->stop_fd, 1);
    sessions_break(x->sessions, SESSION_ALL);
    for (int i = 0; i < XPORT_WAYS; i++)
        xport_unlisten(x, (enum xport_way)i);
    client_stop(x);
    ticker_stop(x);
    release(x);
}

const char *xport_thumb(const struct xport *x)
{
    return x->facts->thumb;
}

const char *xport_thumb_sha1(const struct xport *x)
{
    return x->facts->sha1;
}

const char *xport_cert_pem(const struct xport *x)
{
    return x->facts->crt;
}

const char *xport_key_pem(const struct xport *x)
{
    return x->facts->key;
}

int xport_pair_code(struct xport *x, uint32_t seconds, char ret[64], struct vr_err *err)
{
    uint8_t key[TLS_HASH];
    char code[PAIR_TEXT];
    if (!seconds)
        return vr_fail(err, VR_E_INVAL, 0, "a pairing code must be valid for some time");
    pair_code_new(code);
    if (pair_code_key(code, key, err) < 0)
        return -1;
    pair_store_set(&x->pair, key, seconds);
    memcpy(ret, code, sizeof code);
    explicit_bzero(key, sizeof key);
    explicit_bzero(code, sizeof code);
    return 0;
}

/* Words that both sides say --------------------------------------------------------------- */

void hello_fill(const struct xport *x, uint64_t more, struct frame_hello *ret)
{
    *ret =
        (struct frame_hello){ .required = FEATURES_REQUIRED | more, .offered = FEATURES_OFFERED };
    snprintf(ret->host, sizeof ret->host, "%s", x->host_name);
    snprintf(ret->software, sizeof ret->software, "%s", VR_VERSION);
    ret->wall_us = vr_wall_now().us;
}

int64_t hello_ahead(const struct frame_hello *theirs)
{
    return theirs->wall_us ? theirs->wall_us - vr_wall_now().us : 0;
}

int say_hello(const struct xport *x, struct vr_stream *s, uint64_t more, struct vr_err *err)
{
    struct frame_hello mine;
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    hello_fill(x, more, &mine);
    if (frame_hello_put(&mine, &b, err) < 0)
        return -1;
    return tframe_send(s, FRAME_HELLO, NULL, 0, b.data, b.len, err);
}

void say_refused(struct vr_stream *s, const struct vr_err *why)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_err ignored = VR_ERR_INIT; /* the connection ends either way */
    if (frame_err_put(why, &b, &ignored) == 0)
        tframe_send(s, FRAME_REFUSED, NULL, 0, b.data, b.len, &ignored);
}

int take_refused(const struct vr_buf *b, struct vr_err *err)
{
    struct vr_err theirs = VR_ERR_INIT;
    if (frame_err_get(b->data, b->len, &theirs, err) < 0)
        return -1;
    vr_err_move(err, &theirs);
    return -1;
}

void tell_refused(const struct xport *x, const char *address, const char *why)
{
    if (x->h.refused)
        x->h.refused(x->h.ctx, address, why);
}

int xport_send_result(struct vr_stream *s, const struct vr_err *result, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    bool ok = !result || result->kind == VR_OK;
    uint8_t head = ok ? 1 : 0;
    if (!ok && frame_err_put(result, &b, err) < 0)
        return -1;
    return tframe_send(s, FRAME_RESULT, &head, 1, b.data, b.len, err);
}

int xport_recv_result(struct vr_stream *s, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    enum frame_type type;
    struct vr_err theirs = VR_ERR_INIT;
    if (frame_recv(s, FRAME_ST_RESULT, &type, &b, err) < 0)
        return vr_err_wrap(err, "waiting for the peer's result");
    if (b.len == 1 && b.data[0] == 1)
        return 0;
    if (!b.len || b.data[0] != 0)
        return vr_fail(err, VR_E_PROTO, 0, "malformed result of the peer");
    if (frame_err_get(b.data + 1, b.len - 1, &theirs, err) < 0)
        return -1;
    vr_err_move(err, &theirs);
    return -1;
}

void xport_expect(struct xport *x, const char *const *addresses, size_t n)
{
    enum { EACH = 4 };
    char(*all)[NET_ADDR_MAX] = vr_new0(n * EACH + 1, sizeof *all);
    const char **list = vr_new0(n * EACH + 1, sizeof *list);
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += net_lookup(addresses[i], &all[found], EACH);
    for (size_t i = 0; i < found; i++)
        list[i] = all[i];
    expected_tell(&x->expected, list, found);
    free(list);
    free(all);
}
