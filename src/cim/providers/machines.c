/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machines of the host as the providers see them, and the names of things: instance ids and
 * object paths. Control thread only. Nothing here outlives the call it serves: machines, points and
 * relationships are borrowed from the daemon's snapshots. */
#include "cim/providers/prov.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

#define ID_PREFIX "Microsoft:"

/* ---- machines ---- */
static size_t hv_all(const struct host_providers *p, const struct hv_machine **ret)
{
    *ret = NULL;
    return p->h->machines(p->h->ctx, ret);
}

static void fill(const struct host_providers *p, const struct hv_machine *hv, const struct rel *rel,
                 struct vm *ret)
{
    *ret = (struct vm){ .hv = hv, .rel = rel ? rel : &p->none };
    ret->uuid = hv ? hv->uuid : rel->machine;
    vr_uuid_fmt_upper(&ret->uuid, ret->guid);
    ret->name = hv ? hv->name : rel->name;
}

static const struct hv_machine *hv_find(const struct host_providers *p, const struct vr_uuid *uuid)
{
    const struct hv_machine *m;

    if (p->h->machine)
        return p->h->machine(p->h->ctx, uuid);
    size_t n = hv_all(p, &m);
    for (size_t i = 0; i < n; i++)
        if (vr_uuid_eq(&m[i].uuid, uuid))
            return &m[i];
    return NULL;
}

bool vm_next(const struct host_providers *p, size_t *i, struct vm *ret)
{
    const struct hv_machine *m;
    size_t n = hv_all(p, &m);

    if (*i < n) {
        fill(p, &m[*i], engine_find(p->h->engine, &m[*i].uuid), ret);
        ++*i;
        return true;
    }
    for (const struct rel *r; (r = engine_at(p->h->engine, *i - n)) != NULL;) {
        ++*i;
        if (r->st == ST_NONE || hv_find(p, &r->machine))
            continue;
        fill(p, NULL, r, ret);
        return true;
    }
    return false;
}

bool vm_find(const struct host_providers *p, const struct vr_uuid *uuid, struct vm *ret)
{
    const struct hv_machine *hv = hv_find(p, uuid);
    const struct rel *r = engine_find(p->h->engine, uuid);

    if (!hv && (!r || r->st == ST_NONE))
        return false;
    fill(p, hv, r, ret);
    return true;
}

int vm_of_ref(const struct host_providers *p, const struct cim_path *ref, struct vm *ret,
              struct vr_err *err)
{
    struct vr_uuid uuid;

    if (!ref)
        return vr_fail(err, VR_E_INVAL, 0, "no machine was given");
    const struct cim_class *c = cim_path_class(ref);
    if (!c || !cim_class_is_a(cim_class_get(CIM_C_MSVM_COMPUTERSYSTEM), c))
        return vr_fail(err, VR_E_INVAL, 0, "a reference to a %.60s does not name a machine",
                       ref->cls);
    const char *name = cim_path_key(ref, "Name");
    if (!name || vr_uuid_parse(name, &uuid, NULL) < 0)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.60s\" is no identifier of a machine",
                       name ? name : "");
    if (!vm_find(p, &uuid, ret))
        return vr_fail(err, VR_E_UNAVAIL, 0, "there is no machine %.40s on host %s", name,
                       p->h->name);
    return 0;
}

const struct hv_disk *vm_disk(const struct vm *vm, const char *target)
{
    for (size_t i = 0; vm->hv && i < vm->hv->n_disks; i++)
        if (!strcasecmp(vm->hv->disks[i].target, target))
            return &vm->hv->disks[i];
    return NULL;
}

