/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_SERVER_INT_H
#define CIM_SERVER_INT_H

#include "cim/provider.h"

/* Shared by the files that make up the server; not for others. */

struct cim_snapshot;
struct cim_watch;

/* How often something sliced begins anew because machines came or went before it goes on
 * regardless. */
enum { RESTARTS_MAX = 2 };

struct cim_server {
    char *host;
    struct cim_provider *by_class[CIM_CLASS_COUNT]; /* NULL where nobody answers */
    struct cim_watch *watches;
    struct cim_snapshot *snapshots; /* of the classes that are watched */
    uint64_t generation;            /* grows when machines came or went */
};

/* Decides about one instance. */
typedef bool (*cim_accept_fn)(void *ctx, const struct cim_inst *in);

struct cim_sink {
    struct cim_list *list;
    cim_accept_fn accept; /* NULL: everything */
    void *ctx;
    bool is_full;
    size_t most;         /* no more are wanted than so many; 0: all */
    int64_t deadline_us; /* of this slice; 0: none */
    size_t pos;          /* where to go on */
    bool is_paused;
};

/* cim_list_add() - append; returns false (and frees) when the list is full. */
bool cim_list_add(struct cim_list *l, struct cim_inst *take_inst);
/* cim_find_direct() - what the provider of exactly class @id, which there is, has under @path,
 * found without looking at all it has; false when that cannot be done. */
bool cim_find_direct(struct cim_server *s, const struct cim_caller *who, enum cim_class_id id,
                     const struct cim_path *path, struct cim_list *ret, enum cim_status *ret_status,
                     struct vr_err *err);
/* cim_check_keys() - every key must be one of the class, or of a class below it that somebody
 * answers for, with a value of its type. */
enum cim_status cim_check_keys(struct cim_server *s, const struct cim_class *c,
                               const struct cim_path *path, struct vr_err *err);
/* cim_check_props() - the same of all properties but arrays and objects; else BAD_QUERY. */
enum cim_status cim_check_props(struct cim_server *s, const struct cim_class *c,
                                const struct cim_path *path, struct vr_err *err);
/* cim_check_reader() - CIM_S_DENIED unless the caller may read. */
enum cim_status cim_check_reader(const struct cim_caller *who, struct vr_err *err);
/* cim_fault() - note the text and return @s. */
enum cim_status cim_fault(enum cim_status s, struct vr_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
