/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host tells of a machine, between the engine's value and the wire. Pure. */
#include "daemon/story.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"

struct msg_story msg_from_story(const struct rel_story *s)
{
    return (struct msg_story){ .mode = (uint16_t)s->mode,
                               .power = (uint8_t)s->power,
                               .lineage = s->lineage,
                               .failed_over = s->failed_over,
                               .of = s->of,
                               .point_lineage = s->point.lineage,
                               .point_epoch = s->point.epoch,
                               .since_us = s->since.us,
                               .ahead_known = s->ahead_known,
                               .ahead = s->ahead,
                               .told_by = s->told_by,
                               .told_ms = s->told_ms,
                               .state_known = s->state_known,
                               .state = s->state };
}

struct rel_story msg_to_story(const struct msg_story *m)
{
    return (struct rel_story){
        .mode = m->mode > REL_MODE_EXTENDED ? REL_MODE_NONE : (enum rel_mode)m->mode,
        .power = m->power > REL_POWER_ON ? REL_POWER_UNKNOWN : (enum rel_power)m->power,
        .lineage = m->lineage,
        .failed_over = m->failed_over,
        .of = m->of,
        .point = { m->point_lineage, m->point_epoch },
        .since.us = m->since_us > 0 ? m->since_us : 0,
        .ahead_known = m->ahead_known,
        .ahead = m->ahead,
        .told_by = m->told_by,
        .told_ms = m->told_ms,
        .state_known = m->state_known,
        .state = m->state
    };
}

bool story_is_news(const struct rel_story *last, const struct rel_story *s)
{
    return vr_uuid_is_zero(&s->told_by) || !vr_uuid_eq(&s->told_by, &last->told_by) ||
           s->told_ms >= last->told_ms;
}

char *story_encode_left(const struct rel_story *s)
{
    char of[VR_UUID_STR], lineage[VR_UUID_STR], point[VR_UUID_STR];
    if (!s->failed_over)
        return NULL;
    return vr_printf("of %s\nlineage %s\npoint %s %" PRIu64 "\nsince %" PRId64 "\n",
                     vr_uuid_fmt(&s->of, of), vr_uuid_fmt(&s->lineage, lineage),
                     vr_uuid_fmt(&s->point.lineage, point), s->point.epoch, s->since.us);
}

int story_decode_left(const char *text, struct rel_story *ret, struct vr_err *err)
{
    char of[VR_UUID_STR], lineage[VR_UUID_STR], point[VR_UUID_STR];
    struct rel_story s = { .mode = REL_MODE_NONE, .failed_over = true, .state_known = true };
    struct vr_err bad = VR_ERR_INIT;
    if (sscanf(text, "of %36s lineage %36s point %36s %" SCNu64 " since %" SCNd64, of, lineage,
               point, &s.point.epoch, &s.since.us) != 5 ||
        vr_uuid_parse(of, &s.of, &bad) < 0 || vr_uuid_parse(lineage, &s.lineage, &bad) < 0 ||
        vr_uuid_parse(point, &s.point.lineage, &bad) < 0)
        return vr_fail(err, VR_E_CORRUPT, 0,
                       "what is written down of a failover that was ended cannot be read");
    *ret = s;
    return 0;
}
