/*
 * batch.c: one queue per kind, one flight per call under way.
 */
#include "batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define KIND_LIMIT 4
#define OUTAGE_GRACE_MS 500		/* how long into an outage requests still wait for a connection */
#define CALL_TIMEOUT_MS 2000
#define PATIENCE_MS 25			/* how long requests wait for the call under way before a further connection is used */
#define CALL_BYTES (1024 * 1024)	/* no further request joins a call that carries so much */

typedef struct Queue
{
	HttpRequest *head;
	HttpRequest *tail;
	int			count;
	DbArguments *arguments;
	Metric	   *calls;
	Metric	   *sizes;
} Queue;

/* One call under way, or a failed batch being tried item by item. */
typedef struct Flight
{
	Batch	   *batch;
	int			kind;
	bool		active;
	bool		single;			/* item by item */
	int			count;
	int			next;			/* single: the item after the one under way */
	int64_t		sent_ms;		/* when the present call was sent */
	HttpRequest *items[BATCH_LIMIT];	/* NULL once answered */
	LoopTimer	deadline;
} Flight;

struct Batch
{
	Loop	   *loop;
	Metrics    *metrics;
	BatchOptions options;
	Db		   *db;
	Queue		queues[KIND_LIMIT];
	int			waiting;
	int64_t		alive_ms;		/* when the database last finished a call, or had nothing to do */
	LoopTimer	resort;			/* when requests that have a last resort have waited long enough */
	int64_t		outage_ms;		/* when a request first found no connection; 0: there is one */
	LoopTimer	deadline;		/* of the oldest that waits */
	LoopTimer	patience;		/* when the oldest has waited long enough for a further connection */
	LogLimit	error_limit;
	Metric	   *depth;
	Metric	   *retried;
	Flight		flights[];
};

static void flight_send(Flight *flight, DbConnection *connection);

static const BatchKind *
kind_of(const Batch *batch, int kind)
{
	return &batch->options.kinds[kind];
}

static void
give_unavailable(Batch *batch, int kind, HttpRequest *request)
{
	kind_of(batch, kind)->unavailable(kind_of(batch, kind)->context, request);
}

static int64_t
age_ms(const HttpRequest *request)
{
	return (loop_now_us() - request->arrived_us) / 1000;
}

/* ---- the queue ---- */

static HttpRequest *
queue_take(Batch *batch, Queue *queue)
{
	HttpRequest *request = queue->head;

	queue->head = request->next;
	if (queue->head == NULL)
		queue->tail = NULL;
	queue->count--;
	batch->waiting--;
	return request;
}

static void
queue_put(Batch *batch, Queue *queue, HttpRequest *request)
{
	request->next = NULL;
	if (queue->tail != NULL)
		queue->tail->next = request;
	else
		queue->head = request;
	queue->tail = request;
	queue->count++;
	batch->waiting++;
}

/* The queue whose head has waited longest, or -1. */
static int
oldest_queue(const Batch *batch)
{
	int			oldest = -1;

	for (int i = 0; i < batch->options.kind_count; i++)
	{
		const HttpRequest *head = batch->queues[i].head;

		if (head != NULL && (oldest < 0 || head->arrived_us < batch->queues[oldest].head->arrived_us))
			oldest = i;
	}
	return oldest;
}

/* Answers those that have waited too long, and comes back for the next. */
static void
on_queue_deadline(void *context)
{
	Batch	   *batch = context;
	int			oldest;
	int64_t		left = 0;

	while ((oldest = oldest_queue(batch)) >= 0)
	{
		left = BATCH_DEADLINE_MS - age_ms(batch->queues[oldest].head);
		if (left > 0)
			break;
		give_unavailable(batch, oldest, queue_take(batch, &batch->queues[oldest]));
	}
	if (oldest >= 0)
		loop_timer_set(batch->loop, &batch->deadline, left, on_queue_deadline, batch);
}

/* How long there has been no connection; 0: there is one. */
static int64_t
outage_age_ms(Batch *batch)
{
	int64_t		now = loop_now_ms(batch->loop);

	if (db_ready_count(batch->db) > 0)
		batch->outage_ms = 0;
	else if (batch->outage_ms == 0)
		batch->outage_ms = now;
	return batch->outage_ms != 0 ? now - batch->outage_ms : 0;
}

/* Has the database done nothing for too long?  Only to be asked while it is wanted. */
static bool
is_stalled(Batch *batch)
{
	return loop_now_ms(batch->loop) - batch->alive_ms >= BATCH_RESORT_MS ||
		outage_age_ms(batch) >= BATCH_RESORT_MS;
}

