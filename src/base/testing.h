/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_TESTING_H
#define VR_BASE_TESTING_H

/* For tests with cmocka, whose headers come first. In @call the word err stands for the struct
 * vr_err pointer that the function takes. */

#include "base/err.h"

/* ok() - @call succeeds; what it says otherwise is shown. */
#define ok(call)                                                           \
    do {                                                                   \
        struct vr_err e_ = VR_ERR_INIT;                                    \
        struct vr_err *err = &e_;                                          \
        if ((call) < 0)                                                    \
            fail_msg("%s: %s (%s)", #call, e_.msg, vr_kind_name(e_.kind)); \
    } while (0)
/* fails() - @call fails, with the kind @want. */
#define fails(want, call)                                                  \
    do {                                                                   \
        struct vr_err e_ = VR_ERR_INIT;                                    \
        struct vr_err *err = &e_;                                          \
        assert_int_equal((call), -1);                                      \
        if (e_.kind != (want))                                             \
            fail_msg("%s: %s (%s)", #call, e_.msg, vr_kind_name(e_.kind)); \
    } while (0)

#endif
