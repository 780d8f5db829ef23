/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_ALLOC_H
#define VR_BASE_ALLOC_H

#include <stddef.h>

/* Small control allocations: abort the process when memory is out (crash safety is required and
 * tested anyway). Never for a size that a peer or user chooses: use vr_buf or a checked malloc. */

/* vr_new0() - zeroed array of @n elements of @size bytes; never NULL. Caller frees with free(). */
void *vr_new0(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
/* vr_grow() - realloc to @n elements of @size bytes; never NULL. */
void *vr_grow(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
/* vr_strdup() - copy of @s, NULL for NULL. vr_strndup() - copy of @n bytes, terminated. */
char *vr_strdup(const char *s);
char *vr_strndup(const char *s, size_t n);
/* vr_printf() - formatted string, never NULL; caller frees. */
char *vr_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
/* vr_set_str() - replace *@p by a copy of @s (may be NULL), freeing the old one. */
void vr_set_str(char **p, const char *s);

/* vr_alloc_buffers() - @n bytes for data that passes through, in huge pages where the system has
 * them: the kernel, which copies there or lets a device write from there, then looks up far fewer
 * pages. Aligned to 2 MiB, not zeroed. NULL when memory is out; caller frees with free(). */
void *vr_alloc_buffers(size_t n);

#define vr_new(T) ((T *)vr_new0(1, sizeof(T)))

#endif
