/*
 * send.c: the role that sends deliveries.
 *
 *     postback.claim --> endpoint.c's queues --> attempt.c --> results --> postback.settle
 *
 * Two connections: one claims while the other settles; a third asks after the
 * callbacks for /metrics.  Nothing is open in the database while something is open on the network.  Each turn of the loop
 * ends with sender_work: start what may start, settle what has ended, claim
 * what there is room for.
 */
#include "send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "db.h"
#include "delivery.h"
#include "endpoint.h"
#include "guard.h"
#include "health.h"
#include "log.h"
#include "resolve.h"
#include "sign.h"
#include "transfer.h"

#ifndef POSTBACK_VERSION
#define POSTBACK_VERSION "unknown"
#endif

#define CALL_TIMEOUT_MS 20000
#define STATEMENT_TIMEOUT_MS 15000
#define LOCK_TIMEOUT_MS 10000

/* Calls of one kind are so far apart at least, that each has something to carry; but a claim that brought much is followed at once. */
#define CALL_GAP_MS 5
#define CLAIMED_MUCH 256

/* After an error that is not the data's fault, or for want of descriptors or memory. */
#define ERROR_GAP_MS 500

#define SETTLE_LIMIT 1024

/* Enough claimed beforehand to last while the next claim is under way. */
#define BACKLOG_MIN 2048

/* A result that the database refuses so often alone is given up; its lease brings the delivery back. */
#define SETTLE_TRIES 3

/* With so many results waiting nothing more is claimed. */
#define RESULT_LIMIT 4096

/* Most rows that one endpoint gets from one claim, and least. */
#define PER_ENDPOINT_MAX 1024
#define PER_ENDPOINT_MIN 4

#define DRAIN_MS 10000
#define DRAIN_SETTLE_MS 5000

/* Deliveries are made by the chunk and used again; memory is bounded by what is claimed at once. */
#define CHUNK_SIZE 64

typedef struct Chunk
{
	struct Chunk *next;
	Delivery	items[CHUNK_SIZE];
} Chunk;

typedef struct DeliveryList
{
	Delivery   *first;
	Delivery   *last;
	int			count;
} DeliveryList;

/* Response codes by class, for metrics: 0 is none. */
#define CODE_CLASSES 6

typedef struct SendMetrics
{
	Metric	   *claims;
	Metric	   *claimed;
	Metric	   *settled;
	Metric	   *settle_errors;
	Metric	   *given_up;
	Metric	   *attempts[DELIVERY_OUTCOMES][CODE_CLASSES];
	Metric	   *attempt_seconds;
	Metric	   *in_flight[ENDPOINT_CLASSES];
	Metric	   *queued;
	Metric	   *results;
	Metric	   *tripped;
	Metric	   *endpoints;
} SendMetrics;

typedef struct Sender
{
	Loop	   *loop;
	const Options *options;
	PbSlice		name;
	int			connections;	/* most that are open at once */
	int			concurrency;	/* most deliveries under way at once */
	int			backlog;		/* most deliveries claimed and not started */

	Guard	   *guard;
	Resolver   *resolver;
	Transfers  *transfers;
	Signer	   *signer;
	Endpoints  *endpoints;
	Attempts   *attempts;
	Health	   *health;			/* NULL: not shown */

	Db		   *db;
	DbStatement statements[DELIVERY_STATEMENTS + 1];	/* delivery.c's, then health.c's */
	DbArguments *claim;
	DbArguments *settle;

	Chunk	   *chunks;
	Delivery   *spare;
	DeliveryList results;		/* to be settled */
	DeliveryList settling;		/* with the call that is under way */

	bool		claiming;
	bool		claim_again;	/* the last claim was full */
	int			claim_rows;		/* asked for by the claim under way */
	int			claim_per_endpoint;
	int64_t		claim_started_ms;
	int64_t		claim_after_ms;
	int64_t		start_after_ms; /* nothing is started or claimed before */
	bool		settling_now;
	int			settle_batch;
	int64_t		settle_after_ms;

	bool		draining;
	bool		drain_over;		/* what is still in flight is no longer waited for */

	LoopHook	hook;
	LoopTimer	work_timer;
	LoopTimer	sweep_timer;
	LoopTimer	drain_timer;
	LogLimit	error_log;
	LogLimit	shortage_log;
	int			tripped_logged;
	SendMetrics metrics;
} Sender;

