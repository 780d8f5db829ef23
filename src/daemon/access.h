/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_ACCESS_H
#define VR_DAEMON_ACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cim/provider.h"

/* Who may manage this host, and how much: rows (role, subject) from the parameters administrators,
 * operators and readers. A caller has the highest role that a row gives; root is an administrator
 * always. What a role may do is decided by the tables of cim/providers. */

struct access;

/* Kinds of subjects: K(name in the configuration, text) */
#define ACCESS_KINDS(K)                                                                      \
    K(USER, "user", "a user of this host, at the local socket or by password")               \
    K(GROUP, "group", "members of a group of this host, at the local socket or by password") \
    K(PRINCIPAL, "principal", "a Kerberos principal NAME@REALM, or *@REALM")                 \
    K(PRINCIPAL_GROUP, "principal-group",                                                    \
      "principals that krb5.conf (auth_to_local) maps to a member of a group of this host")  \
    K(CERTIFICATE, "certificate", "SHA-256 thumbprint of a client certificate")

/* access_new() - an empty table: only root comes in. */
struct access *access_new(void);
/* access_free() - NULL is fine. */
void access_free(struct access *a);
VR_DEFINE_CLEANUP(struct access, access_free)
/* access_add() - rows from a list "KIND:NAME, KIND:NAME"; an empty list adds none. Before
 * anybody asks.
 * Errors: VR_E_INVAL with what is wrong and what is allowed. */
int access_add(struct access *a, enum cim_role role, const char *list, struct vr_err *err);

/* access_replace() - @a has the rows of @take_from from now on, which is gone. Any thread. */
void access_replace(struct access *a, struct access *take_from);

/* access_resolve() - look up the numbers of users and groups anew; one that does not exist has
 * none. Blocks on name services: a worker, or start-up. */
void access_resolve(struct access *a);
/* access_of_local() - role of a process by its numbers. Does not block. Any thread. */
enum cim_role access_of_local(const struct access *a, uint32_t uid, const unsigned *gids, size_t n);
/* access_of_thumb() - by SHA-256 thumbprint, lower case. Does not block. Any thread. */
enum cim_role access_of_thumb(const struct access *a, const char *thumb);
/* access_of_user() - of a user of this host who has shown a password. access_of_principal() - of a
 * Kerberos principal; @local_user as krb5.conf has it, "" if none. Both ask name services: a
 * worker. */
enum cim_role access_of_user(const struct access *a, const char *user);
enum cim_role access_of_principal(const struct access *a, const char *principal,
                                  const char *local_user);

#endif
