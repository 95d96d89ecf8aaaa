/*
 * endpoint.c: who is sent to next.
 *
 * Knows no network and no database: told what began and ended, it says what
 * may begin.  Every step is O(1) but the sweeps, which walk the endpoints
 * that have something to do.
 */
#include "endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define BUCKETS 4096
#define LOW_WATER_MIN 8
#define LOW_WATER_MAX 1024

/* A doubly linked list with two ends. */
typedef struct EndpointList
{
	Endpoint   *first;
	Endpoint   *last;
	int			count;
} EndpointList;

struct Endpoints
{
	int			concurrency;
	int			per_endpoint;
	EndpointList active;		/* with something to do, or just now, or pausing */
	EndpointList idle;			/* the others, longest idle first */
	Endpoint   *ready[ENDPOINT_CLASSES];	/* rings: the one whose turn it is, or NULL */
	int			turn;			/* the class whose turn it is */
	int			in_flight[ENDPOINT_CLASSES];
	int			queued;
	int			tripped;
	bool		want_more;
	Endpoint   *buckets[BUCKETS];
};

/* ---- lists ---- */

static void
list_append(EndpointList *list, Endpoint *endpoint)
{
	endpoint->before = list->last;
	endpoint->after = NULL;
	if (list->last != NULL)
		list->last->after = endpoint;
	else
		list->first = endpoint;
	list->last = endpoint;
	list->count++;
}

static void
list_remove(EndpointList *list, Endpoint *endpoint)
{
	if (endpoint->before != NULL)
		endpoint->before->after = endpoint->after;
	else
		list->first = endpoint->after;
	if (endpoint->after != NULL)
		endpoint->after->before = endpoint->before;
	else
		list->last = endpoint->before;
	list->count--;
}

static void
ring_insert(Endpoint **ring, Endpoint *endpoint)
{
	endpoint->ready = true;
	if (*ring == NULL)
	{
		endpoint->ready_before = endpoint->ready_after = endpoint;
		*ring = endpoint;
		return;
	}
	endpoint->ready_after = *ring;	/* last in turn: right before the first */
	endpoint->ready_before = (*ring)->ready_before;
	endpoint->ready_before->ready_after = endpoint;
	endpoint->ready_after->ready_before = endpoint;
}

static void
ring_remove(Endpoint **ring, Endpoint *endpoint)
{
	endpoint->ready = false;
	if (endpoint->ready_after == endpoint)
	{
		*ring = NULL;
		return;
	}
	endpoint->ready_before->ready_after = endpoint->ready_after;
	endpoint->ready_after->ready_before = endpoint->ready_before;
	if (*ring == endpoint)
		*ring = endpoint->ready_after;
}

/* ---- what an endpoint is like ---- */

static int
outstanding(const Endpoint *endpoint)
{
	return endpoint->queued + endpoint->in_flight;
}

static bool
is_tripped(const Endpoint *endpoint)
{
	return endpoint->failures >= ENDPOINT_TRIP;
}

static bool
is_failing(const Endpoint *endpoint)
{
	return endpoint->refusals >= ENDPOINT_TRIP;
}

static EndpointClass
class_of(const Endpoint *endpoint)
{
	if (endpoint->stalled || endpoint->failures > 0 || endpoint->latency_ms > ENDPOINT_SLOW_MS)
		return ENDPOINT_SLOW;
	return endpoint->answered ? ENDPOINT_QUICK : ENDPOINT_NEW;
}

/* Is there no room for further claims? */
static bool
is_full(const Endpoint *endpoint, int64_t now_ms)
{
	if (now_ms < endpoint->pause_until_ms)
		return true;
	if (is_tripped(endpoint) || is_failing(endpoint))
		return outstanding(endpoint) > 0;
	if (endpoint->stalled)
		return true;
	if (endpoint->class == ENDPOINT_SLOW)
		return outstanding(endpoint) >= endpoint->window;
	return endpoint->queued >= endpoint->low_water;
}

/* Brings class and ring up to date after anything has changed. */
static void
refresh(Endpoints *endpoints, Endpoint *endpoint)
{
	EndpointClass class = class_of(endpoint);
	bool		ready = endpoint->queued > 0 && endpoint->in_flight < endpoint->window;

	if (endpoint->ready && (!ready || class != endpoint->class))
		ring_remove(&endpoints->ready[endpoint->class], endpoint);
	if (class != endpoint->class)
	{
		endpoints->in_flight[endpoint->class] -= endpoint->in_flight;
		endpoints->in_flight[class] += endpoint->in_flight;
		endpoint->class = class;
	}
	if (ready && !endpoint->ready)
		ring_insert(&endpoints->ready[class], endpoint);
}

