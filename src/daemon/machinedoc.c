/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Documents of machines, asked for from workers. */
#include "daemon/machinedoc.h"

struct doc {
    struct daemon *d;
    const char *kind, *text;
    char id[VR_UUID_STR];
    char *got;
    struct vr_err err;
};

static void st_put(void *arg)
{
    struct doc *c = arg;
    store_doc_put(c->d->store, c->kind, c->id, c->text, &c->err);
}

static void st_get(void *arg)
{
    struct doc *c = arg;
    store_doc_get(c->d->store, c->kind, c->id, &c->got, &c->err);
}

static void st_delete(void *arg)
{
    struct doc *c = arg;
    store_doc_delete(c->d->store, c->kind, c->id, &c->err);
}

static int ask(struct doc *c, const struct vr_uuid *machine, void (*fn)(void *arg),
               struct vr_err *err)
{
    vr_uuid_fmt(machine, c->id);
    store_call(c->d, fn, c);
    if (c->err.kind == VR_OK)
        return 0;
    vr_err_move(err, &c->err);
    return -1;
}

int machinedoc_put(struct daemon *d, const char *kind, const struct vr_uuid *machine,
                   const char *text, struct vr_err *err)
{
    struct doc c = { .d = d, .kind = kind, .text = text };
    return ask(&c, machine, st_put, err);
}

int machinedoc_get(struct daemon *d, const char *kind, const struct vr_uuid *machine, char **ret,
                   struct vr_err *err)
{
    struct doc c = { .d = d, .kind = kind };
    int rc = ask(&c, machine, st_get, err);
    *ret = c.got;
    return rc;
}

int machinedoc_delete(struct daemon *d, const char *kind, const struct vr_uuid *machine,
                      struct vr_err *err)
{
    struct doc c = { .d = d, .kind = kind };
    return ask(&c, machine, st_delete, err);
}
