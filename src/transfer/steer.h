/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSFER_STEER_H
#define VR_TRANSFER_STEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Which compression pays: a step of a ladder of levels that follows what is scarce, the link or
 * processors. The thread that writes to the stream measures and chooses, the packers obey. */

enum { STEER_STEPS = 7 };

struct steer {
    _Atomic int step;   /* in force; 0: plain */
    _Atomic int sample; /* a step that the next unit with something to compress is packed with, or
                           -1 */
    int steps;          /* usable ones */
    int packers;        /* threads that compress */
    /* The writer's own: what was measured. */
    double cost[STEER_STEPS]; /* seconds per byte of disk with each step, 0: not known */
    double work[STEER_STEPS]; /* seconds of one packer per byte that it tries to compress */
    double size[STEER_STEPS]; /* what becomes of such a byte; 0: not known */
    double share;             /* of such bytes, in the last window */
    double crowded;           /* the packers' waiting for a processor over their running */
    uint64_t bytes, compressible;
    int64_t ran_us, waited_us;
    int64_t since_us;
    int measured;             /* windows so far */
    int best, every, look_at; /* the best step lately; windows between two looks at another one */
    int sampled;              /* the step that a sample was asked of, or -1 */
    bool below;               /* the next look is at a weaker one */
};

/* A unit of the transfer that is through. */
struct steer_unit {
    int step;              /* that it was packed with */
    bool sample;           /* because steer.sample said so */
    uint64_t bytes;        /* of disk */
    uint64_t compressible; /* of these: what looks as if it could shrink */
    uint64_t compressed;   /* its size after packing */
    int64_t work_us;       /* microseconds that compressing took */
    int64_t ran_us;        /* how long the packer had a processor since its last unit, */
    int64_t waited_us;     /* and how long it waited for one */
};

/* steer_init() - @ceiling is the highest level (1..19, or negative), 0 for none at all; @packers
 * threads compress at once. */
void steer_init(struct steer *s, int ceiling, int packers);
/* steer_level() - zstd's level of @step; 0: plain. */
int steer_level(int step);
/* steer_take() - packers: the step for a unit of which something may shrink, and in *@sample
 * whether it is only a sample. */
int steer_take(struct steer *s, bool *sample);
/* steer_note() - writer: at @now_us a unit is through. May change the step. */
void steer_note(struct steer *s, const struct steer_unit *u, int64_t now_us);

#endif