bool vm_point_disk(const struct vm *vm, const struct store_point *pt, size_t k,
                   char target[VR_TARGET_MAX], uint64_t *size)
{
    const char *at = pt->disks;
    bool named = *at && !strstr(at, "...");

    if (!named) { /* not known, or too many to be told: those that are replicated */
        if (k < vm->rel->n_disks)
            snprintf(target, VR_TARGET_MAX, "%s", vm->rel->disks[k].target);
        at = k < vm->rel->n_disks ? target : "";
    }
    for (size_t i = 0; named && i < k && *at; i++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    if (!*at)
        return false;
    if (named)
        snprintf(target, VR_TARGET_MAX, "%.*s", (int)strcspn(at, " "), at);
    *size = 0;
    for (uint32_t i = 0; i < vm->rel->n_disks; i++)
        if (!strcmp(vm->rel->disks[i].target, target))
            *size = vm->rel->disks[i].size;
    return true;
}

size_t vm_points(const struct host_providers *p, const struct vm *vm,
                 const struct store_point **ret)
{
    *ret = NULL;
    return rel_mode(vm->rel) == REL_MODE_REPLICA ? vm_points_held(p, vm, ret) : 0;
}

size_t vm_points_held(const struct host_providers *p, const struct vm *vm,
                      const struct store_point **ret)
{
    *ret = NULL;
    return p->h->points(p->h->ctx, &vm->uuid, ret);
}

static const struct store_point *find_point(const struct store_point *v, size_t n, const char *id)
{
    char text[PROV_ID_MAX];

    for (size_t i = 0; i < n; i++)
        if (!strcasecmp(id_point(text, &v[i].id), id) ||
            !strcasecmp(id_point_text(text, &v[i].id), id))
            return &v[i];
    return NULL;
}

const struct store_point *vm_point(const struct host_providers *p, const struct vm *vm,
                                   const char *id)
{
    const struct store_point *v;
    size_t n = vm_points(p, vm, &v);

    return find_point(v, n, id);
}

const struct store_point *vm_point_held(const struct host_providers *p, const struct vm *vm,
                                        const char *id)
{
    const struct store_point *v;
    size_t n = vm_points_held(p, vm, &v);

    return find_point(v, n, id);
}

uint16_t vm_health(const struct vm *vm)
{
    const char *why[8];
    size_t n = 0;

    return rel_health(vm->rel, vr_wall_now(), why, &n);
}

enum cim_status each_vm(void *ctx, struct cim_sink *sink, vm_emit_fn fn)
{
    const struct host_providers *p = ctx;
    struct vm vm;

    for (size_t i = cim_sink_at(sink); vm_next(p, &i, &vm);)
        if (!fn(p, &vm, sink) || cim_sink_pause(sink, i))
            break;
    return CIM_S_OK;
}

/* ---- one machine's instances ---- */
/* The identifier at the beginning of @text. */
static bool uuid_at(const char *text, struct vr_uuid *ret)
{
    char guid[VR_UUID_STR];

    if (strlen(text) < VR_UUID_STR - 1)
        return false;
    memcpy(guid, text, VR_UUID_STR - 1);
    guid[VR_UUID_STR - 1] = 0;
    return vr_uuid_parse(guid, ret, NULL) == 0;
}

static struct vr_uuid point_uuid(const struct vr_point_id *pt);

static bool vm_of_point(const struct host_providers *p, const struct vr_uuid *uuid, struct vm *ret)
{
    const struct store_point *v;

    for (size_t i = 0; vm_next(p, &i, ret);) {
        size_t n = vm_points_held(p, ret, &v);
        for (size_t k = 0; k < n; k++) {
            struct vr_uuid u = point_uuid(&v[k].id);
            if (vr_uuid_eq(&u, uuid))
                return true;
        }
    }
    return false;
}

/* The identifier in one key: "<GUID>", "lineage:epoch", or "Microsoft:...<GUID>..." with the parts
 * between backslashes. */
static bool id_of_key(const char *text, struct vr_uuid *ret)
{
    struct vr_point_id pt;

    if (id_point_parse(text, &pt)) {
        *ret = point_uuid(&pt);
        return true;
    }
    if (!strncasecmp(text, ID_PREFIX, strlen(ID_PREFIX)))
        text += strlen(ID_PREFIX);
    while (text) {
        if (uuid_at(text, ret))
            return true;
        text = strchr(text, '\\');
        if (text)
            text++;
    }
    return false;
}

bool id_of_path(const struct cim_path *path, struct vr_uuid *ret)
{
    for (size_t i = 0; i < path->n_keys; i++)
        if (path->keys[i].text && id_of_key(path->keys[i].text, ret))
            return true;
    return false;
}

bool vm_of_path(const struct host_providers *p, const struct cim_path *path, struct vm *ret)
{
    struct vr_uuid uuid;

    return id_of_path(path, &uuid) && (vm_find(p, &uuid, ret) || vm_of_point(p, &uuid, ret));
}

struct one_vm {
    const struct host_providers *p;
    const struct vm *vm;
    vm_emit_fn fn;
};

static void emit_one_vm(void *ctx, struct cim_sink *sink)
{
    const struct one_vm *o = ctx;

    o->fn(o->p, o->vm, sink);
}

enum cim_status get_vm(void *ctx, const struct cim_path *path, vm_emit_fn fn, struct cim_inst **ret,
                       struct vr_err *err)
{
    struct vm vm;
    struct one_vm o = { ctx, &vm, fn };

    if (vm_of_path(ctx, path, &vm))
        return cim_pick(path, emit_one_vm, &o, ret, err);
    vr_fail(err, VR_E_NOTFOUND, 0, "there is no such %s on host %s", path->cls, o.p->h->name);
    return CIM_S_NOT_FOUND;
}

enum cim_status refs_vm(void *ctx, const struct cim_path *object, struct cim_sink *sink,
                        vm_emit_fn fn)
{
    struct vm vm;

    if (!vm_of_path(ctx, object, &vm))
        return each_vm(ctx, sink, fn); /* the host, a service... */
    fn(ctx, &vm, sink);
    return CIM_S_OK;
}

/* ---- identifiers ---- */
char *id_hvr(char out[PROV_ID_MAX], const char *guid, int n)
{
    snprintf(out, PROV_ID_MAX, ID_PREFIX "%s\\HVR\\%d", guid, n);
    return out;
}

/* The machine in "Microsoft:<GUID>rest"; NULL or where the rest begins. */
static const char *id_machine(const char *text, struct vr_uuid *ret)
{
    char guid[VR_UUID_STR];

    if (!text || strncasecmp(text, ID_PREFIX, strlen(ID_PREFIX)) != 0)
        return NULL;
    text += strlen(ID_PREFIX);
    if (strlen(text) < VR_UUID_STR - 1)
        return NULL;
    memcpy(guid, text, VR_UUID_STR - 1);
    guid[VR_UUID_STR - 1] = 0;
    return vr_uuid_parse(guid, ret, NULL) < 0 ? NULL : text + VR_UUID_STR - 1;
}

bool id_hvr_parse(const char *text, struct vr_uuid *ret, int *ret_n)
{
    struct vr_uuid uuid;
    const char *rest = id_machine(text, &uuid);

    if (!rest || (strcasecmp(rest, "\\HVR\\0") != 0 && strcasecmp(rest, "\\HVR\\1") != 0))
        return false;
    *ret = uuid;
    *ret_n = rest[strlen(rest) - 1] - '0';
    return true;
}

char *id_disk(char out[PROV_ID_MAX], const char *guid, const char *target, char kind)
{
    snprintf(out, PROV_ID_MAX, ID_PREFIX "%s\\%s\\%c", guid, target, kind);
    return out;
}

bool id_disk_parse(const char *text, struct vr_uuid *ret, char target[VR_TARGET_MAX])
{
    struct vr_uuid uuid;
    const char *rest = id_machine(text, &uuid);
    const char *end = rest && *rest == '\\' ? strchr(rest + 1, '\\') : NULL;

    if (!end || strcasecmp(end, "\\L") != 0 || end - rest - 1 >= VR_TARGET_MAX)
        return false;
    snprintf(target, VR_TARGET_MAX, "%.*s", (int)(end - rest - 1), rest + 1);
    *ret = uuid;
    return true;
}

/* A point's identifier among settings: its lineage with the epoch mixed into the last bytes, so
 * that it is stable and needs no table. */
static struct vr_uuid point_uuid(const struct vr_point_id *pt)
{
    struct vr_uuid u = pt->lineage;

    for (int i = 0; i < 8; i++)
        u.b[15 - i] ^= (uint8_t)(pt->epoch >> (8 * i));
    return u;
}

char *id_point(char out[PROV_ID_MAX], const struct vr_point_id *pt)
{
    struct vr_uuid u = point_uuid(pt);
    char guid[VR_UUID_STR];

    snprintf(out, PROV_ID_MAX, ID_PREFIX "%s", vr_uuid_fmt_upper(&u, guid));
    return out;
}

char *id_point_disk(char out[PROV_ID_MAX], const struct vr_point_id *pt, const char *target,
                    char kind)
{
    struct vr_uuid u = point_uuid(pt);
    char guid[VR_UUID_STR];

    return id_disk(out, vr_uuid_fmt_upper(&u, guid), target, kind);
}

char *id_point_text(char out[PROV_ID_MAX], const struct vr_point_id *pt)
{
    char lineage[VR_UUID_STR];

    snprintf(out, PROV_ID_MAX, "%s:%" PRIu64, vr_uuid_fmt(&pt->lineage, lineage), pt->epoch);
    return out;
}

bool id_point_parse(const char *text, struct vr_point_id *ret)
{
    char lineage[VR_UUID_STR], *end;
    struct vr_point_id pt;

    if (!text || strlen(text) < VR_UUID_STR + 1 || text[VR_UUID_STR - 1] != ':')
        return false;
    memcpy(lineage, text, VR_UUID_STR - 1);
    lineage[VR_UUID_STR - 1] = 0;
    const char *digits = text + VR_UUID_STR;
    errno = 0;
    pt.epoch = strtoull(digits, &end, 10);
    if (errno || *end || digits[0] < '0' || digits[0] > '9' ||
        vr_uuid_parse(lineage, &pt.lineage, NULL) < 0)
        return false;
    *ret = pt;
    return true;
}

/* ---- object paths ---- */
static void add(struct cim_path *p, const char *key, const char *value)
{
    int rc = cim_path_add(p, key, value, NULL);

    assert(rc == 0); /* a handful of distinct keys */
    (void)rc;
}

struct cim_path *path_system(const char *name)
{
    struct cim_path *path = cim_path_new(CIM_NS_VIRT, "Msvm_ComputerSystem");

    add(path, "CreationClassName", "Msvm_ComputerSystem");
    add(path, "Name", name);
    return path;
}

struct cim_path *path_service(const struct host_providers *p, enum cim_class_id cls)
{
    const char *name = cim_class_get(cls)->name;
    struct cim_path *path = cim_path_new(CIM_NS_VIRT, name);

    add(path, "SystemCreationClassName", "Msvm_ComputerSystem");
    add(path, "SystemName", p->h->name);
    add(path, "CreationClassName", name);
    add(path, "Name",
        cls == CIM_C_MSVM_REPLICATIONSERVICE             ? "replicasvc"
        : cls == CIM_C_MSVM_VIRTUALSYSTEMSNAPSHOTSERVICE ? "vssnapsvc"
                                                         : "vmms");
    return path;
}

struct cim_path *path_hvr(const struct vm *vm, enum cim_class_id cls, int n)
{
    char id[PROV_ID_MAX];

    return cim_path_of(cls, id_hvr(id, vm->guid, n));
}

struct cim_path *path_vssd(const struct vm *vm)
{
    char id[PROV_ID_MAX];

    snprintf(id, sizeof id, ID_PREFIX "%s", vm->guid);
    return cim_path_of(CIM_C_MSVM_VIRTUALSYSTEMSETTINGDATA, id);
}

struct cim_path *path_point(const struct vr_point_id *pt)
{
    char id[PROV_ID_MAX];

    return cim_path_of(CIM_C_MSVM_VIRTUALSYSTEMSETTINGDATA, id_point(id, pt));
}

static struct cim_path *disk_path(const char *id, char kind)
{
    return cim_path_of(kind == 'L' ? CIM_C_MSVM_STORAGEALLOCATIONSETTINGDATA
                                   : CIM_C_MSVM_RESOURCEALLOCATIONSETTINGDATA,
                       id);
}

struct cim_path *path_disk(const struct vm *vm, const char *target, char kind)
{
    char id[PROV_ID_MAX];

    return disk_path(id_disk(id, vm->guid, target, kind), kind);
}

struct cim_path *path_point_disk(const struct vr_point_id *pt, const char *target, char kind)
{
    char id[PROV_ID_MAX];

    return disk_path(id_point_disk(id, pt, target, kind), kind);
}

struct cim_path *path_job(const struct vr_uuid *id)
{
    char text[VR_UUID_STR];

    return cim_path_of(CIM_C_MSVM_CONCRETEJOB, vr_uuid_fmt_upper(id, text));
}

char *path_text(const struct host_providers *p, struct cim_path *take_p)
{
    char *text = cim_path_fmt(take_p, p->h->name);

    cim_path_free(take_p);
    return text;
}
