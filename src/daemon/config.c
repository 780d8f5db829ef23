/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's parameters, from the table in config.h and a file in INI form. Start-up only. */
#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

struct loading {
    struct config *c;
    struct vr_err *err;
    bool failed;
    struct { /* lists that the file has named */
#define SEEN_STR(n)
#define SEEN_NUM(n)
#define SEEN_LIST(n) bool n;
#define P(n, kind, def, least, most, unit, text) SEEN_##kind(n)
        CONFIG_PARAMS(P)
#undef P
    } seen;
};

static int set_num(struct loading *l, const char *name, const char *value, uint32_t *to,
                   unsigned long least, unsigned long most, const char *unit)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (errno || !*value || *end || n < least || n > most) {
        vr_fail(l->err, VR_E_INVAL, 0, "%s must be %lu to %lu %s, not '%.60s'", name, least, most,
                unit, value);
        return -1;
    }
    *to = (uint32_t)n;
    return 0;
}

static int set_str(struct loading *l, const char *name, const char *value, char *to, size_t size)
{
    size_t n = strlen(value);
    if (n >= size) {
        vr_fail(l->err, VR_E_INVAL, 0, "%s is longer than %zu characters", name, size - 1);
        return -1;
    }
    memcpy(to, value, n + 1);
    return 0;
}

static int add_list(struct loading *l, const char *name, const char *value, char *to, size_t size,
                    bool *seen)
{
    if (!*seen)
        to[0] = 0;
    *seen = true;
    size_t at = strlen(to), n = strlen(value);
    if (at + n + 2 >= size)
        return vr_fail(l->err, VR_E_INVAL, 0, "%s is longer than %zu characters in all", name,
                       size - 1);
    snprintf(to + at, size - at, "%s%s", at ? ", " : "", value);
    return 0;
}

static int on_value(void *user, const char *section, const char *name, const char *value)
{
    struct loading *l = user;
    if (l->failed)
        return 0;
    int rc = 1;
    if (*section && strcmp(section, "vmreplicad") != 0) {
        rc = vr_fail(l->err, VR_E_INVAL, 0, "unknown section [%.60s]", section);
    }
#define APPLY_STR(n, least, most, unit) set_str(l, #n, value, l->c->n, sizeof l->c->n)
#define APPLY_NUM(n, least, most, unit) set_num(l, #n, value, &l->c->n, least, most, unit)
#define APPLY_LIST(n, least, most, unit) add_list(l, #n, value, l->c->n, sizeof l->c->n, &l->seen.n)
#define P(n, kind, def, least, most, unit, text) \
    else if (!strcmp(name, #n)) rc = APPLY_##kind(n, least, most, unit);
    CONFIG_PARAMS(P)
#undef P
    else rc = vr_fail(l->err, VR_E_INVAL, 0, "unknown parameter '%.60s'", name);
    if (rc < 0)
        l->failed = true;
    return rc < 0 ? 0 : 1;
}

int config_load(const char *path, bool may_miss, struct config *ret, struct vr_err *err)
{
    struct config c = { .host_name = "" };
#define DEFAULT_STR(n, def) snprintf(c.n, sizeof c.n, "%s", def);
#define DEFAULT_NUM(n, def) c.n = def;
#define DEFAULT_LIST(n, def) DEFAULT_STR(n, def)
#define P(n, kind, def, least, most, unit, text) DEFAULT_##kind(n, def)
    CONFIG_PARAMS(P)
#undef P
    struct loading l = { .c = &c, .err = err };
    vr_autofclose FILE *f = fopen(path, "re");
    if (f) {
        int line = ini_parse_file(f, on_value, &l);
        if (l.failed)
            return vr_err_wrap(err, "%s line %d", path, line);
        if (line)
            return vr_fail(err, VR_E_INVAL, 0, "%s line %d is not of the form 'name = value'", path,
                           line);
    } else if (errno != ENOENT || !may_miss) {
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot read %s", path);
    }
    if (strcmp(c.on_superseded, "leave") != 0 && strcmp(c.on_superseded, "pause") != 0 &&
        strcmp(c.on_superseded, "shutdown") != 0)
        return vr_fail(err, VR_E_INVAL, 0, "%s: on_superseded must be leave, pause or shutdown",
                       path);
    if (!c.host_name[0] && gethostname(c.host_name, sizeof c.host_name - 1) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot learn this host's name");
    *ret = c;
    return 0;
}

void config_print_help(FILE *to)
{
#define HELP_STR(n, def, unit, text) fprintf(to, "  %-18s %s [\"%s\"]\n", #n, text, def);
#define HELP_LIST(n, def, unit, text) HELP_STR(n, def, unit, text)
#define HELP_NUM(n, def, unit, text) \
    fprintf(to, "  %-18s %s [%d %s]\n", #n, text, (int)(def), unit);
#define P(n, kind, def, least, most, unit, text) HELP_##kind(n, def, unit, text)
    CONFIG_PARAMS(P)
#undef P
}
