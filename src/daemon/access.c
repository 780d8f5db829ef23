/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of who may come in. Its rows are replaced as a whole; whoever asks keeps those that
 * were there when it began. The numbers of users and groups in them are looked up by workers from
 * time to time, so that whoever is asked on the control thread answers without waiting for name
 * services. */
#include "daemon/access.h"

#include <ctype.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

enum { NSS_BUF = 65536, GROUPS_MAX = 4096, THUMB_LEN = 64 };

enum kind {
#define K(n, name, text) KIND_##n,
    ACCESS_KINDS(K)
#undef K
        KIND_COUNT
};

static const char *const kind_names[] = {
#define K(n, name, text) [KIND_##n] = name,
    ACCESS_KINDS(K)
#undef K
};

struct row {
    enum kind kind;
    enum cim_role role;
    char *name;
    _Atomic int64_t number; /* of a user or group; -1: there is none */
};

struct rows {
    struct row *rows;
    size_t n;
    unsigned users; /* under access.mu */
};

struct access {
    pthread_mutex_t mu;
    struct rows *now;
};

struct access *access_new(void)
{
    struct access *a = vr_new(struct access);
    pthread_mutex_init(&a->mu, NULL);
    a->now = vr_new(struct rows);
    a->now->users = 1;
    return a;
}

static struct rows *take(const struct access *a)
{
    struct access *w = (struct access *)a; /* only the counter changes */
    pthread_mutex_lock(&w->mu);
    struct rows *t = w->now;
    t->users++;
    pthread_mutex_unlock(&w->mu);
    return t;
}

static void give_back(const struct access *a, struct rows *t)
{
    struct access *w = (struct access *)a;
    pthread_mutex_lock(&w->mu);
    bool last = --t->users == 0;
    pthread_mutex_unlock(&w->mu);
    if (!last)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->rows[i].name);
    free(t->rows);
    free(t);
}

void access_free(struct access *a)
{
    if (!a)
        return;
    give_back(a, a->now);
    pthread_mutex_destroy(&a->mu);
    free(a);
}

void access_replace(struct access *a, struct access *take_from)
{
    pthread_mutex_lock(&a->mu);
    struct rows *old = a->now;
    a->now = take_from->now;
    take_from->now = old; /* whoever still uses it gives it back to its counter */
    pthread_mutex_unlock(&a->mu);
    give_back(a, vr_take(take_from->now));
    pthread_mutex_destroy(&take_from->mu);
    free(take_from);
}

/* ---- reading ---- */
/* Thumbprints are compared as 64 lower case digits; people write them with colons and blanks. */
static int clean_thumb(char *s)
{
    size_t n = 0;
    for (const char *p = s; *p; p++) {
        if (*p == ':' || *p == ' ')
            continue;
        if (!isxdigit((unsigned char)*p))
            return -1;
        s[n++] = (char)tolower((unsigned char)*p);
    }
    s[n] = 0;
    return n == THUMB_LEN ? 0 : -1;
}

static int check_principal(const char *s)
{
    const char *at = strrchr(s, '@'), *star = strchr(s, '*');
    if (!at || at == s || !at[1])
        return -1;
    return star && (star != s || at != s + 1) ? -1 : 0;
}

static int add_row(struct rows *a, enum cim_role role, const char *item, struct vr_err *err)
{
    const char *colon = strchr(item, ':');
    size_t len = colon ? (size_t)(colon - item) : 0;
    enum kind k = 0;
    while (k < KIND_COUNT && (strlen(kind_names[k]) != len || strncmp(kind_names[k], item, len)))
        k++;
    if (!colon || k == KIND_COUNT)
        return vr_fail(err, VR_E_INVAL, 0,
                       "'%.80s' is none of user:NAME, group:NAME, principal:NAME@REALM, "
                       "principal:*@REALM, principal-group:NAME, certificate:SHA256",
                       item);
    vr_autofree char *name = vr_strdup(colon + 1 + strspn(colon + 1, " \t"));
    if (!*name)
        return vr_fail(err, VR_E_INVAL, 0, "'%.80s' names nobody", item);
    if (k == KIND_CERTIFICATE && clean_thumb(name))
        return vr_fail(err, VR_E_INVAL, 0,
                       "'%.100s' is no SHA-256 thumbprint of 64 hexadecimal digits (openssl x509 "
                       "-noout -fingerprint -sha256 -in FILE shows it)",
                       colon + 1);
    if (k == KIND_PRINCIPAL && check_principal(name))
        return vr_fail(err, VR_E_INVAL, 0, "'%.100s' is neither NAME@REALM nor *@REALM", name);
    if ((a->n & (a->n - 1)) == 0)
        a->rows = vr_grow(a->rows, a->n ? a->n * 2 : 1, sizeof *a->rows);
    struct row *r = &a->rows[a->n++];
    r->kind = k;
    r->role = role;
    r->name = vr_take(name);
    atomic_init(&r->number, -1);
    return 0;
}

