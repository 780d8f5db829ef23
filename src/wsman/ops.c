/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Get, Put and Invoke. Control thread; nothing blocks. src:[contract.md E.3] [DSP0227] */
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "wsman/ns.h"
#include "wsman/wsm_int.h"

int wsm_call_resource(struct wsm_call *c, struct wsm_resource *ret)
{
    if (!c->msg.resource_uri)
        return wsm_fail(&c->fault, WSM_F_NO_RESOURCE, "the header block ResourceURI is missing");
    return wsm_resource_parse(c->msg.resource_uri, c->msg.selectors, ret, &c->fault);
}

bool wsm_call_option(const struct wsm_call *c, const char *name, bool dflt)
{
    const char *v = wsm_msg_option(&c->msg, name);
    return v ? !strcasecmp(v, "true") || !strcmp(v, "1") : dflt;
}

struct wsm_enc wsm_call_enc(const struct wsm_call *c, enum wsm_style style)
{
    return (struct wsm_enc){ .style = style,
                             .addr10 = c->msg.addr10,
                             .datetime_elements = c->msg.datetime_elements,
                             .precise_arrays = wsm_call_option(c, "UsePreciseArrays", false) };
}

/* ---- what goes on in the next slice --------------------------------------------------------- */

/* A Get, a Put or a call of a method; kept while its target is looked for or the method goes on. */
struct wsm_invocation {
    struct wsm_invocation *next;
    const void *token; /* of the request */
    char *owner;
    struct cim_scan *scan;   /* looks for the target; NULL: it was found */
    struct cim_path *target; /* as it was addressed */
    struct cim_path *found;  /* likewise, with all its keys */
    struct cim_args *args;   /* of a method */
};

static void invocation_free(struct wsm_invocation *v)
{
    cim_scan_free(v->scan);
    cim_path_free(v->target);
    cim_path_free(v->found);
    cim_args_free(v->args);
    free(v->owner);
    free(v);
}
VR_DEFINE_CLEANUP(struct wsm_invocation, invocation_free)

static struct wsm_invocation *take_invocation(struct wsm *w, const void *token)
{
    for (struct wsm_invocation **at = &w->invocations; token && *at; at = &(*at)->next)
        if ((*at)->token == token) {
            struct wsm_invocation *v = *at;
            *at = v->next;
            return v;
        }
    return NULL;
}

void wsm_invocations_forget(struct wsm *w, const void *token)
{
    struct wsm_invocation *v;
    while ((v = take_invocation(w, token ? token : w->invocations ? w->invocations->token : NULL)))
        invocation_free(v);
}

static struct wsm_invocation *new_invocation(struct wsm_call *c, struct cim_path *take_target)
{
    struct wsm_invocation *v = vr_new(struct wsm_invocation);
    v->token = c->rq->token;
    v->owner = vr_strdup(c->rq->caller->name);
    v->target = take_target;
    v->scan = cim_scan_get(c->w->svc, c->rq->caller, v->target);
    return v;
}

/* Only so many of one caller go on at a time: what they hold is memory. */
static int keep(struct wsm_call *c, struct wsm_invocation *take_v)
{
    size_t all = 0, own = 0;
    for (const struct wsm_invocation *v = c->w->invocations; v; v = v->next) {
        all++;
        own += !strcmp(v->owner, take_v->owner);
    }
    if (own >= c->w->lim.invocations_each || all >= c->w->lim.invocations) {
        invocation_free(take_v);
        return wsm_fail(&c->fault, WSM_F_QUOTA,
                        "too many calls are being answered at the same time; wait for some");
    }
    c->until = c->rq->now;
    take_v->next = c->w->invocations;
    c->w->invocations = take_v;
    return 0;
}

/* A slice of looking for the target; *ret is the caller's, NULL when it is not found yet. */
static int look(struct wsm_call *c, struct wsm_invocation *v, struct cim_inst **ret)
{
    bool over;
    struct vr_err e = VR_ERR_INIT;
    cim_autolist struct cim_list found = CIM_LIST_INIT;
    *ret = NULL;
    enum cim_status st = cim_scan_run(v->scan, v->token ? c->w->lim.slice_ms : 0, &over, &e);
    if (st != CIM_S_OK)
        return wsm_fail_cim(&c->fault, st, &e);
    if (!over)
        return 0;
    cim_scan_take(v->scan, &found);
    cim_scan_free(v->scan);
    v->scan = NULL;
    *ret = vr_take(found.v[0]);
    v->found = cim_inst_path(*ret);
    return 0;
}

/* ---- Get and Put ---------------------------------------------------------------------------- */

static int reply_instance(struct wsm_call *c, enum wsm_style style, const struct cim_inst *in)
{
    struct wsm_enc enc = wsm_call_enc(c, style);
    wsm_put_instance(&c->out, &enc, in, NULL);
    if (c->msg.want_epr) {
        c->epr = cim_inst_path(in);
        c->epr_style = style;
    }
    return 0;
}

/* That the request began, or a new one; NULL and the fault. */
static struct wsm_invocation *of_target(struct wsm_call *c, const struct wsm_resource *r)
{
    struct wsm_invocation *v = take_invocation(c->w, c->rq->token);
    struct cim_path *target;
    if (v || wsm_resource_path(r, c->msg.selectors, &target, &c->fault))
        return v;
    return new_invocation(c, target);
}

