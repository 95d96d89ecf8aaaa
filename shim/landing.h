/*
 * landing.h: where links lead, as the database last said: for visitors who come while it is away.
 *
 * Bounded (the link that was not used for longest goes first) and expiring, so that a link that was paused or changed is not
 * followed for long.
 */
#ifndef POSTBACKD_LANDING_H
#define POSTBACKD_LANDING_H

#include "../extension/core/slice.h"
#include "loop.h"
#include "metrics.h"

#define LANDING_LIMIT 10000
#define LANDING_BYTES (8 * 1024 * 1024) /* of codes and addresses together */
#define LANDING_LIFE_MS (10 * 60 * 1000)	/* since it was last learned */

typedef struct Landings Landings;

/* NULL when out of memory. */
extern Landings *landings_new(Loop *loop, Metrics *metrics) __attribute__((warn_unused_result));
extern void landings_free(Landings *landings);

/* The link leads to the address now; one without data: nowhere. */
extern void landings_learn(Landings *landings, PbSlice link, PbSlice address);

/* The address, valid until the next landings_learn; NULL if it is not known. */
extern const char *landings_find(Landings *landings, PbSlice link);

#endif							/* POSTBACKD_LANDING_H */
