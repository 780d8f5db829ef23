/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_CODEC_H
#define VR_BASE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Big-endian integers and counted bytes, the only way to read or write wire and disk formats. */

/* A cursor over borrowed bytes. */
struct vr_rd {
    const uint8_t *p;
    size_t left;
};

/* vr_put_*() - append to @b; vr_put_str: u32 length + bytes, NULL is written as empty. */
int vr_put_u8(struct vr_buf *b, uint8_t v, struct vr_err *err);
int vr_put_u16(struct vr_buf *b, uint16_t v, struct vr_err *err);
int vr_put_u32(struct vr_buf *b, uint32_t v, struct vr_err *err);
int vr_put_u64(struct vr_buf *b, uint64_t v, struct vr_err *err);
int vr_put_bytes(struct vr_buf *b, const void *p, size_t n, struct vr_err *err);
int vr_put_str(struct vr_buf *b, const char *s, struct vr_err *err);

/* vr_get_*() - take from @r. Errors: VR_E_PROTO when too little is left.
 * vr_get_str(): at most @max bytes (VR_E_LIMIT), no NUL inside (VR_E_PROTO); caller frees.
 * vr_get_bytes(): copies exactly @n bytes. vr_get_end(): VR_E_PROTO if anything is left. */
int vr_get_u8(struct vr_rd *r, uint8_t *ret, struct vr_err *err);
int vr_get_u16(struct vr_rd *r, uint16_t *ret, struct vr_err *err);
int vr_get_u32(struct vr_rd *r, uint32_t *ret, struct vr_err *err);
int vr_get_u64(struct vr_rd *r, uint64_t *ret, struct vr_err *err);
int vr_get_bytes(struct vr_rd *r, void *to, size_t n, struct vr_err *err);
int vr_get_str(struct vr_rd *r, size_t max, char **ret, struct vr_err *err);
int vr_get_end(const struct vr_rd *r, struct vr_err *err);

/* Raw stores and loads for fixed-size headers; the caller guarantees the room. */
void vr_store_u16(uint8_t *p, uint16_t v);
void vr_store_u32(uint8_t *p, uint32_t v);
void vr_store_u64(uint8_t *p, uint64_t v);
uint16_t vr_load_u16(const uint8_t *p);
uint32_t vr_load_u32(const uint8_t *p);
uint64_t vr_load_u64(const uint8_t *p);

#endif
