/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_REPLICATION_EXPLAIN_INT_H
#define VR_REPLICATION_EXPLAIN_INT_H

#include "replication/explain.h"

/* Between explain.c and reasons.c. The table names the conditions, so the table declares them. */
#define WHY(name) bool rel_why_##name(const struct rel_facts *f)
#define LOSS(name) bool rel_loss_##name(const struct rel_facts *f)
#define VARIANT(name) bool rel_variant_##name(const struct rel_facts *f)

#define R(name, level, id, health, why, todo, command) WHY(name);
#include "replication/explain.def"
#define Z(name, text) LOSS(name);
#include "replication/explain.def"
#define V(name, doing, todo, command) VARIANT(name);
#include "replication/explain.def"

/* rel_expand() - @text with the placeholders of explain.def filled in. Returns @to. */
char *rel_expand(const struct rel_facts *f, const char *text, char *to, size_t max);

#endif
