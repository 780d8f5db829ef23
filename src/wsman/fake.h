/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_FAKE_H
#define VR_WSMAN_FAKE_H

#include "cim/provider.h"

/* A small world for the tests of this folder: host LAB, machines "alpha" and "beta" (the second
 * with awkward characters in its name), the replication service, its settings, relationships, one
 * job, and the association between machines and relationships. */

/* wsm_fake_server() - the server with its providers; caller frees. The world is one per process. */
struct cim_server *wsm_fake_server(void);
/* wsm_fake_machines() - how many machines there are from now on (for paging); 2 at the start. */
/* wsm_fake_job() - the job is in this state now, whoever subscribed is told. */
void wsm_fake_job(struct cim_server *s, unsigned state);
void wsm_fake_machines(size_t n);

#endif
