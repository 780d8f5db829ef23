/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_CONFORMANCE_METHODS_H
#define VR_CONFORMANCE_METHODS_H

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cim/providers/testways.h"

/* One call of each method in a situation in which it succeeds (methods.def), for the tests of what
 * it starts and of what it returns. */

#define SERVICE "Msvm_ReplicationService=@"
#define VSMS "Msvm_VirtualSystemManagementService=@"
#define VSSS "Msvm_VirtualSystemSnapshotService=@"
#define SVC_OWNS "Msvm_ReplicationService"
#define HOST "hosta"
#define OF_WEB                    \
    {                             \
        "ComputerSystem", VM(WEB) \
    }

enum { AT_ONCE = -1, OURS = 0, LATER = 0x80000000u, ARGS_MAX = 5 };

struct row {
    const char *target, *method;
    void (*situation)(struct world *w);
    int type;
    uint32_t hold;
    bool cancellable;
    const char *affected, *owner;
    struct arg args[ARGS_MAX];
};

static void bindable(struct world *w)
{
    make_any_server(w);
    make_replica(w);
}

/* clang-format off */
static const struct row rows[] = {
#include "methods.def"
};
/* clang-format on */

/* ask() - the call, with one argument as it is, or with @text (NULL: none) for @instead_of. */
static uint32_t ask(struct world *w, const char *target, const char *method,
                    const struct arg args[ARGS_MAX], const char *instead_of, const char *text)
{
    struct arg given[ARGS_MAX + 1] = { { NULL, NULL } };
    vr_autofree char *object = arg_text(w, target);
    size_t n = 0;

    for (size_t i = 0; i < ARGS_MAX && args[i].name; i++) {
        const char *value = args[i].text;
        if (instead_of && !strcmp(args[i].name, instead_of))
            value = text;
        if (value)
            given[n++] = (struct arg){ args[i].name, arg_text(w, value) };
    }
    uint32_t code = call(w, object, method, given);
    for (size_t i = 0; i < n; i++)
        free((char *)given[i].text);
    return code;
}

#endif