static int
flights_active(const Batch *batch)
{
	int			active = 0;

	for (int i = 0; i < batch->options.connections; i++)
		active += batch->flights[i].active;
	return active;
}

static bool
resort(Batch *batch, int kind, HttpRequest *request)
{
	return kind_of(batch, kind)->resort(kind_of(batch, kind)->context, request);
}

static void
queue_resort(Batch *batch, int kind)
{
	Queue	   *queue = &batch->queues[kind];

	for (int left = queue->count; left > 0; left--)
	{
		HttpRequest *request = queue_take(batch, queue);

		if (!resort(batch, kind, request))
			queue_put(batch, queue, request);
	}
}

static void
flight_resort(Flight *flight)
{
	for (int i = 0; i < flight->count; i++)
		if (flight->items[i] != NULL && resort(flight->batch, flight->kind, flight->items[i]))
			flight->items[i] = NULL;
}

/* Those with a last resort have waited long enough for a database that does nothing; comes back while there are such. */
static void
on_resort(void *context)
{
	Batch	   *batch = context;
	int64_t		now = loop_now_ms(batch->loop);
	bool		stalled = is_stalled(batch);
	int64_t		next = stalled ? BATCH_RESORT_MS : batch->alive_ms + BATCH_RESORT_MS - now;
	bool		more = false;

	for (int i = 0; i < batch->options.kind_count; i++)
	{
		if (kind_of(batch, i)->resort == NULL)
			continue;
		if (stalled)
			queue_resort(batch, i);
		more |= batch->queues[i].count > 0;
	}
	for (int i = 0; i < batch->options.connections; i++)
	{
		Flight	   *flight = &batch->flights[i];
		int64_t		left = flight->sent_ms + BATCH_RESORT_MS - now;

		if (!flight->active || kind_of(batch, flight->kind)->resort == NULL)
			continue;
		more = true;
		if (stalled || left <= 0)
			flight_resort(flight);
		else if (left < next)
			next = left;
	}
	if (more)
		loop_timer_set(batch->loop, &batch->resort, next, on_resort, batch);
}

void
batch_add(Batch *batch, int kind, HttpRequest *request)
{
	bool		has_resort = kind_of(batch, kind)->resort != NULL;

	if (batch->waiting == 0 && flights_active(batch) == 0)
		batch->alive_ms = loop_now_ms(batch->loop);
	if (has_resort && is_stalled(batch) && resort(batch, kind, request))
		return;
	/* Waiting for a connection is no use when there has been none for a while. */
	if (batch->waiting >= batch->options.queue || outage_age_ms(batch) > OUTAGE_GRACE_MS)
	{
		give_unavailable(batch, kind, request);
		return;
	}
	queue_put(batch, &batch->queues[kind], request);
	if (!loop_timer_is_set(&batch->deadline))
		loop_timer_set(batch->loop, &batch->deadline, BATCH_DEADLINE_MS, on_queue_deadline, batch);
	if (has_resort && !loop_timer_is_set(&batch->resort))
		loop_timer_set(batch->loop, &batch->resort, BATCH_RESORT_MS, on_resort, batch);
}

/* ---- flights ---- */

static void
flight_end(Flight *flight)
{
	flight->active = false;
	loop_timer_stop(flight->batch->loop, &flight->deadline);
}

static void
flight_give_up(Flight *flight)
{
	for (int i = 0; i < flight->count; i++)
	{
		HttpRequest *request = flight->items[i];

		flight->items[i] = NULL;
		if (request != NULL)
			give_unavailable(flight->batch, flight->kind, request);
	}
}

/* Those whose time is up are told so; the call goes on for the others, and its connection is not touched. */
static void
on_flight_deadline(void *context)
{
	Flight	   *flight = context;
	int64_t		next = BATCH_DEADLINE_MS;

	for (int i = 0; i < flight->count; i++)
	{
		HttpRequest *request = flight->items[i];
		int64_t		left;

		if (request == NULL)
			continue;
		left = BATCH_DEADLINE_MS - age_ms(request);
		if (left > 0)
		{
			if (left < next)
				next = left;
			continue;
		}
		flight->items[i] = NULL;
		give_unavailable(flight->batch, flight->kind, request);
	}
	if (flight->active)
		loop_timer_set(flight->batch->loop, &flight->deadline, next, on_flight_deadline, flight);
}

/* Each row answers the item that it names. */
static void
flight_answer(Flight *flight, const DbResult *result)
{
	const BatchKind *kind = kind_of(flight->batch, flight->kind);
	int			rows = db_rows(result);

	for (int row = 0; row < rows; row++)
	{
		int			item = db_int(result, row, 0);
		HttpRequest *request;

		if (item < 0 || item >= flight->count)
			continue;
		request = flight->items[item];
		flight->items[item] = NULL;
		if (request != NULL)
			kind->answer(kind->context, request, result, row);
	}
}

