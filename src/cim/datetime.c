/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CIM datetimes and their four texts. Pure functions, any thread. The proleptic Gregorian calendar
 * is computed here so that neither the time zone nor the locale of the process matters. */
#include "cim/datetime.h"

#include <stdio.h>
#include <string.h>

#define US_SEC INT64_C(1000000)
#define US_DAY (INT64_C(86400) * US_SEC)
#define MAX_DAYS INT64_C(99999999)

/* Days from 1970-01-01 to year-month-day; years 1 to 9999. */
static int64_t days_from_civil(int y, int m, int d)
{
    static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    int64_t past = y - 1;

    return past * 365 + past / 4 - past / 100 + past / 400 + before[m - 1] + (leap && m > 2) + d -
           1 - 719162; /* days from 0001-01-01 to 1970-01-01 */
}

static int month_days(int y, int m)
{
    return (int)((m == 12 ? days_from_civil(y + 1, 1, 1) : days_from_civil(y, m + 1, 1)) -
                 days_from_civil(y, m, 1));
}

static void civil_from_days(int64_t days, int *y, int *m, int *d)
{
    int64_t n = days + 719162;
    int year = (int)(n / 366) + 1; /* not after the right one */

    while (days_from_civil(year + 1, 1, 1) <= days)
        year++;
    int month = 1;
    while (month < 12 && days_from_civil(year, month + 1, 1) <= days)
        month++;
    *y = year;
    *m = month;
    *d = (int)(days - days_from_civil(year, month, 1)) + 1;
}

struct parts {
    int y, mo, d, h, mi, s, us;
};

/* Break down an instant shifted by @off_min; clamps to the years 1 to 9999. */
static struct parts split(int64_t us, int off_min)
{
    const int64_t lo = days_from_civil(1, 1, 1) * US_DAY;
    const int64_t hi = (days_from_civil(9999, 12, 31) + 1) * US_DAY - 1;
    struct parts p;

    us = us > hi ? hi : us < lo ? lo : us; /* so that the sum below cannot overflow */
    us += off_min * 60 * US_SEC;
    us = us > hi ? hi : us < lo ? lo : us;
    int64_t day = us / US_DAY, in = us % US_DAY;
    if (in < 0) {
        in += US_DAY;
        day--;
    }
    civil_from_days(day, &p.y, &p.mo, &p.d);
    p.us = (int)(in % US_SEC);
    in /= US_SEC;
    p.h = (int)(in / 3600);
    p.mi = (int)(in / 60 % 60);
    p.s = (int)(in % 60);
    return p;
}

struct cim_datetime cim_datetime_at(struct wall_us t)
{
    return (struct cim_datetime){ .us = t.us };
}

struct cim_datetime cim_datetime_interval(uint64_t seconds)
{
    uint64_t max = (uint64_t)(MAX_DAYS * 86400);

    if (seconds > max)
        seconds = max;
    return (struct cim_datetime){ .is_interval = true, .us = (int64_t)seconds * US_SEC };
}

char *cim_datetime_fmt(const struct cim_datetime *d, char out[CIM_DATETIME_STR])
{
    if (d->is_interval) {
        int64_t s = d->us / US_SEC, days = s / 86400;
        if (days > MAX_DAYS)
            days = MAX_DAYS;
        s %= 86400;
        snprintf(out, CIM_DATETIME_STR, "%08d%02d%02d%02d.%06d:000", (int)days, (int)(s / 3600),
                 (int)(s / 60 % 60), (int)(s % 60), (int)(d->us % US_SEC));
        return out;
    }
    struct parts p = split(d->us, d->utc_min);
    int off = d->utc_min < 0 ? -d->utc_min : d->utc_min;
    snprintf(out, CIM_DATETIME_STR, "%04d%02d%02d%02d%02d%02d.%06d%c%03d", p.y, p.mo, p.d, p.h,
             p.mi, p.s, p.us, d->utc_min < 0 ? '-' : '+', off % 1000);
    return out;
}

/* ".25" without trailing zeros, "" for 0. */
static void fmt_fraction(int us, char out[8])
{
    out[0] = 0;
    if (!us)
        return;
    snprintf(out, 8, ".%06d", us);
    for (size_t n = strlen(out); out[n - 1] == '0'; n--)
        out[n - 1] = 0;
}

char *cim_datetime_xs(const struct cim_datetime *d, char out[CIM_DATETIME_XS])
{
    char frac[8];

    if (d->is_interval) {
        int64_t s = d->us / US_SEC;
        fmt_fraction((int)(d->us % US_SEC), frac);
        snprintf(out, CIM_DATETIME_XS, "P%lldDT%dH%dM%d%sS", (long long)(s / 86400),
                 (int)(s / 3600 % 24), (int)(s / 60 % 60), (int)(s % 60), frac);
        return out;
    }
    struct parts p = split(d->us, 0);
    fmt_fraction(p.us, frac);
    snprintf(out, CIM_DATETIME_XS, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", p.y, p.mo, p.d, p.h, p.mi,
             p.s, frac);
    return out;
}

/* @n digits at *@s; '*' is a digit of unknown value. -1 if something else is there. */
static int64_t digits(const char **s, int n)
{
    int64_t v = 0;

    for (int i = 0; i < n; i++, (*s)++) {
        if (**s != '*' && (**s < '0' || **s > '9'))
            return -1;
        v = v * 10 + (**s == '*' ? 0 : **s - '0');
    }
    return v;
}

