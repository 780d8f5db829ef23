/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people are told about a machine: gathers the facts and has replication/explain.c put them
 * into words, as properties of Vmr_ReplicationStatus. Control thread only.
 * src:[schema/vmreplica.mof] */
#include "cim/providers/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "replication/explain.h"

#define P(n) CIM_P_VMR_REPLICATIONSTATUS_##n

struct lists {
    char added[256], gone[256], plain[256], tests[256], exports[256];
};

static void append(char list[256], const char *what)
{
    size_t n = strlen(list);
    snprintf(list + n, 256 - n, "%s%s", n ? ", " : "", what);
}

static const struct rel_disk *replicated(const struct rel *r, const char *target)
{
    for (uint32_t i = 0; i < r->n_disks; i++)
        if (!strcmp(r->disks[i].target, target))
            return &r->disks[i];
    return NULL;
}

static void gather_disks(const struct vm *vm, struct lists *l)
{
    const struct rel *r = vm->rel;

    for (size_t i = 0; i < vm->hv->n_disks; i++) {
        const struct hv_disk *d = &vm->hv->disks[i];
        if (!replicated(r, d->target)) {
            if (d->replicable)
                append(l->added, d->target);
        } else if (!d->trackable && d->size) {
            append(l->plain, d->target);
        }
    }
    for (uint32_t i = 0; i < r->n_disks; i++)
        if (!vm_disk(vm, r->disks[i].target))
            append(l->gone, r->disks[i].target);
}

void explain_peer(const struct host_providers *p, struct rel_facts *f)
{
    const struct host_peer *v = NULL;
    size_t n = p->h->peers(p->h->ctx, &v);

    for (size_t i = 0; i < n; i++)
        if (!strcasecmp(v[i].name, f->r->peer)) {
            f->peer_seen = v[i].seen;
            f->peer_away = !v[i].reachable && v[i].seen.us;
            f->peer_clock_s = v[i].clock_s;
        }
}

static void gather_tests(const struct host_providers *p, const struct vm *vm, struct lists *l)
{
    const struct host_test *v;
    size_t n = vm_tests(p, &v);

    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&v[i].machine, &vm->uuid))
            append(l->tests, v[i].name);
}

static void gather_exports(const struct host_providers *p, const struct vm *vm, struct lists *l)
{
    const struct host_export *const *v;
    size_t n = vm_exports(p, &v);
    char id[PROV_ID_MAX];

    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&v[i]->machine, &vm->uuid))
            append(l->exports, id_point_text(id, &v[i]->point));
}

/* A primary looks at its own change maps; a replica knows what the primary told. */
static void gather_ahead(const struct host_providers *p, const struct vm *vm, struct rel_facts *f)
{
    struct rel_story story = { .mode = REL_MODE_NONE };
    struct wall_us when = { 0 };
    enum host_answer answer = HOST_ANSWERS;

    if (rel_mode(vm->rel) == REL_MODE_PRIMARY && p->h->ahead)
        f->has_ahead = p->h->ahead(p->h->ctx, &vm->uuid, &f->ahead);
    else if (rel_mode(vm->rel) == REL_MODE_REPLICA && p->h->peer_story &&
             p->h->peer_story(p->h->ctx, &vm->uuid, &story, &when, &answer)) {
        f->has_ahead = story.ahead_known && when.us > vm->rel->newest_instant.us;
        f->ahead = story.ahead;
    }
}

/* What a failover takes when the newest point is not to be trusted. */
static void gather_sound(const struct host_providers *p, const struct vm *vm, struct rel_facts *f)
{
    const struct store_point *v, *sound;
    size_t n = rel_mode(vm->rel) == REL_MODE_REPLICA ? vm_points_held(p, vm, &v) : 0;

    for (size_t i = 0; i < n; i++)
        if (vr_point_eq(&v[i].id, &vm->rel->newest))
            f->newest_bad = v[i].proof.quarantine == STORE_QUARANTINED;
    if (!f->newest_bad || !(sound = store_newest_sound(v, n)))
        return;
    f->has_sound = true;
    f->sound = sound->instant;
}

static const char *or_null(const char *list)
{
    return *list ? list : NULL;
}

static void gather(const struct host_providers *p, const struct vm *vm, struct lists *l,
                   struct rel_facts *f)
{
    const struct store_point *kept;
    struct host_transfer t;