static void
note_want(Endpoints *endpoints, const Endpoint *endpoint, int64_t now_ms)
{
	if (endpoint->wants_more && !endpoints->want_more && !is_full(endpoint, now_ms))
		endpoints->want_more = true;
}

/* ---- the table ---- */

Endpoints *
endpoints_new(int concurrency, int per_endpoint)
{
	Endpoints  *endpoints = calloc(1, sizeof(*endpoints));

	if (endpoints == NULL)
		return NULL;
	endpoints->concurrency = concurrency;
	endpoints->per_endpoint = per_endpoint;
	return endpoints;
}

static void
free_list(EndpointList *list)
{
	for (Endpoint *endpoint = list->first; endpoint != NULL;)
	{
		Endpoint   *after = endpoint->after;

		free(endpoint);
		endpoint = after;
	}
}

void
endpoints_free(Endpoints *endpoints)
{
	if (endpoints == NULL)
		return;
	free_list(&endpoints->active);
	free_list(&endpoints->idle);
	free(endpoints);
}

static unsigned
bucket_of(PbSlice name)
{
	return hash_bytes(name.data, name.len) % BUCKETS;
}

static void
forget(Endpoints *endpoints, Endpoint *endpoint)
{
	Endpoint  **at = &endpoints->buckets[bucket_of(pb_slice(endpoint->name))];

	while (*at != endpoint)
		at = &(*at)->next;
	*at = endpoint->next;
	list_remove(&endpoints->idle, endpoint);
	if (is_tripped(endpoint))
		endpoints->tripped--;
	free(endpoint);
}

Endpoint *
endpoints_get(Endpoints *endpoints, PbSlice name)
{
	unsigned	bucket = bucket_of(name);
	Endpoint   *endpoint;

	for (endpoint = endpoints->buckets[bucket]; endpoint != NULL; endpoint = endpoint->next)
		if (pb_slice_equal(pb_slice(endpoint->name), name))
			return endpoint;
	endpoint = calloc(1, sizeof(*endpoint) + name.len + 1);
	if (endpoint == NULL)
		return NULL;
	if (name.len > 0)
		memcpy(endpoint->name, name.data, name.len);
	endpoint->class = ENDPOINT_NEW;
	endpoint->window = 1;
	endpoint->latency_ms = -1;
	endpoint->low_water = LOW_WATER_MIN;
	endpoint->next = endpoints->buckets[bucket];
	endpoints->buckets[bucket] = endpoint;
	list_append(&endpoints->idle, endpoint);
	return endpoint;
}

static void
make_active(Endpoints *endpoints, Endpoint *endpoint)
{
	list_remove(&endpoints->idle, endpoint);
	list_append(&endpoints->active, endpoint);
	endpoint->active = true;
}

/* Only sweeps call this, so an endpoint counts as active for a moment longer than it has something to do. */
static void
make_idle_if_done(Endpoints *endpoints, Endpoint *endpoint, int64_t now_ms)
{
	if (outstanding(endpoint) > 0 || endpoint->ended > 0 || now_ms < endpoint->pause_until_ms)
		return;
	list_remove(&endpoints->active, endpoint);
	list_append(&endpoints->idle, endpoint);
	endpoint->active = false;
	while (endpoints->idle.count > ENDPOINT_KEEP_LIMIT)
		forget(endpoints, endpoints->idle.first);
}

/* ---- beginning ---- */

void
endpoint_push(Endpoints *endpoints, Endpoint *endpoint, Delivery *delivery, int64_t now_ms)
{
	if (outstanding(endpoint) == 0)
		endpoint->progress_ms = now_ms;
	if (!endpoint->active)
		make_active(endpoints, endpoint);
	delivery->endpoint = endpoint;
	delivery->next = NULL;
	if (endpoint->last != NULL)
		endpoint->last->next = delivery;
	else
		endpoint->first = delivery;
	endpoint->last = delivery;
	endpoint->queued++;
	endpoint->claimed++;
	endpoints->queued++;
	refresh(endpoints, endpoint);
}

static Delivery *
pop(Endpoints *endpoints, Endpoint *endpoint)
{
	Delivery   *delivery = endpoint->first;

	endpoint->first = delivery->next;
	if (endpoint->first == NULL)
		endpoint->last = NULL;
	delivery->next = NULL;
	endpoint->queued--;
	endpoints->queued--;
	return delivery;
}

