/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a replica is defined from, by the disks of its points. See definitions.h. */
#include "daemon/definitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "hypervisor/domxml.h"

#define KIND "definition"
/* The first line of a document: made on this host, or sent by the primary and not to be trusted. */
static const char own[] = "own\n", sent[] = "sent\n";

struct look {
    struct daemon *d;
    const struct vr_uuid *machine;
    const struct rel_disk *disks; /* the set */
    uint32_t n;
    char *id;
    char *text;       /* of the document */
    const char *kind; /* to write: own or sent, and what */
    const char *xml;
    struct hv_machine m;      /* as it is defined now */
    char *path[VR_DISKS_MAX]; /* of each disk of the set on failover */
    char *now[VR_DISKS_MAX];  /* of each disk of @m; NULL: never replicated */
    struct vr_err err;
};

static void look_done(struct look *l)
{
    for (size_t i = 0; i < VR_DISKS_MAX; i++) {
        free(l->path[i]);
        free(l->now[i]);
    }
    free(l->id);
    free(l->text);
    hv_machine_done(&l->m);
}
#define vr_autolook __attribute__((cleanup(look_done)))

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *document_id(const struct vr_uuid *machine, const char *names[], size_t n)
{
    struct vr_buf b = VR_BUF_INIT;
    char uuid[VR_UUID_STR];
    qsort(names, n, sizeof *names, by_name);
    vr_buf_printf(&b, NULL, "%s", vr_uuid_fmt(machine, uuid));
    for (size_t i = 0; i < n; i++)
        vr_buf_printf(&b, NULL, "%c%s", i ? ',' : ' ', names[i]);
    return (char *)b.data;
}

static void st_paths(void *arg)
{
    struct look *l = arg;
    struct store *st = l->d->store;
    for (uint32_t i = 0; i < l->n; i++) {
        struct vr_err none = VR_ERR_INIT; /* not yet of the chain: it is when there is a point */
        (void)store_failover_path(st, l->machine, l->disks[i].target, &l->path[i], &none);
    }
    for (size_t i = 0; i < l->m.n_disks && i < VR_DISKS_MAX; i++) {
        struct vr_err none = VR_ERR_INIT;
        (void)store_failover_path(st, l->machine, l->m.disks[i].target, &l->now[i], &none);
    }
}

static void st_get(void *arg)
{
    struct look *l = arg;
    store_doc_get(l->d->store, KIND, l->id, &l->text, &l->err);
}

static void st_put(void *arg)
{
    struct look *l = arg;
    vr_autofree char *text = vr_printf("%s%s", l->kind, l->xml);
    store_doc_put(l->d->store, KIND, l->id, text, &l->err);
}

static int take(struct look *l, struct vr_err *err)
{
    if (l->err.kind == VR_OK)
        return 0;
    vr_err_move(err, &l->err);
    return -1;
}

/* The machine as it is, and where its disks and those of the set belong. */
static int look(struct look *l, struct vr_err *err)
{
    const char *names[VR_DISKS_MAX];
    for (uint32_t i = 0; i < l->n; i++)
        names[i] = l->disks[i].target;
    l->id = document_id(l->machine, names, l->n);
    if (hv_get(l->d->hv, l->machine, &l->m, err) < 0)
        return -1;
    store_call(l->d, st_paths, l);
    return 0;
}

static bool is_replicated(const struct look *l, size_t i)
{
    return l->now[i] && l->m.disks[i].path && !strcmp(l->m.disks[i].path, l->now[i]);
}

static bool in_set(const struct look *l, const char *target)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (!strcmp(l->disks[i].target, target))
            return true;
    return false;
}

/* How many of the set's disks the machine is defined with, and whether with others, too. */
static uint32_t defined(const struct look *l, bool *others)
{
    uint32_t n = 0;
    *others = false;
    for (size_t i = 0; i < l->m.n_disks && i < VR_DISKS_MAX; i++) {
        if (!is_replicated(l, i))
            continue;
        if (in_set(l, l->m.disks[i].target))
            n++;
        else
            *others = true;
    }
    return n;
}

static int put(struct look *l, const char *kind, const char *xml, struct vr_err *err)
{
    l->kind = kind;
    l->xml = xml;
    store_call(l->d, st_put, l);
    return take(l, err);
}

/* Under the disks that it has now. */
static int keep_present(const struct look *of, const char *xml, struct vr_err *err)
{
    const char *names[VR_DISKS_MAX];
    size_t n = 0;
    vr_autolook struct look l = { .d = of->d, .machine = of->machine };
    for (size_t i = 0; i < of->m.n_disks && i < VR_DISKS_MAX; i++)
        if (is_replicated(of, i))
            names[n++] = of->m.disks[i].target;
    if (!n)
        return 0;
    l.id = document_id(l.machine, names, n);
    return put(&l, own, xml, err);
}

static bool has_all(const struct look *l, const char *xml)
{
    struct hv_machine m;
    struct vr_err none = VR_ERR_INIT;
    if (!xml || domxml_parse(xml, &m, &none) < 0)
        return false;
    uint32_t n = 0;
    for (size_t i = 0; i < m.n_disks; i++)
        n += in_set(l, m.disks[i].target);
    bool same = vr_uuid_eq(&m.uuid, l->machine);
    hv_machine_done(&m);
    return same && n == l->n;
}

