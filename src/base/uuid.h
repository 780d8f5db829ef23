/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_UUID_H
#define VR_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* 128-bit identifiers: machines, lineages, jobs. */
struct vr_uuid {
    uint8_t b[16];
};
#define VR_UUID_STR 37 /* bytes of text with the final NUL */

/* vr_random() - @n bytes from the kernel; aborts if the kernel has none. Any thread. */
void vr_random(void *p, size_t n);
/* vr_uuid_new() - random, version 4. */
struct vr_uuid vr_uuid_new(void);
/* vr_uuid_parse() - 36 characters in either case, optional braces. Errors: VR_E_INVAL. */
int vr_uuid_parse(const char *s, struct vr_uuid *ret, struct vr_err *err);
/* vr_uuid_fmt() - lower case as libvirt writes it; vr_uuid_fmt_upper() - as CIM ids have it,
 * src:[contract.md section 1]. @out has VR_UUID_STR bytes; returns @out. */
char *vr_uuid_fmt(const struct vr_uuid *u, char *out);
char *vr_uuid_fmt_upper(const struct vr_uuid *u, char *out);
bool vr_uuid_eq(const struct vr_uuid *a, const struct vr_uuid *b);
bool vr_uuid_is_zero(const struct vr_uuid *u);

#endif
