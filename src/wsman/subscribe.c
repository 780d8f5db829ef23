/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Subscriptions to events in pull mode. Control thread.
 *
 *   Subscribe -> a watch of the CIM server (begun in slices) fills the queue -> Pull empties it
 *                                                  | empty: the request waits (status 0) until an
 *                                                  | event, a heartbeat, MaxTime or the end
 *
 * Invariants: a subscription answers only to the caller who made it; its name cannot be guessed; it
 * ends when unsubscribed, released or not renewed in time; the queue is limited in number and
 * bytes, and what does not fit is counted and told in its place. At most one Pull waits: a newer
 * one takes the place of the older, whose connection may be dead.
 * src:[DSP0226 clause 10] [DSP0227 clause 10] [wsman.md 8] */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/uuid.h"
#include "cim/watch.h"
#include "wsman/ns.h"
#include "wsman/wsm_int.h"

/* Time for a Pull that waits to hear that the subscription has ended. */
enum { GRACE_MS = 5000, IDENTIFIER_MAX = 64 };

struct item {
    struct item *next;
    size_t len;
    char xml[];
};

struct wsm_sub {
    struct wsm_sub *next;
    struct wsm *w;
    char id[VR_UUID_STR]; /* identifier and enumeration context */
    char *owner;
    struct cim_watch *watch;
    enum cim_event_style naming;
    struct wsm_enc enc;
    const char *ns; /* of the classes of events */
    struct item *head, **tail;
    size_t n, bytes;
    uint64_t dropped;      /* since the last event that found room */
    uint64_t heartbeat_ms; /* 0 none */
    int64_t last_ms;       /* when the subscriber was last told something */
    int64_t expires_ms;
    const void *waiter; /* token of the Pull that waits */
    const void *token;  /* of the Subscribe that is not answered yet */
    uint64_t life_ms;
};

static void sub_free(struct wsm_sub *s)
{
    cim_watch_free(s->watch);
    while (s->head) {
        struct item *next = s->head->next;
        free(s->head);
        s->head = next;
    }
    free(s->owner);
    free(s);
}
VR_DEFINE_CLEANUP(struct wsm_sub, sub_free)

static void wake(struct wsm_sub *s)
{
    if (s->waiter && s->w->wake)
        s->w->wake(s->w->wake_ctx, s->waiter);
}

void wsm_on_wake(struct wsm *w, void (*fn)(void *ctx, const void *token), void *ctx)
{
    w->wake = fn;
    w->wake_ctx = ctx;
}

/* The subscription that this request began; NULL if it did not. */
static struct wsm_sub *take_unfinished(struct wsm *w, const void *token)
{
    for (struct wsm_sub **at = &w->begun; token && *at; at = &(*at)->next)
        if ((*at)->token == token) {
            struct wsm_sub *s = *at;
            *at = s->next;
            s->next = NULL;
            return s;
        }
    return NULL;
}

void wsm_subs_drop(struct wsm *w)
{
    while (w->begun)
        sub_free(take_unfinished(w, w->begun->token));
}

void wsm_forget(struct wsm *w, const void *token)
{
    for (struct wsm_sub *s = w->subs; s; s = s->next)
        if (s->waiter == token)
            s->waiter = NULL;
    wsm_contexts_forget(w, token);
    wsm_invocations_forget(w, token);
    wsm_kept_forget(w, token);
    struct wsm_sub *begun = take_unfinished(w, token);
    if (begun)
        sub_free(begun);
}