/* ---- lists and memory ---- */

static void
list_append(DeliveryList *list, Delivery *delivery)
{
	delivery->next = NULL;
	if (list->last != NULL)
		list->last->next = delivery;
	else
		list->first = delivery;
	list->last = delivery;
	list->count++;
}

static Delivery *
list_pop(DeliveryList *list)
{
	Delivery   *delivery = list->first;

	if (delivery == NULL)
		return NULL;
	list->first = delivery->next;
	if (list->first == NULL)
		list->last = NULL;
	list->count--;
	delivery->next = NULL;
	return delivery;
}

/* Puts all of front before list and empties front. */
static void
list_prepend_all(DeliveryList *list, DeliveryList *front)
{
	if (front->first == NULL)
		return;
	front->last->next = list->first;
	if (list->first == NULL)
		list->last = front->last;
	list->first = front->first;
	list->count += front->count;
	*front = (DeliveryList) {0};
}

static Delivery *
get_delivery(Sender *sender)
{
	Delivery   *delivery = sender->spare;
	Chunk	   *chunk;

	if (delivery != NULL)
	{
		sender->spare = delivery->next;
		return delivery;
	}
	chunk = calloc(1, sizeof(*chunk));
	if (chunk == NULL)
		return NULL;
	chunk->next = sender->chunks;
	sender->chunks = chunk;
	for (int i = 1; i < CHUNK_SIZE; i++)
	{
		chunk->items[i].next = sender->spare;
		sender->spare = &chunk->items[i];
	}
	return &chunk->items[0];
}

static void
put_delivery(Sender *sender, Delivery *delivery)
{
	delivery->next = sender->spare;
	sender->spare = delivery;
}

static void
free_chunks(Sender *sender)
{
	while (sender->chunks != NULL)
	{
		Chunk	   *chunk = sender->chunks;

		sender->chunks = chunk->next;
		for (int i = 0; i < CHUNK_SIZE; i++)
			delivery_free_text(&chunk->items[i]);
		free(chunk);
	}
}

/* ---- metrics ---- */

