/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_STORE_TESTDISK_H
#define VR_STORE_TESTDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/model.h"
#include "store/store.h"

/* For tests: tiny disks on which every block is filled with one byte, so that a whole disk is an
 * array of bytes. Failures end the test program with a message. */
#define TD_BLOCKS 64 /* the largest disk: 4 MiB */
struct td_disk {
    char target[VR_TARGET_MAX];
    uint64_t size;           /* bytes */
    uint8_t byte[TD_BLOCKS]; /* content of each block */
};

/* td_format() - what the end of a file's name tells: "raw" or "qcow2". Static. */
const char *td_format(const char *image);

/* td_write() - write to @image the blocks in which @to differs from @from, and their digests when
 * @digests is not NULL. Blocks that become 0 are written as zeros. */
void td_write(const char *image, const char *digests, const struct td_disk *from,
              const struct td_disk *to);
/* td_same() - whether an image reads as @want; tells where not on standard error. */
bool td_same(const char *image, const char *format, const struct td_disk *want);
/* td_points_same() - whether point @p has the content @want[0..n). */
bool td_point_same(struct store *st, const struct vr_uuid *m, const struct vr_point_id *p,
                   const struct td_disk *want, size_t n);
/* td_chain_length() - files of the chain of @image. */
size_t td_chain_length(const char *image);
/* td_run() - run a program, which must succeed. */
void td_run(const char *const argv[]);

enum { TD_DIR = 64 };
/* td_folder() - make a folder for a test's files; its path goes to @dir. It is below $TMPDIR if
 * that is set. Otherwise it is in memory where there is room: these tests flush for every point,
 * and what flushes do is no business of theirs (tests/crash plays the loss of what was not
 * flushed). */
void td_folder(char dir[TD_DIR]);
/* td_remove() - the folder and all that is in it. */
void td_remove(const char *dir);
/* td_setup() - a folder with an open store in it. td_reopen() - as after a restart.
 * td_teardown() - close it and remove the folder. */
void td_setup(char dir[TD_DIR], struct store **st);
void td_reopen(const char *dir, struct store **st);
void td_teardown(const char *dir, struct store *st);

#endif