static void unlink_sub(struct wsm *w, struct wsm_sub *s)
{
    for (struct wsm_sub **at = &w->subs; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    sub_free(s);
}

void wsm_subs_expire(struct wsm *w, struct mono_ms now)
{
    for (struct wsm_sub *s = w->subs, *next; s; s = next) {
        next = s->next;
        if (s->expires_ms > now.ms)
            continue;
        wake(s);
        if (!s->waiter || s->expires_ms + GRACE_MS <= now.ms)
            unlink_sub(w, s);
    }
}

/* ---- the queue ------------------------------------------------------------------------------ */

static void append(struct wsm_sub *s, const struct vr_buf *xml)
{
    struct item *it = vr_new0(1, sizeof *it + xml->len);
    it->len = xml->len;
    memcpy(it->xml, xml->data, xml->len);
    *s->tail = it;
    s->tail = &it->next;
    s->n++;
    s->bytes += it->len;
}

static struct item *take_first(struct wsm_sub *s)
{
    struct item *it = s->head;
    s->head = it->next;
    if (!s->head)
        s->tail = &s->head;
    s->n--;
    s->bytes -= it->len;
    return it;
}

/* What was lost, in the place where it was lost. src:[DSP0226 10.3] */
static void put_dropped(struct wsm_sub *s)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    struct vr_xmlw w;
    vr_autofree char *n = vr_printf("%llu", (unsigned long long)s->dropped);
    vr_xmlw_init(&w, &b);
    vr_xmlw_start(&w, "w", "DroppedEvents");
    vr_xmlw_attr(&w, "Action", EVENT_DROPPED);
    vr_xmlw_text(&w, n);
    vr_xmlw_end(&w);
    if (!vr_xmlw_finish(&w, NULL))
        append(s, &b);
    s->dropped = 0;
}

static bool has_room(const struct wsm_sub *s, size_t more)
{
    const struct wsm_limits *l = &s->w->lim;
    return s->n + 1 + (s->dropped > 0) <= l->events && s->bytes + more <= l->event_bytes;
}

static void put_instance(struct vr_xmlw *w, const struct wsm_sub *s, const char *name,
                         const struct cim_inst *in)
{
    vr_xmlw_start(w, "p", name);
    wsm_put_embedded(w, &s->enc, in);
    vr_xmlw_end(w);
}

static void put_nil(struct vr_xmlw *w, const char *name)
{
    vr_xmlw_start(w, "p", name);
    vr_xmlw_attr(w, "xsi:nil", "true");
    vr_xmlw_end(w);
}

/* src:[WMI __InstanceOperationEvent]; TIME_CREATED counts tenths of microseconds since 1601 */
static void put_wmi(struct vr_xmlw *w, const struct wsm_sub *s, const struct cim_event *ev)
{
    vr_autofree char *at =
        vr_printf("%llu", (unsigned long long)(vr_wall_now().us + INT64_C(11644473600000000)) * 10);
    if (ev->previous)
        put_instance(w, s, "PreviousInstance", ev->previous);
    put_nil(w, "SECURITY_DESCRIPTOR");
    put_instance(w, s, "TargetInstance", ev->target);
    vr_xmlw_elem(w, "p", "TIME_CREATED", at);
}

/* src:[CIM_InstIndication] */
static void put_cim(struct vr_xmlw *w, const struct wsm_sub *s, const struct cim_event *ev)
{
    char id[VR_UUID_STR];
    struct vr_uuid u = vr_uuid_new();
    struct cim_datetime at = cim_datetime_at(vr_wall_now());
    const char *host = cim_server_host(s->w->svc);
    vr_auto(cim_path_free) struct cim_path *path = cim_inst_path(ev->target);
    vr_autofree char *text = cim_path_fmt(path, host);
    vr_autofree char *name = vr_printf("uuid:%s", vr_uuid_fmt_upper(&u, id));
    vr_xmlw_elem(w, "p", "IndicationIdentifier", name);
    vr_xmlw_start(w, "p", "IndicationTime");
    wsm_put_datetime(w, &s->enc, &at);
    vr_xmlw_end(w);
    put_instance(w, s, "SourceInstance", ev->target);
    vr_xmlw_elem(w, "p", "SourceInstanceModelPath", text);
    vr_xmlw_elem(w, "p", "SourceInstanceHost", host);
    if (ev->previous)
        put_instance(w, s, "PreviousInstance", ev->previous);
}

static const char *event_class(enum cim_event_style naming, enum cim_event_kind kind)
{
    bool wmi = naming == CIM_EVENTS_WMI;
    switch (kind) {
    case CIM_EV_CREATED:
        return wmi ? "__InstanceCreationEvent" : "CIM_InstCreation";
    case CIM_EV_DELETED:
        return wmi ? "__InstanceDeletionEvent" : "CIM_InstDeletion";
    case CIM_EV_MODIFIED:
        break;
    }
    return wmi ? "__InstanceModificationEvent" : "CIM_InstModification";
}

