/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Documents of the host: settings of the service, authorization entries, what replicas are bound
 * to, network adapters; and the rules that derive from them. Control thread only. Invariant: every
 * text held was parsed, so showing it cannot fail. src:[contract.md A.2, A.4, B.1, D.2] */
#include "cim/providers/hostset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/alloc.h"
#include "cim/cimxml.h"

#define DAY 86400
#define A(n) CIM_P_MSVM_REPLICATIONAUTHORIZATIONSETTINGDATA_##n
#define S(n) CIM_P_MSVM_REPLICATIONSERVICESETTINGDATA_##n

struct doc {
    enum hostset_kind kind;
    char *id, *text;
    struct cim_inst *in; /* NULL: plain text */
};

struct hostset {
    struct doc *v;
    size_t n;
};

static const struct {
    const char *name;
    enum cim_class_id cls;
} kinds[] = {
#define HD(n, kind, c) [HOSTSET_##n] = { kind, c },
    HOSTSET_KINDS(HD)
#undef HD
};

struct hostset *hostset_new(void)
{
    return vr_new(struct hostset);
}

static void doc_done(struct doc *d)
{
    free(d->id);
    free(d->text);
    cim_inst_free(d->in);
}

void hostset_free(struct hostset *hs)
{
    for (size_t i = 0; hs && i < hs->n; i++)
        doc_done(&hs->v[i]);
    if (hs)
        free(hs->v);
    free(hs);
}

const char *hostset_kind_name(enum hostset_kind k)
{
    return kinds[k].name;
}

static struct doc *find(const struct hostset *hs, enum hostset_kind k, const char *id)
{
    for (size_t i = 0; i < hs->n; i++)
        if (hs->v[i].kind == k && !strcasecmp(hs->v[i].id, id))
            return &hs->v[i];
    return NULL;
}

static size_t count(const struct hostset *hs, enum hostset_kind k)
{
    size_t n = 0;

    for (size_t i = 0; i < hs->n; i++)
        n += hs->v[i].kind == k;
    return n;
}

/* Is there room for it, and what does it hold? *ret stays NULL where that is nothing. */
static int check(const struct hostset *hs, const struct host_doc *doc, size_t n_before,
                 struct cim_inst **ret, struct vr_err *err)
{
    enum hostset_kind k = doc->kind;

    if (!doc->text)
        return 0;
    if (!find(hs, k, doc->id) &&
        (hs->n + n_before >= HOSTSET_DOCS_MAX ||
         (k == HOSTSET_ENTRY && count(hs, k) + n_before >= HOSTSET_ENTRIES_MAX)))
        return vr_fail(err, VR_E_LIMIT, 0, "there are too many settings of the kind %s",
                       kinds[k].name);
    if (kinds[k].cls != CIM_CLASS_COUNT &&
        cim_xml_parse(doc->text, cim_class_get(kinds[k].cls), ret, err) < 0)
        return vr_err_wrap(err, "%s %s", kinds[k].name, doc->id);
    return 0;
}

static void put(struct hostset *hs, const struct host_doc *doc, struct cim_inst *take_in)
{
    struct doc *d = find(hs, doc->kind, doc->id);

    if (!doc->text) {
        if (d) {
            doc_done(d);
            *d = hs->v[--hs->n];
        }
        return;
    }
    if (d) {
        doc_done(d);
    } else {
        hs->v = vr_grow(hs->v, hs->n + 1, sizeof *hs->v);
        d = &hs->v[hs->n++];
    }
    *d = (struct doc){
        .kind = doc->kind, .id = vr_strdup(doc->id), .text = vr_strdup(doc->text), .in = take_in
    };
}

int hostset_put_all(struct hostset *hs, const struct host_doc docs[], size_t n, struct vr_err *err)
{
    vr_autofree struct cim_inst **in = vr_new0(n ? n : 1, sizeof(struct cim_inst *));
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = check(hs, &docs[i], i, &in[i], err);
    for (size_t i = 0; i < n; i++)
        if (rc == 0)
            put(hs, &docs[i], in[i]);
        else
            cim_inst_free(in[i]);
    return rc;
}

int hostset_put(struct hostset *hs, enum hostset_kind k, const char *id, const char *text,
                struct vr_err *err)
{
    return hostset_put_all(hs, &(struct host_doc){ k, id, text }, 1, err);
}

const struct cim_inst *hostset_inst(const struct hostset *hs, enum hostset_kind k, const char *id)
{
    const struct doc *d = find(hs, k, id);

    return d ? d->in : NULL;
}

const char *hostset_text(const struct hostset *hs, enum hostset_kind k, const char *id)
{
    const struct doc *d = find(hs, k, id);

    return d ? d->text : NULL;
}

const struct cim_inst *hostset_at(const struct hostset *hs, enum hostset_kind k, size_t i)
{
    for (size_t j = 0; j < hs->n; j++)
        if (hs->v[j].kind == k && i-- == 0)
            return hs->v[j].in;
    return NULL;
}

/* ---- the service ---- */
bool hostset_enabled(const struct hostset *hs, size_t n_peers)
{
    const struct cim_inst *in = hostset_inst(hs, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);
    bool dflt = n_peers > 0;

    return in ? cim_value_bool(cim_inst_value(in, S(RECOVERYSERVERENABLED)), dflt) : dflt;
}

bool hostset_listens(const struct hostset *hs)
{
    return hostset_enabled(hs, 1);
}