static void
make_attempt_metrics(SendMetrics *m, Metrics *metrics)
{
	static const char *const classes[CODE_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

	for (int outcome = 0; outcome < DELIVERY_OUTCOMES; outcome++)
		for (int class = 0; class < CODE_CLASSES; class++)
		{
			char		labels[64];

			if ((outcome == DELIVERY_RESPONSE) != (class > 0))
				continue;
			snprintf(labels, sizeof(labels), "outcome=\"%s\",code=\"%s\"",
					 delivery_outcome_name((DeliveryOutcome) outcome), classes[class]);
			m->attempts[outcome][class] = metrics_counter(metrics, "postbackd_send_attempts_total", labels,
														  "Ended deliveries by outcome and class of HTTP status.");
		}
}

static void
make_metrics(SendMetrics *m, Metrics *metrics)
{
	static const char *const classes[ENDPOINT_CLASSES] = {
		[ENDPOINT_QUICK] = "class=\"quick\"",[ENDPOINT_NEW] = "class=\"new\"",[ENDPOINT_SLOW] = "class=\"slow\""
	};

	m->claims = metrics_counter(metrics, "postbackd_send_claims_total", NULL, "Calls of postback.claim.");
	m->claimed = metrics_counter(metrics, "postbackd_send_claimed_total", NULL, "Deliveries claimed.");
	m->settled = metrics_counter(metrics, "postbackd_send_settled_total", NULL, "Results settled.");
	m->settle_errors = metrics_counter(metrics, "postbackd_send_settle_errors_total", NULL,
									   "Calls of postback.settle that failed.");
	m->given_up = metrics_counter(metrics, "postbackd_send_given_up_total", NULL,
								  "Results that the database refused for good.");
	make_attempt_metrics(m, metrics);
	m->attempt_seconds = metrics_histogram(metrics, "postbackd_send_attempt_seconds", NULL,
										   "Duration of attempts, name look-up included.",
										   metrics_seconds_bounds, metrics_seconds_bound_count);
	for (int class = 0; class < ENDPOINT_CLASSES; class++)
		m->in_flight[class] = metrics_gauge(metrics, "postbackd_send_in_flight", classes[class],
											"Deliveries under way, by class of endpoint.");
	m->queued = metrics_gauge(metrics, "postbackd_send_queued", NULL, "Deliveries claimed and not started.");
	m->results = metrics_gauge(metrics, "postbackd_send_unsettled", NULL, "Results that wait to be settled.");
	m->tripped = metrics_gauge(metrics, "postbackd_send_endpoints_tripped", NULL, "Endpoints with an open breaker.");
	m->endpoints = metrics_gauge(metrics, "postbackd_send_endpoints_active", NULL,
								 "Endpoints with deliveries, or pausing.");
}

static void
refresh_metrics(void *context)
{
	Sender	   *sender = context;
	SendMetrics *m = &sender->metrics;

	for (int class = 0; class < ENDPOINT_CLASSES; class++)
		metric_set(m->in_flight[class], endpoints_in_flight_of(sender->endpoints, (EndpointClass) class));
	metric_set(m->queued, endpoints_queued(sender->endpoints));
	metric_set(m->results, sender->results.count + sender->settling.count);
	metric_set(m->tripped, endpoints_tripped(sender->endpoints));
	metric_set(m->endpoints, endpoints_active(sender->endpoints));
}

static bool
is_healthy(void *context)
{
	const Sender *sender = context;

	return db_ready_count(sender->db) > 0;
}

static void
count_attempt(Sender *sender, const Delivery *delivery)
{
	int			class = delivery->outcome == DELIVERY_RESPONSE ? delivery->http_code / 100 : 0;

	if (delivery->outcome == DELIVERY_RESPONSE && (class < 1 || class >= CODE_CLASSES))
		class = 5;				/* no status of HTTP: as bad as any */
	metric_add(sender->metrics.attempts[delivery->outcome][class], 1);
	if (delivery->milliseconds >= 0)
		metric_observe(sender->metrics.attempt_seconds, delivery->milliseconds / 1000.0);
}

/* ---- results ---- */

static void
keep_result(Sender *sender, Delivery *delivery)
{
	delivery->endpoint = NULL;
	count_attempt(sender, delivery);
#ifdef POSTBACK_TEST_EARLY_SETTLE
	put_delivery(sender, delivery);
#else
	list_append(&sender->results, delivery);
#endif
}

/* What ends meanwhile gives back what it holds. */
static void
wait_for_room(Sender *sender, const Delivery *delivery)
{
	int64_t		now = loop_now_ms(sender->loop);
	int64_t		suppressed;

	sender->start_after_ms = now + ERROR_GAP_MS;
	if (log_allowed(&sender->shortage_log, now, &suppressed))
		log_warning("a delivery could not be begun and is given back", LOG_SLICE("error", delivery->error),
					LOG_INT("in_flight", endpoints_in_flight(sender->endpoints)), LOG_INT("suppressed", suppressed));
}

static void
on_attempt_ended(void *context, Delivery *delivery, EndpointNews news)
{
	Sender	   *sender = context;

	log_debug("attempt ended", LOG_TEXT("delivery", delivery->delivery_id),
			  LOG_TEXT("endpoint", delivery->endpoint->name), LOG_INT("attempt", delivery->attempt),
			  LOG_TEXT("outcome", delivery_outcome_name(delivery->outcome)), LOG_INT("code", delivery->http_code),
			  LOG_INT("ms", delivery->milliseconds), LOG_SLICE("error", delivery->error));
	if (delivery->shortage)
		wait_for_room(sender, delivery);
	endpoint_ended(sender->endpoints, delivery->endpoint, news, delivery->milliseconds, loop_now_ms(sender->loop));
	keep_result(sender, delivery);
}

/* Gives a claim back that was not started. */
static void
release(void *context, Delivery *delivery)
{
	Sender	   *sender = context;

	delivery->outcome = DELIVERY_RELEASED;
	keep_result(sender, delivery);
}

/* ---- settle ---- */

static bool
retriable_by_halves(const char *sqlstate)
{
	/* 22: data exception, 23: integrity constraint: one row's fault, which halving the batch finds. */
	return strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "23", 2) == 0;
}

