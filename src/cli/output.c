/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for people and JSON for programs. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"

void cli_say(const struct cli *c, const char *fmt, ...)
{
    if (c->quiet || c->json || c->no_wait) /* without waiting nothing is known yet but the job */
        return;
    vr_autofree char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n >= 0)
        cli_print(stdout, "%s\n", text);
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
char *cli_local_text(const char *text)
{
    static const char like[] = "0000-00-00T00:00:00Z";
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    while (*text) {
        size_t n = 0;
        struct tm tm = { 0 };
        while (like[n] && (like[n] == '0' ? text[n] >= '0' && text[n] <= '9' : text[n] == like[n]))
            n++;
        time_t t = like[n] || !strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) ? 0 : timegm(&tm);
        char local[32];
        if (t && localtime_r(&t, &tm) && strftime(local, sizeof local, "%Y-%m-%d %H:%M:%S", &tm)) {
            vr_buf_printf(&b, NULL, "%s", local);
            text += n;
        } else {
            vr_buf_printf(&b, NULL, "%c", *text++);
        }
    }
    return cli_hints(b.data ? (const char *)b.data : "");
}

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

/* Which properties are no texts, and which are arrays: neither travels, and one value of an array
 * must not look like none. */
static const struct type {
    const char *cls, *name;
    enum cli_type type;
    bool array;
} types[] = {
#define X(CLASS, NAME, TYPE, ARRAY) { CLASS, NAME, CLI_##TYPE, ARRAY },
#include "cli/types.gen.h"
#undef X
};

static struct type type_of(const struct wsmc_inst *in, const char *name)
{
    for (size_t i = 0; in->cls && i < VR_ARRAY_LEN(types); i++)
        if (!strcasecmp(types[i].name, name) && !strcasecmp(types[i].cls, in->cls))
            return types[i];
    return (struct type){ in->cls, name, CLI_TEXT, false };
}

static json_t *value_of(const char *text, enum cli_type type)
{
    char *end = NULL;
    errno = 0;
    if (type == CLI_BOOL)
        return json_boolean(!strcasecmp(text, "true"));
    long long n = type == CLI_NUMBER ? strtoll(text, &end, 10) : 0;
    if (end && end != text && !*end && !errno)
        return json_integer(n);
    json_t *s = json_string(text);
    return s ? s : json_null(); /* no UTF-8 */
}

static json_t *value_of_prop(const struct wsmc_inst *in, const struct wsmc_prop *p)
{
    struct type t = type_of(in, p->name);
    bool none = p->is_nil || !p->n;
    if (!t.array && p->n <= 1)
        return none ? json_null() : value_of(p->v[0], t.type);
    json_t *a = json_array();
    for (size_t i = 0; i < p->n && !none; i++)
        json_array_append_new(a, value_of(p->v[i], t.type));
    return a;
}

static void print_json(json_t *what, bool line)
{
    json_dumpf(what, stdout, JSON_PRESERVE_ORDER | (line ? JSON_COMPACT : JSON_INDENT(2)));
    putchar('\n');
    fflush(stdout);
    json_decref(what);
}

/* An array without values does not travel either: programs get it all the same. */
static void add_empty_arrays(const struct wsmc_inst *in, json_t *o)
{
    for (size_t i = 0; in->cls && i < VR_ARRAY_LEN(types); i++)
        if (types[i].array && !strcasecmp(types[i].cls, in->cls) &&
            !json_object_get(o, types[i].name))
            json_object_set_new(o, types[i].name, json_array());
}

static json_t *json_of(const struct wsmc_list *l)
{
    json_t *all = json_array();
    for (size_t i = 0; i < l->n; i++) {
        const struct wsmc_inst *in = l->v[i];
        json_t *o = json_object();
        for (size_t k = 0; k < in->n; k++)
            json_object_set_new(o, in->props[k].name, value_of_prop(in, &in->props[k]));
        add_empty_arrays(in, o);
        json_array_append_new(all, o);
    }
    return all;
}

void cli_json(const struct wsmc_list *l)
{
    print_json(json_of(l), false);
}

void cli_json_line(const struct wsmc_list *l)
{
    print_json(json_of(l), true);
}

void cli_json_object(const struct cli_field *f, size_t n)
{
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(o, f[i].name,
                            f[i].value && *f[i].value ? value_of(f[i].value, f[i].type)
                                                      : json_null());
    print_json(o, false);
}
