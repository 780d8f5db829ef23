/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recorded exchanges: every tests/wsman/NAME.req.xml goes through wsm_process(), in the order of
 * names, and the reply must equal NAME.rep.xml. Random ids are blanked; "@CONTEXT@" in a request is
 * the last enumeration context that a reply had. The first line of a request may be a comment with
 * "agent=TEXT", "caller=none|nobody|reader|other", "utf16", "at=MS" (the clock; else 1000),
 * "profiles=BITS", "since=MS" (it waits since then), "again" (it waits since then, but another one
 * has taken its place) and "job=STATE..." (states that the fake job goes through before, 0: gone).
 * test-golden DIR [--update] */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "wsman/fake.h"
#include "wsman/wsm.h"

enum { FILE_MAX = 1 << 20 };

static char context[64] = "none";
static int failures;
static struct vr_buf replies; /* all of them */

static char *read_file(const char *path)
{
    vr_autofclose FILE *f = fopen(path, "re");
    if (!f)
        return NULL;
    char *buf = vr_new0(1, FILE_MAX + 1);
    buf[fread(buf, 1, FILE_MAX, f)] = 0;
    return buf;
}

static char *replace(const char *text, const char *what, const char *with)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    const char *at;
    while ((at = strstr(text, what))) {
        vr_buf_add(&b, text, (size_t)(at - text), NULL);
        vr_buf_add(&b, with, strlen(with), NULL);
        text = at + strlen(what);
    }
    vr_buf_add(&b, text, strlen(text), NULL);
    return vr_strdup((char *)b.data);
}

static void note_context(const char *reply)
{
    const char *at = strstr(reply, "<n:EnumerationContext>");
    if (!at)
        return;
    at += strlen("<n:EnumerationContext>");
    snprintf(context, sizeof context, "%.*s", (int)strcspn(at, "<"), at);
}

/* Blank the ids that the processor made up, and one element per line so that differences show. */
static char *normalise(int status, const char *type, const char *body)
{
    static const char *const times[] = { "<p:TIME_CREATED>", "<p:IndicationTime>" };
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    vr_buf_printf(&b, NULL, "%d %s\n", status, type ? type : "-");
    for (const char *p = body; *p;) {
        if (!strncmp(p, "uuid:", 5) && strlen(p) > 41 && p[13] == '-') {
            bool made = strspn(p + 5, "0123456789ABCDEF-") == 36;
            vr_buf_printf(&b, NULL, made ? "uuid:*" : "%.41s", p);
            p += 41;
        } else if (!strncmp(p, times[0], strlen(times[0])) ||
                   !strncmp(p, times[1], strlen(times[1]))) {
            size_t n = strcspn(p, ">") + 1;
            vr_buf_add(&b, p, n, NULL);
            vr_buf_add(&b, "*", 1, NULL);
            const char *end = strstr(p + n, "</p:");
            p = end ? end : p + n;
        } else if (p[0] == '>' && p[1] == '<') {
            vr_buf_add(&b, ">\n", 2, NULL);
            p++;
        } else {
            vr_buf_add(&b, p++, 1, NULL);
        }
    }
    vr_buf_add(&b, "\n", 1, NULL);
    return vr_strdup((char *)b.data);
}

static void narrow(struct vr_buf *b)
{
    size_t n = 0;
    for (size_t i = 2; i + 1 < b->len; i += 2)
        b->data[n++] = b->data[i + 1] ? '?' : b->data[i];
    b->len = n;
    b->data[n] = 0;
}

static void widen(struct vr_buf *to, const char *text)
{
    vr_buf_add(to, "\xff\xfe", 2, NULL);
    for (; *text; text++) {
        const char unit[2] = { *text, 0 };
        vr_buf_add(to, unit, 2, NULL);
    }
}

static int64_t number(const char *line, const char *name, int64_t dflt)
{
    const char *at = strstr(line, name);
    return at ? strtoll(at + strlen(name), NULL, 10) : dflt;
}

static void move_job(struct cim_server *svc, const char *line)
{
    char *at = strstr(line, "job=");
    if (!at)
        return;
    for (at += strlen("job="); *at >= '0' && *at <= '9'; at += *at == ',')
        wsm_fake_job(svc, (unsigned)strtoul(at, &at, 10));
}

