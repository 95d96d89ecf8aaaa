/*
 * cache.h: a bounded table of values by key: when it is full, the one that was not used for longest goes.
 */
#ifndef POSTBACKD_CACHE_H
#define POSTBACKD_CACHE_H

#include <stddef.h>

#include "../extension/core/slice.h"

typedef struct Cache Cache;

/* At most so many values, and bytes of keys and values together.  NULL when out of memory. */
extern Cache *cache_new(int most, size_t most_bytes) __attribute__((warn_unused_result));
extern void cache_free(Cache *cache);

/* The value, which now was used last; NULL: none.  Valid until the next cache_put or cache_remove. */
extern void *cache_find(Cache *cache, PbSlice key);

/* Room for a value of that size in the place of the one that was there; NULL when out of memory (then there is none). */
extern void *cache_put(Cache *cache, PbSlice key, size_t size);

extern void cache_remove(Cache *cache, PbSlice key);
extern int	cache_count(const Cache *cache);

#endif							/* POSTBACKD_CACHE_H */