static bool
slot_left(const Endpoints *endpoints, EndpointClass class)
{
	int			in_flight = endpoints->in_flight[class];

	if (endpoints_in_flight(endpoints) >= endpoints->concurrency)
		return false;
	switch (class)
	{
		case ENDPOINT_NEW:
			return in_flight < (endpoints->concurrency + 1) / 2;
		case ENDPOINT_SLOW:
			return in_flight < (endpoints->concurrency + 3) / 4;
		default:
			return true;
	}
}

Delivery *
endpoints_next(Endpoints *endpoints, int64_t now_ms)
{
	for (int i = 0; i < ENDPOINT_CLASSES; i++)
	{
		EndpointClass class = (EndpointClass) ((endpoints->turn + i) % ENDPOINT_CLASSES);
		Endpoint   *endpoint = endpoints->ready[class];
		Delivery   *delivery;

		if (endpoint == NULL || !slot_left(endpoints, class))
			continue;
		delivery = pop(endpoints, endpoint);
		endpoint->in_flight++;
		endpoints->in_flight[class]++;
		endpoints->ready[class] = endpoint->ready_after;	/* the next one's turn */
		endpoints->turn = (class + 1) % ENDPOINT_CLASSES;
		refresh(endpoints, endpoint);
		note_want(endpoints, endpoint, now_ms);
		return delivery;
	}
	return NULL;
}

/* ---- ending ---- */

static void
take_answer(Endpoints *endpoints, Endpoint *endpoint, int latency_ms)
{
	if (is_tripped(endpoint))
		endpoints->tripped--;
	endpoint->answered = true;
	endpoint->stalled = false;
	endpoint->failures = 0;
	endpoint->latency_ms = endpoint->latency_ms < 0 ? latency_ms : (3 * endpoint->latency_ms + latency_ms) / 4;
	endpoint->window *= 2;
	if (endpoint->window > endpoints->per_endpoint)
		endpoint->window = endpoints->per_endpoint;
}

static void
pause_endpoint(Endpoint *endpoint, int64_t now_ms)
{
	endpoint->pause_ms *= 2;
	if (endpoint->pause_ms < ENDPOINT_PAUSE_MIN_MS)
		endpoint->pause_ms = ENDPOINT_PAUSE_MIN_MS;
	if (endpoint->pause_ms > ENDPOINT_PAUSE_MAX_MS)
		endpoint->pause_ms = ENDPOINT_PAUSE_MAX_MS;
	endpoint->pause_until_ms = now_ms + endpoint->pause_ms;
}

static void
take_failure(Endpoints *endpoints, Endpoint *endpoint, int64_t now_ms)
{
	endpoint->window = endpoint->window > 1 ? endpoint->window / 2 : 1;
	endpoint->failures++;
	if (!is_tripped(endpoint))
		return;
	if (endpoint->failures == ENDPOINT_TRIP)
		endpoints->tripped++;
	endpoint->window = 1;
	if (endpoint->in_flight == 0)	/* those that were under way when it tripped count as one */
		pause_endpoint(endpoint, now_ms);
}

static void
take_refusal(Endpoint *endpoint, int64_t now_ms)
{
	endpoint->refusals++;
	if (!is_failing(endpoint))
		return;
	endpoint->window = 1;
	if (outstanding(endpoint) == 0)	/* a claim's worth, and none of it was accepted */
		pause_endpoint(endpoint, now_ms);
}

void
endpoint_ended(Endpoints *endpoints, Endpoint *endpoint, EndpointNews news, int latency_ms, int64_t now_ms)
{
	endpoint->in_flight--;
	endpoints->in_flight[endpoint->class]--;
	endpoint->ended++;
	if (endpoint->ended > endpoint->low_water && endpoint->ended <= LOW_WATER_MAX)
		endpoint->low_water = endpoint->ended;	/* a quick start need not wait for the sweep */
	endpoint->progress_ms = now_ms;
	if (news == ENDPOINT_ANSWERED || news == ENDPOINT_REFUSED)
		take_answer(endpoints, endpoint, latency_ms);
	if (news == ENDPOINT_ANSWERED)
	{
		endpoint->refusals = 0;
		endpoint->pause_ms = 0;
		endpoint->pause_until_ms = 0;
	}
	else if (news == ENDPOINT_REFUSED || news == ENDPOINT_FAILED)
		take_refusal(endpoint, now_ms);
	else if (news == ENDPOINT_UNREACHED)
		take_failure(endpoints, endpoint, now_ms);
	if (endpoint->in_flight == 0)
		endpoint->stalled = false;
	refresh(endpoints, endpoint);
	note_want(endpoints, endpoint, now_ms);
}

