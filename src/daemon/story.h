/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_DAEMON_STORY_H
#define VR_DAEMON_STORY_H

#include <stdbool.h>

#include "daemon/messages.h"
#include "replication/step.h"

/* msg_from_story(), msg_to_story() - between the engine's value and the wire; what is out of range
 * becomes "unknown". Pure. */
struct msg_story msg_from_story(const struct rel_story *s);
struct rel_story msg_to_story(const struct msg_story *m);

/* story_is_news() - was @s not told before @last? What different runs of a daemon told has no order
 * and counts as it comes. Pure. */
bool story_is_news(const struct rel_story *last, const struct rel_story *s);

/* story_encode_left() - what was left of a relationship (rel_story_left()) as a document: "of
 * LINEAGE", "lineage LINEAGE", "point LINEAGE EPOCH", "since MICROSECONDS"; NULL when nothing has
 * to be told. The caller frees. story_decode_left() - VR_E_CORRUPT when it is none. Pure. */
char *story_encode_left(const struct rel_story *s);
int story_decode_left(const char *text, struct rel_story *ret, struct vr_err *err);

#endif
