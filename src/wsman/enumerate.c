/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Enumerate, Pull, Release and the contexts between them. Control thread.
 * Invariants: a context answers only to the caller who opened it; its name cannot be guessed; it
 * goes away when it was read to the end, released, or not used for limits.context_s; their number
 * is limited per caller and in all. An item is never split. src:[wsman.md 4] [DSP0226 clause 8] */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "wsman/ns.h"
#include "wsman/wsm_int.h"

enum mode { MODE_OBJECT, MODE_EPR, MODE_BOTH };

struct wsm_ctx {
    struct wsm *w;
    struct wsm_ctx *next;
    char id[VR_UUID_STR];
    char *owner;
    struct cim_scan *scan; /* NULL once all instances are there */
    const void *token;     /* of the request that waits for it */
    struct cim_list items;
    bool is_schema;
    struct wsm_schema schema; /* instead of items */
    bool is_spaces;
    struct wsm_spaces spaces; /* likewise */
    size_t pos;
    enum mode mode;
    enum wsm_style style;
    const struct cim_class *as; /* show instances as this class; NULL: as what they are */
    bool fragments, bare;       /* as in struct wsm_answer */
    unsigned sys;               /* likewise */
    bool precise_arrays;        /* as in struct wsm_enc; what Enumerate said holds for Pull, too */
    int64_t expires_ms;
};

enum {
    FREED_AT_ONCE = 512, /* instances: about a millisecond */
    FREED_STEP = 64,
};

/* Frees up to @max of its instances. Returns whether it is gone. */
static bool ctx_free_some(struct wsm_ctx *x, size_t max)
{
    while (x->items.n && max--)
        cim_inst_free(x->items.v[--x->items.n]);
    if (x->items.n)
        return false;
    cim_scan_free(x->scan);
    cim_list_done(&x->items);
    wsm_schema_done(&x->schema);
    free(x->owner);
    free(x);
    return true;
}

/* A large one goes little by little, in wsm_expire(): nobody is kept waiting for it. */
static void ctx_free(struct wsm_ctx *x)
{
    if (x->scan && !x->items.n)
        cim_scan_take(x->scan, &x->items);
    if (ctx_free_some(x, FREED_AT_ONCE))
        return;
    x->next = x->w->ended;
    x->w->ended = x;
}
VR_DEFINE_CLEANUP(struct wsm_ctx, ctx_free)

static void free_ended(struct wsm *w, unsigned ms)
{
    int64_t end = vr_mono_us() + (int64_t)ms * 1000;
    while (w->ended && vr_mono_us() < end) {
        struct wsm_ctx *x = w->ended, *next = x->next;
        if (ctx_free_some(x, FREED_STEP))
            w->ended = next;
    }
}

void wsm_expire(struct wsm *w, struct mono_ms now)
{
    free_ended(w, w->lim.slice_ms);
    for (struct wsm_ctx **at = &w->contexts; *at;) {
        struct wsm_ctx *x = *at;
        if (x->expires_ms > now.ms) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        ctx_free(x);
    }
    wsm_subs_expire(w, now);
}

void wsm_contexts_drop(struct wsm *w)
{
    wsm_expire(w, (struct mono_ms){ INT64_MAX });
    while (w->unfinished) {
        struct wsm_ctx *x = w->unfinished;
        w->unfinished = x->next;
        ctx_free(x);
    }
    while (w->ended)
        free_ended(w, 1000);
    wsm_subs_drop(w);
    wsm_invocations_forget(w, NULL);
    wsm_kept_forget(w, NULL);
}

/* The unfinished one that this request began; NULL if it did not. */
static struct wsm_ctx *take_unfinished(struct wsm *w, const void *token)
{
    for (struct wsm_ctx **at = &w->unfinished; token && *at; at = &(*at)->next)
        if ((*at)->token == token) {
            struct wsm_ctx *x = *at;
            *at = x->next;
            x->next = NULL;
            return x;
        }
    return NULL;
}

void wsm_contexts_forget(struct wsm *w, const void *token)
{
    struct wsm_ctx *x = take_unfinished(w, token);
    if (x)
        ctx_free(x);
}

static struct wsm_ctx **find(struct wsm_call *c, const char *id)
{
    char *own = strncasecmp(id, "uuid:", 5) ? (char *)(uintptr_t)id : (char *)(uintptr_t)id + 5;
    for (struct wsm_ctx **at = &c->w->contexts; *at; at = &(*at)->next)
        if (!strcmp((*at)->id, own) && !strcmp((*at)->owner, c->rq->caller->name))
            return at;
    wsm_fail(&c->fault, WSM_F_NO_CONTEXT,
             "this enumeration is not open: it ended, expired or is "
             "somebody else's");
    return NULL;
}

