/*
 * serve.c: the role that answers HTTP, put together.
 *
 *     http --request--> route --> check --> batch --one call--> db
 *       ^________________answer_______________|___rows___________|
 */
#include "serve.h"

#include <stdlib.h>

#include "answer.h"
#include "batch.h"
#include "click.h"
#include "db.h"
#include "http.h"
#include "log.h"
#include "postback.h"

#define IDLE_TIMEOUT_MS 30000
#define DRAIN_MS 10000

/*
 * A call that waits for a lock, or is slow, ends in the server itself and so
 * for certain ("nothing was recorded"), before requests run into BATCH_DEADLINE_MS;
 * after the lock's time there is still time to try a batch's items one by one.
 */
#define STATEMENT_TIMEOUT_MS 1500
#define LOCK_TIMEOUT_MS 500

enum
{
	POSTBACK,
	CLICK,
	KIND_COUNT
};

typedef struct Server
{
	Loop	   *loop;
	Metrics    *metrics;
	const Options *options;
	Answers    *answers;
	Postbacks	postbacks;
	Clicks		clicks;
	DbStatement statements[KIND_COUNT];
	BatchKind	kinds[KIND_COUNT];
	Batch	   *batch;
	Db		   *db;
	Http	   *http;
	LoopHook	flush;
	LoopTimer	drain_limit;
	bool		draining;
} Server;

/* ---- requests ---- */

static void
serve_health(Server *server, HttpRequest *request)
{
	if (pb_slice_equal(request->method, PB_LITERAL("GET")) || pb_slice_equal(request->method, PB_LITERAL("HEAD")))
		answer_health(server->answers, request, db_ready_count(server->db) > 0);
	else
		answer_error(server->answers, ROUTE_HEALTH, request, PB_METHOD_NOT_ALLOWED);
}

static Route
route_of(PbSlice path)
{
	Route		route = postback_route(path);

	if (route == ROUTE_OTHER)
		route = click_route(path);
	if (route == ROUTE_OTHER && pb_slice_equal(path, PB_LITERAL("/healthz")))
		route = ROUTE_HEALTH;
	return route;
}

static void
on_request(void *context, HttpRequest *request)
{
	Server	   *server = context;
	Route		route = route_of(request->path);

	switch (route)
	{
		case ROUTE_POSTBACK:
		case ROUTE_PIXEL:
			if (postback_check(&server->postbacks, route, request))
				batch_add(server->batch, POSTBACK, request);
			break;
		case ROUTE_CLICK:
			if (click_check(&server->clicks, request))
				batch_add(server->batch, CLICK, request);
			break;
		case ROUTE_HEALTH:
			serve_health(server, request);
			break;
		default:
			answer_error(server->answers, ROUTE_OTHER, request, PB_NOT_FOUND);
	}
}

/* ---- the database ---- */

static void
on_free(void *context, DbConnection *connection)
{
	Server	   *server = context;

	batch_send(server->batch, connection);
}

static void
on_refused(void *context)
{
	Server	   *server = context;

	loop_stop(server->loop, 2);
}

static bool
is_healthy(void *context)
{
	Server	   *server = context;

	return db_ready_count(server->db) > 0;
}

static void
on_turn_end(void *context)
{
	Server	   *server = context;

	batch_flush(server->batch);
}

/* ---- metrics ---- */

static void
set_count(Server *server, const char *name, const char *labels, const char *help, int64_t value)
{
	metric_set(metrics_counter(server->metrics, name, labels, help), (double) value);
}

static void
refresh(void *context)
{
	static const char rejected[] = "postbackd_http_rejected_total";
	static const char rejected_help[] =
		"Requests refused before routing, by status: framing (400), sizes, and want of memory (503).";
	Server	   *server = context;
	HttpStats	stats;

	http_stats(server->http, &stats);
	set_count(server, "postbackd_http_connections_accepted_total", NULL, "Connections accepted.",
			  stats.connections_accepted);
	set_count(server, "postbackd_http_connections_refused_total", NULL, "Connections over the cap per address.",
			  stats.connections_refused);
	set_count(server, "postbackd_http_connections_expired_total", NULL, "Connections cut off by a deadline.",
			  stats.connections_expired);
	set_count(server, rejected, "status=\"400\"", rejected_help, stats.rejected_400);
	set_count(server, rejected, "status=\"413\"", rejected_help, stats.rejected_413);
	set_count(server, rejected, "status=\"414\"", rejected_help, stats.rejected_414);
	set_count(server, rejected, "status=\"431\"", rejected_help, stats.rejected_431);
	set_count(server, rejected, "status=\"503\"", rejected_help, stats.rejected_503);
	metric_set(metrics_gauge(server->metrics, "postbackd_http_connections", NULL, "Connections open."),
			   stats.connections);
	metric_set(metrics_gauge(server->metrics, "postbackd_http_connections_waiting", NULL,
							 "Connections whose request is not answered yet."), stats.connections_waiting);
	metric_set(metrics_gauge(server->metrics, "postbackd_http_addresses", NULL, "Distinct client addresses."),
			   stats.addresses);
}