int wsm_op_get(struct wsm_call *c)
{
    wsm_autoresource struct wsm_resource r = { 0 };
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    if (wsm_call_resource(c, &r))
        return -1;
    if (r.schema)
        return wsm_schema_get(c, &r);
    if (wsm_is_spaces(&r))
        return wsm_spaces_get(c, &r);
    vr_auto(invocation_free) struct wsm_invocation *v = of_target(c, &r);
    if (!v || look(c, v, &in))
        return -1;
    return in ? reply_instance(c, r.style, in) : keep(c, vr_take(v));
}

int wsm_op_put(struct wsm_call *c)
{
    wsm_autoresource struct wsm_resource r = { 0 };
    vr_auto(cim_inst_free) struct cim_inst *want = NULL, *old = NULL, *now = NULL;
    const struct cim_class *cls;
    if (wsm_call_resource(c, &r) || wsm_resource_class(&r, &cls, &c->fault))
        return -1;
    vr_auto(invocation_free) struct wsm_invocation *v = of_target(c, &r);
    if (!v)
        return -1;
    if (!c->msg.body)
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds no instance");
    const struct cim_class *given = cim_class_find_in(cls->ns, c->msg.body->name);
    if (!given || !cim_class_is_a(given, cls))
        return wsm_fail(&c->fault, WSM_F_MALFORMED, "the Body holds <%.100s> instead of a %s",
                        c->msg.body->name, cls->name);
    if (wsm_get_instance(c->msg.body, given, &want, &c->fault))
        return -1;
    if (look(c, v, &old))
        return -1;
    if (!old)
        return keep(c, vr_take(v));
    struct vr_err e = VR_ERR_INIT;
    enum cim_status st = cim_put(c->w->svc, c->rq->caller, v->found, want, &now, &e);
    if (st != CIM_S_OK)
        return wsm_fail_cim(&c->fault, st, &e);
    return reply_instance(c, r.style, now);
}

/* ---- Invoke --------------------------------------------------------------------------------- */

/* The method's name out of "<resource URI>/<Method>", NULL if the action is something else. */
static const char *method_of(const struct wsm_msg *m)
{
    const char *slash = strrchr(m->action, '/');
    if (!slash || !slash[1] || !m->resource_uri)
        return NULL;
    size_t n = (size_t)(slash - m->action);
    return strlen(m->resource_uri) == n && !strncasecmp(m->action, m->resource_uri, n) ? slash + 1
                                                                                       : NULL;
}

static int read_input(struct wsm_call *c, struct cim_args *args)
{
    const struct vr_xml *in = c->msg.body;
    const char *name = args->method->name;
    if (in) {
        size_t n = strlen(name);
        if (strncasecmp(in->name, name, n) || (in->name[n] && strcasecmp(in->name + n, "_INPUT")))
            return wsm_fail(&c->fault, WSM_F_MALFORMED,
                            "the Body holds <%.100s> instead of %s_INPUT", in->name, name);
    }
    return wsm_get_args(in, args, &c->fault);
}

static struct wsm_invocation *read_invocation(struct wsm_call *c, const struct wsm_resource *r)
{
    vr_auto(cim_path_free) struct cim_path *target = NULL;
    vr_auto(cim_args_free) struct cim_args *args = NULL;
    struct vr_err e = VR_ERR_INIT;
    const struct cim_method *m;
    if (wsm_resource_path(r, c->msg.selectors, &target, &c->fault))
        return NULL;
    enum cim_status st = cim_find_method(target, method_of(&c->msg), &m, &e);
    if (st != CIM_S_OK) {
        wsm_fail_cim(&c->fault, st, &e);
        return NULL;
    }
    args = cim_args_new(m);
    if (read_input(c, args))
        return NULL;
    struct wsm_invocation *v = new_invocation(c, vr_take(target));
    v->args = vr_take(args);
    return v;
}

int wsm_op_invoke(struct wsm_call *c)
{
    if (!method_of(&c->msg))
        return wsm_fail(&c->fault, WSM_F_NO_ACTION, "the action %.200s is not served",
                        c->msg.action);
    wsm_autoresource struct wsm_resource r = { 0 };
    if (wsm_call_resource(c, &r))
        return -1;
    vr_auto(invocation_free) struct wsm_invocation *v = take_invocation(c->w, c->rq->token);
    if (!v && !(v = read_invocation(c, &r)))
        return -1;
    vr_auto(cim_inst_free) struct cim_inst *in = NULL;
    if (v->scan && look(c, v, &in))
        return -1;
    if (v->scan)
        return keep(c, vr_take(v));
    struct vr_err e = VR_ERR_INIT;
    uint32_t ret = 0;
    v->args->until_us = v->token ? vr_mono_us() + (int64_t)c->w->lim.slice_ms * 1000 : 0;
    v->args->room = c->room;
    enum cim_status st = cim_invoke(c->w->svc, c->rq->caller, v->found, v->args, &ret, &e);
    if (st != CIM_S_OK)
        return wsm_fail_cim(&c->fault, st, &e);
    if (v->args->is_full)
        return wsm_fail(&c->fault, WSM_F_TOO_BIG,
                        "the answer is larger than a reply may be; ask "
                        "for less at a time");
    if (v->args->at)
        return keep(c, vr_take(v));
    const struct cim_class *cls = cim_path_class(v->target);
    vr_autofree char *uri = wsm_class_uri(r.style, cls->ns, cls->name);
    struct wsm_enc enc = wsm_call_enc(c, r.style);
    wsm_put_output(&c->out, &enc, uri, v->args, ret);
    return 0;
}
