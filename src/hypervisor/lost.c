/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lost.h"

/* A map that was made while the machine was off is in the file from the first moment: a crash
 * leaves it there, marked as in use. So a map without a note of its run cannot be missing by a
 * crash. */
enum vr_lost lost_by_run(enum vr_lost lost, const struct lost_facts *f)
{
    bool died = f->noted && !f->same_run && !f->made_later && f->end != LOST_END_ORDERLY;
    return lost == VR_LOST_MISSING && died ? VR_LOST_UNCLEAN : lost;
}
