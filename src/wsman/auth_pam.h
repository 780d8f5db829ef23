/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_AUTH_PAM_H
#define VR_WSMAN_AUTH_PAM_H

#include "base/err.h"

/* wsm_pam_check() - check a password and the account through PAM. What the user may do is not
 * asked.
 * @service: PAM service name, e.g. "vmreplica"
 * @user:    at most 256 bytes, no control characters
 * @address: where the caller is, for PAM's records; may be NULL
 * Errors: VR_E_AUTH wrong user or password (never says which), VR_E_DENIED the account is closed,
 * VR_E_IO when PAM does not work. Thread: a worker; blocks, modules may wait for seconds. */
int wsm_pam_check(const char *service, const char *user, const char *password, const char *address,
                  struct vr_err *err);

#endif
