/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the machine stands on the other host, before something is decided here. A host that is gone
 * is what failovers are for: nobody waits for it longer than for one that is there. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"

/* The daemon gives a host that is asked 1.5 s; the rest is for a name that is looked up in vain, or
 * for many that ask at once. */
enum { PATIENCE_MS = 2500 };

static int status_of(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret,
                     struct vr_err *err)
{
    struct wsmc_key key = { "InstanceID", vm->rel_id };
    struct wsmc_ref ref = {
        .ns = WSMC_NS_OURS, .cls = "Vmr_ReplicationStatus", .keys = &key, .n_keys = 1
    };
    return wsmc_get(c->local, &ref, ret, err);
}

int cli_ask_peer(struct cli *c, const struct cli_vm *vm, struct wsmc_inst **ret, bool *ret_told,
                 struct vr_err *err)
{
    vr_auto(wsmc_inst_free) struct wsmc_inst *before = NULL;
    if (status_of(c, vm, &before, err) < 0)
        return -1;
    c->patience_ms = PATIENCE_MS;
    int rc = cli_own(c, vm, "AskPeer", err);
    c->patience_ms = 0;
    bool late = rc < 0 && err->kind == VR_E_TIMEOUT && !cli_interrupted();
    if (rc < 0 && !late)
        return -1;
    if (late)
        vr_err_clear(err);
    if (status_of(c, vm, ret, err) < 0)
        return -1;
    /* It may have told how the machine stands, and count what would be lost still. */
    *ret_told = !late || strcmp(cli_text_or(before, "PeerMachineTime", ""),
                                cli_text_or(*ret, "PeerMachineTime", "")) != 0;
    return 0;
}

const char *cli_peer_machine(const struct wsmc_inst *st, bool told)
{
    return told ? cli_text_or(st, "PeerMachine", "unknown") : "unreachable";
}
