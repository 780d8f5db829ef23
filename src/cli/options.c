/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options and arguments of a verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

int cli_parse(struct cli *c, const char *verb, const struct cli_option *o, size_t n,
              const char **args, unsigned least, unsigned max)
{
    unsigned n_args = 0;
    bool literal = false;
    for (int i = 0; i < c->argc; i++) {
        const char *a = c->argv[i];
        const struct cli_option *hit = NULL;
        if (!literal && !strcmp(a, "--")) { /* what follows are names, even with a dash */
            literal = true;
            continue;
        }
        if (literal || a[0] != '-' || !a[1]) {
            if (n_args == max) {
                fprintf(stderr, "vmreplica: unexpected argument '%s'\n", a);
                return -1;
            }
            args[n_args++] = a;
            continue;
        }
        const char *name = a + (a[1] == '-' ? 2 : 1), *eq = strchr(name, '=');
        size_t len = eq ? (size_t)(eq - name) : strlen(name);
        for (size_t k = 0; k < n; k++)
            if (strlen(o[k].name) == len && !strncmp(o[k].name, name, len))
                hit = &o[k];
        if (!hit) {
            fprintf(stderr, "vmreplica: unknown option '%s' of %s\n", a, verb);
            return -1;
        }
        if (hit->flag && eq) {
            fprintf(stderr, "vmreplica: option '%.*s' takes no value\n", (int)(eq - a), a);
            return -1;
        }
        if (hit->flag) {
            *hit->flag = true;
            continue;
        }
        const char *v = eq ? eq + 1 : i + 1 < c->argc ? c->argv[++i] : NULL;
        if (!v || !*v) {
            fprintf(stderr, "vmreplica: option '%s' needs a value\n", a);
            return -1;
        }
        if (hit->number && strspn(v, "0123456789") != strlen(v)) {
            fprintf(stderr, "vmreplica: option '--%s' takes a number, not '%s'\n", hit->name, v);
            return -1;
        }
        if (hit->value) {
            *hit->value = v;
        } else {
            unsigned m = 0;
            while (m < 64 && hit->many[m])
                m++;
            hit->many[m < 64 ? m : 63] = v;
        }
    }
    args[n_args] = NULL;
    if (n_args < least) {
        fprintf(stderr, "vmreplica: %s needs more arguments\n", verb);
        return -1;
    }
    return 0;
}

uint16_t cli_port(const char *text)
{
    char *end;
    unsigned long p = strspn(text, "0123456789") ? strtoul(text, &end, 10) : 0;
    if (p >= 1 && p <= 65535 && !*end)
        return (uint16_t)p;
    fprintf(stderr, "vmreplica: '%s' is not a port (1 to 65535)\n", text);
    return 0;
}
