/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Relationships as values: names, contract values, health, settings, the written form. Pure. */
#include "replication/rel.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "model/limits.h"

static const struct {
    const char *name, *text;
    enum rel_mode mode;
    uint16_t cim;
} states[ST_COUNT] = {
#define S(n, m, c, t) [ST_##n] = { #n, t, m, c },
#include "replication/states.def"
#undef S
};

static const char *const event_texts[EV_COUNT] = {
#define E(n, o, text) [EV_##n] = text,
#include "replication/events.def"
#undef E
};

static const char *const lost_names[VR_LOST_COUNT] = {
#define L(n, text, todo) [VR_LOST_##n] = #n,
#include "model/lost.def"
#undef L
};

enum rel_mode rel_mode(const struct rel *r)
{
    /* A machine that is being enabled or offered from nothing has no mode yet. */
    if (r->st == ST_P_CREATING || r->st == ST_R_CREATING)
        return REL_MODE_NONE;
    return states[r->st].mode;
}

bool rel_follows(const struct rel *r)
{
    switch (r->st) {
    case ST_R_REPL:
    case ST_R_SUSP:
    case ST_R_CRIT:
    case ST_R_RESYNC:
    case ST_R_UPDATE:
    case ST_R_RESYNC_SUSP:
        return true;
    default:
        return false;
    }
}

uint16_t rel_cim_state(const struct rel *r)
{
    if ((r->st == ST_R_REVERSING || r->st == ST_R_REVERSE_WAIT) && r->committed)
        return states[ST_R_COMMITTED].cim;
    return states[r->st].cim;
}

enum vr_point_kind rel_yield_kind(const struct rel *r)
{
    return r->diverged || r->seed ? VR_POINT_ORPHAN : VR_POINT_PLANNED;
}

uint16_t rel_failover_type(const struct rel *r)
{
    return r->failover_kind == VR_POINT_ORPHAN ? VR_POINT_STANDARD : r->failover_kind;
}

const char *rel_state_text(enum rel_state st)
{
    return st < ST_COUNT ? states[st].text : "?";
}

const char *rel_state_name(enum rel_state st)
{
    return st < ST_COUNT ? states[st].name : "?";
}

const char *rel_event_text(enum rel_event_type t)
{
    return t < EV_COUNT ? event_texts[t] : "?";
}

void rel_checkpoint(const struct vr_uuid *lineage, uint64_t epoch, char out[64])
{
    char text[VR_UUID_STR];
    snprintf(out, 64, "vmr.%.8s.%" PRIu64, vr_uuid_fmt(lineage, text), epoch);
}

void rel_settings_default(struct rel_settings *s)
{
    *s = (struct rel_settings){ .auth_type = 2,
                                .compression = true,
                                .replicate_kvp = true,
                                .auto_resync = true,
                                .interval_s = 300,
                                .keep = { .every_s = 3600, .hourly = 24 },
                                .resync_start_s = 18 * 3600 + 1800,
                                .resync_end_s = 6 * 3600 };
}

static int check_limit(const char *name, uint64_t n, struct vr_err *err)
{
    const struct vr_limit *l = vr_limit(name);
    if (n >= l->least && n <= l->most)
        return 0;
    return vr_fail(err, VR_E_INVAL, 0, "%s must be %u to %u%s, not %" PRIu64, name, l->least,
                   l->most, l->unit, n);
}

int rel_settings_check(const struct rel_settings *s, struct vr_err *err)
{
    if (s->auth_type != 1 && s->auth_type != 2)
        return vr_fail(err, VR_E_INVAL, 0,
                       "AuthenticationType must be 1 (Kerberos) or 2 (certificate), not %u",
                       s->auth_type);
    if (!s->recovery_point[0])
        return vr_fail(err, VR_E_INVAL, 0, "RecoveryConnectionPoint must name the replica host");
    if (!s->recovery_port)
        return vr_fail(err, VR_E_INVAL, 0, "RecoveryServerPortNumber must not be 0");
    uint64_t app_hours = ((uint64_t)s->app_interval_s + 3599) / 3600;
    if (check_limit("ReplicationInterval", s->interval_s, err) < 0 ||
        check_limit("RecoveryHistory", s->recovery_history, err) < 0 ||
        check_limit("ApplicationConsistentSnapshotInterval", app_hours, err) < 0)
        return -1;
    if (s->app_interval_s && !s->recovery_history)
        return vr_fail(err, VR_E_INVAL, 0,
                       "ApplicationConsistentSnapshotInterval needs RecoveryHistory above 0");
    if (s->resync_start_s >= 86400 || s->resync_end_s >= 86400)
        return vr_fail(err, VR_E_INVAL, 0, "AutoResynchronizeInterval is not a time of day");
    return rel_keep_check(&s->keep, err);
}