static void
settle_done(Sender *sender)
{
	Delivery   *delivery;

	metric_add(sender->metrics.settled, sender->settling.count);
	while ((delivery = list_pop(&sender->settling)) != NULL)
#ifdef POSTBACK_TEST_EARLY_SETTLE
		endpoint_push(sender->endpoints, delivery->endpoint, delivery, loop_now_ms(sender->loop));
#else
		put_delivery(sender, delivery);
#endif
	sender->settle_batch = sender->settle_batch * 2 < SETTLE_LIMIT ? sender->settle_batch * 2 : SETTLE_LIMIT;
}

/* One result that the database refuses alone must not stop the others for ever. */
static void
settle_refused_alone(Sender *sender, const DbResult *result)
{
	Delivery   *delivery = list_pop(&sender->settling);

	if (++delivery->settle_failures < SETTLE_TRIES)
	{
		list_append(&sender->results, delivery);
		return;
	}
	log_error("a result was given up; its delivery comes back when the lease ends",
			  LOG_TEXT("delivery", delivery->delivery_id), LOG_TEXT("sqlstate", db_sqlstate(result)),
			  LOG_TEXT("error", db_message(result)));
	metric_add(sender->metrics.given_up, 1);
	put_delivery(sender, delivery);
}

static void
settle_failed(Sender *sender, const DbResult *result)
{
	int64_t		suppressed;

	metric_add(sender->metrics.settle_errors, 1);
	if (log_allowed(&sender->error_log, loop_now_ms(sender->loop), &suppressed))
		log_warning("results could not be settled and are kept", LOG_INT("results", sender->settling.count),
					LOG_TEXT("sqlstate", db_sqlstate(result)), LOG_TEXT("error", db_message(result)),
					LOG_INT("suppressed", suppressed));
	if (db_outcome(result) != DB_ERROR || !retriable_by_halves(db_sqlstate(result)))
		sender->settle_after_ms = loop_now_ms(sender->loop) + ERROR_GAP_MS;
	else if (sender->settling.count == 1)
		settle_refused_alone(sender, result);
	else
		sender->settle_batch = (sender->settling.count + 1) / 2;
	list_prepend_all(&sender->results, &sender->settling);
}

/* After DB_LOST it may or may not have been committed; settling again changes nothing then. */
static void
on_settled(void *context, const DbResult *result)
{
	Sender	   *sender = context;

	sender->settling_now = false;
	sender->settle_after_ms = loop_now_ms(sender->loop) + CALL_GAP_MS;
	if (db_outcome(result) == DB_DONE)
		settle_done(sender);
	else
		settle_failed(sender, result);
}

static void
settle_some(Sender *sender)
{
	DbConnection *connection;

	if (sender->settling_now || sender->results.count == 0)
		return;
	if (loop_now_ms(sender->loop) < sender->settle_after_ms && sender->results.count < SETTLE_LIMIT / 2)
		return;
	connection = db_free_connection(sender->db);
	if (connection == NULL)
		return;
	settle_arguments(sender->settle, sender->name);
	while (sender->results.count > 0 && sender->settling.count < sender->settle_batch)
	{
		Delivery   *delivery = list_pop(&sender->results);

		settle_add(sender->settle, delivery);
		list_append(&sender->settling, delivery);
	}
	sender->settling_now = db_call(connection, DELIVERY_SETTLE, sender->settle, CALL_TIMEOUT_MS, on_settled, sender);
	if (!sender->settling_now)
		list_prepend_all(&sender->results, &sender->settling);
}

/* ---- claim ---- */

/* The lease is counted from before the call: by the database's clock it ends later. */
static void
take_row(Sender *sender, const DbResult *result, int row)
{
	Endpoint   *endpoint = endpoints_get(sender->endpoints, claim_endpoint(result, row));
	Delivery   *delivery = get_delivery(sender);

	if (endpoint != NULL && delivery != NULL && delivery_read(delivery, result, row))
	{
		delivery->lease_end_ms = sender->claim_started_ms + sender->options->lease * INT64_C(1000);
#ifdef POSTBACK_TEST_EARLY_SETTLE
		/* Only for tests/crash, which must notice: settled as a success first, sent afterwards. */
		delivery->endpoint = endpoint;
		delivery->outcome = DELIVERY_RESPONSE;
		delivery->http_code = 200;
		list_append(&sender->results, delivery);
#else
		endpoint_push(sender->endpoints, endpoint, delivery, loop_now_ms(sender->loop));
#endif
		return;
	}
	if (delivery != NULL)
		put_delivery(sender, delivery);
	log_error("out of memory: a claimed delivery is left to its lease");
}

