/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is at the other end: credentials of a UNIX socket, certificates, Basic. No HTTP library in
 * here. Control thread. Invariant: what is learned about a connection stays with that connection.
 */
#include "wsman/http_int.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/log.h"

enum { BASIC_MAX = 1024, PEER_GROUPS_MAX = 4096 };

/* The process's groups when it connected, as the kernel kept them; the primary one comes first. */
static size_t groups_of(int fd, gid_t primary, gid_t *gids)
{
    socklen_t len = (PEER_GROUPS_MAX - 1) * sizeof *gids;
    gids[0] = primary;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &len))
        return 1;
    return 1 + len / sizeof *gids;
}

void wsm_peer_local(struct wsm_peer *p, int fd, const struct wsm_auth *auth)
{
    struct ucred uc;
    socklen_t len = sizeof uc;
    p->local = p->checked = p->known = true;
    memcpy(p->address, "local", sizeof "local");
    p->uid = UINT32_MAX;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &len))
        return; /* nobody: no role */
    p->uid = uc.uid;
    snprintf(p->who.name, sizeof p->who.name, "local:%u", (unsigned)uc.uid);
    if (!auth->role_of_local)
        return;
    vr_autofree gid_t *gids = vr_new0(PEER_GROUPS_MAX, sizeof *gids);
    size_t n = groups_of(fd, uc.gid, gids);
    auth->role_of_local(auth->ctx, uc.uid, gids, n, &p->who);
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
}

static void wipe(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void wsm_peer_again(struct wsm_peer *p, int fd, const struct wsm_auth *auth)
{
    if (p->local) {
        p->who = (struct wsm_identity){ .role = CIM_ROLE_NONE };
        wsm_peer_local(p, fd, auth);
        return;
    }
    p->roles++;
    p->checked = p->known = false;
    p->who = (struct wsm_identity){ .role = CIM_ROLE_NONE };
    wipe(vr_take(p->basic));
}

void wsm_peer_keep_basic(struct wsm_peer *p, const char *header, const struct wsm_identity *who)
{
    wipe(p->basic);
    p->basic = vr_strdup(header);
    p->basic_who = *who;
}

void wsm_peer_keep_gss(struct wsm_peer *p, struct vr_gss *take_gss, const struct wsm_identity *who)
{
    wsm_peer_drop_gss(p);
    p->gss = take_gss;
    p->gss_who = *who;
    p->legs = 0;
}

void wsm_peer_drop_gss(struct wsm_peer *p)
{
    vr_gss_free(vr_take(p->gss));
    vr_gss_free(vr_take(p->pending));
}

void wsm_peer_done(struct wsm_peer *p)
{
    wipe(vr_take(p->basic));
    wsm_peer_drop_gss(p);
}

int wsm_basic_decode(const char *text, char **ret_user, char **ret_password)
{
    vr_autobuf struct vr_buf plain = { .max = BASIC_MAX };
    if (strlen(text) > BASIC_MAX || vr_base64_decode(text, &plain, NULL) || !plain.len)
        return -1;
    char *s = (char *)plain.data, *colon = strchr(s, ':');
    int rc = -1;
    if (colon && strlen(s) == plain.len) {
        *ret_user = vr_strndup(s, (size_t)(colon - s));
        *ret_password = vr_strdup(colon + 1);
        rc = 0;
    }
    explicit_bzero(plain.data, plain.cap);
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