static bool
has_unanswered(const Flight *flight)
{
	for (int i = 0; i < flight->count; i++)
		if (flight->items[i] != NULL)
			return true;
	return false;
}

static void
log_failure(Flight *flight, const DbResult *result)
{
	Batch	   *batch = flight->batch;
	int64_t		suppressed;

	if (!log_allowed(&batch->error_limit, loop_now_ms(batch->loop), &suppressed))
		return;
	log_error("database call failed", LOG_TEXT("kind", kind_of(batch, flight->kind)->name),
			  LOG_INT("items", flight->single ? 1 : flight->count), LOG_TEXT("sqlstate", db_sqlstate(result)),
			  LOG_TEXT("error", db_message(result)), LOG_INT("suppressed", suppressed));
}

/*
 * Would items fare better alone?  Not when the server lacks something (53: disk
 * full ...), is going away (57P) or is broken (58): then each would fail likewise.
 */
static bool
is_worth_retrying(const DbResult *result)
{
	const char *sqlstate = db_sqlstate(result);

	return db_connection(result) != NULL && strncmp(sqlstate, "53", 2) != 0 && strncmp(sqlstate, "57P", 3) != 0 &&
		strncmp(sqlstate, "58", 2) != 0;
}

static void
on_single_result(void *context, const DbResult *result)
{
	Flight	   *flight = context;
	HttpRequest *request;

	if (db_outcome(result) == DB_DONE)
	{
		flight->batch->alive_ms = loop_now_ms(flight->batch->loop);
		flight_answer(flight, result);
	}
	else
		log_failure(flight, result);
	request = flight->items[flight->next - 1];
	flight->items[flight->next - 1] = NULL;
	if (request != NULL)
		give_unavailable(flight->batch, flight->kind, request);
	if (db_connection(result) == NULL)
	{
		flight_give_up(flight);
		flight_end(flight);
	}
	else
		flight_send(flight, db_connection(result));
}

static void
on_batch_result(void *context, const DbResult *result)
{
	Flight	   *flight = context;

	if (db_outcome(result) == DB_DONE)
	{
		flight->batch->alive_ms = loop_now_ms(flight->batch->loop);
		flight_answer(flight, result);
		if (has_unanswered(flight))
			log_error("the database left requests unanswered", LOG_TEXT("kind", kind_of(flight->batch, flight->kind)->name));
	}
	else
	{
		log_failure(flight, result);
		if (flight->count > 1 && is_worth_retrying(result))
		{
			flight->single = true;
			flight->next = 0;
			metric_add(flight->batch->retried, 1);
			flight_send(flight, db_connection(result));
			return;
		}
	}
	flight_give_up(flight);
	flight_end(flight);
}

/* Sends the whole flight, or the next item that is still unanswered; ends the flight when there is none. */
static void
flight_send(Flight *flight, DbConnection *connection)
{
	Batch	   *batch = flight->batch;
	const BatchKind *kind = kind_of(batch, flight->kind);
	DbArguments *arguments = batch->queues[flight->kind].arguments;
	int			first = 0;
	int			end = flight->count;

	if (flight->single)
	{
		while (flight->next < flight->count && flight->items[flight->next] == NULL)
			flight->next++;
		first = flight->next;
		end = first + 1;
		flight->next = end;
	}
	if (first == flight->count)
	{
		flight_end(flight);
		return;
	}
	db_arguments_clear(arguments);
	for (int i = first; i < end; i++)
		if (flight->items[i] != NULL)
			kind->fill(kind->context, arguments, i, flight->items[i]);
	flight->sent_ms = loop_now_ms(batch->loop);
	metric_add(batch->queues[flight->kind].calls, 1);
	metric_observe(batch->queues[flight->kind].sizes, end - first);
	if (db_call(connection, kind->statement, arguments, CALL_TIMEOUT_MS,
				flight->single ? on_single_result : on_batch_result, flight))
		return;
	flight_give_up(flight);
	flight_end(flight);
}

static Flight *
free_flight(Batch *batch)
{
	for (int i = 0; i < batch->options.connections; i++)
		if (!batch->flights[i].active)
			return &batch->flights[i];
	return NULL;
}

