/*
 * landing.h: where links lead, as the database last said: for visitors who come while it is away.
 *
 * Bounded (the link that was not used for longest goes first) and expiring, so that a link that was paused or changed is not
 * followed for long: what was learned much earlier than the latest of all is out of date. While the database is away
 * nothing is learned and nothing expires.
 */
#ifndef POSTBACKD_LANDING_H
#define POSTBACKD_LANDING_H

#include "../extension/core/slice.h"
#include "loop.h"
#include "metrics.h"

#define LANDING_LIMIT 10000
#define LANDING_BYTES (8 * 1024 * 1024) /* of codes and addresses together */

typedef struct Landings Landings;

/* NULL when out of memory.  An address lives so long beyond the last time it was learned. */
extern Landings *landings_new(Loop *loop, Metrics *metrics, int64_t life_ms) __attribute__((warn_unused_result));
extern void landings_free(Landings *landings);

/* The link leads to the address now; one without data: nowhere. */
extern void landings_learn(Landings *landings, PbSlice link, PbSlice address);

/* The address, valid until the next landings_learn; NULL if it is not known. */
extern const char *landings_find(Landings *landings, PbSlice link);

#endif							/* POSTBACKD_LANDING_H */