static int write_event(const struct wsm_sub *s, const struct cim_event *ev, struct vr_buf *b,
                       struct vr_err *err)
{
    const char *name = event_class(s->naming, ev->kind);
    vr_autofree char *uri = wsm_class_uri(s->enc.style, s->ns, name);
    vr_autofree char *type = vr_printf("p:%s_Type", name);
    struct vr_xmlw w;
    vr_xmlw_init(&w, b);
    vr_xmlw_start(&w, "p", name);
    vr_xmlw_ns(&w, "p", uri);
    vr_xmlw_ns(&w, "xsi", NS_XSI);
    vr_xmlw_ns(&w, "cim", NS_CIM);
    vr_xmlw_attr(&w, "xsi:type", type);
    (s->naming == CIM_EVENTS_WMI ? put_wmi : put_cim)(&w, s, ev);
    vr_xmlw_end(&w);
    return vr_xmlw_finish(&w, err);
}

static void on_event(void *ctx, const struct cim_event *ev)
{
    struct wsm_sub *s = ctx;
    vr_autobuf struct vr_buf b = { .max = s->w->lim.event_bytes };
    if (!has_room(s, 0) || write_event(s, ev, &b, NULL) || !has_room(s, b.len)) {
        s->dropped++;
        if (!s->head)
            wake(s); /* there is the loss to tell */
        return;
    }
    if (s->dropped)
        put_dropped(s);
    append(s, &b);
    wake(s);
}

/* ---- Subscribe ------------------------------------------------------------------------------ */

/* The time until a subscription ends, from Expires in @el. src:[DSP0226 10.2.3] */
static int read_expires(struct wsm_call *c, const struct vr_xml *el, uint64_t *ret_ms)
{
    const struct wsm_limits *l = &c->w->lim;
    const char *text = vr_xml_child_trim(el, NS_EVENTING, "Expires");
    uint64_t ms = (uint64_t)l->subscription_s * 1000, max = (uint64_t)l->subscription_max_s * 1000;
    struct cim_datetime at;
    if (text && *text && wsm_duration(text, &ms)) {
        bool is_time = !cim_datetime_parse(text, &at, NULL) && !at.is_interval;
        return wsm_fail(&c->fault, is_time ? WSM_F_NO_EXPIRES_TYPE : WSM_F_BAD_EXPIRES,
                        "Expires must be a duration such as PT10M");
    }
    if (!ms)
        return wsm_fail(&c->fault, WSM_F_BAD_EXPIRES, "Expires must be more than nothing");
    *ret_ms = ms < max ? ms : max;
    return 0;
}

static int read_delivery(struct wsm_call *c, const struct vr_xml *el, struct wsm_sub *s)
{
    const struct vr_xml *d = vr_xml_child(el, NS_EVENTING, "Delivery");
    const char *mode = vr_xml_attr(d, "", "Mode");
    if (!mode || strcasecmp(mode, MODE_PULL))
        return wsm_fail(&c->fault, WSM_F_NO_DELIVERY,
                        "events are not sent, they have to be fetched: the delivery mode must be "
                        "%s",
                        MODE_PULL);
    const char *beat = vr_xml_child_trim(d, NS_WSMAN, "Heartbeats");
    if (beat && (wsm_duration(beat, &s->heartbeat_ms) || s->heartbeat_ms < 1000))
        return wsm_fail(&c->fault, WSM_F_MALFORMED,
                        "Heartbeats must be a duration of a second or more, such as PT60S");
    const char *charset = vr_xml_child_trim(d, NS_WSMAN, "ContentEncoding");
    if (charset && strcasecmp(charset, "UTF-8") && strcasecmp(charset, "UTF-16"))
        return wsm_fail(&c->fault, WSM_F_NO_CHARSET, "events come in UTF-8 or UTF-16, not in %.40s",
                        charset);
    return 0;
}

static int refuse_bookmarks(struct wsm_call *c, const struct vr_xml *el)
{
    if (vr_xml_child(el, NS_WSMAN, "Bookmark") || vr_xml_child(el, NS_WSMAN, "SendBookmarks"))
        return wsm_fail(&c->fault, WSM_F_NO_BOOKMARKS,
                        "there are no bookmarks: past events are not kept");
    return 0;
}

