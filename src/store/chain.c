/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains: made, found and dropped. A chain is one machine's set of disks with its layers; its
 * folder is <location>/<machine uuid>. Store thread.
 *
 * Numbers in file names come from one counter of the store and are used once, so a chain that is
 * made again in the same folder cannot meet the files of the one before. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "store/qcow2.h"
#include "store/store_int.h"

struct create {
    const struct vr_uuid *machine;
    const struct store_disk *disks;
    uint64_t base_size[VR_DISKS_MAX];
    size_t n_disks;
    bool with_bases;
    struct new_point first;
    char *folder, *origin;
};

static void create_done(struct create *c)
{
    free(c->folder);
    free(c->origin);
}

/* What makes two requests equal. */
static int describe(struct create *c, struct vr_err *err)
{
    vr_autobuf struct vr_buf b = { .max = 1 << 20 };
    char id[VR_UUID_STR];
    if (vr_buf_printf(&b, err, "%s\n", c->folder) < 0)
        return -1;
    if (c->with_bases &&
        vr_buf_printf(&b, err, "first %s %llu\n", vr_uuid_fmt(&c->first.id.lineage, id),
                      (unsigned long long)c->first.id.epoch) < 0)
        return -1;
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct store_disk *d = &c->disks[i];
        if (vr_buf_printf(&b, err, "%s %s %s\n", d->target, d->base ? d->base : "-",
                          d->base ? d->base_format : "-") < 0)
            return -1;
    }
    c->origin = vr_strdup((const char *)b.data);
    return 0;
}

bool is_plain_target(const char *s)
{
    return *s && !strchr(s, '/') && *s != '.' && *s != '-' && strlen(s) < VR_TARGET_MAX;
}

static int check_disk(struct create *c, size_t i, struct vr_err *err)
{
    const struct store_disk *d = &c->disks[i];
    if (!is_plain_target(d->target))
        return vr_fail(err, VR_E_INVAL, 0, "\"%.40s\" is not the name of a disk", d->target);
    if (d->size == 0 || d->size > VR_DISK_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s: impossible size", d->target);
    for (size_t k = 0; k < i; k++)
        if (!strcmp(c->disks[k].target, d->target))
            return vr_fail(err, VR_E_INVAL, 0, "disk %s is named twice", d->target);
    if (!!d->base != c->with_bases)
        return vr_fail(err, VR_E_INVAL, 0, "either all disks have a base or none");
    if (!d->base)
        return 0;
    uint64_t *size = &c->base_size[i];
    if (d->base[0] != '/' || !d->base_format)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s: the base needs a path and a format",
                       d->target);
    if (image_size(d->base, d->base_format, size, err) < 0)
        return vr_err_wrap(err, "disk %s", d->target);
    if (*size < d->size)
        return vr_fail(err, VR_E_INVAL, 0, "disk %s: %s is smaller than %llu bytes", d->target,
                       d->base, (unsigned long long)d->size);
    return 0;
}

static int insert(struct store *st, const struct create *c, struct vr_err *err)
{
    int64_t active = 0, seq = 0;
    if (store_file_number(st, c->folder, &active, err) < 0 ||
        db_run(st->db, err,
               "INSERT INTO chain(machine, folder, origin, state, active) VALUES(?,?,?,?,?)",
               "ussii", c->machine, c->folder, c->origin, (int64_t)CHAIN_REPLICA, active) < 0)
        return -1;
    if (c->with_bases && point_add(st, &c->first, &seq, err) < 0)
        return -1;
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct store_disk *d = &c->disks[i];
        if (db_run(st->db, err, "INSERT INTO disk(machine, ord, target) VALUES(?,?,?)", "uis",
                   c->machine, (int64_t)i, d->target) < 0)
            return -1;
        if (!c->with_bases)
            continue;
        vr_autolayer struct layer_row l = { .path = vr_strdup(d->base), .adopted = true };
        l.role = ROLE_CHAIN;
        l.size = c->base_size[i];
        snprintf(l.target, sizeof l.target, "%s", d->target);
        snprintf(l.format, sizeof l.format, "%s", d->base_format);
        if (layer_add(st, c->machine, &l, err) < 0 ||
            point_add_disk(st, seq, d->target, l.id, err) < 0)
            return -1;
    }
    return 0;
}

static int make_folder(struct store *st, const char *location, const char *folder,
                       struct vr_err *err)
{
    /* 0711: QEMU may run as another user, to whom libvirt gives the files (0600) of a machine. */
    if (st->fs->mkdir(st->fs, location, 0711, err) < 0 ||
        st->fs->mkdir(st->fs, folder, 0711, err) < 0 || st->fs->sync_dir(st->fs, location, err) < 0)
        return -1;
    return 0;
}

static int count_points(struct store *st, const struct vr_uuid *machine, int64_t *ret,
                        struct vr_err *err)
{
    return db_one_int(st->db, ret, err, "SELECT count(*) FROM point WHERE machine = ?", "u",
                      machine) < 0
               ? -1
               : 0;
}

/* There is a chain already: is it what would be made? One that is to be empty and has points is
 * what somebody may still want. */
