/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small allocations that abort when memory is out. Any thread. */
#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *must(void *p)
{
    if (!p) {
        fputs("vmreplica: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *vr_new0(size_t n, size_t size)
{
    return must(calloc(n ? n : 1, size ? size : 1));
}

void *vr_alloc_buffers(size_t n)
{
    enum { HUGE = 2 << 20 };
    size_t whole = (n + HUGE - 1) / HUGE * HUGE;
    void *p = aligned_alloc(HUGE, whole);
    if (p)
        (void)madvise(p, whole, MADV_HUGEPAGE); /* small pages do as well */
    return p;
}

void *vr_grow(void *p, size_t n, size_t size)
{
    return must(reallocarray(p, n ? n : 1, size ? size : 1));
}

char *vr_strdup(const char *s)
{
    return s ? must(strdup(s)) : NULL;
}

char *vr_strndup(const char *s, size_t n)
{
    return must(strndup(s, n));
}

char *vr_printf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&out, fmt, ap);
    va_end(ap);
    if (n < 0)
        must(NULL);
    return out;
}

void vr_set_str(char **p, const char *s)
{
    char *copy = vr_strdup(s);
    free(*p);
    *p = copy;
}