void
batch_send(Batch *batch, DbConnection *connection)
{
	int			kind = oldest_queue(batch);
	Flight	   *flight = free_flight(batch);
	Queue	   *queue;
	size_t		bytes = 0;

	if (kind < 0 || flight == NULL)
		return;
	queue = &batch->queues[kind];
	flight->kind = kind;
	flight->active = true;
	flight->single = false;
	flight->count = 0;
	loop_timer_set(batch->loop, &flight->deadline, BATCH_DEADLINE_MS - age_ms(queue->head), on_flight_deadline, flight);
	while (queue->head != NULL && flight->count < batch->options.batch && bytes < CALL_BYTES)
	{
		bytes += queue->head->query.len + queue->head->body.len;
		flight->items[flight->count++] = queue_take(batch, queue);
	}
	if (batch->waiting == 0)
		loop_timer_stop(batch->loop, &batch->deadline);
	flight_send(flight, connection);
}

/*
 * While a call is under way, what arrives waits for it and goes in one batch, which costs the database far less than two
 * half ones.  A further connection is for what would fill a good part of a batch, or waits because a call is slow.
 */
static bool
is_worth_sending(const Batch *batch)
{
	return batch->waiting >= batch->options.batch / 2 || flights_active(batch) == 0 ||
		age_ms(batch->queues[oldest_queue(batch)].head) >= PATIENCE_MS;
}

static void
on_patience(void *context)
{
	batch_flush(context);
}

void
batch_flush(Batch *batch)
{
	DbConnection *connection;

	while (batch->waiting > 0 && is_worth_sending(batch) && (connection = db_free_connection(batch->db)) != NULL)
		batch_send(batch, connection);
	if (batch->waiting == 0)
		loop_timer_stop(batch->loop, &batch->patience);
	else if (!loop_timer_is_set(&batch->patience))
		loop_timer_set(batch->loop, &batch->patience, PATIENCE_MS, on_patience, batch);
}

/* ---- life ---- */

static void
refresh(void *context)
{
	Batch	   *batch = context;

	metric_set(batch->depth, batch->waiting);
}

static bool
queue_init(Batch *batch, int kind)
{
	const BatchKind *of = kind_of(batch, kind);
	Queue	   *queue = &batch->queues[kind];
	char		labels[64];

	snprintf(labels, sizeof(labels), "kind=\"%s\"", of->name);
	queue->calls = metrics_counter(batch->metrics, "postbackd_batches_total", labels, "Batches sent to the database.");
	queue->sizes = metrics_histogram(batch->metrics, "postbackd_batch_size", labels, "Requests per batch.",
									 metrics_count_bounds, metrics_count_bound_count);
	queue->arguments = db_arguments_new(&batch->options.statements[of->statement]);
	return queue->arguments != NULL;
}

Batch *
batch_new(Loop *loop, Metrics *metrics, const BatchOptions *options)
{
	Batch	   *batch = calloc(1, sizeof(*batch) + (size_t) options->connections * sizeof(Flight));

	if (batch == NULL)
		return NULL;
	batch->loop = loop;
	batch->metrics = metrics;
	batch->options = *options;
	batch->depth = metrics_gauge(metrics, "postbackd_queue_depth", NULL, "Requests waiting for a database connection.");
	batch->retried = metrics_counter(metrics, "postbackd_batches_split_total", NULL,
									 "Batches that failed as a whole and were tried again item by item.");
	metrics_on_refresh(metrics, refresh, batch);
	for (int i = 0; i < options->connections; i++)
		batch->flights[i].batch = batch;
	for (int i = 0; i < options->kind_count; i++)
	{
		if (!queue_init(batch, i))
		{
			batch_free(batch);
			return NULL;
		}
	}
	return batch;
}

void
batch_use(Batch *batch, Db *db)
{
	batch->db = db;
}

void
batch_give_up(Batch *batch)
{
	for (int i = 0; i < batch->options.kind_count; i++)
		while (batch->queues[i].head != NULL)
			give_unavailable(batch, i, queue_take(batch, &batch->queues[i]));
	for (int i = 0; i < batch->options.connections; i++)
		if (batch->flights[i].active)
			flight_give_up(&batch->flights[i]);
}

int
batch_waiting(const Batch *batch)
{
	return batch->waiting;
}

void
batch_free(Batch *batch)
{
	if (batch == NULL)
		return;
	loop_timer_stop(batch->loop, &batch->deadline);
	loop_timer_stop(batch->loop, &batch->patience);
	loop_timer_stop(batch->loop, &batch->resort);
	for (int i = 0; i < batch->options.connections; i++)
		loop_timer_stop(batch->loop, &batch->flights[i].deadline);
	for (int i = 0; i < batch->options.kind_count; i++)
		db_arguments_free(batch->queues[i].arguments);
	free(batch);
}