static int compare(struct store *st, const struct create *c, const struct chain_row *had,
                   struct vr_err *err)
{
    char name[64];
    int64_t n = 0;
    if (count_points(st, c->machine, &n, err) < 0)
        return -1;
    if (!c->with_bases && n)
        return vr_fail(err, VR_E_EXISTS, 0,
                       "%lld recovery point(s) of machine %s are still kept in %s, of a "
                       "replication that was not ended properly; to forget them (the files stay): "
                       "vmreplica disable MACHINE --abandon",
                       (long long)n, machine_name(c->machine, name), had->folder);
    if (!strcmp(had->origin, c->origin))
        return 0;
    return vr_fail(err, VR_E_EXISTS, 0, "another chain of %s is kept in %s",
                   machine_name(c->machine, name), had->folder);
}

int store_chain_create(struct store *st, const struct vr_uuid *machine, const char *location,
                       const struct store_disk *disks, size_t n_disks,
                       const struct vr_point_id *first, struct wall_us instant,
                       enum vr_point_kind kind, struct vr_err *err)
{
    char id[VR_UUID_STR];
    if (location[0] != '/' || n_disks == 0 || n_disks > VR_DISKS_MAX)
        return vr_fail(err, VR_E_INVAL, 0, "a chain needs an absolute folder and 1 to %d disks",
                       VR_DISKS_MAX);
    __attribute__((cleanup(create_done))) struct create c = {
        .machine = machine,
        .disks = disks,
        .n_disks = n_disks,
        .with_bases = disks[0].base,
        .first = { .machine = *machine, .instant = instant, .kind = kind },
    };
    if (c.with_bases && !first)
        return vr_fail(err, VR_E_INVAL, 0, "a chain with bases needs the id of its first point");
    if (first)
        c.first.id = *first;
    c.folder = vr_printf("%s/%s", location, vr_uuid_fmt(machine, id));
    if (describe(&c, err) < 0)
        return -1;
    if (store_chain_exists(st, machine)) {
        vr_autochain struct chain_row had = { 0 };
        if (chain_load(st, machine, &had, err) < 0)
            return -1;
        return compare(st, &c, &had, err);
    }
    for (size_t i = 0; i < n_disks; i++) {
        if (check_disk(&c, i, err) < 0)
            return -1;
        if (c.with_bases)
            c.first.bytes += image_room(disks[i].base);
    }
    if (make_folder(st, location, c.folder, err) < 0)
        return -1;
    store_look_numbers(st, c.folder);
    if (store_begin(st, "chain-create", err) < 0)
        return -1;
    return store_end(st, "chain-create", insert(st, &c, err), err);
}

bool store_chain_exists(struct store *st, const struct vr_uuid *machine)
{
    int64_t one = 0;
    struct vr_err e = VR_ERR_INIT;
    return db_one_int(st->db, &one, &e, "SELECT 1 FROM chain WHERE machine = ?", "u", machine) > 0;
}

int store_chain_folder(struct store *st, const struct vr_uuid *machine, char **ret,
                       struct vr_err *err)
{
    vr_autochain struct chain_row c = { 0 };
    if (chain_load(st, machine, &c, err) < 0)
        return -1;
    *ret = vr_take(c.folder);
    return 0;
}

/* Rows go in the order in which they refer to each other. */
static int drop_rows(struct store *st, const struct vr_uuid *machine, bool delete_files,
                     struct vr_err *err)
{
    /* What was never part of a point is of no use to anybody, whatever the caller wants kept. */
    if (stage_drop_rows(st, machine, err) < 0)
        return -1;
    static const enum layer_role roles[] = { ROLE_CHAIN, ROLE_OVERLAY };
    for (size_t k = 0; k < VR_ARRAY_LEN(roles); k++) {
        vr_autolayers struct layers l = { 0 };
        if (layers_role(st->db, machine, roles[k], &l, err) < 0)
            return -1;
        for (size_t i = 0; i < l.n; i++) {
            if (delete_files && !l.v[i].adopted &&
                trash_add(st, l.v[i].path, TRASH_DELETE, err) < 0)
                return -1;
            if (l.v[i].digests && trash_add(st, l.v[i].digests, TRASH_DELETE, err) < 0)
                return -1;
        }
    }
    static const char *const deletes[] = {
        "DELETE FROM merge WHERE machine = ?",
        "DELETE FROM point WHERE machine = ?",
        "UPDATE layer SET below = NULL WHERE machine = ?",
        "DELETE FROM layer WHERE machine = ?",
        "DELETE FROM disk WHERE machine = ?",
        "DELETE FROM chain WHERE machine = ?",
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(deletes); i++)
        if (db_run(st->db, err, deletes[i], "u", machine) < 0)
            return -1;
    return 0;
}

int store_chain_drop(struct store *st, const struct vr_uuid *machine, bool delete_files,
                     struct vr_err *err)
{
    char name[64];
    int64_t n = 0;
    if (!store_chain_exists(st, machine))
        return 0;
    if (delete_files && count_points(st, machine, &n, err) < 0)
        return -1;
    if (n)
        return vr_fail(err, VR_E_STATE, 0,
                       "the files of %s are not deleted: they hold %lld recovery point(s)",
                       machine_name(machine, name), (long long)n);
    hold_readers_stop(st, machine);
    if (hold_merges_stop(st, machine, err) < 0 || store_begin(st, "chain-drop", err) < 0)
        return -1;
    if (store_end(st, "chain-drop", drop_rows(st, machine, delete_files, err), err) < 0)
        return -1;
    trash_sweep(st, machine);
    return 0;
}
