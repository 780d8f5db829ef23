/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon says names the properties of the management interface; whoever sits at the
 * command line knows its options. And a command that is told for the host that was asked has to be
 * one that asks that host. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "cli/cli.h"

static const struct {
    const char *property, *words;
} all[] = {
    { "ReplicationInterval", "the interval (--interval)" },
    { "RecoveryHistory", "the number of hourly points (--points)" },
    { "ApplicationConsistentSnapshotInterval",
      "the interval of application-consistent points (--app-hours, retention --app)" },
    { "RecoveryConnectionPoint", "the host (--to)" },
    { "RecoveryServerPortNumber", "the port (--port)" },
    { "AutoResynchronizeInterval", "the time of comparisons (--resync-window)" },
    { "ReplicaStorageLocation", "the storage folder (--storage)" },
    { "AllowedPrimaryHostSystem", "the host" },
    { "TrustGroup", "the group (--group)" },
    { "OnSuperseded", "--on-superseded" },
    { "HttpsPort", "the port (--port)" },
};

char *cli_words(const char *text)
{
    static const char of[] = ": instance of ", prop[] = ": property ";
    struct vr_buf b = VR_BUF_INIT;
    /* "ARGUMENT: instance of CLASS: property NAME: ..." */
    const char *in = strstr(text, of), *name = in ? strstr(in, prop) : NULL;
    if (name && strcspn(text, ": ") == (size_t)(in - text) &&
        strcspn(in + strlen(of), ": ") == (size_t)(name - in) - strlen(of))
        text = name + strlen(prop);
    vr_buf_printf(&b, NULL, "%s", "");
    while (*text) {
        size_t n = 1;
        while (isalpha((unsigned char)text[0]) && isalpha((unsigned char)text[n]))
            n++;
        const char *words = NULL;
        for (size_t i = 0; i < VR_ARRAY_LEN(all) && !words; i++)
            if (strlen(all[i].property) == n && !strncmp(all[i].property, text, n))
                words = all[i].words;
        if (words) {
            vr_buf_printf(&b, NULL, "%s", words);
            n += !strncmp(text + n, ": must ", 7); /* one sentence */
        } else {
            vr_buf_printf(&b, NULL, "%.*s", (int)n, text);
        }
        text += n;
    }
    return (char *)b.data;
}

/* ---- commands in texts ---- */
static char *asked; /* the options by which this host is asked; NULL: none */

void cli_asked(const struct cli *c)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    free(asked);
    asked = NULL;
    if (!c->host)
        return;
    vr_buf_printf(&b, NULL, "--host %s", c->host);
    if (c->port)
        vr_buf_printf(&b, NULL, ":%u", c->port);
    if (c->kerberos)
        vr_buf_printf(&b, NULL, " --kerberos");
    const char *const more[][2] = { { "--user", c->user },
                                    { "--pin", c->pin },
                                    { "--ca", c->ca_file } };
    for (size_t i = 0; i < VR_ARRAY_LEN(more); i++)
        if (more[i][1])
            vr_buf_printf(&b, NULL, " %s %s", more[i][0], more[i][1]);
    asked = vr_strdup((const char *)b.data);
}

static bool is_verb(const char *s)
{
    static const char *const verbs[] = {
#define V(name, usage, text) #name,
        CLI_VERBS(V)
#undef V
    };
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");
    for (size_t i = 0; i < VR_ARRAY_LEN(verbs); i++)
        if (strlen(verbs[i]) == n && !strncmp(verbs[i], s, n))
            return true;
    return false;
}

static bool ends_with(const char *from, const char *end, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(end - from) >= n && !strncmp(end - n, word, n) &&
           (end - n == from || !isalnum((unsigned char)end[-1 - (ptrdiff_t)n]));
}

/* Is the command at @at one for a shell on another host: "there: ...", "there (...", "on NAME:
 * ...", "host NAME ...", "... MACHINE on NAME", "... MACHINE there"? */
static bool is_elsewhere(const char *text, const char *at)
{
    const char *end = at, *word;
    while (end > text && strchr(" :(\n'", end[-1]))
        end--;
    if (ends_with(text, end, "there"))
        return true;
    for (word = end; word > text && !strchr(" \n", word[-1]);)
        word--;
    bool name = end > word && isalnum((unsigned char)end[-1]) && !ends_with(word, end, "it") &&
                !ends_with(word, end, "one");
    while (word > text && word[-1] == ' ')
        word--;
    if (name && (ends_with(text, word, "on") || ends_with(text, word, "host")))
        return true;
    for (int i = 0; i < 3 && *at; i++) { /* the program, the verb, the machine */
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    return !strncmp(at, "on ", 3) || !strncmp(at, "there", 5);
}

char *cli_hints(const char *text)
{
    static const char program[] = "vmreplica ";
    struct vr_buf b = VR_BUF_INIT;
    const char *done = text;
    vr_buf_printf(&b, NULL, "%s", "");
    for (const char *at = text; asked && (at = strstr(at, program)); at += strlen(program)) {
        if (!is_verb(at + strlen(program)) || is_elsewhere(text, at))
            continue;
        vr_buf_printf(&b, NULL, "%.*s%s%s ", (int)(at - done), done, program, asked);
        done = at + strlen(program);
    }
    vr_buf_printf(&b, NULL, "%s", done);
    return (char *)b.data;
}

void cli_print(FILE *to, const char *fmt, ...)
{
    vr_autofree char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    vr_autofree char *shown = cli_hints(text);
    fputs(shown, to);
    fflush(to);
}

const char *cli_text_or(const struct wsmc_inst *in, const char *name, const char *otherwise)
{
    const char *s = wsmc_str(in, name);
    return s && *s ? s : otherwise;
}
