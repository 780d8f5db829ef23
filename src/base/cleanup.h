/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_CLEANUP_H
#define VR_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Scope-bound release: `vr_auto(x_free) struct x *p = NULL;` frees p when the scope ends;
 * `return vr_take(p);` hands it out. VR_DEFINE_CLEANUP(T, fn) makes fn usable with vr_auto. */
#define VR_DEFINE_CLEANUP(T, fn)    \
    static inline void fn##p(T **p) \
    {                               \
        if (*p)                     \
            fn(*p);                 \
    }
/* unused: what is only kept until the end of the block is used by that. */
#define vr_auto(fn) __attribute__((cleanup(fn##p), unused))
#define vr_take(p)                     \
    __extension__({                    \
        __typeof__(p) vr_taken_ = (p); \
        (p) = NULL;                    \
        vr_taken_;                     \
    })

static inline void vr_freep(void *p)
{
    void **pp = p;
    free(*pp);
    *pp = NULL;
}
#define vr_autofree __attribute__((cleanup(vr_freep), unused))

static inline void vr_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define vr_autoclose __attribute__((cleanup(vr_closep), unused))

static inline int vr_take_fd(int *fd)
{
    int f = *fd;
    *fd = -1;
    return f;
}

static inline void vr_fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}
#define vr_autofclose __attribute__((cleanup(vr_fclosep)))

static inline void vr_closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}
#define vr_autoclosedir __attribute__((cleanup(vr_closedirp)))

#define VR_ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

#endif
