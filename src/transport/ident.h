/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_IDENT_H
#define VR_TRANSPORT_IDENT_H

#include "base/err.h"

struct tls_identity;

/* ident_load() - the host's certificate and key from @dir (host.crt, host.key), made when both are
 * absent; a certificate is made for a key that stands alone.
 * @host_name: common and alternative name of a certificate that is made
 * @ret: freed by the caller with tls_identity_free()
 * Errors: VR_E_DENIED the key can be read by others than its owner or belongs to somebody else,
 * VR_E_NOFILE a certificate without its key, VR_E_INVAL they do not belong together or are
 * unusable, VR_E_IO. Thread: any; start-up. */
int ident_load(const char *dir, const char *host_name, struct tls_identity **ret,
               struct vr_err *err);

#endif
