/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much primaries have written since their last acknowledged points, for whoever asks what would
 * be lost now: looked at every now and then, a few machines at a time. Control thread; work() on
 * workers of their own: a machine that hangs holds up no failover. */
#include "daemon/daemon.h"

#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "daemon/probe.h"

enum { AT_A_TIME = 8, EVERY_US = 5000000 };

struct ahead_task {
    struct task t;
    struct rel_story story;
};

static void ahead_work(struct task *t)
{
    struct ahead_task *a = (struct ahead_task *)t;
    story_ahead(t->d, &t->r, &a->story);
}

static void ahead_done(struct task *t)
{
    struct ahead_task *a = (struct ahead_task *)t;
    struct machine_rt *rt = rt_get(t->d, &t->r.machine);
    look_end(&rt->look, !a->story.ahead_known, vr_mono_now());
    rt->ahead_known = a->story.ahead_known;
    rt->ahead = a->story.ahead;
    rt->ahead_of = t->r.acked;
}

static void refresh(struct daemon *d)
{
    static size_t next; /* the machines take turns */
    size_t n = 0, asked = 0;
    while (engine_at(d->engine, n))
        n++;
    struct mono_ms now = vr_mono_now();
    for (size_t i = 0; i < n && asked < AT_A_TIME; i++, next++) {
        const struct rel *r = engine_at(d->engine, next % n);
        const struct hv_machine *m = host_machine(d, &r->machine);
        if (rel_mode(r) != REL_MODE_PRIMARY || !r->has_acked || !r->tracked || !m ||
            m->power == HV_POWER_OFF || m->power == HV_POWER_AWAY)
            continue;
        struct machine_rt *rt = rt_get(d, &r->machine);
        if (!look_may(&rt->look, now))
            continue;
        look_begin(&rt->look);
        struct ahead_task *a = vr_new(struct ahead_task);
        a->t.work = ahead_work;
        a->t.done = ahead_done;
        a->t.r = *r;
        a->story.power = REL_POWER_ON;
        task_run(d, d->look_exec, &a->t);
        asked++;
    }
}

static int on_time(sd_event_source *s, uint64_t usec, void *user)
{
    refresh(user);
    sd_event_source_set_time(s, usec + EVERY_US);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int ahead_start(struct daemon *d, struct vr_err *err)
{
    int rc = sd_event_add_time_relative(d->loop, NULL, CLOCK_MONOTONIC, EVERY_US, 0, on_time, d);
    return rc < 0 ? vr_fail(err, VR_E_INTERNAL, -rc, "timer") : 0;
}

bool ahead_of(struct daemon *d, const struct vr_uuid *machine, uint64_t *ret)
{
    const struct rel *r = engine_find(d->engine, machine);
    const struct machine_rt *rt = rt_get(d, machine);
    if (!r || !rt->ahead_known || !vr_point_eq(&rt->ahead_of, &r->acked))
        return false;
    *ret = rt->ahead;
    return true;
}
