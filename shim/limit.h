/*
 * limit.h: how many calls per second each token may make, as the database told with its last answer.
 *
 * A token bucket each: as many calls at once as one second has, then evenly. A token whose limit is not known yet is let
 * through. The limit is this process's: of several on one port each has its own.
 */
#ifndef POSTBACKD_LIMIT_H
#define POSTBACKD_LIMIT_H

#include <stdbool.h>

#include "../extension/core/slice.h"
#include "loop.h"
#include "metrics.h"

#define LIMIT_TOKENS 4096		/* remembered at most, those used last */

typedef struct Limits Limits;

/* NULL when out of memory. */
extern Limits *limits_new(Loop *loop, Metrics *metrics) __attribute__((warn_unused_result));
extern void limits_free(Limits *limits);

/* The token's limit, calls per second; 0: it has none. */
extern void limits_learn(Limits *limits, PbSlice token, int per_second);

/* May the token call now?  If so, the call is counted; if not, it may in a second. */
extern bool limits_allow(Limits *limits, PbSlice token) __attribute__((warn_unused_result));

#endif							/* POSTBACKD_LIMIT_H */