int access_add(struct access *a, enum cim_role role, const char *list, struct vr_err *err)
{
    vr_autofree char *copy = vr_strdup(list);
    char *save = NULL;
    for (char *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
        s += strspn(s, " \t");
        size_t n = strlen(s);
        while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
            s[--n] = 0;
        if (n && add_row(a->now, role, s, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- numbers ---- */
static int64_t number_of(const struct row *r)
{
    vr_autofree char *buf = vr_new0(1, NSS_BUF);
    if (r->kind == KIND_USER) {
        struct passwd pw, *p = NULL;
        return !getpwnam_r(r->name, &pw, buf, NSS_BUF, &p) && p ? (int64_t)pw.pw_uid : -1;
    }
    struct group gr, *g = NULL;
    return !getgrnam_r(r->name, &gr, buf, NSS_BUF, &g) && g ? (int64_t)gr.gr_gid : -1;
}

void access_resolve(struct access *a)
{
    struct rows *t = take(a);
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].kind == KIND_USER || t->rows[i].kind == KIND_GROUP ||
            t->rows[i].kind == KIND_PRINCIPAL_GROUP)
            atomic_store(&t->rows[i].number, number_of(&t->rows[i]));
    give_back(a, t);
}

/* ---- asking ---- */
static void raise_to(enum cim_role *best, enum cim_role r)
{
    if (r > *best)
        *best = r;
}

static bool is_member(const struct row *r, const unsigned *gids, size_t n)
{
    int64_t gid = atomic_load(&r->number);
    for (size_t i = 0; gid >= 0 && i < n; i++)
        if (gids[i] == gid)
            return true;
    return false;
}

enum cim_role access_of_local(const struct access *a, uint32_t uid, const unsigned *gids, size_t n)
{
    enum cim_role best = uid ? CIM_ROLE_NONE : CIM_ROLE_ADMIN;
    struct rows *t = take(a);
    for (size_t i = 0; i < t->n; i++) {
        const struct row *r = &t->rows[i];
        if ((r->kind == KIND_USER && atomic_load(&r->number) == uid) ||
            (r->kind == KIND_GROUP && is_member(r, gids, n)))
            raise_to(&best, r->role);
    }
    give_back(a, t);
    return best;
}

enum cim_role access_of_thumb(const struct access *a, const char *thumb)
{
    enum cim_role best = CIM_ROLE_NONE;
    struct rows *t = take(a);
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].kind == KIND_CERTIFICATE && !strcmp(t->rows[i].name, thumb))
            raise_to(&best, t->rows[i].role);
    give_back(a, t);
    return best;
}

/* Number and groups of a user; false if there is none. */
static bool account(const char *user, uint32_t *ret_uid, unsigned *gids, size_t *ret_n)
{
    vr_autofree char *buf = vr_new0(1, NSS_BUF);
    struct passwd pw, *p = NULL;
    int n = GROUPS_MAX;
    if (getpwnam_r(user, &pw, buf, NSS_BUF, &p) || !p)
        return false;
    if (getgrouplist(user, pw.pw_gid, gids, &n) < 0)
        return false;
    *ret_uid = pw.pw_uid;
    *ret_n = (size_t)n;
    return true;
}

enum cim_role access_of_user(const struct access *a, const char *user)
{
    vr_autofree unsigned *gids = vr_new0(GROUPS_MAX, sizeof *gids);
    uint32_t uid;
    size_t n;
    if (!account(user, &uid, gids, &n))
        return CIM_ROLE_NONE;
    return access_of_local(a, uid, gids, n);
}

static bool is_principal(const char *rule, const char *principal)
{
    if (strncmp(rule, "*@", 2) != 0)
        return !strcmp(rule, principal);
    const char *at = strrchr(principal, '@');
    return at && !strcmp(rule + 1, at);
}

enum cim_role access_of_principal(const struct access *a, const char *principal,
                                  const char *local_user)
{
    vr_autofree unsigned *gids = vr_new0(GROUPS_MAX, sizeof *gids);
    enum cim_role best = CIM_ROLE_NONE;
    uint32_t uid;
    size_t n = 0;
    if (*local_user && !account(local_user, &uid, gids, &n))
        n = 0;
    struct rows *t = take(a);
    for (size_t i = 0; i < t->n; i++) {
        const struct row *r = &t->rows[i];
        if ((r->kind == KIND_PRINCIPAL && is_principal(r->name, principal)) ||
            (r->kind == KIND_PRINCIPAL_GROUP && is_member(r, gids, n)))
            raise_to(&best, r->role);
    }
    give_back(a, t);
    return best;
}