/* The query: from the filter, or all events of the class that the resource URI names. */
static int read_query(struct wsm_call *c, const struct vr_xml *el, const struct wsm_resource *r,
                      struct cim_query **ret)
{
    const struct vr_xml *f = vr_xml_child(el, NS_WSMAN, "Filter");
    if (r->schema || (r->ns && !cim_ns_known(r->ns)))
        return wsm_fail(&c->fault, WSM_F_NO_RESOURCE, "there are no events of the resource %.200s",
                        c->msg.resource_uri);
    if (!f)
        f = vr_xml_child(el, NS_EVENTING, "Filter");
    const char *dialect = vr_xml_attr(f, "", "Dialect");
    if (f && (!dialect || strcasecmp(dialect, DIALECT_WQL)))
        return wsm_fail(&c->fault, WSM_F_NO_EVENT_DIALECT,
                        "the filter dialect %.200s is not served for events; there is %s",
                        dialect ? dialect : "XPath", DIALECT_WQL);
    if (!f && r->all)
        return wsm_fail(&c->fault, WSM_F_BAD_EVENT_FILTER,
                        "subscribing to \"*\" needs a filter in the dialect %s", DIALECT_WQL);
    vr_autofree char *text = f ? vr_strdup(f->trim) : vr_printf("SELECT * FROM %s", r->cls);
    struct vr_err e = VR_ERR_INIT;
    if (cim_query_parse_event(r->ns ? r->ns : CIM_NS_VIRT, text, ret, &e) != CIM_S_OK)
        return wsm_fail(&c->fault, WSM_F_BAD_EVENT_FILTER, "%s", e.msg);
    return 0;
}

static int start_watch(struct wsm_call *c, struct wsm_sub *s, struct cim_query *take_q)
{
    struct vr_err e = VR_ERR_INIT;
    s->naming = take_q->style;
    enum cim_status st =
        cim_watch_begin(c->w->svc, c->rq->caller, take_q, on_event, s, &s->watch, &e);
    if (st == CIM_S_UNSUPPORTED)
        return wsm_fail(&c->fault, WSM_F_BAD_EVENT_FILTER, "%s", e.msg);
    return st == CIM_S_OK ? 0 : wsm_fail_cim(&c->fault, st, &e);
}

static int may_subscribe(struct wsm_call *c)
{
    size_t all = 0, own = 0;
    struct wsm_sub *const lists[] = { c->w->subs, c->w->begun };
    for (size_t i = 0; i < VR_ARRAY_LEN(lists); i++)
        for (struct wsm_sub *o = lists[i]; o; o = o->next) {
            all++;
            own += !strcmp(o->owner, c->rq->caller->name);
        }
    if (own >= c->w->lim.subscriptions_each || all >= c->w->lim.subscriptions)
        return wsm_fail(&c->fault, WSM_F_QUOTA, "too many subscriptions; unsubscribe some");
    return 0;
}

static void put_expires(struct wsm_call *c, const struct wsm_sub *s)
{
    int64_t left = s->expires_ms - c->rq->now.ms;
    vr_autofree char *text =
        vr_printf("PT%lld.%03lldS", (long long)(left / 1000), (long long)(left % 1000));
    vr_xmlw_elem(&c->out, "e", "Expires", text);
}

static void put_id(struct wsm_call *c, const char *prefix, const char *name,
                   const struct wsm_sub *s)
{
    vr_xmlw_start(&c->out, prefix, name);
    vr_xmlw_text(&c->out, "uuid:");
    vr_xmlw_text(&c->out, s->id);
    vr_xmlw_end(&c->out);
}

static void put_subscribed(struct wsm_call *c, const struct wsm_sub *s)
{
    vr_xmlw_start(&c->out, "e", "SubscribeResponse");
    vr_xmlw_start(&c->out, "e", "SubscriptionManager");
    vr_xmlw_elem(&c->out, "a", "Address", c->msg.addr10 ? ADDR10_ANONYMOUS : ADDR_ANONYMOUS);
    vr_xmlw_start(&c->out, "a", "ReferenceParameters");
    vr_xmlw_elem(&c->out, "w", "ResourceURI", c->msg.resource_uri);
    put_id(c, "e", "Identifier", s);
    vr_xmlw_end(&c->out);
    vr_xmlw_end(&c->out);
    put_expires(c, s);
    put_id(c, "n", "EnumerationContext", s);
    vr_xmlw_end(&c->out);
}

