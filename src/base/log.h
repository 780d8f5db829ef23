/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_BASE_LOG_H
#define VR_BASE_LOG_H

#include "base/err.h"

/* Logging to standard error in the form the journal understands ("<3>text" when under systemd,
 * plain with time otherwise). Libraries never log above debug: the function that decides logs. */
enum vr_level { VR_LOG_ERROR = 3, VR_LOG_WARN = 4, VR_LOG_INFO = 6, VR_LOG_DEBUG = 7 };

/* vr_log_level() - lowest level shown from now on; default VR_LOG_INFO. Thread: start-up only. */
void vr_log_level(enum vr_level lowest);
/* vr_log() - one line; one write, so lines of threads do not mix. Any thread. */
void vr_log(enum vr_level lv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* vr_log_err() - the line "what: message (KIND)". Any thread. */
void vr_log_err(enum vr_level lv, const char *what, const struct vr_err *err);

#endif