static void
claim_failed(Sender *sender, const DbResult *result)
{
	int64_t		now = loop_now_ms(sender->loop);
	int64_t		suppressed;

	sender->claim_after_ms = now + ERROR_GAP_MS;
	sender->claim_again = false;
	if (log_allowed(&sender->error_log, now, &suppressed))
		log_warning("deliveries could not be claimed", LOG_TEXT("sqlstate", db_sqlstate(result)),
					LOG_TEXT("error", db_message(result)), LOG_INT("suppressed", suppressed));
}

static void
on_claimed(void *context, const DbResult *result)
{
	Sender	   *sender = context;
	int64_t		now = loop_now_ms(sender->loop);
	int			rows;

	sender->claiming = false;
	sender->claim_after_ms = now + CALL_GAP_MS;
	if (db_outcome(result) != DB_DONE)
	{
		claim_failed(sender, result);
		return;
	}
	rows = db_rows(result);
	if (rows >= CLAIMED_MUCH)
		sender->claim_after_ms = now;
	metric_add(sender->metrics.claims, 1);
	metric_add(sender->metrics.claimed, rows);
	for (int row = 0; row < rows; row++)
		take_row(sender, result, row);
	endpoints_claim_read(sender->endpoints, sender->claim_per_endpoint, now);
	sender->claim_again = rows >= sender->claim_rows;
	if (sender->draining)
		endpoints_release_all(sender->endpoints, release, sender);
}

static void
name_full(void *context, const char *name)
{
	claim_add_full(context, name);
}

/* Fair shares of the room, so that nobody's flood fills it. */
static int
per_endpoint_share(const Sender *sender, int room)
{
	int			active = endpoints_active(sender->endpoints);
	int			share = active > 0 ? room / active : PER_ENDPOINT_MIN;

	if (share < PER_ENDPOINT_MIN)
		return PER_ENDPOINT_MIN;
	return share < PER_ENDPOINT_MAX ? share : PER_ENDPOINT_MAX;
}

static bool
claim_due(const Sender *sender)
{
	int64_t		after = sender->claim_after_ms;

	if (loop_now_ms(sender->loop) < sender->start_after_ms)
		return false;
	if (!sender->claim_again && !endpoints_want_more(sender->endpoints))
		after += sender->options->poll_ms - CALL_GAP_MS;
	return loop_now_ms(sender->loop) >= after;
}

static void
claim_some(Sender *sender)
{
	int			room = sender->backlog - endpoints_queued(sender->endpoints);
	DbConnection *connection;
	ClaimQuestion question;

	if (sender->claiming || sender->draining || !claim_due(sender) || room < sender->backlog / 4 ||
		sender->results.count >= RESULT_LIMIT)
		return;
	connection = db_free_connection(sender->db);
	if (connection == NULL)
		return;
	question = (ClaimQuestion)
	{
		.sender = sender->name, .max_items = room, .lease_s = sender->options->lease,
			.per_endpoint = per_endpoint_share(sender, room)
	};
	claim_arguments(sender->claim, &question);
	endpoints_name_full(sender->endpoints, loop_now_ms(sender->loop), name_full, sender->claim);
	sender->claim_rows = question.max_items;
	sender->claim_per_endpoint = question.per_endpoint;
	sender->claim_started_ms = loop_now_ms(sender->loop);
	sender->claiming = db_call(connection, DELIVERY_CLAIM, sender->claim, CALL_TIMEOUT_MS, on_claimed, sender);
}

/* ---- each turn ---- */

static void
start_some(Sender *sender)
{
	int64_t		now = loop_now_ms(sender->loop);
	Delivery   *delivery;

	while (now >= sender->start_after_ms && (delivery = endpoints_next(sender->endpoints, now)) != NULL)
		attempt_start(sender->attempts, delivery);
}

/* The hook does the work; the timer only sees to it that there is a turn. */
static void
on_work_timer(void *context)
{
	(void) context;
}

