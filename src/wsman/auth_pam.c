/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Passwords through PAM; the only file that includes it. Runs on a worker thread because modules
 * block: they wait after a failure, they ask servers. Holds no state between calls. */
#include "wsman/auth_pam.h"

#include <ctype.h>
#include <security/pam_appl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"

enum { USER_MAX = 256 };

static void drop_answers(struct pam_response *r, int n)
{
    for (int i = 0; i < n; i++) {
        if (r[i].resp)
            explicit_bzero(r[i].resp, strlen(r[i].resp));
        free(r[i].resp);
    }
    free(r);
}

/* Answers every question that hides the typing with the password, and nothing else. */
static int converse(int n, const struct pam_message **msg, struct pam_response **ret, void *arg)
{
    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    struct pam_response *r = vr_new0((size_t)n, sizeof *r); /* PAM frees it */
    for (int i = 0; i < n; i++) {
        int style = msg[i]->msg_style;
        if (style == PAM_PROMPT_ECHO_OFF) {
            r[i].resp = vr_strdup(arg);
        } else if (style != PAM_TEXT_INFO && style != PAM_ERROR_MSG) {
            drop_answers(r, n);
            return PAM_CONV_ERR;
        }
    }
    *ret = r;
    return PAM_SUCCESS;
}

static int ask(pam_handle_t *pam, const char *user, const char *address, struct vr_err *err)
{
    if (address)
        pam_set_item(pam, PAM_RHOST, address);
    int rc = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    if (rc == PAM_SUCCESS) {
        rc = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
        if (rc != PAM_SUCCESS)
            return vr_fail(err, VR_E_DENIED, 0, "account of \"%s\": %s", user,
                           pam_strerror(pam, rc));
        return 0;
    }
    if (rc == PAM_AUTH_ERR || rc == PAM_USER_UNKNOWN || rc == PAM_MAXTRIES ||
        rc == PAM_CRED_INSUFFICIENT)
        return vr_fail(err, VR_E_AUTH, 0, "wrong user name or password");
    return vr_fail(err, VR_E_IO, 0, "PAM: %s", pam_strerror(pam, rc));
}

int wsm_pam_check(const char *service, const char *user, const char *password, const char *address,
                  struct vr_err *err)
{
    size_t n = strlen(user);
    bool clean = n > 0 && n <= USER_MAX;
    for (size_t i = 0; i < n && clean; i++)
        clean = !iscntrl((unsigned char)user[i]);
    if (!clean)
        return vr_fail(err, VR_E_AUTH, 0, "wrong user name or password");
    vr_autofree char *secret = vr_strdup(password);
    const struct pam_conv conv = { .conv = converse, .appdata_ptr = secret };
    pam_handle_t *pam = NULL;
    int rc = pam_start(service, user, &conv, &pam);
    if (rc != PAM_SUCCESS)
        return vr_fail(err, VR_E_IO, 0, "PAM service \"%s\" does not start (error %d)", service,
                       rc);
    rc = ask(pam, user, address, err);
    pam_end(pam, rc ? PAM_AUTH_ERR : PAM_SUCCESS);
    explicit_bzero(secret, strlen(secret));
    return rc;
}
