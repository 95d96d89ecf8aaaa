/*
 * landing.c: addresses by link, and when they were learned.
 */
#include "landing.h"

#include <stdlib.h>
#include <string.h>

#include "cache.h"

typedef struct Landing
{
	int64_t		learned_ms;
	char		address[];
} Landing;

struct Landings
{
	Loop	   *loop;
	Metric	   *count;
	Cache	   *cache;
	int64_t		life_ms;
	int64_t		latest_ms;		/* when the database was last asked, for any link */
};

static void
refresh(void *context)
{
	Landings   *landings = context;

	metric_set(landings->count, cache_count(landings->cache));
}

Landings *
landings_new(Loop *loop, Metrics *metrics, int64_t life_ms)
{
	Landings   *landings = calloc(1, sizeof(*landings));

	if (landings == NULL)
		return NULL;
	landings->loop = loop;
	landings->life_ms = life_ms;
	landings->cache = cache_new(LANDING_LIMIT, LANDING_BYTES);
	if (landings->cache == NULL)
	{
		free(landings);
		return NULL;
	}
	landings->count = metrics_gauge(metrics, "postbackd_landings", NULL,
									"Links whose landing page is remembered for when the database is away.");
	metrics_on_refresh(metrics, refresh, landings);
	return landings;
}

void
landings_free(Landings *landings)
{
	if (landings == NULL)
		return;
	cache_free(landings->cache);
	free(landings);
}

void
landings_learn(Landings *landings, PbSlice link, PbSlice address)
{
	Landing    *landing = cache_find(landings->cache, link);

	landings->latest_ms = loop_now_ms(landings->loop);
	if (address.data == NULL)
	{
		cache_remove(landings->cache, link);
		return;
	}
	if (landing == NULL || !pb_slice_equal(pb_slice(landing->address), address))
		landing = cache_put(landings->cache, link, sizeof(*landing) + address.len + 1);
	if (landing == NULL)
		return;
	landing->learned_ms = landings->latest_ms;
	memcpy(landing->address, address.data, address.len);
	landing->address[address.len] = '\0';
}

const char *
landings_find(Landings *landings, PbSlice link)
{
	const Landing *landing = cache_find(landings->cache, link);

	if (landing == NULL || landings->latest_ms - landing->learned_ms > landings->life_ms)
		return NULL;
	return landing->address;
}
