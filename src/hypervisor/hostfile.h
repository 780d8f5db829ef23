/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_HYPERVISOR_HOSTFILE_H
#define VR_HYPERVISOR_HOSTFILE_H

#include <stdbool.h>

/* May the file @path, named by somebody else, be used on this host? NULL and paths that are not
 * absolute or wind about are refused. Any thread.
 * hostfile_is_public() - a file that everybody can read, with the folders above it.
 * hostfile_is_firmware() - the same, or one that is not there: a machine does not start without it.
 * hostfile_is_log() - a log below /var/log/libvirt that is there or whose folder is.
 * hostfile_is_emulator() - a QEMU of this host below /usr.
 * hostfile_is_nvram() - in one of libvirt's folders for NVRAM. */
bool hostfile_is_public(const char *path);
bool hostfile_is_firmware(const char *path);
bool hostfile_is_log(const char *path);
bool hostfile_is_emulator(const char *path);
bool hostfile_is_nvram(const char *path);

#endif
