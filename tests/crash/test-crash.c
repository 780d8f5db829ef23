/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A scripted life of two machines in a store, cut at its file operations and transactions.
 *   branches           another life: rot under two branches, and each step of its repair is cut
 *   VMR_CRASH_FULL=1   every cut, both kinds of end
 *   VMR_CRASH_SEED=n   which cuts are taken otherwise
 *   VMR_CRASH_ONLY=k   cut k alone (as printed by a failure) */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cut.h"
#include "world.h"

static void live(struct world *w)
{
    struct mach *m = &w->m[0];
    w->n = 1;
    w_doc(w, "first");
    w_create(w, m);
    w_half_stage(w, m, 1);
    w_cycle(w, m, 2);
    w_cycle(w, m, 3);
    struct vr_point_id pinned = m->newest;
    w_pin(w, m, &pinned, true);
    w_cycle(w, m, 4);
    w_half_stage(w, m, 5);
    w_doc(w, "second");
    w_cycle(w, m, 6);
    w_merge(w, m, 2); /* below the pinned point, too */
    w_pin(w, m, &pinned, false);
    /* The same bytes in two layers, and the lower one rots. */
    w_cycle(w, m, 20);
    struct vr_point_id rots = m->newest;
    w_cycle(w, m, 36);
    w_cycle(w, m, 20);
    w_rot(w, m, &rots, &rots, 1);
    w_find(w, m);
    w_repair(w, m);
    struct vr_point_id older = m->newest;
    w_cycle(w, m, 7);
    w_half_stage(w, m, 8);
    w_failover(w, m, &older);
    w_vm_writes(w, m, 1);
    w_cancel(w, m);
    struct vr_point_id before = m->newest;
    w_cycle(w, m, 9);
    /* Away, from a point that is not the newest, and back. */
    w_failover(w, m, &before);
    w_vm_writes(w, m, 2);
    w_become(w, m);
    w_forget_newer(w, m);
    w_vm_writes(w, m, 3);
    w_return(w, m);
    w_cycle(w, m, 10);
    w_merge(w, m, 2);
    w_index(w, m);
    m->now[1].size = 2 << 20; /* a disk grows */
    w_cycle(w, m, 11);
    w_cycle(w, m, 12);
    w_merge(w, m, 1);
}

/* A machine whose own disks become the base. */
static void live_adopted(struct world *w)
{
    struct mach *m = &w->m[1];
    w->n = 2;
    for (size_t i = 0; i < DISKS; i++) {
        struct td_disk empty = m->now[i];
        m->base[i] = vr_printf("%s/own-%zu.qcow2", w->work, i);
        const char *mk[] = { "qemu-img", "create", "-q", "-f", "qcow2", m->base[i], "1M", NULL };
        td_run(mk);
        m->now[i].byte[2] = (uint8_t)(90 + i);
        td_write(m->base[i], NULL, &empty, &m->now[i]);
        const char *bm[] = { "qemu-img", "bitmap", "--add", m->base[i], "vmr.own", NULL };
        td_run(bm);
    }
    w_create(w, m);
    w_cycle(w, m, 2);
    w_cycle(w, m, 3);
    w_merge(w, m, 1);
}

/* What rots lies under two branches: both are led around it, and every step of that is cut. */
static void live_branches(struct world *w)
{
    struct mach *m = &w->m[0];
    w->n = 1;
    w_create(w, m);
    w_cycle(w, m, 2);
    w_cycle(w, m, 20);
    struct vr_point_id show[3] = { m->newest };
    w_cycle(w, m, 5);
    show[1] = m->newest; /* a branch of its own later */
    w_pin(w, m, &show[0], true);
    w_pin(w, m, &show[1], true);
    w_failover(w, m, &show[0]);
    w_become(w, m);
    w_return(w, m);
    show[2] = m->newest;
    w_cycle(w, m, 36);
    w_cycle(w, m, 20); /* the same bytes again */
    w_rot(w, m, &show[0], show, 3);
    w_find(w, m);
    cut_every(1);
    w_repair(w, m);
    cut_every(0);
}

static bool may_mount(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNS) == 0 ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0;
}

static unsigned number(const char *name, unsigned otherwise)
{
    const char *s = getenv(name);
    return s ? (unsigned)strtoul(s, NULL, 10) : otherwise;
}

int main(int argc, char *argv[])
{
    bool branches = argc > 1 && !strcmp(argv[1], "branches");
    struct world *w = vr_new(struct world);
    struct vr_err e = VR_ERR_INIT;
    char root[TD_DIR];
    if (!may_mount()) {
        puts("a mount namespace is needed, which takes root");
        return 77;
    }
    td_folder(root);
    vr_log_level(VR_LOG_WARN);
    snprintf(w->work, sizeof w->work, "%s/work", root);
    snprintf(w->spare, sizeof w->spare, "%s/spare", root);
    const char *mk[] = { "mkdir", w->work, w->spare, NULL };
    td_run(mk);
    w->dir = vr_printf("%s/state", w->work);
    w->location = vr_printf("%s/machines", w->work);
    for (size_t i = 0; i < 2; i++) {
        w->m[i].id = vr_uuid_new();
        w->m[i].now[0] = (struct td_disk){ .target = "vda", .size = 1 << 20 };
        w->m[i].now[1] = (struct td_disk){ .target = "vdb", .size = 1 << 20 };
    }
    bool full = getenv("VMR_CRASH_FULL") != NULL;
    struct cut_config cfg = {
        .work = w->work,
        .spare = w->spare,
        .check = w_check,
        .ctx = w,
        .one_in = branches ? 0
                  : full   ? 1
                           : number("VMR_CRASH_ONE_IN", 12),
        .seed = number("VMR_CRASH_SEED", 1),
    };
    if (store_open_fs(w->dir, cut_begin(&cfg), &w->st, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    if (branches) {
        live_branches(w);
    } else {
        live(w);
        live_adopted(w);
        w_drop(w, &w->m[0]);
    }
    store_close(w->st);
    printf("%zu places, %zu cuts, %zu failed\n", cut_count(), cut_made(), cut_failed());
    td_remove(root);
    return cut_failed() || cut_made() == 0 ? 1 : 0;
}
