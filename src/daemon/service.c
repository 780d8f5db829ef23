/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's own settings in the store, and what follows from them for peers: who may replicate
 * here and in which folder. Control thread unless said. */
#include "daemon/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/storage.h"

/* ---- loading ---- */
struct load {
    struct daemon *d;
    enum hostset_kind kind;
    struct vr_err err;
};

/* What cannot be read stops the start: a missing entry could admit somebody. */
static int load_doc(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct load *l = ctx;
    return hostset_put(l->d->host.set, l->kind, id, text, err);
}

static void st_load(void *arg)
{
    struct load *l = arg;
    for (l->kind = 0; l->kind < HOSTSET_KIND_COUNT; l->kind++)
        if (store_doc_each(l->d->store, hostset_kind_name(l->kind), load_doc, l, &l->err) < 0)
            return;
}

/* ---- saving ---- */
struct save_task {
    struct task t;
    struct {
        enum hostset_kind kind;
        char *id, *text;
    } * docs;
    size_t n;
    bool has_job;
    struct vr_uuid job;
};

static void save_work(struct task *t)
{
    struct save_task *s = (struct save_task *)t;
    vr_autofree struct store_doc *docs = vr_new0(s->n, sizeof *docs);
    for (size_t i = 0; i < s->n; i++)
        docs[i] = (struct store_doc){ hostset_kind_name(s->docs[i].kind), s->docs[i].id,
                                      s->docs[i].text };
    store_docs_write(t->d->store, docs, s->n, &t->err);
}

static void save_done(struct task *t)
{
    struct save_task *s = (struct save_task *)t;
    if (t->err.kind != VR_OK) {
        vr_err_wrap(&t->err, "a setting of the host holds only until the next start");
        vr_log_err(VR_LOG_ERROR, hostset_kind_name(s->docs[0].kind), &t->err);
    }
    if (s->has_job)
        engine_job_end(t->d->engine, &s->job, t->err.kind == VR_OK ? NULL : &t->err);
    for (size_t i = 0; i < s->n; i++) {
        free(s->docs[i].id);
        free(s->docs[i].text);
    }
    free(s->docs);
}

static struct save_task *save_new(const struct host_doc docs[], size_t n)
{
    struct save_task *s = vr_new(struct save_task);
    s->t.work = save_work;
    s->t.done = save_done;
    s->docs = vr_new0(n, sizeof *s->docs);
    s->n = n;
    for (size_t i = 0; i < n; i++) {
        s->docs[i].kind = docs[i].kind;
        s->docs[i].id = vr_strdup(docs[i].id);
        s->docs[i].text = vr_strdup(docs[i].text);
    }
    return s;
}

void service_keep(struct daemon *d, enum hostset_kind kind, const char *id, const char *text,
                  const struct vr_uuid *job)
{
    struct vr_err err = VR_ERR_INIT;
    if (hostset_put(d->host.set, kind, id, text, &err) < 0) {
        engine_job_end(d->engine, job, &err);
        return;
    }
    struct save_task *s = save_new(&(struct host_doc){ kind, id, text }, 1);
    s->has_job = true;
    s->job = *job;
    task_run(d, d->store_exec, &s->t);
}

static int h_save(void *ctx, const struct host_doc docs[], size_t n, const struct vr_uuid *machine,
                  const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct daemon *d = ctx;
    (void)err;
    struct save_task *s = save_new(docs, n);
    s->has_job = true;
    s->job = engine_job_new(d->engine, JOB_SERVICE_SETTINGS, machine, owner);
    *ret_job = s->job;
    task_run(d, d->store_exec, &s->t);
    return 0;
}

int service_init(struct daemon *d, struct vr_err *err)
{
    struct load l = { .d = d };
    d->host.set = hostset_new();
    d->host.save = h_save;
    store_call(d, st_load, &l);
    if (l.err.kind == VR_OK)
        return 0;
    vr_err_move(err, &l.err);
    return vr_err_wrap(err, "settings of the host");
}

