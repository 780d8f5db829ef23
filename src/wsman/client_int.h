/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_WSMAN_CLIENT_INT_H
#define VR_WSMAN_CLIENT_INT_H

#include "base/xml.h"
#include "base/xmlw.h"
#include "wsman/client.h"

/* Inside the client: elements to results and references to elements. */

/* wsmc_inst_read() - an instance out of its element; never NULL. @cls: its name. */
struct wsmc_inst *wsmc_inst_read(const struct vr_xml *el, const char *cls, int depth);
/* wsmc_put_ref() - ResourceURI and SelectorSet of @ref into the open element, with prefix w.
 * Errors: VR_E_INVAL when its path cannot be read. */
int wsmc_put_ref(struct vr_xmlw *w, const struct wsmc_ref *ref, struct vr_err *err);
/* wsmc_ref_uri() - resource URI of @ref; the caller frees. Errors: as above. */
int wsmc_ref_uri(const struct wsmc_ref *ref, char **ret, struct vr_err *err);
/* wsmc_put_args() - elements p:NAME for arguments. */
int wsmc_put_args(struct vr_xmlw *w, const struct wsmc_arg *args, size_t n, struct vr_err *err);

#endif