/* An optional fraction ".123" as microseconds; moves past it. -1 if there is no digit. */
static int64_t fraction(const char **s)
{
    int64_t us = 0, unit = US_SEC / 10;

    if (**s != '.')
        return 0;
    (*s)++;
    if (**s < '0' || **s > '9')
        return -1;
    for (; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
        us += (**s - '0') * unit;
    return us;
}

static bool join(int64_t y, int64_t mo, int64_t d, int64_t secs, int64_t us, int off_min,
                 struct cim_datetime *ret)
{
    if (y < 1 || y > 9999 || mo < 1 || mo > 12 || d < 1 || d > month_days((int)y, (int)mo) ||
        off_min < -999 || off_min > 999)
        return false;
    int64_t t = days_from_civil((int)y, (int)mo, (int)d) * US_DAY + secs * US_SEC + us;
    *ret = (struct cim_datetime){ .us = t - off_min * 60 * US_SEC, .utc_min = (int16_t)off_min };
    return true;
}

static int64_t clock_secs(int64_t h, int64_t mi, int64_t s)
{
    if (h < 0 || h > 23 || mi < 0 || mi > 59 || s < 0 || s > 60)
        return -1;
    return h * 3600 + mi * 60 + s;
}

static bool parse_cim(const char *s, struct cim_datetime *ret)
{
    const char *date = s;

    if (strlen(s) != 25 || s[14] != '.' || (s[21] != '+' && s[21] != '-' && s[21] != ':'))
        return false;
    int64_t days = digits(&s, 8), h = digits(&s, 2), mi = digits(&s, 2), sec = digits(&s, 2);
    s++;
    int64_t us = digits(&s, 6);
    char sign = *s++;
    int64_t off = digits(&s, 3), secs = clock_secs(h, mi, sec);
    if (days < 0 || secs < 0 || us < 0 || off < 0)
        return false;
    if (sign == ':') {
        *ret =
            (struct cim_datetime){ .is_interval = true, .us = days * US_DAY + secs * US_SEC + us };
        return off == 0;
    }
    int64_t mo = days / 100 % 100, d = days % 100;
    if (memcmp(date + 4, "**", 2) == 0)
        mo = 1;
    if (memcmp(date + 6, "**", 2) == 0)
        d = 1;
    return join(days / 10000, mo, d, secs, us, (int)(sign == '-' ? -off : off), ret);
}

/* yyyy-mm-ddTHH:MM:SS[.frac][Z|+hh:mm]; without a zone it is UTC. */
static bool parse_xs_time(const char *s, struct cim_datetime *ret)
{
    int64_t y = strlen(s) >= 19 ? digits(&s, 4) : -1;
    if (y < 0 || *s++ != '-')
        return false;
    int64_t mo = digits(&s, 2);
    if (*s++ != '-')
        return false;
    int64_t d = digits(&s, 2);
    if (*s++ != 'T')
        return false;
    int64_t h = digits(&s, 2);
    if (*s++ != ':')
        return false;
    int64_t mi = digits(&s, 2);
    if (*s++ != ':')
        return false;
    int64_t secs = clock_secs(h, mi, digits(&s, 2)), us = fraction(&s), off = 0;
    if (secs < 0 || us < 0)
        return false;
    if (*s == '+' || *s == '-') {
        bool west = *s++ == '-';
        int64_t oh = digits(&s, 2), om = 0;
        if (oh < 0 || oh > 14 || *s++ != ':' || (om = digits(&s, 2)) < 0 || om > 59)
            return false;
        off = west ? -(oh * 60 + om) : oh * 60 + om;
    } else if (*s == 'Z') {
        s++;
    }
    return *s == 0 && join(y, mo, d, secs, us, (int)off, ret);
}

/* PnDTnHnMn.nS, each part optional; years and months have no fixed length and are refused. */
static bool parse_xs_duration(const char *s, struct cim_datetime *ret)
{
    int64_t total = 0;
    bool in_time = false, any = false;

    for (s++; *s;) {
        if (*s == 'T' && !in_time) {
            in_time = true;
            s++;
            continue;
        }
        int64_t v = 0, us = 0, unit;
        if (*s < '0' || *s > '9')
            return false;
        for (; *s >= '0' && *s <= '9'; s++)
            if ((v = v * 10 + (*s - '0')) > MAX_DAYS * 86400)
                return false;
        if (*s == '.' && (us = fraction(&s)) < 0)
            return false;
        if (*s == 'D' && !in_time)
            unit = 86400;
        else if (*s == 'H' && in_time)
            unit = 3600;
        else if (*s == 'M' && in_time)
            unit = 60;
        else if (*s == 'S' && in_time)
            unit = 1;
        else
            return false;
        if ((us && unit != 1) || v > MAX_DAYS * 86400 / unit)
            return false;
        int64_t part = v * unit * US_SEC + us;
        if (part > MAX_DAYS * US_DAY - total)
            return false;
        total += part;
        any = true;
        s++;
    }
    *ret = (struct cim_datetime){ .is_interval = true, .us = total };
    return any;
}

int cim_datetime_parse(const char *s, struct cim_datetime *ret, struct vr_err *err)
{
    struct cim_datetime d;
    bool ok = *s == 'P' ? parse_xs_duration(s, &d) : parse_cim(s, &d) || parse_xs_time(s, &d);

    if (!ok)
        return vr_fail(err, VR_E_INVAL, 0, "\"%.40s\" is not a datetime", s);
    *ret = d;
    return 0;
}