enum vr_point_kind rel_flow_kind(const struct rel *r)
{
    if (r->flow.kind == FLOW_FINAL)
        return VR_POINT_PLANNED;
    return r->flow.app_done ? VR_POINT_APPLICATION : VR_POINT_STANDARD;
}

bool rel_ships_changes(const struct rel *r)
{
    /* Epoch 0 is the failover: the peer has it only if nothing was written apart. */
    bool compares = r->flow.kind == FLOW_IR && r->seeded_start && !r->diverged && !r->acked.epoch;
    return r->flow.has_since && !compares;
}

bool rel_since_failover(const struct rel *r)
{
    return r->way_back && r->has_acked && !r->acked.epoch &&
           vr_uuid_eq(&r->acked.lineage, &r->lineage);
}

bool rel_uncopied(const struct rel *r)
{
    return !r->has_acked || (!r->acked.epoch && (r->seeded_start || r->diverged));
}

/* Who becomes the replica gets the settings with that; who was failed over to takes none. */
bool rel_owes_settings(const struct rel *r)
{
    return states[r->st].mode == REL_MODE_PRIMARY && r->st != ST_P_CREATING &&
           r->st != ST_P_YIELDING && r->st != ST_P_SUPERSEDED && r->st != ST_P_REMOVING &&
           r->set.rev > r->told_rev;
}

uint16_t rel_app_hours(const struct rel_settings *s)
{
    return (uint16_t)(((uint64_t)s->app_interval_s + 3599) / 3600);
}

/* ---- retention ---- */
/* A point is a layer, and QEMU and libvirt take a chain of at most 200: with these limits, the
 * points of every cycle (keep_points of vmreplicad.conf) and those that users pin it stays below.
 */
static const struct {
    const char *name;
    size_t offset;
    unsigned most;
} keep_units[] = {
    { "hourly", offsetof(struct rel_keep, hourly), 48 },
    { "daily", offsetof(struct rel_keep, daily), 31 },
    { "weekly", offsetof(struct rel_keep, weekly), 26 },
};

int rel_keep_check(const struct rel_keep *k, struct vr_err *err)
{
    if (k->every_s > 86400)
        return vr_fail(err, VR_E_INVAL, 0,
                       "points of every cycle are kept for one day (86400 s) at most, not %u s",
                       k->every_s);
    for (size_t i = 0; i < VR_ARRAY_LEN(keep_units); i++) {
        unsigned n = *(const uint16_t *)(const void *)((const char *)k + keep_units[i].offset);
        if (n > keep_units[i].most)
            return vr_fail(err, VR_E_INVAL, 0, "at most %u %s points can be kept, not %u",
                           keep_units[i].most, keep_units[i].name, n);
    }
    return 0;
}

#define MOST(field) .field = a.field > b.field ? a.field : b.field

struct rel_keep rel_keep_most(struct rel_keep a, struct rel_keep b)
{
    return (struct rel_keep){ MOST(every_s), MOST(hourly), MOST(daily), MOST(weekly) };
}

struct rel_keep rel_keep(const struct rel *r)
{
    struct rel_keep history = { .hourly = r->set.recovery_history };
    return rel_keep_most(rel_keep_most(r->set.keep, history), r->floor);
}

/* ---- written form ----
 * One table of scalar fields; disks and errors follow by hand. */
