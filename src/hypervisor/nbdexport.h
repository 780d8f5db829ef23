/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_NBDEXPORT_H
#define VR_HYPERVISOR_NBDEXPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* Work on the images of a machine that is off, with qemu-img and qemu-nbd. No libvirt here. */

/* hv_bitmap_add() - add a recording bitmap @name of 64 KiB granularity to the qcow2 file @path.
 * Fails while anybody has the image open for writing, so it cannot race with a start.
 * Errors: VR_E_IO with qemu-img's words, VR_E_NOSPACE, VR_E_TIMEOUT. Blocks.
 * hv_bitmap_remove() - take bitmap @name away, in whatever state it is; not there is success.
 * Errors: also VR_E_BUSY, another program has the image open for writing. */
int hv_bitmap_add(const char *path, const char *name, struct vr_err *err);
int hv_bitmap_remove(const char *path, const char *name, struct vr_err *err);

/* hv_scratch_make() - empty qcow2 files @path of @size bytes, @n of them, of which nothing was
 * there. They lie in folder @dir, which only root can enter until all are there; then the files and
 * it belong to @uid and @gid. Only then: who may change the folder could put a link to any file of
 * the host where root makes an image or gives one away. Errors: VR_E_IO with qemu-img's words,
 * VR_E_NOSPACE, VR_E_TIMEOUT. Blocks. */
int hv_scratch_make(const char *dir, char *const path[], const uint64_t size[], size_t n, uid_t uid,
                    gid_t gid, struct vr_err *err);

/* One read-only export of a closed image by a qemu-nbd of our own. */
struct nbdexport {
    pid_t pid;     /* 0 when not running */
    char *socket;  /* UNIX socket, removed at the end */
    char *pidfile; /* socket + ".pid": lets a later daemon end what this one left */
    char *image;
    struct stat stamp; /* of the image when the export began */
};

/* nbdexport_start() - export @image read-only under the name @name on @socket and wait until it
 * answers. No image lock is taken: the machine can be started meanwhile; then what is read is
 * worthless, see nbdexport_intact().
 * @format: of the image, never guessed
 * @bitmap: offered as context "qemu:dirty-bitmap:<bitmap>", NULL for none
 * Errors: VR_E_IO, VR_E_TIMEOUT, VR_E_INVAL (path not absolute), VR_E_LIMIT (socket too long).
 * Ownership: the caller calls nbdexport_stop(), also after a failure. Thread: any; blocks. */
int nbdexport_start(struct nbdexport *x, const char *image, const char *format, const char *name,
                    const char *bitmap, const char *socket, struct vr_err *err);
/* nbdexport_intact() - has nobody written the image file since nbdexport_start()? Opening a qcow2
 * image for writing changes its header, so a start is seen even if the guest wrote nothing. Block
 * devices have no such mark and always look intact. */
bool nbdexport_intact(const struct nbdexport *x);
/* nbdexport_stop() - end the program, remove the files, free what is inside. Zeroed is fine. */
void nbdexport_stop(struct nbdexport *x);

/* nbdexport_leave() - free what is inside; the program goes on and is ended by a nbdexport_sweep()
 * of its folder, whoever does that. */
void nbdexport_leave(struct nbdexport *x);
/* nbdexport_answers() - does a server of NBD answer on @socket? False at once when nothing listens;
 * waits half a minute for one that listens and is slow. */
bool nbdexport_answers(const char *socket);

/* nbdexport_sweep() - end every qemu-nbd that an earlier daemon left in folder @dir and remove all
 * files there. A folder that is not there is fine. */
void nbdexport_sweep(const char *dir);

#endif
