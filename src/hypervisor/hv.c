/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What hv.h has that needs no hypervisor: freeing machines. Thread: any. */
#include "hv.h"

#include <stdlib.h>

void hv_machine_done(struct hv_machine *m)
{
    for (size_t i = 0; i < m->n_disks; i++) {
        free(m->disks[i].path);
        free(m->disks[i].note);
    }
    for (size_t i = 0; i < m->n_nics; i++)
        free(m->nics[i].source);
    free(m->disks);
    free(m->nics);
    free(m->notes);
    free(m->nvram);
    free(m->definition);
    *m = (struct hv_machine){ .power = HV_POWER_OTHER };
}

void hv_machines_free(struct hv_machine *m, size_t n)
{
    for (size_t i = 0; m && i < n; i++)
        hv_machine_done(&m[i]);
    free(m);
}