enum form { F_U16, F_U32, F_U64, F_BOOL, F_STR, F_UUID, F_WALL, F_KIND, F_STATE, F_LOST };
struct field {
    const char *key;
    enum form form;
    size_t offset, size;
};
#define FIELD(key, form, member)                                                   \
    {                                                                              \
        key, form, offsetof(struct rel, member), sizeof(((struct rel *)0)->member) \
    }
#define KEEP_FIELDS(prefix, member)                                                               \
    FIELD(prefix "every_s", F_U32, member.every_s), FIELD(prefix "hourly", F_U16, member.hourly), \
        FIELD(prefix "daily", F_U16, member.daily), FIELD(prefix "weekly", F_U16, member.weekly)
#define SETTINGS_FIELDS(prefix, member)                                   \
    FIELD(prefix "auth_type", F_U16, member.auth_type),                   \
        FIELD(prefix "thumbprint", F_STR, member.thumbprint),             \
        FIELD(prefix "compression", F_BOOL, member.compression),          \
        FIELD(prefix "bypass_proxy", F_BOOL, member.bypass_proxy),        \
        FIELD(prefix "replicate_kvp", F_BOOL, member.replicate_kvp),      \
        FIELD(prefix "auto_resync", F_BOOL, member.auto_resync),          \
        FIELD(prefix "recovery_point", F_STR, member.recovery_point),     \
        FIELD(prefix "recovery_port", F_U16, member.recovery_port),       \
        FIELD(prefix "primary_point", F_STR, member.primary_point),       \
        FIELD(prefix "app_interval_s", F_U32, member.app_interval_s),     \
        KEEP_FIELDS(prefix "keep_", member.keep),                         \
        FIELD(prefix "recovery_history", F_U16, member.recovery_history), \
        FIELD(prefix "interval_s", F_U32, member.interval_s),             \
        FIELD(prefix "resync_start_s", F_U32, member.resync_start_s),     \
        FIELD(prefix "resync_end_s", F_U32, member.resync_end_s),         \
        FIELD(prefix "on_superseded", F_U16, member.on_superseded),       \
        FIELD(prefix "settings_rev", F_U64, member.rev)