/* ---- start, drain, end ---- */

static void
on_drained(void *context)
{
	Server	   *server = context;

	log_info("drained");
	loop_stop(server->loop, 0);
}

/* Time is up: what still waits is told to come again, and that is sent in the turns of the next moment. */
static void
on_drain_limit(void *context)
{
	Server	   *server = context;

	if (batch_waiting(server->batch) > 0)
		log_warning("not everything was finished in time", LOG_INT("waiting", batch_waiting(server->batch)));
	batch_give_up(server->batch);
	loop_timer_set(server->loop, &server->drain_limit, 100, on_drained, server);
}

static void
on_signal(void *context, int signal_number)
{
	Server	   *server = context;

	if (server->draining)
	{
		log_warning("second signal: not waiting any longer", LOG_INT("signal", signal_number));
		loop_stop(server->loop, 0);
		return;
	}
	server->draining = true;
	log_info("draining", LOG_INT("signal", signal_number));
	http_drain(server->http, on_drained, server);
	loop_timer_set(server->loop, &server->drain_limit, DRAIN_MS, on_drain_limit, server);
}

static bool
start_batch(Server *server)
{
	BatchOptions options = {
		.batch = server->options->batch,
		.queue = server->options->queue,
		.connections = server->options->db_connections,
		.statements = server->statements,
		.kinds = server->kinds,
		.kind_count = KIND_COUNT
	};

	server->postbacks = (Postbacks) {
		.answers = server->answers,
		.trusted = &server->options->trust_proxy,
		.limits = limits_new(server->loop, server->metrics)
	};
	if (server->postbacks.limits == NULL)
		return false;
	if (!clicks_init(&server->clicks, server->loop, server->metrics, server->answers, server->options))
		return false;
	server->statements[POSTBACK] = postback_statement;
	server->statements[CLICK] = click_statement;
	server->kinds[POSTBACK] = postback_kind(&server->postbacks, POSTBACK);
	server->kinds[CLICK] = click_kind(&server->clicks, CLICK);
	server->batch = batch_new(server->loop, server->metrics, &options);
	return server->batch != NULL;
}

static bool
start_db(Server *server)
{
	DbOptions	options = {
		.application_name = "postbackd serve",
		.connections = server->options->db_connections,
		.statements = server->statements,
		.statement_count = KIND_COUNT,
		.statement_timeout_ms = STATEMENT_TIMEOUT_MS,
		.lock_timeout_ms = LOCK_TIMEOUT_MS,
		.on_free = on_free,
		.on_refused = on_refused,
		.context = server
	};

	server->db = db_new(server->loop, server->metrics, &options);
	if (server->db == NULL)
		return false;
	batch_use(server->batch, server->db);
	metrics_on_health(server->metrics, is_healthy, server);
	return true;
}

static bool
start_http(Server *server)
{
	HttpOptions options = {
		.listen = server->options->listen,
		.port = server->options->port,
		.reuse_port = server->options->reuse_port,
		.max_connections = server->options->max_connections,
		.max_connections_per_address = server->options->max_connections_per_address,
		.request_timeout_ms = server->options->request_timeout * 1000,
		.idle_timeout_ms = IDLE_TIMEOUT_MS,
		.trusted = server->options->trust_proxy.items,
		.trusted_count = server->options->trust_proxy.count,
		.pixel = answer_gif
	};

	server->http = http_start(server->loop, &options, on_request, server);
	if (server->http == NULL)
		return false;
	metrics_on_refresh(server->metrics, refresh, server);
	log_info("listening", LOG_TEXT("address", options.listen), LOG_INT("port", http_port(server->http)));
	return true;
}

/* The hook that fills calls comes after http's: what it has read goes out in the same turn. */
static bool
start(Server *server)
{
	server->answers = answers_new(server->metrics);
	if (server->answers == NULL || !start_batch(server) || !start_db(server) || !start_http(server))
		return false;
	loop_hook_add(server->loop, &server->flush, on_turn_end, server);
	return loop_on_signal(server->loop, on_signal, server);
}

static void
end(Server *server)
{
	loop_hook_remove(server->loop, &server->flush);
	loop_timer_stop(server->loop, &server->drain_limit);
	if (server->batch != NULL && server->http != NULL)
		batch_give_up(server->batch);
	http_free(server->http);
	db_free(server->db);
	batch_free(server->batch);
	limits_free(server->postbacks.limits);
	clicks_end(&server->clicks);
	answers_free(server->answers);
}

int
serve_run(Loop *loop, Metrics *metrics, const Options *options)
{
	Server		server = {.loop = loop, .metrics = metrics, .options = options};
	int			exit_code = start(&server) ? loop_run(loop) : 2;

	end(&server);
	return exit_code;
}
