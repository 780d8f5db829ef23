/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CIM_SCAN_H
#define CIM_SCAN_H

#include <stdint.h>

#include "cim/query.h"

/* Answers with many instances, collected in slices so that nobody else has to wait for them. The
 * functions of provider.h that return lists are scans in one slice. If machines come or go between
 * two slices the scan begins anew, so that nothing is missing or there twice. Control thread. */

struct cim_scan;

/* cim_scan_class() - as cim_enumerate(). cim_scan_query() - as cim_query_run(); takes the query.
 * cim_scan_associators(), cim_scan_references() - as cim_associators(), cim_references().
 * All arguments but @s are copied. Never NULL; what is wrong with them cim_scan_run() says. */
struct cim_scan *cim_scan_class(struct cim_server *s, const struct cim_caller *who,
                                const struct cim_class *c, bool deep, const struct cim_path *keys);
struct cim_scan *cim_scan_query(struct cim_server *s, const struct cim_caller *who,
                                struct cim_query *take_q);
struct cim_scan *cim_scan_associators(struct cim_server *s, const struct cim_caller *who,
                                      const struct cim_path *object, const struct cim_assoc *how);
struct cim_scan *cim_scan_references(struct cim_server *s, const struct cim_caller *who,
                                     const struct cim_path *object, const struct cim_assoc *how);
/* cim_scan_select() - instances of @c that have all the properties, keys or not, which @props names
 * as if they were keys, with these values; BAD_QUERY for one that is an array or not of the class.
 */
struct cim_scan *cim_scan_select(struct cim_server *s, const struct cim_caller *who,
                                 const struct cim_class *c, bool deep,
                                 const struct cim_path *props);
/* cim_scan_get() - as cim_get(): its end finds exactly one instance, or is a fault. */
struct cim_scan *cim_scan_get(struct cim_server *s, const struct cim_caller *who,
                              const struct cim_path *path);
/* cim_scan_show() - hide all properties but these @n (cim_inst_is_hidden()), at most once, and not
 * after a SELECT with columns, which does it by itself. Names nobody has are ignored. */
void cim_scan_show(struct cim_scan *sc, const char *const *names, size_t n);
/* cim_scan_free() - NULL is fine. */
void cim_scan_free(struct cim_scan *sc);
VR_DEFINE_CLEANUP(struct cim_scan, cim_scan_free)

/* cim_scan_run() - go on for about @slice_ms (0: to the end).
 * @ret_over: whether there is nothing more to do; then the status is that of the whole scan */
enum cim_status cim_scan_run(struct cim_scan *sc, unsigned slice_ms, bool *ret_over,
                             struct vr_err *err);
/* cim_scan_found() - how many instances it holds, embedded ones too. cim_scan_take() - append them
 * to @ret. */
size_t cim_scan_found(const struct cim_scan *sc);
void cim_scan_take(struct cim_scan *sc, struct cim_list *ret);

#endif