static const struct field fields[] = {
    FIELD("machine", F_UUID, machine),
    FIELD("name", F_STR, name),
    FIELD("peer", F_STR, peer),
    SETTINGS_FIELDS("", set),
    FIELD("told_rev", F_U64, told_rev),
    FIELD("lineage", F_UUID, lineage),
    FIELD("epoch", F_U64, epoch),
    FIELD("acked_lineage", F_UUID, acked.lineage),
    FIELD("acked_epoch", F_U64, acked.epoch),
    FIELD("has_acked", F_BOOL, has_acked),
    FIELD("tracked", F_BOOL, tracked),
    FIELD("newest_lineage", F_UUID, newest.lineage),
    FIELD("newest_epoch", F_U64, newest.epoch),
    FIELD("has_newest", F_BOOL, has_newest),
    FIELD("newest_instant", F_WALL, newest_instant),
    FIELD("last_time", F_WALL, last_time),
    FIELD("last_app_time", F_WALL, last_app_time),
    FIELD("app_tried", F_WALL, app_tried),
    FIELD("app_note", F_STR, app_note),
    FIELD("app_frozen_ms", F_U32, app_frozen_ms),
    FIELD("last_kind", F_KIND, last_kind),
    FIELD("failover_lineage", F_UUID, failover.lineage),
    FIELD("failover_epoch", F_U64, failover.epoch),
    FIELD("failover_kind", F_KIND, failover_kind),
    FIELD("failover_latest", F_BOOL, failover_latest),
    FIELD("next_lineage", F_UUID, next_lineage),
    KEEP_FIELDS("floor_", floor),
    FIELD("committed", F_BOOL, committed),
    FIELD("ever_replica", F_BOOL, ever_replica),
    FIELD("diverged", F_BOOL, diverged),
    FIELD("yield_for_peer", F_BOOL, yield_for_peer),
    FIELD("seed", F_BOOL, seed),
    FIELD("seeded_start", F_BOOL, seeded_start),
    FIELD("start_at", F_WALL, start_at),
    FIELD("resync_held", F_BOOL, resync_held),
    FIELD("start_by_window", F_BOOL, start_by_window),
    FIELD("paused_for_failover", F_BOOL, paused_for_failover),
    FIELD("failed_over_at", F_WALL, failed_over_at),
    FIELD("queued", F_BOOL, queued),
    FIELD("asked", F_BOOL, asked),
    FIELD("super_lineage", F_UUID, super_lineage),
    FIELD("super_point_lineage", F_UUID, super_point.lineage),
    FIELD("super_point_epoch", F_U64, super_point.epoch),
    FIELD("super_since", F_WALL, super_since),
    FIELD("super_from", F_STATE, super_from),
    FIELD("parent_lineage", F_UUID, parent_lineage),
    FIELD("start_allowed", F_BOOL, start_allowed),
    FIELD("way_back", F_BOOL, way_back),
    FIELD("old_peer", F_STR, old_peer),
    SETTINGS_FIELDS("old_", old_set),
    FIELD("yield_from", F_STATE, yield_from),
    FIELD("last_err_time", F_WALL, last_err_time),
    FIELD("since", F_WALL, since),
    FIELD("lost", F_LOST, lost),
    FIELD("lost_at", F_WALL, lost_at),
    FIELD("lost_text", F_STR, lost_text),
    FIELD("bad_blocks", F_U64, bad_blocks),
    FIELD("bad_open", F_BOOL, bad_open),
    FIELD("bad_since", F_WALL, bad_since),
    FIELD("bad_text", F_STR, bad_text),
    FIELD("stat_start", F_WALL, stat_start),
    FIELD("stat_ok", F_U32, stat_ok),
    FIELD("stat_miss", F_U32, stat_miss),
    FIELD("stat_net_fail", F_U32, stat_net_fail),
    FIELD("stat_fail", F_U32, stat_fail),
    FIELD("stat_app_fail", F_U32, stat_app_fail),
    FIELD("stat_bytes", F_U64, stat_bytes),
    FIELD("stat_max_bytes", F_U64, stat_max_bytes),
    FIELD("stat_ms", F_U64, stat_ms),
    FIELD("stat_max_ms", F_U64, stat_max_ms),
    FIELD("last_dirty", F_U64, last.dirty),
    FIELD("last_payload", F_U64, last.payload),
    FIELD("last_wire", F_U64, last.wire),
    FIELD("last_ms", F_U64, last.ms),
    FIELD("last_back_dirty", F_U64, last_back.dirty),
    FIELD("last_back_payload", F_U64, last_back.payload),
    FIELD("last_back_wire", F_U64, last_back.wire),
    FIELD("last_back_ms", F_U64, last_back.ms),
    FIELD("last_back_written", F_U64, last_back.written),
    FIELD("last_back_between", F_U64, last_back.between),
    FIELD("last_back_alone", F_U64, last_back.alone),
    FIELD("last_back_compared", F_BOOL, last_back.compared),
    FIELD("last_back_kept_lineage", F_UUID, last_back.kept.lineage),
    FIELD("last_back_kept_epoch", F_U64, last_back.kept.epoch),
};

static void put_field(struct vr_buf *b, const struct rel *r, const struct field *f)
{
    const char *p = (const char *)r + f->offset;
    char text[VR_UUID_STR];
    struct vr_err err = VR_ERR_INIT;
    vr_buf_printf(b, &err, "%s=", f->key);
    switch (f->form) {
    case F_U16:
        vr_buf_printf(b, &err, "%u", *(const uint16_t *)(const void *)p);
        break;
    case F_U32:
        vr_buf_printf(b, &err, "%u", *(const uint32_t *)(const void *)p);
        break;
    case F_U64:
        vr_buf_printf(b, &err, "%" PRIu64, *(const uint64_t *)(const void *)p);
        break;
    case F_BOOL:
        vr_buf_printf(b, &err, "%d", *(const bool *)p);
        break;
    case F_STR:
        for (const char *c = p; *c; c++)
            vr_buf_printf(b, &err, iscntrl((unsigned char)*c) || *c == '%' ? "%%%02x" : "%c",
                          (unsigned char)*c);
        break;
    case F_UUID:
        vr_buf_printf(b, &err, "%s", vr_uuid_fmt((const struct vr_uuid *)(const void *)p, text));
        break;
    case F_WALL:
        vr_buf_printf(b, &err, "%" PRId64, ((const struct wall_us *)(const void *)p)->us);
        break;
    case F_KIND:
        vr_buf_printf(b, &err, "%u", *(const enum vr_point_kind *)(const void *)p);
        break;
    case F_STATE:
        vr_buf_printf(b, &err, "%s", rel_state_name(*(const enum rel_state *)(const void *)p));
        break;
    case F_LOST:
        vr_buf_printf(b, &err, "%s", lost_names[*(const enum vr_lost *)(const void *)p]);
        break;
    }
    vr_buf_printf(b, &err, "\n");
}

