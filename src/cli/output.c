/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for people and JSON for programs. */
#include "cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"

const char *cli_text_or(const struct wsmc_inst *in, const char *name, const char *otherwise)
{
    const char *s = wsmc_str(in, name);
    return s && *s ? s : otherwise;
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
    if (c->quiet || c->json || c->no_wait) /* without waiting nothing is known yet but the job */
        return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stdout, fmt, ap);
    va_end(ap);
    fputc('\n', stdout);
    fflush(stdout);
}

char *cli_bytes(uint64_t n, char *out)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double v = (double)n;
    unsigned u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", v, units[u]);
    return out;
}

char *cli_age(uint64_t s, char *out)
{
    if (s < 120)
        snprintf(out, 32, "%" PRIu64 " s", s);
    else if (s < 7200)
        snprintf(out, 32, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        snprintf(out, 32, "%" PRIu64 " h", s / 3600);
    else
        snprintf(out, 32, "%" PRIu64 " d", s / 86400);
    return out;
}

char *cli_local_time(const char *cim, char *out)
{
    int y, mo, d, h, mi, s, off = 0;
    char sign = '+';
    snprintf(out, 32, "-");
    /* src:[contract.md E.2] yyyymmddHHMMSS.mmmmmmsUUU */
    if (!cim ||
        sscanf(cim, "%4d%2d%2d%2d%2d%2d.%*6d%c%3d", &y, &mo, &d, &h, &mi, &s, &sign, &off) < 6)
        return out;
    struct tm tm = {
        .tm_year = y - 1900, .tm_mon = mo - 1, .tm_mday = d, .tm_hour = h, .tm_min = mi, .tm_sec = s
    };
    time_t t = timegm(&tm) - (sign == '-' ? -off : off) * 60;
    localtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
    return out;
}

/* Names and errors come from elsewhere: nothing in them may move the cursor. */
static void print_cell(const char *s, size_t width)
{
    size_t n = 0; /* characters, not bytes */
    for (; *s; s++) {
        unsigned char ch = (unsigned char)*s;
        putchar(ch < 0x20 || ch == 0x7f ? ' ' : ch);
        n += (ch & 0xc0) != 0x80;
    }
    for (; n < width; n++)
        putchar(' ');
}

static size_t cell_width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

void cli_table(const char *const *cells, unsigned columns, unsigned rows)
{
    vr_autofree size_t *width = vr_new0(columns, sizeof *width);
    for (unsigned i = 0; i < rows * columns; i++) {
        size_t n = cell_width(cells[i]);
        if (n > width[i % columns])
            width[i % columns] = n;
    }
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned k = 0; k < columns; k++) {
            bool last = k + 1 == columns;
            print_cell(cells[r * columns + k], last ? 0 : width[k] + 2);
        }
        putchar('\n');
    }
    fflush(stdout);
}

static bool listed(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (!strcasecmp(*names, name))
            return true;
    return false;
}

/* Properties that are arrays: their type does not travel, and one value must not look like none. */
static const char *const arrays[] = { "HealthReasons",
                                      "Reasons",
                                      "ReasonLevels",
                                      "ReasonTexts",
                                      "ReasonAdvice",
                                      "ReasonCommands",
                                      "TestMachines",
                                      "Targets",
                                      "URIs",
                                      "OperationalStatus",
                                      "StatusDescriptions",
                                      "ReplicationStateEx",
                                      "ReplicationHealthEx",
                                      "ReplicationProviderId",
                                      "IncludedDisks",
                                      "HostResource",
                                      "Roles",
                                      NULL };

static json_t *value_of(const struct wsmc_prop *p, const char *const *numbers)
{
    bool array = p->n > 1 || listed(arrays, p->name);
    if (p->is_nil || !p->n)
        return array ? json_array() : json_null();
    json_t *a = array ? json_array() : NULL;
    for (size_t i = 0; i < p->n; i++) {
        json_t *v;
        if (listed(numbers, p->name))
            v = json_integer((json_int_t)strtoll(p->v[i], NULL, 10));
        else if (!strcmp(p->v[i], "true") || !strcmp(p->v[i], "false"))
            v = json_boolean(p->v[i][0] == 't');
        else
            v = json_string(p->v[i]);
        if (!a)
            return v ? v : json_null();
        json_array_append_new(a, v);
    }
    return a;
}

void cli_json(const struct wsmc_list *l, const char *const *numbers)
{
    json_t *all = json_array();
    for (size_t i = 0; i < l->n; i++) {
        json_t *o = json_object();
        for (size_t k = 0; k < l->v[i]->n; k++)
            json_object_set_new(o, l->v[i]->props[k].name, value_of(&l->v[i]->props[k], numbers));
        json_array_append_new(all, o);
    }
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    fflush(stdout);
    json_decref(all);
}

static json_t *value_of_field(const struct cli_field *f)
{
    if (!f->value || !*f->value)
        return json_null();
    if (f->number)
        return json_integer((json_int_t)strtoll(f->value, NULL, 10));
    if (!strcmp(f->value, "true") || !strcmp(f->value, "false"))
        return json_boolean(f->value[0] == 't');
    return json_string(f->value);
}

void cli_json_object(const struct cli_field *f, size_t n)
{
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(o, f[i].name, value_of_field(&f[i]));
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    fflush(stdout);
    json_decref(o);
}
