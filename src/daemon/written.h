/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_WRITTEN_H
#define VR_DAEMON_WRITTEN_H

#include <stddef.h>

#include "base/clock.h"

/* disks_written() - when the disks @path of a machine that is off were last written, about; 0: it
 * cannot be told. A file tells when it was last written, by whomever (base/lastwrite.h): when the
 * machine was seen to stop (@stopped, 0: it was not), what happened to it later was not its doing.
 * A block device tells nothing. By this host's clock; not after @now. The disks' storage may not
 * answer: a worker. */
struct wall_us disks_written(char *const *path, size_t n, struct wall_us stopped,
                             struct wall_us now);

#endif
