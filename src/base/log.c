/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Log lines on standard error. Any thread: each line is one write(2). */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int lowest_shown = VR_LOG_INFO;

void vr_log_level(enum vr_level lowest)
{
    atomic_store(&lowest_shown, (int)lowest);
}

void vr_log(enum vr_level lv, const char *fmt, ...)
{
    if ((int)lv > atomic_load(&lowest_shown))
        return;
    char line[2048];
    int n;
    if (getenv("JOURNAL_STREAM")) {
        n = snprintf(line, sizeof line, "<%d>", (int)lv);
    } else {
        struct timespec ts;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &ts);
        localtime_r(&ts.tv_sec, &tm);
        n = (int)strftime(line, sizeof line, "%H:%M:%S", &tm);
        n += snprintf(line + n, sizeof line - (size_t)n, ".%03ld %s ", ts.tv_nsec / 1000000,
                      lv == VR_LOG_ERROR  ? "ERROR"
                      : lv == VR_LOG_WARN ? "WARN "
                      : lv == VR_LOG_INFO ? "info "
                                          : "debug");
    }
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    if (m < 0)
        return;
    size_t len = (size_t)n + (size_t)m;
    if (len > sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, len);
    (void)ignored; /* nowhere left to report it */
}

void vr_log_err(enum vr_level lv, const char *what, const struct vr_err *err)
{
    vr_log(lv, "%s: %s (%s at %s)", what, err->msg, vr_kind_name(err->kind),
           err->where ? err->where : "?");
}