char *rel_encode(const struct rel *r)
{
    struct vr_buf b = VR_BUF_INIT;
    vr_buf_printf(&b, NULL, "state=%s\n", rel_state_name(r->st));
    for (size_t i = 0; i < VR_ARRAY_LEN(fields); i++)
        put_field(&b, r, &fields[i]);
    for (uint32_t i = 0; i < r->n_disks; i++)
        vr_buf_printf(&b, NULL, "%s=%" PRIu64 " %s\n", r->disks[i].added ? "disk_added" : "disk",
                      r->disks[i].size, r->disks[i].target);
    for (uint32_t i = r->n_disks; i < r->n_disks + r->n_leaving; i++)
        vr_buf_printf(&b, NULL, "disk_leaving=%" PRIu64 " %s\n", r->disks[i].size,
                      r->disks[i].target);
    if (r->disks_changed) /* a version that does not know it need not meet it */
        vr_buf_printf(&b, NULL, "disks_changed=1\n");
    if (r->last_err.kind != VR_OK) {
        struct field f = FIELD("error", F_STR, last_err.msg);
        vr_buf_printf(&b, NULL, "error_kind=%s\n", vr_kind_name(r->last_err.kind));
        put_field(&b, r, &f);
    }
    return (char *)b.data;
}

static int get_number(const char *v, uint64_t max, uint64_t *ret, struct vr_err *err)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(v, &end, 10);
    if (errno || !*v || *end || n > max)
        return vr_fail(err, VR_E_CORRUPT, 0, "'%.40s' is not a number up to %" PRIu64, v, max);
    *ret = n;
    return 0;
}

static int get_text(const char *v, char *to, size_t size, struct vr_err *err)
{
    size_t n = 0;
    for (; *v; v++) {
        if (n + 1 >= size)
            return vr_fail(err, VR_E_CORRUPT, 0, "text longer than %zu bytes", size - 1);
        if (*v == '%' && isxdigit((unsigned char)v[1]) && isxdigit((unsigned char)v[2])) {
            char hex[3] = { v[1], v[2], 0 };
            to[n++] = (char)strtoul(hex, NULL, 16);
            v += 2;
        } else {
            to[n++] = *v;
        }
    }
    to[n] = 0;
    return 0;
}

static int get_state(const char *v, enum rel_state *ret, struct vr_err *err)
{
    for (int i = 0; i < ST_COUNT; i++)
        if (!strcmp(states[i].name, v)) {
            *ret = (enum rel_state)i;
            return 0;
        }
    return vr_fail(err, VR_E_VERSION, 0, "state '%.40s' is of a newer version", v);
}

static int get_lost(const char *v, enum vr_lost *ret, struct vr_err *err)
{
    for (int i = 0; i < VR_LOST_COUNT; i++)
        if (!strcmp(lost_names[i], v)) {
            *ret = (enum vr_lost)i;
            return 0;
        }
    return vr_fail(err, VR_E_VERSION, 0, "reason '%.40s' is of a newer version", v);
}