static size_t n_all(const struct wsm_ctx *x)
{
    return x->is_schema ? x->schema.n : x->is_spaces ? x->spaces.n : x->items.n;
}

static size_t n_items(const struct wsm_ctx *x)
{
    return x->items.weight + (x->scan ? cim_scan_found(x->scan) : 0);
}

/* Is there room for one more context of this caller, and for what is in it? Nobody may take so much
 * that others cannot look any more. */
static int may_keep(struct wsm_call *c, struct wsm_ctx *x)
{
    const struct wsm_limits *l = &c->w->lim;
    size_t all = 0, own = 0, items = n_items(x), own_items = items;
    const struct wsm_ctx *const lists[] = { c->w->contexts, c->w->unfinished };
    for (size_t i = 0; i < VR_ARRAY_LEN(lists); i++)
        for (const struct wsm_ctx *o = lists[i]; o; o = o->next) {
            all++;
            items += n_items(o);
            if (strcmp(o->owner, x->owner) != 0)
                continue;
            own++;
            own_items += n_items(o);
        }
    if (own >= l->contexts_each || all >= l->contexts || items > l->items ||
        own_items > l->items / (own ? 4 : 2))
        return wsm_fail(&c->fault, WSM_F_QUOTA, "too many enumerations are open; release some");
    return 0;
}

/* ---- items ---------------------------------------------------------------------------------- */

static void put_instance(struct vr_xmlw *w, const struct wsm_enc *enc, const struct wsm_ctx *x,
                         const struct cim_inst *in)
{
    if (x->mode == MODE_BOTH)
        vr_xmlw_start(w, "w", "Item");
    if (x->mode != MODE_EPR && x->fragments)
        wsm_put_fragment(w, enc, in, x->bare, x->sys, cim_server_host(x->w->svc));
    else if (x->mode != MODE_EPR)
        wsm_put_instance(w, enc, in, x->as);
    if (x->mode != MODE_OBJECT) {
        vr_auto(cim_path_free) struct cim_path *p = cim_inst_path(in);
        wsm_epr_write(w, p, x->style, enc->addr10, true);
    }
    if (x->mode == MODE_BOTH)
        vr_xmlw_end(w);
}

static void put_item(struct vr_xmlw *w, const struct wsm_enc *enc, const struct wsm_ctx *x,
                     size_t i)
{
    if (x->is_schema)
        wsm_schema_put(w, &x->schema, i, x->mode != MODE_EPR, x->mode != MODE_OBJECT, enc->addr10);
    else if (x->is_spaces)
        wsm_spaces_put(w, &x->spaces, i, x->mode != MODE_EPR, x->mode != MODE_OBJECT, enc->addr10);
    else
        put_instance(w, enc, x, x->items.v[i]);
}

/* Never needed again. */
static void drop_item(struct wsm_ctx *x, size_t i)
{
    if (x->is_schema || x->is_spaces)
        return;
    x->items.weight -= cim_inst_count(x->items.v[i]);
    cim_inst_free(x->items.v[i]);
    x->items.v[i] = NULL;
}

/* Collects items that fit into @items; moves pos. Not even one fits: a fault. */
static int collect(struct wsm_call *c, struct wsm_ctx *x, const struct wsm_want *want,
                   struct vr_buf *items)
{
    struct wsm_enc enc = wsm_call_enc(c, x->style);
    enc.precise_arrays |= x->precise_arrays;
    size_t room = want->bytes < c->room ? want->bytes : c->room;
    for (size_t n = 0; n < want->items && x->pos < n_all(x); n++) {
        struct vr_xmlw w;
        struct vr_err e = VR_ERR_INIT;
        size_t before = items->len;
        vr_xmlw_init(&w, items);
        put_item(&w, &enc, x, x->pos);
        if (vr_xmlw_finish(&w, &e))
            return wsm_fail(&c->fault, WSM_F_INTERNAL, "%s", e.msg);
        if (items->len > room) {
            size_t size = items->len - before;
            items->len = before;
            if (n)
                return 0;
            return wsm_fail(&c->fault, WSM_F_TOO_BIG,
                            "one item of %zu bytes does not fit into the reply", size);
        }
        drop_item(x, x->pos++);
    }
    return 0;
}

static void put_items(struct wsm_call *c, const char *prefix, const struct vr_buf *items)
{
    vr_xmlw_start(&c->out, prefix, "Items");
    vr_xmlw_raw(&c->out, items->data, items->len);
    vr_xmlw_end(&c->out);
}