int definitions_learn(struct daemon *d, const struct vr_uuid *machine, const struct rel_disk *disks,
                      uint32_t n, const char *xml, struct vr_err *err)
{
    vr_autolook struct look l = { .d = d, .machine = machine, .disks = disks, .n = n };
    vr_autofree char *present = NULL;
    bool others;
    if (look(&l, err) < 0)
        return -1;
    uint32_t has = defined(&l, &others);
    if (has == n && !others)
        return 0;
    if (hv_xml(d->hv, machine, &present, err) < 0 || keep_present(&l, present, err) < 0)
        return -1;
    if (has == n)
        return put(&l, own, present, err);
    if (has_all(&l, xml))
        return put(&l, sent, xml, err);
    store_call(d, st_get, &l);
    if (l.err.kind != VR_E_NOTFOUND)
        return take(&l, err);
    return vr_fail(err, VR_E_TRACKING, 0,
                   "host %s has no definition of machine %s with the disks that are sent",
                   d->cfg.host_name, l.m.name);
}

/* The definition that is kept for the set of disks. */
static int recall(struct look *l, struct vr_err *err)
{
    store_call(l->d, st_get, l);
    if (l->err.kind == VR_E_NOTFOUND)
        return vr_fail(err, VR_E_NOTFOUND, 0,
                       "no definition of machine %s with the disks of this recovery point is kept",
                       l->m.name);
    return take(l, err);
}

int definitions_follow(struct daemon *d, const struct vr_uuid *machine,
                       const struct rel_disk *disks, uint32_t n, struct vr_err *err)
{
    vr_autolook struct look l = { .d = d, .machine = machine, .disks = disks, .n = n };
    struct hv_disk_path paths[2 * VR_DISKS_MAX];
    size_t n_paths = 0;
    bool others;
    if (look(&l, err) < 0)
        return -1;
    if (defined(&l, &others) == n && !others)
        return 0;
    if (recall(&l, err) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(paths[n_paths].target, sizeof paths[n_paths].target, "%s", disks[i].target);
        paths[n_paths++].path = l.path[i];
    }
    if (!strncmp(l.text, sent, strlen(sent)))
        return hv_define_replica(d->hv, l.text + strlen(sent), NULL, NULL, false, paths, n_paths,
                                 err);
    for (size_t i = 0; i < l.m.n_disks && i < VR_DISKS_MAX; i++) {
        if (l.now[i] || in_set(&l, l.m.disks[i].target))
            continue;
        snprintf(paths[n_paths].target, sizeof paths[n_paths].target, "%s", l.m.disks[i].target);
        paths[n_paths++].path = "";
    }
    return hv_define_own(d->hv, strchr(l.text, '\n') + 1, paths, n_paths, err);
}

int definitions_xml(struct daemon *d, const struct vr_uuid *machine, const struct rel_disk *disks,
                    uint32_t n, char **ret, struct vr_err *err)
{
    vr_autolook struct look l = { .d = d, .machine = machine, .disks = disks, .n = n };
    uint32_t has = 0;
    if (look(&l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.m.n_disks; i++)
        has += in_set(&l, l.m.disks[i].target);
    if (has == n)
        return hv_xml(d->hv, machine, ret, err);
    if (recall(&l, err) < 0)
        return -1;
    *ret = vr_strdup(strchr(l.text, '\n') + 1);
    return 0;
}

/* ---- forgetting ---- */
struct ids {
    struct daemon *d;
    char uuid[VR_UUID_STR];
    char **v;
    size_t n;
    struct vr_err err;
};

static int see(void *ctx, const char *id, const char *text, struct vr_err *err)
{
    struct ids *s = ctx;
    (void)text;
    (void)err;
    if (strncmp(id, s->uuid, strlen(s->uuid)) != 0)
        return 0;
    s->v = vr_grow(s->v, s->n + 1, sizeof *s->v);
    s->v[s->n++] = vr_strdup(id);
    return 0;
}

static void st_forget(void *arg)
{
    struct ids *s = arg;
    store_doc_each(s->d->store, KIND, see, s, &s->err);
    for (size_t i = 0; i < s->n; i++) {
        if (s->err.kind == VR_OK)
            store_doc_delete(s->d->store, KIND, s->v[i], &s->err);
        free(s->v[i]);
    }
    free(s->v);
}

void definitions_forget(struct daemon *d, const struct vr_uuid *machine)
{
    struct ids s = { .d = d };
    vr_uuid_fmt(machine, s.uuid);
    store_call(d, st_forget, &s);
    if (s.err.kind != VR_OK)
        vr_log_err(VR_LOG_INFO, "definitions of a replica stay written down", &s.err);
}

int point_disks(struct daemon *d, const struct vr_uuid *machine, const struct vr_point_id *p,
                struct rel_disk ret[VR_DISKS_MAX], uint32_t *ret_n, struct vr_err *err)
{
    struct store_disk *disks = vr_new0(VR_DISKS_MAX, sizeof *disks);
    size_t n = 0;
    int rc = store_point_disks(d->store, machine, p, disks, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        ret[i] = (struct rel_disk){ .size = disks[i].size };
        snprintf(ret[i].target, sizeof ret[i].target, "%s", disks[i].target);
    }
    free(disks);
    if (rc == 0)
        *ret_n = (uint32_t)n;
    return rc;
}