/* What the request asks for; nothing is watched yet. */
static struct wsm_sub *begin(struct wsm_call *c, const struct vr_xml *el)
{
    vr_auto(sub_free) struct wsm_sub *s = vr_new(struct wsm_sub);
    wsm_autoresource struct wsm_resource r = { 0 };
    struct cim_query *q = NULL;
    s->w = c->w;
    s->tail = &s->head;
    s->owner = vr_strdup(c->rq->caller->name);
    if (wsm_call_resource(c, &r) || read_delivery(c, el, s) || refuse_bookmarks(c, el) ||
        read_expires(c, el, &s->life_ms) || may_subscribe(c) || read_query(c, el, &r, &q) ||
        start_watch(c, s, q))
        return NULL;
    s->enc = wsm_call_enc(c, r.style);
    s->ns = r.ns && cim_ns_equal(r.ns, CIM_NS_OURS) ? CIM_NS_OURS : CIM_NS_VIRT;
    struct vr_uuid id = vr_uuid_new();
    vr_uuid_fmt_upper(&id, s->id);
    return vr_take(s);
}

int wsm_op_subscribe(struct wsm_call *c)
{
    const struct vr_xml *el = c->msg.body;
    struct vr_err e = VR_ERR_INIT;
    bool over;
    c->eventing = true;
    if (!vr_xml_is(el, NS_EVENTING, "Subscribe"))
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds no Subscribe");
    vr_auto(sub_free) struct wsm_sub *s = take_unfinished(c->w, c->rq->token);
    if (!s && !(s = begin(c, el)))
        return -1;
    enum cim_status st = cim_watch_run(s->watch, c->rq->token ? c->w->lim.slice_ms : 0, &over, &e);
    if (st != CIM_S_OK)
        return wsm_fail_cim(&c->fault, st, &e);
    if (!over) {
        c->until = c->rq->now;
        s->token = c->rq->token;
        s->next = c->w->begun;
        c->w->begun = vr_take(s);
        return 0;
    }
    s->last_ms = c->rq->now.ms;
    s->expires_ms = c->rq->now.ms + (int64_t)s->life_ms;
    put_subscribed(c, s);
    s->next = c->w->subs;
    c->w->subs = vr_take(s);
    return 0;
}

/* ---- Pull ----------------------------------------------------------------------------------- */

static struct wsm_sub *find(struct wsm_call *c, const char *id)
{
    const char *own = strncasecmp(id, "uuid:", 5) ? id : id + 5;
    for (struct wsm_sub *s = c->w->subs; s; s = s->next)
        if (!strcasecmp(s->id, own) && !strcmp(s->owner, c->rq->caller->name))
            return s;
    return NULL;
}

static int collect(struct wsm_call *c, struct wsm_sub *s, const struct wsm_want *want,
                   struct vr_buf *items)
{
    size_t room = want->bytes < c->room ? want->bytes : c->room;
    for (size_t n = 0; n < want->items && s->head; n++) {
        if (items->len + s->head->len > room) {
            if (n)
                return 0;
            return wsm_fail(&c->fault, WSM_F_TOO_BIG,
                            "one event of %zu bytes does not fit into the reply", s->head->len);
        }
        struct item *it = take_first(s);
        int rc = vr_buf_add(items, it->xml, it->len, NULL);
        free(it);
        if (rc)
            return wsm_fail(&c->fault, WSM_F_INTERNAL, "no memory for events");
    }
    return 0;
}