/* Makes sure of a turn when the next call becomes due. */
static void
plan_next_turn(Sender *sender)
{
	int64_t		now = loop_now_ms(sender->loop);
	int64_t		next = INT64_MAX;

	if (!sender->settling_now && sender->results.count > 0)
		next = sender->settle_after_ms;
	if (!sender->claiming && !sender->draining)
	{
		bool		soon = sender->claim_again || endpoints_want_more(sender->endpoints);
		int64_t		claim = sender->claim_after_ms + (soon ? 0 : sender->options->poll_ms - CALL_GAP_MS);

		claim = claim < sender->start_after_ms ? sender->start_after_ms : claim;
		next = claim < next ? claim : next;
	}
	if (sender->start_after_ms > now && endpoints_queued(sender->endpoints) > 0 && sender->start_after_ms < next)
		next = sender->start_after_ms;
	/* What is due already waits for a connection or for room, and either comes with a turn of its own. */
	if (next != INT64_MAX && next > now)
		loop_timer_set(sender->loop, &sender->work_timer, next - now, on_work_timer, sender);
}

static void
finish_drain(Sender *sender)
{
	bool		idle = endpoints_in_flight(sender->endpoints) == 0 || sender->drain_over;

	if (!idle || sender->claiming || sender->settling_now || sender->results.count > 0)
		return;
	log_info("drained", LOG_INT("left_in_flight", endpoints_in_flight(sender->endpoints)));
	loop_stop(sender->loop, 0);
}

static void
sender_work(void *context)
{
	Sender	   *sender = context;

	/* Without a database nothing new is started: somebody else may have it when the lease ends. */
	if (db_ready_count(sender->db) == 0 && endpoints_queued(sender->endpoints) > 0)
		endpoints_release_all(sender->endpoints, release, sender);
	start_some(sender);
	settle_some(sender);
	claim_some(sender);
	if (sender->health != NULL && !sender->draining)
		health_work(sender->health, sender->db, DELIVERY_STATEMENTS);
	plan_next_turn(sender);
	if (sender->draining)
		finish_drain(sender);
}

static void
on_sweep(void *context)
{
	Sender	   *sender = context;
	int			tripped;

	endpoints_sweep(sender->endpoints, loop_now_ms(sender->loop), release, sender);
	tripped = endpoints_tripped(sender->endpoints);
	if (tripped != sender->tripped_logged)
		log_info("endpoints that cannot be reached", LOG_INT("now", tripped), LOG_INT("before", sender->tripped_logged));
	sender->tripped_logged = tripped;
	loop_timer_set(sender->loop, &sender->sweep_timer, ENDPOINT_SWEEP_MS, on_sweep, sender);
}

/* ---- drain ---- */

static void
on_drain_settle_limit(void *context)
{
	Sender	   *sender = context;

	log_error("stopped with results that could not be settled; their leases bring them back",
			  LOG_INT("results", sender->results.count + sender->settling.count));
	loop_stop(sender->loop, 0);
}

static void
on_drain_limit(void *context)
{
	Sender	   *sender = context;

	sender->drain_over = true;
	loop_timer_set(sender->loop, &sender->drain_timer, DRAIN_SETTLE_MS, on_drain_settle_limit, sender);
}

static void
on_signal(void *context, int signal_number)
{
	Sender	   *sender = context;

	if (sender->draining)
	{
		log_warning("stopped at once by a second signal", LOG_INT("signal", signal_number));
		loop_stop(sender->loop, 0);
		return;
	}
	log_info("draining", LOG_INT("signal", signal_number),
			 LOG_INT("in_flight", endpoints_in_flight(sender->endpoints)));
	sender->draining = true;
	endpoints_release_all(sender->endpoints, release, sender);
	loop_timer_set(sender->loop, &sender->drain_timer, DRAIN_MS, on_drain_limit, sender);
}

static void
on_refused(void *context)
{
	Sender	   *sender = context;

	loop_stop(sender->loop, 2);
}

/* ---- the role ---- */