static void
release_queue(Endpoints *endpoints, Endpoint *endpoint, int keep, EndpointRelease release, void *context)
{
	Delivery   *kept = NULL;

	if (keep > 0 && endpoint->queued > 0)
		kept = pop(endpoints, endpoint);
	while (endpoint->queued > 0)
		release(context, pop(endpoints, endpoint));
	if (kept != NULL)
	{
		endpoint->first = endpoint->last = kept;
		endpoint->queued = 1;
		endpoints->queued++;
	}
}

static void
sweep_one(Endpoints *endpoints, Endpoint *endpoint, int64_t now_ms, EndpointRelease release, void *context)
{
	endpoint->low_water = endpoint->ended > endpoint->window ? endpoint->ended : endpoint->window;
	if (endpoint->low_water < LOW_WATER_MIN)
		endpoint->low_water = LOW_WATER_MIN;
	if (endpoint->low_water > LOW_WATER_MAX)
		endpoint->low_water = LOW_WATER_MAX;

	if (now_ms - endpoint->progress_ms >= ENDPOINT_SLOW_MS &&
		(endpoint->in_flight > 0 || (endpoint->queued > 0 && endpoint->class == ENDPOINT_SLOW)))
	{
		release_queue(endpoints, endpoint, 0, release, context);
		endpoint->stalled = endpoint->in_flight > 0;
		if (!endpoint->stalled) /* it did not even get a slot: others of its class had them */
			pause_endpoint(endpoint, now_ms);
	}
	else if (is_tripped(endpoint))
		release_queue(endpoints, endpoint, endpoint->in_flight == 0 ? 1 : 0, release, context);
	refresh(endpoints, endpoint);
	note_want(endpoints, endpoint, now_ms);
	make_idle_if_done(endpoints, endpoint, now_ms);
	endpoint->ended = 0;
}

void
endpoints_sweep(Endpoints *endpoints, int64_t now_ms, EndpointRelease release, void *context)
{
	for (Endpoint *endpoint = endpoints->active.first; endpoint != NULL;)
	{
		Endpoint   *after = endpoint->after;

		sweep_one(endpoints, endpoint, now_ms, release, context);
		endpoint = after;
	}
}

void
endpoints_release_all(Endpoints *endpoints, EndpointRelease release, void *context)
{
	for (Endpoint *endpoint = endpoints->active.first; endpoint != NULL; endpoint = endpoint->after)
	{
		release_queue(endpoints, endpoint, 0, release, context);
		refresh(endpoints, endpoint);
	}
}

/* ---- claiming ---- */

void
endpoints_name_full(Endpoints *endpoints, int64_t now_ms, EndpointNamed named, void *context)
{
	endpoints->want_more = false;
	for (Endpoint *endpoint = endpoints->active.first; endpoint != NULL; endpoint = endpoint->after)
	{
		endpoint->claimed = 0;
		endpoint->wants_more = is_full(endpoint, now_ms);
		if (endpoint->wants_more)
			named(context, endpoint->name);
	}
}

void
endpoints_claim_read(Endpoints *endpoints, int per_endpoint, int64_t now_ms)
{
	for (Endpoint *endpoint = endpoints->active.first; endpoint != NULL; endpoint = endpoint->after)
	{
		if (endpoint->claimed >= per_endpoint)
			endpoint->wants_more = true;
		endpoint->claimed = 0;
		note_want(endpoints, endpoint, now_ms);
	}
}

bool
endpoints_want_more(const Endpoints *endpoints)
{
	return endpoints->want_more;
}

/* ---- counts ---- */

int
endpoints_in_flight(const Endpoints *endpoints)
{
	return endpoints->in_flight[ENDPOINT_QUICK] + endpoints->in_flight[ENDPOINT_NEW] +
		endpoints->in_flight[ENDPOINT_SLOW];
}

int
endpoints_in_flight_of(const Endpoints *endpoints, EndpointClass class)
{
	return endpoints->in_flight[class];
}

int
endpoints_queued(const Endpoints *endpoints)
{
	return endpoints->queued;
}

int
endpoints_active(const Endpoints *endpoints)
{
	return endpoints->active.count;
}

int
endpoints_tripped(const Endpoints *endpoints)
{
	return endpoints->tripped;
}
