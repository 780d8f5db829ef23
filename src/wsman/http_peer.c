/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is at the other end: credentials of a UNIX socket, certificates, Basic. No HTTP library in
 * here. Control thread. Invariant: what is learned about a connection stays with that connection.
 */
#include "wsman/http_int.h"

#include <ctype.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/log.h"

enum { BASIC_MAX = 1024, NSS_BUF = 65536, PEER_GROUPS_MAX = 4096 };

static bool gid_of_group(const char *name, gid_t *ret)
{
    vr_autofree char *buf = vr_new0(1, NSS_BUF);
    struct group gr, *grp = NULL;
    if (getgrnam_r(name, &gr, buf, NSS_BUF, &grp) || !grp)
        return false;
    *ret = gr.gr_gid;
    return true;
}

/* The process's groups when it connected, as the kernel kept them. */
static bool socket_has_group(int fd, gid_t primary, gid_t want)
{
    if (primary == want)
        return true;
    vr_autofree gid_t *gids = vr_new0(PEER_GROUPS_MAX, sizeof *gids);
    socklen_t len = PEER_GROUPS_MAX * sizeof *gids;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len))
        return false;
    for (size_t i = 0; i < len / sizeof *gids; i++)
        if (gids[i] == want)
            return true;
    return false;
}

void wsm_peer_local(struct wsm_peer *p, int fd, const char *admin_group)
{
    p->local = p->checked = true;
    memcpy(p->address, "local", sizeof "local");
    struct ucred uc;
    socklen_t len = sizeof uc;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &len)) {
        p->refused = true;
        return;
    }
    gid_t want;
    bool ok =
        uc.uid == 0 || (gid_of_group(admin_group, &want) && socket_has_group(fd, uc.gid, want));
    if (!ok) {
        p->refused = true;
        vr_log(VR_LOG_WARN, "management: user %u on the local socket is not in group %s",
               (unsigned)uc.uid, admin_group);
        return;
    }
    p->who.role = CIM_ROLE_ADMIN;
    snprintf(p->who.name, sizeof p->who.name, "local:%u", (unsigned)uc.uid);
    p->known = true;
}

void wsm_peer_certificate(struct wsm_peer *p, const struct wsm_auth *auth, const char *thumb)
{
    if (p->checked)
        return;
    p->checked = true;
    if (!thumb || !auth->role_of_thumbprint)
        return;
    struct wsm_identity c = { .role = CIM_ROLE_NONE };
    if (auth->role_of_thumbprint(auth->ctx, thumb, &c)) {
        vr_log(VR_LOG_INFO, "management: %s showed the unknown certificate %s", p->address, thumb);
        return;
    }
    p->who = c;
    p->known = true;
    p->refused = c.role == CIM_ROLE_NONE;
}

static void wipe(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void wsm_peer_done(struct wsm_peer *p)
{
    wipe(p->basic);
    p->basic = NULL;
}

static int b64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(digits, c) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* Returns the number of bytes, or -1. @out has room for 3/4 of the text and a final NUL. */
static int b64_decode(const char *s, char *out)
{
    unsigned bits = 0, have = 0;
    int n = 0;
    for (; *s && *s != '='; s++) {
        int v = b64_value(*s);
        if (v < 0)
            return -1;
        bits = bits << 6 | (unsigned)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 0xff);
        }
    }
    while (*s == '=')
        s++;
    out[n] = 0;
    return *s ? -1 : n;
}

int wsm_basic_decode(const char *header, char **ret_user, char **ret_password)
{
    if (strncasecmp(header, "Basic ", 6) || strlen(header) > BASIC_MAX)
        return -1;
    header += 6;
    while (*header == ' ')
        header++;
    char plain[BASIC_MAX];
    int n = b64_decode(header, plain);
    char *colon = n < 0 ? NULL : strchr(plain, ':');
    int rc = -1;
    if (colon && strlen(plain) == (size_t)n) {
        *ret_user = vr_strndup(plain, (size_t)(colon - plain));
        *ret_password = vr_strdup(colon + 1);
        rc = 0;
    }
    explicit_bzero(plain, sizeof plain);
    return rc;
}

bool wsm_body_type_ok(const char *type)
{
    if (!type) /* a browser can be made to send a body without a type, but not with these types */
        return false;
    size_t n = strcspn(type, "; \t");
    static const char *const good[] = { "application/soap+xml", "text/xml", "application/xml" };
    for (size_t i = 0; i < VR_ARRAY_LEN(good); i++)
        if (n == strlen(good[i]) && !strncasecmp(type, good[i], n))
            return true;
    return false;
}

void wsm_throttle_failed(struct wsm_throttle *t, const char *address, const struct vr_err *why)
{
    struct mono_ms now = vr_mono_now();
    size_t use = 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(t->slot); i++) {
        if (!strcmp(t->slot[i].address, address)) {
            use = i;
            break;
        }
        if (t->slot[i].at.ms < t->slot[use].at.ms)
            use = i;
    }
    bool same = !strcmp(t->slot[use].address, address);
    if (same && now.ms - t->slot[use].at.ms < 1000) {
        t->slot[use].held_back++;
        return;
    }
    unsigned more = same ? t->slot[use].held_back : 0;
    snprintf(t->slot[use].address, sizeof t->slot[use].address, "%s", address);
    t->slot[use].at = now;
    t->slot[use].held_back = 0;
    vr_log(VR_LOG_WARN, "management: login from %s refused: %s (and %u more)", address, why->msg,
           more);
}