static int get_field(struct rel *r, const struct field *f, const char *v, struct vr_err *err)
{
    char *p = (char *)r + f->offset;
    uint64_t n = 0;
    switch (f->form) {
    case F_STR:
        return get_text(v, p, f->size, err);
    case F_UUID:
        return vr_uuid_parse(v, (struct vr_uuid *)(void *)p, err);
    case F_STATE:
        return get_state(v, (enum rel_state *)(void *)p, err);
    case F_LOST:
        return get_lost(v, (enum vr_lost *)(void *)p, err);
    default:
        break;
    }
    if (get_number(v,
                   f->form == F_U16    ? UINT16_MAX
                   : f->form == F_U32  ? UINT32_MAX
                   : f->form == F_BOOL ? 1
                   : f->form == F_KIND ? VR_POINT_ORPHAN
                                       : INT64_MAX,
                   &n, err) < 0)
        return -1;
    switch (f->form) {
    case F_U16:
        *(uint16_t *)(void *)p = (uint16_t)n;
        break;
    case F_U32:
        *(uint32_t *)(void *)p = (uint32_t)n;
        break;
    case F_U64:
        *(uint64_t *)(void *)p = n;
        break;
    case F_BOOL:
        *(bool *)p = n != 0;
        break;
    case F_WALL:
        ((struct wall_us *)(void *)p)->us = (int64_t)n;
        break;
    default:
        *(enum vr_point_kind *)(void *)p = (enum vr_point_kind)n;
    }
    return 0;
}

static int get_disk(struct rel *r, char *v, bool leaving, struct vr_err *err)
{
    if (r->n_disks + r->n_leaving == VR_DISKS_MAX)
        return vr_fail(err, VR_E_CORRUPT, 0, "more than %d disks", VR_DISKS_MAX);
    struct rel_disk *d = &r->disks[r->n_disks + r->n_leaving];
    char *sp = strchr(v, ' ');
    if (!sp)
        return vr_fail(err, VR_E_CORRUPT, 0, "disk line without a target");
    *sp = 0;
    if (get_number(v, VR_DISK_MAX, &d->size, err) < 0 ||
        get_text(sp + 1, d->target, sizeof d->target, err) < 0)
        return -1;
    if (leaving)
        r->n_leaving++;
    else if (r->n_leaving)
        return vr_fail(err, VR_E_CORRUPT, 0, "disks in a wrong order");
    else
        r->n_disks++;
    return 0;
}

static int get_line(struct rel *r, const char *key, char *v, struct vr_err *err)
{
    if (!strcmp(key, "state"))
        return get_state(v, &r->st, err);
    if (!strcmp(key, "disk") || !strcmp(key, "disk_leaving"))
        return get_disk(r, v, key[4] != 0, err);
    if (!strcmp(key, "disk_added")) {
        if (get_disk(r, v, false, err) < 0)
            return -1;
        r->disks[r->n_disks - 1].added = true;
        return 0;
    }
    if (!strcmp(key, "disks_changed")) {
        r->disks_changed = true;
        return 0;
    }
    if (!strcmp(key, "error_kind")) {
        r->last_err.kind = vr_kind_from_name(v);
        return 0;
    }
    if (!strcmp(key, "error"))
        return get_text(v, r->last_err.msg, sizeof r->last_err.msg, err);
    for (size_t i = 0; i < VR_ARRAY_LEN(fields); i++)
        if (!strcmp(fields[i].key, key))
            return get_field(r, &fields[i], v, err);
    return vr_fail(err, VR_E_VERSION, 0, "field '%.40s' is of a newer version", key);
}

int rel_decode(const char *text, struct rel *ret, struct vr_err *err)
{
    struct rel r = { .st = ST_NONE };
    struct rel_settings dflt;
    rel_settings_default(&dflt);
    /* What an older version wrote says nothing of these. Whether its replica knows the settings is
     * not known either: it is told. */
    r.set.keep = r.old_set.keep = dflt.keep;
    r.set.rev = r.old_set.rev = 1;
    vr_autofree char *copy = vr_strdup(text);
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *eq = strchr(line, '=');
        if (!eq)
            return vr_fail(err, VR_E_CORRUPT, 0, "written relationship: line without '='");
        *eq = 0;
        if (get_line(&r, line, eq + 1, err) < 0)
            return vr_err_wrap(err, "written relationship, field %s", line);
    }
    if (vr_uuid_is_zero(&r.machine))
        return vr_fail(err, VR_E_CORRUPT, 0, "written relationship: it names no machine");
    *ret = r;
    return 0;
}