static int put_pulled(struct wsm_call *c, struct wsm_sub *s, const struct vr_buf *items, bool ended)
{
    vr_xmlw_start(&c->out, "n", "PullResponse");
    if (!ended)
        put_id(c, "n", "EnumerationContext", s);
    vr_xmlw_start(&c->out, "n", "Items");
    vr_xmlw_raw(&c->out, items->data, items->len);
    vr_xmlw_end(&c->out);
    if (ended)
        vr_xmlw_elem(&c->out, "n", "EndOfSequence", NULL);
    vr_xmlw_end(&c->out);
    s->last_ms = c->rq->now.ms;
    s->waiter = NULL;
    if (ended)
        unlink_sub(c->w, s);
    return 0;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When a Pull gives up waiting: MaxTime, the operation's timeout, our own limits. */
static int64_t give_up_at(const struct wsm_call *c, const struct wsm_want *want)
{
    const struct wsm_limits *l = &c->w->lim;
    int64_t began = c->rq->arrived.ms ? c->rq->arrived.ms : c->rq->now.ms;
    uint64_t ms = want->wait_ms       ? want->wait_ms
                  : c->msg.timeout_ms ? c->msg.timeout_ms
                                      : (uint64_t)l->pull_s * 1000;
    if (c->msg.timeout_ms && c->msg.timeout_ms < ms)
        ms = c->msg.timeout_ms;
    if (ms > (uint64_t)l->pull_max_s * 1000)
        ms = (uint64_t)l->pull_max_s * 1000;
    return began + (int64_t)ms;
}

/* Nothing to tell: a heartbeat, the end of patience, or wait. */
static int pull_nothing(struct wsm_call *c, struct wsm_sub *s, const struct wsm_want *want)
{
    int64_t now = c->rq->now.ms, until = give_up_at(c, want);
    vr_autobuf struct vr_buf items = VR_BUF_INIT;
    if (s->heartbeat_ms && now >= s->last_ms + (int64_t)s->heartbeat_ms) {
        vr_buf_printf(&items, NULL, "<w:Event Action=\"%s\"></w:Event>", EVENT_HEARTBEAT);
        return put_pulled(c, s, &items, false);
    }
    bool replaced = c->rq->arrived.ms && s->waiter != c->rq->token;
    if (now >= until || replaced || !c->rq->token) {
        s->waiter = replaced ? s->waiter : NULL;
        return wsm_fail(&c->fault, WSM_F_TIMED_OUT, "%s",
                        replaced ? "another Pull took the place of this one"
                                 : "no event came in time; pull again");
    }
    if (s->waiter && s->waiter != c->rq->token) {
        wake(s); /* the older one gives way */
    }
    s->waiter = c->rq->token;
    if (s->heartbeat_ms)
        until = min64(until, s->last_ms + (int64_t)s->heartbeat_ms);
    c->until.ms = min64(until, s->expires_ms);
    return 0;
}

int wsm_sub_pull(struct wsm_call *c, const char *id, const struct wsm_want *want)
{
    struct wsm_sub *s = find(c, id);
    if (!s)
        return 1;
    vr_autobuf struct vr_buf items = VR_BUF_INIT;
    if (!s->head && s->dropped)
        put_dropped(s);
    if (collect(c, s, want, &items))
        return -1;
    bool ended = s->expires_ms <= c->rq->now.ms && !s->head;
    if (items.len || ended)
        return put_pulled(c, s, &items, ended);
    return pull_nothing(c, s, want);
}

int wsm_sub_release(struct wsm_call *c, const char *id)
{
    struct wsm_sub *s = find(c, id);
    if (!s)
        return 1;
    wake(s);
    unlink_sub(c->w, s);
    return 0;
}

/* ---- Renew, GetStatus, Unsubscribe ---------------------------------------------------------- */

static struct wsm_sub *named(struct wsm_call *c, const char *body, enum wsm_fault_id unknown)
{
    c->eventing = true;
    if (!vr_xml_is(c->msg.body, NS_EVENTING, body)) {
        wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds no %s", body);
        return NULL;
    }
    if (!c->msg.identifier) {
        wsm_fail(&c->fault, WSM_F_NO_SUBSCRIPTION, "the header block Identifier is missing");
        return NULL;
    }
    struct wsm_sub *s = find(c, c->msg.identifier);
    if (!s)
        wsm_fail(&c->fault, unknown,
                 "there is no such subscription: it ended, expired or is somebody else's");
    return s;
}

int wsm_op_renew(struct wsm_call *c)
{
    uint64_t life = 0;
    struct wsm_sub *s = named(c, "Renew", WSM_F_NO_RENEW);
    if (!s || read_expires(c, c->msg.body, &life))
        return -1;
    s->expires_ms = c->rq->now.ms + (int64_t)life;
    vr_xmlw_start(&c->out, "e", "RenewResponse");
    put_expires(c, s);
    vr_xmlw_end(&c->out);
    return 0;
}

int wsm_op_status(struct wsm_call *c)
{
    struct wsm_sub *s = named(c, "GetStatus", WSM_F_NO_SUBSCRIPTION);
    if (!s)
        return -1;
    vr_xmlw_start(&c->out, "e", "GetStatusResponse");
    put_expires(c, s);
    vr_xmlw_end(&c->out);
    return 0;
}

int wsm_op_unsubscribe(struct wsm_call *c)
{
    struct wsm_sub *s = named(c, "Unsubscribe", WSM_F_NO_SUBSCRIPTION);
    if (!s)
        return -1;
    wake(s);
    unlink_sub(c->w, s);
    return 0;
}
