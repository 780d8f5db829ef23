/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_DATETIME_H
#define CIM_DATETIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"

/* CIM datetimes: an instant or an interval, src:[contract.md E.2]. "Never" is a NULL value, never
 * a zero instant. Any thread. */
struct cim_datetime {
    bool is_interval;
    int16_t utc_min; /* offset in which an instant is shown, minutes east of UTC */
    int64_t us;      /* instant: since 1970 UTC; interval: length, not negative; microseconds */
};

#define CIM_DATETIME_STR 26 /* the 25 characters and the final NUL */
#define CIM_DATETIME_XS 40  /* enough for cim_datetime_xs() */

/* cim_datetime_at() - the instant @t, shown in UTC. */
struct cim_datetime cim_datetime_at(struct wall_us t);
/* cim_datetime_interval() - an interval of @seconds. */
struct cim_datetime cim_datetime_interval(uint64_t seconds);

/* cim_datetime_fmt() - yyyymmddHHMMSS.mmmmmmsUUU or ddddddddHHMMSS.mmmmmm:000 into @out, which it
 * returns. Instants outside the years 1 to 9999 and intervals over 99999999 days are clamped. */
char *cim_datetime_fmt(const struct cim_datetime *d, char out[CIM_DATETIME_STR]);
/* cim_datetime_xs() - xs:dateTime ("2024-05-01T06:00:00Z") or xs:duration ("P0DT0H5M0S"), as
 * WS-Management bodies may have it, src:[contract.md E.2]. Returns @out. */
char *cim_datetime_xs(const struct cim_datetime *d, char out[CIM_DATETIME_XS]);
/* cim_datetime_parse() - any of the four forms; unknown digits ("*") count as 0, or as 1 in a month
 * or day. Errors: VR_E_INVAL. */
int cim_datetime_parse(const char *s, struct cim_datetime *ret, struct vr_err *err);

#endif
