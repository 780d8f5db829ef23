/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_ANSWERS_H
#define VR_BASE_ANSWERS_H

#include <stdbool.h>

/* Does a storage answer? On a server that is gone, a dead disk or a frozen file system every call
 * may block for ever, and no signal ends it. */

/* vr_touch_folder() - write a few bytes to a file without a name in @folder and make them durable.
 * That it fails (no such folder, read-only, full) is an answer, too. Blocks as long as the storage
 * does; any thread that may. */
void vr_touch_folder(const char *folder);
/* vr_folder_answers() - did vr_touch_folder() come back within @ms milliseconds? Made on a thread
 * of its own, which is left behind when not. Any thread that may wait so long. */
bool vr_folder_answers(const char *folder, int ms);

#endif