int wsm_read_want(struct wsm_call *c, const struct vr_xml *el, const char *ns,
                  struct wsm_want *want)
{
    /* Some clients use the one namespace where the other belongs. */
    const char *items = vr_xml_child_trim(el, ns, "MaxElements");
    if (!items)
        items = vr_xml_child_trim(el, strcmp(ns, NS_ENUM) ? NS_ENUM : NS_WSMAN, "MaxElements");
    const char *bytes = vr_xml_child_trim(el, NS_ENUM, "MaxCharacters");
    const char *time = vr_xml_child_trim(el, NS_ENUM, "MaxTime");
    *want = (struct wsm_want){ .items = 1, .bytes = SIZE_MAX };
    if (items && (wsm_number(items, SIZE_MAX / 2, &want->items) || !want->items))
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "MaxElements must be a positive number");
    if (bytes && (wsm_number(bytes, SIZE_MAX / 2, &want->bytes) || !want->bytes))
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "MaxCharacters must be a positive number");
    if (time && (wsm_duration(time, &want->wait_ms) || !want->wait_ms))
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "MaxTime must be a duration such as PT30S");
    return 0;
}

static void put_context(struct wsm_call *c, const struct wsm_ctx *x, bool ended)
{
    vr_xmlw_start(&c->out, "n", "EnumerationContext");
    if (!ended) {
        vr_xmlw_text(&c->out, "uuid:");
        vr_xmlw_text(&c->out, x->id);
    }
    vr_xmlw_end(&c->out);
}

static void refresh(struct wsm_call *c, struct wsm_ctx *x)
{
    x->expires_ms = c->rq->now.ms + (int64_t)c->w->lim.context_s * 1000;
}

/* ---- Enumerate ------------------------------------------------------------------------------ */

static int read_mode(struct wsm_call *c, const struct vr_xml *el, struct wsm_ctx *x)
{
    const char *mode = vr_xml_child_trim(el, NS_WSMAN, "EnumerationMode");
    if (!mode)
        x->mode = MODE_OBJECT;
    else if (!strcasecmp(mode, "EnumerateEPR"))
        x->mode = MODE_EPR;
    else if (!strcasecmp(mode, "EnumerateObjectAndEPR"))
        x->mode = MODE_BOTH;
    else if (strcasecmp(mode, "EnumerateObject"))
        return wsm_fail(&c->fault, WSM_F_NO_ENUM_MODE, "the mode %.60s is not served", mode);
    return 0;
}

static int read_polymorphism(struct wsm_call *c, const struct vr_xml *el,
                             const struct wsm_resource *r, bool *deep, struct wsm_ctx *x)
{
    const char *p = vr_xml_child_trim(el, NS_BINDING, "PolymorphismMode");
    *deep = true;
    if (!p || !strcasecmp(p, "IncludeSubClassProperties"))
        return 0;
    if (!strcasecmp(p, "None")) {
        *deep = false;
        return 0;
    }
    if (strcasecmp(p, "ExcludeSubClassProperties"))
        return wsm_fail(&c->fault, WSM_F_NO_POLYMORPHISM,
                        "the polymorphism mode %.60s is not served", p);
    return r->all ? 0 : wsm_resource_class(r, &x->as, &c->fault);
}

static const struct vr_xml *filter_of(const struct vr_xml *el)
{
    const struct vr_xml *f = vr_xml_child(el, NS_WSMAN, "Filter");
    return f ? f : vr_xml_child(el, NS_ENUM, "Filter");
}

/* What the request asks for, instances or definitions of classes. */
static int choose(struct wsm_call *c, const struct vr_xml *el, const struct wsm_resource *r,
                  struct wsm_ctx *x)
{
    struct wsm_answer a;
    bool deep;
    x->is_schema = r->schema;
    if (r->schema)
        return wsm_schema_list(c, r, filter_of(el), &x->schema);
    if ((x->is_spaces = wsm_is_spaces(r)))
        return wsm_spaces_list(c, r, filter_of(el), &x->spaces);
    if (read_polymorphism(c, el, r, &deep, x) || wsm_filter(c, r, filter_of(el), deep, &a))
        return -1;
    x->scan = a.scan;
    x->fragments = a.fragments;
    x->bare = a.bare;
    x->sys = a.sys;
    if (!a.by_class)
        x->as = NULL; /* queries and associations have results of other classes */
    return 0;
}

/* The context with all that is found, not yet known to anybody. */
static struct wsm_ctx *open_context(struct wsm_call *c, const struct vr_xml *el)
{
    vr_auto(ctx_free) struct wsm_ctx *x = vr_new(struct wsm_ctx);
    x->w = c->w;
    wsm_autoresource struct wsm_resource r = { 0 };
    x->owner = vr_strdup(c->rq->caller->name);
    if (wsm_call_resource(c, &r) || read_mode(c, el, x) || choose(c, el, &r, x))
        return NULL;
    x->style = r.style;
    x->precise_arrays = wsm_call_enc(c, r.style).precise_arrays;
    struct vr_uuid id = vr_uuid_new();
    vr_uuid_fmt_upper(&id, x->id);
    return vr_take(x);
}

