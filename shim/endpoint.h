/*
 * endpoint.h: who is sent to next: connection caps, breakers and fair share of endpoints ("host:port").
 *
 * Three classes share the slots by turns.  QUICK ones answer within a second
 * and may use every slot.  NEW ones never answered yet: one delivery at a time
 * each, half of the slots all together.  SLOW ones (late, silent for a second,
 * or failing) have a quarter of the slots all together.  So whoever hangs
 * takes room from its like, and what it has queued is given back.
 *
 * After ENDPOINT_TRIP deliveries on end that it refused or did not answer an
 * endpoint is failing: one at a time, and what it gets from a claim is followed
 * by a pause, each twice as long as the one before, until one is accepted.
 *
 * After ENDPOINT_TRIP that did not even reach it it is tripped: one probe at a
 * time, with such pauses between, until one is answered.
 */
#ifndef POSTBACKD_ENDPOINT_H
#define POSTBACKD_ENDPOINT_H

#include "delivery.h"

#define ENDPOINT_TRIP 3
#define ENDPOINT_PAUSE_MIN_MS 1000
#define ENDPOINT_PAUSE_MAX_MS 15000

/* Nothing ended for so long, or answers take so long: slow. */
#define ENDPOINT_SLOW_MS 1000

/* How often endpoints_sweep is to be called. */
#define ENDPOINT_SWEEP_MS 250

/* Endpoints remembered beyond those with something to do. */
#define ENDPOINT_KEEP_LIMIT 4096

typedef enum EndpointClass
{
	ENDPOINT_QUICK,
	ENDPOINT_NEW,
	ENDPOINT_SLOW,
	ENDPOINT_CLASSES
} EndpointClass;

/* What an ended delivery says of its endpoint. */
typedef enum EndpointNews
{
	ENDPOINT_ANSWERED,			/* a response that may be a success */
	ENDPOINT_REFUSED,			/* a response of 400 or more */
	ENDPOINT_FAILED,			/* there, but no response */
	ENDPOINT_UNREACHED,			/* no name, no connection, no TLS, or a time-out */
	ENDPOINT_NO_NEWS			/* it was never asked */
} EndpointNews;

/* Fields are endpoint.c's own, but for name (to be read) and good (to be set). */
typedef struct Endpoint
{
	struct Endpoint *next;		/* in its bucket */
	struct Endpoint *before;	/* in active or idle, the one that it is in */
	struct Endpoint *after;
	struct Endpoint *ready_before;	/* in its class's ring of those that could start one */
	struct Endpoint *ready_after;
	bool		active;
	bool		ready;
	EndpointClass class;

	Delivery   *first;			/* claimed, not started */
	Delivery   *last;
	int			queued;
	int			in_flight;
	int			window;			/* how many may be in flight */

	bool		answered;		/* ever */
	bool		stalled;		/* nothing ended for a second, and nothing answered since */
	int			failures;		/* ENDPOINT_UNREACHED on end */
	int			refusals;		/* ENDPOINT_REFUSED or _FAILED on end */
	int			latency_ms;		/* of answers, smoothed; -1 = none yet */
	int64_t		progress_ms;	/* when something ended last, or there was something to do again */
	int64_t		pause_until_ms;
	int			pause_ms;

	int			ended;			/* since the last sweep */
	int			low_water;		/* with fewer queued there is room for more */
	bool		wants_more;		/* the database may have more than it gave */
	int			claimed;		/* rows of the claim being read */
	PbAddress	good;			/* the address that answered last; family 0 = none yet */
	char		name[];
} Endpoint;

typedef struct Endpoints Endpoints;

/* concurrency: slots of all; per_endpoint: largest window of one. */
extern Endpoints *endpoints_new(int concurrency, int per_endpoint) __attribute__((warn_unused_result));

/* Deliveries still queued are their owner's. */
extern void endpoints_free(Endpoints *endpoints);

/* The endpoint of that name, made if need be; NULL when out of memory.  It stays as long as it has something to do. */
extern Endpoint *endpoints_get(Endpoints *endpoints, PbSlice name) __attribute__((warn_unused_result));

/* Queues a claimed delivery. */
extern void endpoint_push(Endpoints *endpoints, Endpoint *endpoint, Delivery *delivery, int64_t now_ms);

/* The next that may be started, from then on in flight; NULL if none may. */
extern Delivery *endpoints_next(Endpoints *endpoints, int64_t now_ms) __attribute__((warn_unused_result));

/* One in flight has ended; latency_ms matters for answers only. */
extern void endpoint_ended(Endpoints *endpoints, Endpoint *endpoint, EndpointNews news, int latency_ms, int64_t now_ms);

/* Finds out who has become slow.  release gets each delivery that is not to be held any longer. */
typedef void (*EndpointRelease) (void *context, Delivery *delivery);
extern void endpoints_sweep(Endpoints *endpoints, int64_t now_ms, EndpointRelease release, void *context);

/* Gives back everything that is queued. */
extern void endpoints_release_all(Endpoints *endpoints, EndpointRelease release, void *context);

/* Before a claim: names those that are not to be claimed for. */
typedef void (*EndpointNamed) (void *context, const char *name);
extern void endpoints_name_full(Endpoints *endpoints, int64_t now_ms, EndpointNamed named, void *context);

/* After a claim's rows were pushed: per_endpoint is how many of them each could have had. */
extern void endpoints_claim_read(Endpoints *endpoints, int per_endpoint, int64_t now_ms);

/* Has an endpoint room again that may have more in the database?  Cleared by endpoints_name_full. */
extern bool endpoints_want_more(const Endpoints *endpoints);

extern int	endpoints_in_flight(const Endpoints *endpoints);
extern int	endpoints_in_flight_of(const Endpoints *endpoints, EndpointClass class);
extern int	endpoints_queued(const Endpoints *endpoints);
extern int	endpoints_active(const Endpoints *endpoints);
extern int	endpoints_tripped(const Endpoints *endpoints);

#endif							/* POSTBACKD_ENDPOINT_H */