static char *answer(struct wsm *w, struct cim_server *svc, const char *request)
{
    vr_autofree char *line = vr_strndup(request, strcspn(request, "\n"));
    struct cim_caller who = { .name = "tester", .role = CIM_ROLE_ADMIN };
    if (strstr(line, "caller=reader"))
        who.role = CIM_ROLE_READER;
    if (strstr(line, "caller=other"))
        who.name = "somebody else";
    if (strstr(line, "caller=nobody"))
        who.role = CIM_ROLE_NONE;
    bool wide = strstr(line, "utf16");
    vr_autobuf struct vr_buf body = VR_BUF_INIT;
    if (wide)
        widen(&body, request);
    else
        vr_buf_add(&body, request, strlen(request), NULL);
    const struct wsm_request rq = { .body = body.data,
                                    .len = body.len,
                                    .user_agent = strstr(line, "agent=WinRM")
                                                      ? "Microsoft WinRM Client"
                                                      : "curl",
                                    .caller = strstr(line, "caller=none") ? NULL : &who,
                                    .profiles = (unsigned)number(line, "profiles=", 0),
                                    .token = strstr(line, "again") ? "other" : "token",
                                    .arrived = { number(line, "since=", 0) },
                                    .now = { number(line, " at=", 1000) } };
    struct wsm_reply rep;
    move_job(svc, line);
    wsm_process(w, &rq, &rep);
    while (!rep.status && rep.until.ms <= rq.now.ms) { /* a slice of it; on a busy machine */
        struct wsm_request more = rq;
        more.arrived = rq.now;
        wsm_process(w, &more, &rep);
    }
    if (!rep.status)
        return vr_printf("waits until %lld\n", (long long)rep.until.ms);
    if (wide && rep.body.len)
        narrow(&rep.body);
    const char *text = rep.body.data ? (const char *)rep.body.data : "";
    note_context(text);
    char *out = normalise(rep.status, rep.content_type, text);
    wsm_reply_done(&rep);
    return out;
}

static void run_one(struct wsm *w, struct cim_server *svc, const char *dir, const char *name,
                    bool update)
{
    vr_autofree char *in = vr_printf("%s/%s.req.xml", dir, name);
    vr_autofree char *out = vr_printf("%s/%s.rep.xml", dir, name);
    vr_autofree char *raw = read_file(in);
    vr_autofree char *request = replace(raw, "@CONTEXT@", context);
    vr_autofree char *got = answer(w, svc, request);
    vr_buf_add(&replies, got, strlen(got), NULL);
    if (update) {
        vr_autofclose FILE *f = fopen(out, "we");
        if (f)
            fputs(got, f);
        return;
    }
    vr_autofree char *want = read_file(out);
    if (want && !strcmp(got, want))
        return;
    failures++;
    printf("--- %s: wanted\n%s--- got\n%s", name, want ? want : "(no file)\n", got);
}

static int is_request(const struct dirent *d)
{
    return strstr(d->d_name, ".req.xml") != NULL;
}

/* A fault without a recorded exchange proves nothing. */
static void every_fault_is_there(void)
{
    static const struct {
        const char *code, *prefix, *subcode, *detail;
    } faults[] = {
#define X(n, code, prefix, subcode, detail, win32, kind) { code, prefix, subcode, detail },
#include "wsman/faults.def"
#undef X
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(faults); i++) {
        vr_autofree char *sub = *faults[i].subcode
                                    ? vr_printf(">%s:%s<", faults[i].prefix, faults[i].subcode)
                                    : vr_printf(":%s<", faults[i].code);
        vr_autofree char *detail = vr_printf("/%s<", faults[i].detail);
        const char *text = (const char *)replies.data;
        if (strstr(text, sub) && (!*faults[i].detail || strstr(text, detail)))
            continue;
        failures++;
        printf("no exchange shows the fault %s %s\n", sub, faults[i].detail);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    struct dirent **names;
    int n = scandir(argv[1], &names, is_request, alphasort);
    if (n <= 0) {
        printf("no exchanges in %s\n", argv[1]);
        return 1;
    }
    struct cim_server *svc = wsm_fake_server();
    const struct wsm_limits lim = { .contexts_each = 3, .events = 4, .subscriptions_each = 3 };
    struct wsm *w = wsm_new(svc, &lim);
    for (int i = 0; i < n; i++) {
        *strstr(names[i]->d_name, ".req.xml") = 0;
        run_one(w, svc, argv[1], names[i]->d_name, argc > 2);
        free(names[i]);
    }
    free(names);
    every_fault_is_there();
    vr_buf_done(&replies);
    wsm_free(w);
    cim_server_free(svc);
    printf("%d exchanges, %d differ\n", n, failures);
    return failures ? 1 : 0;
}