    *l = (struct lists){ .added = "" };
    *f = (struct rel_facts){
        .r = vm->rel, .now = vr_wall_now(), .host = p->h->name, .name = vm->name
    };
    if (vm->hv)
        gather_disks(vm, l);
    explain_peer(p, f);
    gather_tests(p, vm, l);
    gather_exports(p, vm, l);
    f->machine_gone = !vm->hv && p->h->hypervisor_answers && p->h->hypervisor_answers(p->h->ctx);
    f->machine_away = vm->hv && vm->hv->power == HV_POWER_AWAY;
    f->off = vm->hv && vm->hv->power == HV_POWER_OFF;
    f->running = vm->hv && vm->hv->power != HV_POWER_OFF && !f->machine_away;
    f->new_disks = or_null(l->added);
    f->gone_disks = or_null(l->gone);
    f->plain_disks = or_null(l->plain);
    f->tests = or_null(l->tests);
    f->exports = or_null(l->exports);
    f->kept_below = rel_mode(vm->rel) == REL_MODE_PRIMARY && vm_points_held(p, vm, &kept);
    if (p->h->transfer(p->h->ctx, &vm->uuid, &t)) {
        f->moving = true;
        f->moved = t.done;
        f->to_move = t.total;
    }
    f->stuck = p->h->stuck && p->h->stuck(p->h->ctx, &vm->uuid);
    f->queued = p->h->queued && p->h->queued(p->h->ctx, &vm->uuid);
    gather_ahead(p, vm, f);
    gather_sound(p, vm, f);
}

size_t explain_reasons(const struct host_providers *p, const struct vm *vm, struct rel_reason out[])
{
    struct rel_facts f;
    struct lists l;

    gather(p, vm, &l, &f);
    return rel_reasons(&f, out);
}

static void set_text(struct cim_inst *in, int property, const char *text)
{
    cim_inst_set_str(in, property, *text ? text : NULL);
}

static void put_sentence(struct vr_buf *b, const char *text)
{
    size_t n = strlen(text);
    if (n) /* the words of an error have no stop */
        vr_buf_printf(b, NULL, "%s%s%s", b->len ? " " : "", text,
                      strchr(".!?", text[n - 1]) ? "" : ".");
}

static void set_reasons(const struct rel_facts *f, struct cim_inst *in, struct vr_buf *all)
{
    vr_autofree struct rel_reason *why = vr_new0(REL_REASONS_MAX, sizeof *why);
    size_t n = rel_reasons(f, why);

    cim_inst_set_strv(in, P(REASONS), NULL, 0);
    cim_inst_set_strv(in, P(REASONTEXTS), NULL, 0);
    cim_inst_set_strv(in, P(REASONADVICE), NULL, 0);
    cim_inst_set_strv(in, P(REASONCOMMANDS), NULL, 0);
    for (size_t i = 0; i < n; i++) {
        cim_inst_add_str(in, P(REASONS), why[i].name);
        cim_inst_add_uint(in, P(REASONLEVELS), why[i].level);
        cim_inst_add_str(in, P(REASONTEXTS), why[i].why);
        cim_inst_add_str(in, P(REASONADVICE), why[i].todo);
        cim_inst_add_str(in, P(REASONCOMMANDS), why[i].command);
        put_sentence(all, why[i].why);
    }
}

static const char *const lost_names[VR_LOST_COUNT] = {
#define L(n, text, todo) [VR_LOST_##n] = #n,
#include "model/lost.def"
#undef L
};

void explain_set(const struct host_providers *p, const struct vm *vm, struct cim_inst *in)
{
    char text[REL_TEXT_MAX], command[384];
    struct rel_facts f;
    struct lists l;
    vr_autobuf struct vr_buf all = VR_BUF_INIT;

    gather(p, vm, &l, &f);
    cim_inst_set_time(in, P(STATESINCE), f.r->since);
    set_text(in, P(DOING), rel_doing(&f, text));
    put_sentence(&all, text);
    set_text(in, P(LOSSNOW), rel_loss(&f, text));
    put_sentence(&all, text);
    set_reasons(&f, in, &all);
    rel_next(&f, text, command);
    set_text(in, P(NEXTSTEP), text);
    set_text(in, P(NEXTCOMMAND), command);
    if (rel_mode(f.r) == REL_MODE_PRIMARY && !f.r->tracked && f.r->lost != VR_LOST_NOT)
        cim_inst_set_str(in, P(TRACKINGLOST), lost_names[f.r->lost]);
    if (f.has_ahead)
        cim_inst_set_uint(in, P(BYTESAHEAD), f.ahead);
    if (vm_as_test(p, &vm->uuid)) { /* all there is to say */
        vr_autofree char *test = vm_explain_tests(p, vm);
        vr_buf_done(&all);
        put_sentence(&all, test);
    }
    cim_inst_set_str(in, P(EXPLANATION), (const char *)all.data);
}
