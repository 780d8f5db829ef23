/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host tells of a machine, between the engine's value and the wire. Pure. */
#include "daemon/story.h"

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