/* A slice of collecting the instances. */
static int go_on(struct wsm_call *c, struct wsm_ctx *x, bool *ret_over)
{
    struct vr_err e = VR_ERR_INIT;
    unsigned slice = c->rq->token ? c->w->lim.slice_ms : 0;
    *ret_over = true;
    if (!x->scan)
        return 0;
    enum cim_status st = cim_scan_run(x->scan, slice, ret_over, &e);
    if (st != CIM_S_OK)
        return wsm_fail_cim(&c->fault, st, &e);
    if (!*ret_over)
        return may_keep(c, x);
    cim_scan_take(x->scan, &x->items);
    cim_scan_free(x->scan);
    x->scan = NULL;
    return 0;
}

static void put_opened(struct wsm_call *c, const struct wsm_ctx *x, const struct vr_buf *items,
                       bool ended)
{
    vr_autofree char *life = vr_printf("PT%uS", c->w->lim.context_s);
    vr_xmlw_start(&c->out, "n", "EnumerateResponse");
    if (!ended)
        vr_xmlw_elem(&c->out, "n", "Expires", life);
    put_context(c, x, ended);
    if (items)
        put_items(c, "w", items);
    if (ended)
        vr_xmlw_elem(&c->out, "w", "EndOfSequence", NULL);
    vr_xmlw_end(&c->out);
}

int wsm_op_enumerate(struct wsm_call *c)
{
    const struct vr_xml *el = c->msg.body;
    if (!vr_xml_is(el, NS_ENUM, "Enumerate"))
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds no Enumerate");
    struct wsm_want want;
    if (wsm_read_want(c, el, NS_WSMAN, &want))
        return -1;
    vr_auto(ctx_free) struct wsm_ctx *x = take_unfinished(c->w, c->rq->token);
    if (!x && !(x = open_context(c, el)))
        return -1;
    bool over;
    if (go_on(c, x, &over))
        return -1;
    if (!over) {
        c->until = c->rq->now;
        x->token = c->rq->token;
        x->next = c->w->unfinished;
        c->w->unfinished = vr_take(x);
        return 0;
    }
    c->has_estimate = c->msg.want_estimate;
    c->estimate = n_all(x);
    vr_autobuf struct vr_buf items = VR_BUF_INIT;
    bool optimize = vr_xml_child(el, NS_WSMAN, "OptimizeEnumeration");
    if (optimize && collect(c, x, &want, &items))
        return -1;
    bool ended = optimize && x->pos == n_all(x);
    if (!ended && may_keep(c, x))
        return -1;
    put_opened(c, x, optimize ? &items : NULL, ended);
    if (ended)
        return 0;
    refresh(c, x);
    x->next = c->w->contexts;
    c->w->contexts = vr_take(x);
    return 0;
}

/* ---- Pull and Release ----------------------------------------------------------------------- */

int wsm_op_pull(struct wsm_call *c)
{
    const struct vr_xml *el = c->msg.body;
    const char *id = vr_xml_child_trim(el, NS_ENUM, "EnumerationContext");
    struct wsm_want want;
    if (!vr_xml_is(el, NS_ENUM, "Pull") || !id)
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds no Pull with a context");
    if (wsm_read_want(c, el, NS_ENUM, &want))
        return -1;
    int rc = wsm_sub_pull(c, id, &want);
    if (rc <= 0)
        return rc;
    struct wsm_ctx **at = find(c, id);
    if (!at)
        return -1;
    struct wsm_ctx *x = *at;
    vr_autobuf struct vr_buf items = VR_BUF_INIT;
    if (collect(c, x, &want, &items))
        return -1;
    bool last = x->pos == n_all(x);
    vr_xmlw_start(&c->out, "n", "PullResponse");
    if (!last)
        put_context(c, x, false);
    put_items(c, "n", &items);
    if (last)
        vr_xmlw_elem(&c->out, "n", "EndOfSequence", NULL);
    vr_xmlw_end(&c->out);
    refresh(c, x);
    if (last) {
        *at = x->next;
        ctx_free(x);
    }
    return 0;
}

int wsm_op_release(struct wsm_call *c)
{
    const struct vr_xml *el = c->msg.body;
    const char *id = vr_xml_child_trim(el, NS_ENUM, "EnumerationContext");
    if (!vr_xml_is(el, NS_ENUM, "Release") || !id)
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds no Release with a context");
    if (!wsm_sub_release(c, id))
        return 0;
    struct wsm_ctx **at = find(c, id);
    if (!at)
        return -1;
    struct wsm_ctx *x = *at;
    *at = x->next;
    ctx_free(x);
    return 0;
}
