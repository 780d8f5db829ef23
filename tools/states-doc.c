/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes docs/states.md from the engine's table. With a file name it compares instead: the document
 * in the tree must be what the table says. */
#include "replication/step.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *fx_list(uint32_t fx, char out[512])
{
    size_t n = 0;
    out[0] = 0;
    for (int b = 0; b < FX_BIT_COUNT; b++)
        if (fx & 1u << b)
            n += (size_t)snprintf(out + n, 512 - n, "%s%s", n ? ", " : "",
                                  rel_fx_name((enum rel_fx_bit)b));
    return out;
}

static void put_states(FILE *f)
{
    static const char *const modes[] = { "none", "primary", "replica" };
    fprintf(f, "## States\n\n`Mode` and `Outside` are ReplicationMode and ReplicationState as "
               "clients see them.\n\n| State | Mode | Outside | Text |\n|---|---|---|---|\n");
    for (int i = 0; i < ST_COUNT; i++) {
        struct rel r = { .st = (enum rel_state)i };
        fprintf(f, "| %s | %s | %u | %s |\n", rel_state_name(r.st), modes[rel_mode(&r)],
                rel_cim_state(&r), rel_state_text(r.st));
    }
}

/* ---- the diagrams: one per side; what leads back to the same state is left out ---- */
static bool row_at(size_t *i, int from, int to, struct rel_row *ret)
{
    while (rel_table_row((*i)++, ret))
        if ((int)ret->from == from && (int)ret->to == to)
            return true;
    return false;
}

static void put_edge(FILE *f, int from, int to)
{
    struct rel_row row;
    size_t i = 0, n = 0;
    bool told[EV_COUNT] = { false };
    while (row_at(&i, from, to, &row)) {
        if (told[row.ev] || row.ev == EV_U_REMOVE)
            continue;
        told[row.ev] = true;
        if (!n++)
            fprintf(f, "    %s --> %s : ", rel_state_name((enum rel_state)from),
                    rel_state_name((enum rel_state)to));
        fprintf(f, "%s%s", n > 1 ? ", " : "", rel_event_text(row.ev));
    }
    if (n)
        fprintf(f, "\n");
}

static bool is_in(int st, enum rel_mode mode)
{
    const char *name = rel_state_name((enum rel_state)st);
    return st == ST_NONE || name[0] == (mode == REL_MODE_PRIMARY ? 'P' : 'R');
}

static bool takes_part(int st, enum rel_mode mode)
{
    struct rel_row row;
    if (is_in(st, mode))
        return true;
    for (size_t i = 0; rel_table_row(i, &row); i++)
        if ((int)row.to == st && row.from != ST_NONE && is_in((int)row.from, mode))
            return true;
    return false;
}

static void put_diagram(FILE *f, const char *title, enum rel_mode mode)
{
    fprintf(f, "\n### %s\n\n```mermaid\nstateDiagram-v2\n", title);
    for (int i = 0; i < ST_COUNT; i++) {
        struct rel r = { .st = (enum rel_state)i };
        if (takes_part(i, mode))
            fprintf(f, "    state \"%s (%u)\" as %s\n", rel_state_text(r.st), rel_cim_state(&r),
                    rel_state_name(r.st));
    }
    fprintf(f, "    [*] --> NONE\n");
    for (int from = 0; from < ST_COUNT; from++)
        for (int to = 0; to < ST_COUNT; to++)
            if (from != to && is_in(from, mode) && (from != ST_NONE || is_in(to, mode)))
                put_edge(f, from, to);
    fprintf(f, "```\n");
}

static void put_diagrams(FILE *f)
{
    fprintf(f, "\n## Diagrams\n\nWhat leads from one state to another; the number is "
               "ReplicationState. `disable` leads from every state in which nothing else is under "
               "way to the one in which it is being removed, and is left out.\n");
    put_diagram(f, "The primary", REL_MODE_PRIMARY);
    put_diagram(f, "The replica", REL_MODE_REPLICA);
}

static void put_effects(FILE *f)
{
    fprintf(f, "\n## Effects\n\nRun in this order.\n\n");
#define FX(n, text) fprintf(f, "- **%s**: %s\n", #n, text);
    REL_EFFECTS(FX)
#undef FX
}

static void put_events(FILE *f)
{
    static const struct {
        const char *name, *otherwise, *text;
    } events[] = {
#define E(n, o, t) { #n, #o, t },
#include "replication/events.def"
#undef E
    };
    fprintf(
        f, "\n## Events\n\nWhat happens to an event in a state without a row for it: it is "
           "refused, or dropped as late news.\n\n| Event | Otherwise | Meaning |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        fprintf(f, "| %s | %s | %s |\n", events[i].name,
                strcmp(events[i].otherwise, "ILLEGAL") ? "dropped" : "refused", events[i].text);
}

static void put_rows(FILE *f)
{
    static const char *const names[] = {
#define E(n, o, t) #n,
#include "replication/events.def"
#undef E
    };
    fprintf(f,
            "\n## Transitions\n\nRows of one event are tried from the top; the first whose guard "
            "holds is taken.\n");
    for (int st = 0; st < ST_COUNT; st++) {
        struct rel_row row;
        fprintf(f,
                "\n### %s\n\n| Event | Guard | Action | Next | Effects | Source |\n"
                "|---|---|---|---|---|---|\n",
                rel_state_name((enum rel_state)st));
        for (size_t i = 0; rel_table_row(i, &row); i++) {
            char fx[512];
            if (row.from != (enum rel_state)st)
                continue;
            fprintf(f, "| %s | %s | %s | %s | %s | %s |\n", names[row.ev], row.guard, row.action,
                    row.to == row.from ? "=" : rel_state_name(row.to), fx_list(row.fx, fx),
                    row.source);
        }
    }
}

static int compare(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "re");
    char *have = calloc(1, n + 2);
    if (!f || !have)
        return perror(path), 1;
    size_t got = fread(have, 1, n + 1, f);
    bool same = got == n && memcmp(have, text, n) == 0;
    fclose(f);
    free(have);
    if (!same)
        fprintf(stderr, "%s is not what the table says; write it anew: states-doc > %s\n", path,
                path);
    return !same;
}

int main(int argc, char **argv)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return 1;
    fprintf(f, "<!-- written by tools/states-doc.c from src/replication/*.def; do not edit -->\n"
               "# States of a relationship\n\nOne relationship as one host sees it. The table is "
               "`src/replication/transitions.def`; `src/replication/step.c` looks rows up and "
               "`src/replication/engine.c` has the effects carried out.\n\n");
    put_states(f);
    put_diagrams(f);
    put_events(f);
    put_effects(f);
    put_rows(f);
    fclose(f);
    int rc = argc > 1 ? compare(argv[1], text, n) : fwrite(text, 1, n, stdout) != n;
    free(text);
    return rc;
}