unsigned hostset_auth(const struct hostset *hs)
{
    const struct cim_inst *in = hostset_inst(hs, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);
    const struct cim_value *on = in ? cim_inst_value(in, S(RECOVERYSERVERENABLED)) : NULL;

    if (!on || on->is_null)
        return HOSTSET_AUTH_CERT;
    if (!cim_value_bool(on, false))
        return 0;
    unsigned type = (unsigned)cim_inst_uint(in, S(ALLOWEDAUTHENTICATIONTYPE), 0);
    return type ? type & (HOSTSET_AUTH_KERBEROS | HOSTSET_AUTH_CERT) : HOSTSET_AUTH_CERT;
}

uint16_t hostset_http_port(const struct hostset *hs)
{
    const struct cim_inst *in = hostset_inst(hs, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);

    return in ? (uint16_t)cim_inst_uint(in, S(HTTPPORT), HOSTSET_HTTP_PORT) : HOSTSET_HTTP_PORT;
}

uint16_t hostset_port(const struct hostset *hs, uint16_t configured)
{
    const struct cim_inst *in = hostset_inst(hs, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);

    return in ? (uint16_t)cim_inst_uint(in, S(HTTPSPORT), configured) : configured;
}

uint32_t hostset_default_start(void)
{
    time_t now = time(NULL);
    struct tm tm;

    if (!localtime_r(&now, &tm))
        return 9 * 3600;
    return (uint32_t)(((9 * 3600 - tm.tm_gmtoff) % DAY + DAY) % DAY);
}

struct wall_us hostset_window(const struct hostset *hs, struct wall_us now)
{
    const struct cim_inst *in = hostset_inst(hs, HOSTSET_SERVICE, HOSTSET_SERVICE_ID);
    int64_t start = hostset_default_start();
    int64_t length = in ? (int64_t)cim_inst_uint(in, S(MONITORINGINTERVAL), 43200) : 43200;
    struct cim_datetime dt;

    if (in && cim_value_time(cim_inst_value(in, S(MONITORINGSTARTTIME)), &dt))
        start = dt.us / 1000000;
    int64_t s = now.us / 1000000 - start;
    return (struct wall_us){ (s - (s % length + length) % length + start) * 1000000 };
}

/* ---- who may replicate here ---- */
/* How closely @pattern fits @name: 0 not at all, more is closer. */
static size_t closeness(const char *pattern, const char *name)
{
    size_t np = strlen(pattern), n = name ? strlen(name) : 0;

    if (!n)
        return 0;
    if (!strcmp(pattern, "*"))
        return 1;
    if (!strcasecmp(pattern, name))
        return SIZE_MAX;
    if (np > 2 && pattern[0] == '*' && pattern[1] == '.' && n > np - 1 &&
        !strcasecmp(pattern + 1, name + n - (np - 1)))
        return np;
    return 0;
}

const struct cim_inst *hostset_match(const struct hostset *hs, const char *name,
                                     const char *address)
{
    const struct cim_inst *best = NULL, *in;
    size_t top = 0;

    for (size_t i = 0; (in = hostset_at(hs, HOSTSET_ENTRY, i)) != NULL; i++) {
        const char *pattern = cim_inst_str(in, A(ALLOWEDPRIMARYHOSTSYSTEM));
        size_t a = closeness(pattern, name), b = closeness(pattern, address);
        size_t c = a > b ? a : b;
        if (c > top) {
            top = c;
            best = in;
        }
    }
    return best;
}

static const char *bound_to(const struct hostset *hs, const struct vr_uuid *machine)
{
    char id[VR_UUID_STR];

    return machine ? hostset_text(hs, HOSTSET_BINDING, vr_uuid_fmt(machine, id)) : NULL;
}

const struct cim_inst *hostset_entry_of(const struct hostset *hs, const struct vr_uuid *machine)
{
    const char *entry = bound_to(hs, machine);

    return entry ? hostset_inst(hs, HOSTSET_ENTRY, entry) : NULL;
}

/* Bound to the host that reversed: true for that host, and no binding at all for others. */
static bool is_sent_back(const char **bound, const char *name)
{
    size_t n = strlen(HOSTSET_REVERSED);

    if (!*bound || strncmp(*bound, HOSTSET_REVERSED, n) != 0)
        return false;
    bool own = !strcasecmp(*bound + n, name);
    *bound = NULL;
    return own;
}

int hostset_admit(const struct hostset *hs, size_t n_peers, const struct hostset_sender *from,
                  const struct vr_uuid *machine, bool is_new, const struct cim_inst **ret_entry,
                  struct vr_err *err)
{
    const char *bound = is_new ? NULL : bound_to(hs, machine);
    bool own = is_sent_back(&bound, from->name) || from->reverses;
    const struct cim_inst *of = bound ? hostset_inst(hs, HOSTSET_ENTRY, bound) : NULL;
    const struct cim_inst *sender = hostset_match(hs, from->name, from->address);

    if (!hostset_enabled(hs, n_peers))
        return vr_fail(err, VR_E_UNAVAIL, 0,
                       "this host is not enabled as a replica server (RecoveryServerEnabled)");
    if (!sender && !own && (bound || !from->paired || count(hs, HOSTSET_ENTRY)))
        return vr_fail(
            err, VR_E_AUTH, 0, "no authorization entry of this host lets %s replicate to it%s%s",
            from->name, bound ? "; the machine was bound to the entry " : "", bound ? bound : "");
    if (of && sender &&
        strcasecmp(cim_inst_str(of, A(TRUSTGROUP)), cim_inst_str(sender, A(TRUSTGROUP))) != 0)
        return vr_fail(err, VR_E_AUTH, 0, "the machine belongs to trust group %s, host %s to %s",
                       cim_inst_str(of, A(TRUSTGROUP)), from->name,
                       cim_inst_str(sender, A(TRUSTGROUP)));
    if (ret_entry)
        *ret_entry = of ? of : sender;
    return 0;
}