static bool
make_parts(Sender *sender, Metrics *metrics)
{
	const Options *options = sender->options;
	GuardRules	rules = {
		.ranges = options->allow_egress.items,
		.range_count = (size_t) options->allow_egress.count,
		.ports = options->allow_port.items,
		.port_count = (size_t) options->allow_port.count,
	};
	AttemptTools tools;

	if ((sender->guard = guard_create(&rules)) == NULL ||
		(sender->resolver = resolver_new(sender->loop, options->dns_server)) == NULL ||
		(sender->signer = signer_create()) == NULL ||
		(sender->endpoints = endpoints_new(sender->concurrency, options->per_host)) == NULL)
		return false;
	if (options->metrics_listen[0] != '\0' && options->metrics_callbacks > 0 &&
		(sender->health = health_new(sender->loop, metrics, options->metrics_callbacks)) == NULL)
		return false;
	sender->transfers = transfers_new(sender->loop, sender->guard, sender->connections, "postback/" POSTBACK_VERSION);
	tools.guard = sender->guard;
	tools.resolver = sender->resolver;
	tools.transfers = sender->transfers;
	tools.signer = sender->signer;
	sender->attempts = attempts_new(&tools, on_attempt_ended, sender);
	sender->claim = db_arguments_new(&delivery_statements[DELIVERY_CLAIM]);
	sender->settle = db_arguments_new(&delivery_statements[DELIVERY_SETTLE]);
	return sender->transfers != NULL && sender->attempts != NULL && sender->claim != NULL && sender->settle != NULL;
}

static bool
connect_database(Sender *sender, Metrics *metrics)
{
	DbOptions	options = {
		.application_name = "postbackd send",
		.connections = sender->health != NULL ? 3 : 2,
		.statements = sender->statements,
		.statement_count = DELIVERY_STATEMENTS + (sender->health != NULL),
		.statement_timeout_ms = STATEMENT_TIMEOUT_MS,
		.lock_timeout_ms = LOCK_TIMEOUT_MS,
		.on_refused = on_refused,
		.context = sender,
	};

	memcpy(sender->statements, delivery_statements, sizeof(delivery_statements));
	sender->statements[DELIVERY_STATEMENTS] = health_statement;
	sender->db = db_new(sender->loop, metrics, &options);
	return sender->db != NULL;
}

static void
free_parts(Sender *sender)
{
	loop_timer_stop(sender->loop, &sender->work_timer);
	loop_timer_stop(sender->loop, &sender->sweep_timer);
	loop_timer_stop(sender->loop, &sender->drain_timer);
	if (sender->db != NULL)
		db_free(sender->db);
	health_free(sender->health);
	db_arguments_free(sender->claim);
	db_arguments_free(sender->settle);
	attempts_free(sender->attempts);
	transfers_free(sender->transfers);
	resolver_free(sender->resolver);
	signer_destroy(sender->signer);
	endpoints_free(sender->endpoints);
	guard_destroy(sender->guard);
	free_chunks(sender);
}

static int
run(Sender *sender, Metrics *metrics)
{
	int			exit_code;

	make_metrics(&sender->metrics, metrics);
	if (!make_parts(sender, metrics) || !loop_on_signal(sender->loop, on_signal, sender) || !connect_database(sender, metrics))
	{
		log_error("cannot start: out of memory, or a library refuses");
		return 2;
	}
	metrics_on_refresh(metrics, refresh_metrics, sender);
	metrics_on_health(metrics, is_healthy, sender);
	loop_hook_add(sender->loop, &sender->hook, sender_work, sender);
	on_sweep(sender);
	log_info("sending", LOG_TEXT("sender", sender->options->sender), LOG_INT("concurrency", sender->concurrency),
			 LOG_INT("per_host", sender->options->per_host), LOG_INT("lease", sender->options->lease));
	exit_code = loop_run(sender->loop);
	loop_hook_remove(sender->loop, &sender->hook);
	return exit_code;
}

int
send_run(Loop *loop, Metrics *metrics, const Options *options)
{
	Sender		sender = {
		.loop = loop,
		.options = options,
		.name = pb_slice(options->sender),
		.connections = loop_room(8 * options->concurrency), /* those not in use are kept: a new one costs more than a delivery */
		.settle_batch = SETTLE_LIMIT,
	};
	int			exit_code;

	sender.concurrency = sender.connections < options->concurrency ? sender.connections : options->concurrency;
	sender.backlog = sender.concurrency * 4 > BACKLOG_MIN ? sender.concurrency * 4 : BACKLOG_MIN;
	exit_code = run(&sender, metrics);

	free_parts(&sender);
	return exit_code;
}
