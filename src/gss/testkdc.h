/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_GSS_TESTKDC_H
#define VR_GSS_TESTKDC_H

/* For tests: a real domain controller (tests/lab/kdc.sh) that dies with the test. One at a time. */

#include <stdbool.h>

extern char testkdc_dir[]; /* its folder, and the test's */

/* testkdc_shell() - run a command; fails the test when it fails. */
void testkdc_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* testkdc_missing() - it is not installed, which is said on standard output. */
bool testkdc_missing(void);
/* testkdc_up() - make and start it; @source: root of the source tree. testkdc_stop() - it answers
 * no longer, testkdc_again() - it does again. testkdc_down() - stop it, remove its folder. */
void testkdc_up(const char *source);
void testkdc_stop(void);
void testkdc_again(void);
void testkdc_down(void);
/* testkdc_become() - which user's tickets (NULL: nobody's) are used from now on, and which realm's
 * configuration, by names of files in its folder. */
void testkdc_become(const char *cache, const char *conf);

#endif
