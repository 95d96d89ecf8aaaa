/*
 * limit.c: a bucket of thousandths of calls for each token that has a limit.
 */
#include "limit.h"

#include <stdlib.h>

#include "cache.h"

#define CALL 1000				/* parts of a call: as many as a second has milliseconds */

typedef struct Bucket
{
	int			per_second;
	int64_t		left;			/* parts of calls */
	int64_t		filled_ms;
} Bucket;

struct Limits
{
	Loop	   *loop;
	Metric	   *count;
	Cache	   *cache;
};

static void
refresh(void *context)
{
	Limits	   *limits = context;

	metric_set(limits->count, cache_count(limits->cache));
}

Limits *
limits_new(Loop *loop, Metrics *metrics)
{
	Limits	   *limits = calloc(1, sizeof(*limits));

	if (limits == NULL)
		return NULL;
	limits->loop = loop;
	limits->cache = cache_new(LIMIT_TOKENS, LIMIT_TOKENS * 512);
	if (limits->cache == NULL)
	{
		free(limits);
		return NULL;
	}
	limits->count = metrics_gauge(metrics, "postbackd_limited_tokens", NULL, "Tokens whose rate limit is known.");
	metrics_on_refresh(metrics, refresh, limits);
	return limits;
}

void
limits_free(Limits *limits)
{
	if (limits == NULL)
		return;
	cache_free(limits->cache);
	free(limits);
}

static int64_t
full(const Bucket *bucket)
{
	return (int64_t) bucket->per_second * CALL;
}

void
limits_learn(Limits *limits, PbSlice token, int per_second)
{
	Bucket	   *bucket;

	if (per_second <= 0)
	{
		if (cache_count(limits->cache) > 0)
			cache_remove(limits->cache, token);
		return;
	}
	bucket = cache_find(limits->cache, token);
	if (bucket != NULL)
	{
		bucket->per_second = per_second;
		return;
	}
	bucket = cache_put(limits->cache, token, sizeof(*bucket));
	if (bucket == NULL)
		return;
	bucket->per_second = per_second;
	bucket->left = full(bucket) - CALL; /* the one that told us */
	bucket->filled_ms = loop_now_ms(limits->loop);
}

bool
limits_allow(Limits *limits, PbSlice token)
{
	int64_t		now = loop_now_ms(limits->loop);
	Bucket	   *bucket;
	int64_t		passed;

	if (cache_count(limits->cache) == 0 || (bucket = cache_find(limits->cache, token)) == NULL)
		return true;
	passed = now - bucket->filled_ms;
	if (passed > 1000)
		passed = 1000;
	bucket->left += passed * bucket->per_second;
	if (bucket->left > full(bucket))
		bucket->left = full(bucket);
	bucket->filled_ms = now;
	if (bucket->left < CALL)
		return false;
	bucket->left -= CALL;
	return true;
}