/* ---- peers ---- */
/* A replica that is received under an entry stays with it. */
static void bind(struct daemon *d, const struct vr_uuid *machine, const char *name)
{
    struct vr_err err = VR_ERR_INIT;
    char id[VR_UUID_STR];
    const char *old = hostset_text(d->host.set, HOSTSET_BINDING, vr_uuid_fmt(machine, id));
    if (old && !strcmp(old, name))
        return;
    struct save_task *s = save_new(&(struct host_doc){ HOSTSET_BINDING, id, name }, 1);
    if (hostset_put(d->host.set, HOSTSET_BINDING, id, s->docs[0].text, &err) < 0)
        vr_log_err(VR_LOG_WARN, "authorization entry of a machine", &err);
    task_run(d, d->store_exec, &s->t);
}

int service_admit(struct daemon *d, const char *peer, const struct vr_uuid *machine,
                  struct vr_err *err)
{
    const struct rel *r = machine ? engine_find(d->engine, machine) : NULL;
    const struct cim_inst *entry = NULL;
    const char *address = NULL;
    for (size_t i = 0; i < d->n_peers; i++)
        if (d->peers[i].thumb[0] && !strcmp(d->peers[i].name, peer))
            address = d->peers[i].address;
    bool own = r && rel_mode(r) == REL_MODE_PRIMARY && !strcasecmp(r->peer, peer);
    const struct hostset_sender from = {
        .name = peer, .address = address, .paired = address, .reverses = own
    };
    bool is_new = !r || rel_mode(r) != REL_MODE_REPLICA;
    if (hostset_admit(d->host.set, host_n_paired(&d->host), &from, machine, is_new, &entry, err) <
        0)
        return vr_err_wrap(err, "host %s", d->cfg.host_name);
    vr_autofree char *back = vr_printf(HOSTSET_REVERSED "%s", peer);
    if (entry && machine)
        bind(d, machine,
             cim_inst_str(entry,
                          CIM_P_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA_ALLOWEDPRIMARYHOSTSYSTEM));
    else if (own)
        bind(d, machine, back);
    return 0;
}

struct folder_ask {
    struct daemon *d;
    const struct vr_uuid *machine;
    char *out;
    size_t size;
};

static void ask_folder(void *arg)
{
    struct folder_ask *a = arg;
    const struct cim_inst *in = hostset_entry_of(a->d->host.set, a->machine);
    snprintf(
        a->out, a->size, "%s",
        in ? cim_inst_str(in, CIM_P_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA_REPLICASTORAGELOCATION)
           : a->d->cfg.storage);
}

void service_folder(struct daemon *d, const struct vr_uuid *machine, char *out, size_t size)
{
    struct folder_ask a = { .d = d, .machine = machine, .out = out, .size = size };
    struct vr_err err = VR_ERR_INIT;
    ctl_call(d, ask_folder, &a);
    /* QEMU runs as another user and must be able to pass through. */
    if (!storage_answers(d, out, &err))
        vr_log_err(VR_LOG_WARN, "folder of a replica", &err);
    else if (mkdir(out, 0711) == 0)
        (void)chmod(out, 0711);
    else if (errno != EEXIST)
        vr_log(VR_LOG_WARN, "cannot make folder %s: %s", out, strerror(errno));
}

struct test_ask {
    struct daemon *d;
    const char *peer;
    struct vr_err err;
};

static void ask_test(void *arg)
{
    struct test_ask *a = arg;
    service_admit(a->d, a->peer, NULL, &a->err);
}

int service_test(struct daemon *d, const char *peer, struct vr_err *err)
{
    struct test_ask a = { .d = d, .peer = peer };
    ctl_call(d, ask_test, &a);
    if (a.err.kind == VR_OK)
        return 0;
    vr_err_move(err, &a.err);
    return -1;
}
