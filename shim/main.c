/*
 * main.c: postbackd, the daemon beside the extension.  Options, log, loop, metrics; then the role.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "http.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "options.h"
#include "send.h"
#include "serve.h"

/* On the metrics port a handful of scrapers is expected. */
#define METRICS_CONNECTIONS 32
#define METRICS_TIMEOUT_MS 5000

static void
answer_metrics(Metrics *metrics, HttpRequest *request)
{
	size_t		length;
	char	   *text = metrics_render(metrics, &length);
	HttpReply	reply = {.status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8"};

	if (text == NULL)
		reply.status = 503;
	else
		reply.body = (PbSlice) {text, length};
	http_reply(request, &reply);
	free(text);
}

static void
on_metrics_request(void *context, HttpRequest *request)
{
	static const HttpReply healthy = {.status = 200, .content_type = "text/plain", .body = {"ok\n", 3}};
	static const HttpReply unhealthy = {.status = 503, .content_type = "text/plain", .body = {"unavailable\n", 12}};
	static const HttpReply not_found = {.status = 404, .content_type = "text/plain", .body = {"not found\n", 10}};

	if (pb_slice_equal(request->path, PB_LITERAL("/metrics")))
		answer_metrics(context, request);
	else if (pb_slice_equal(request->path, PB_LITERAL("/healthz")))
		http_reply(request, metrics_healthy(context) ? &healthy : &unhealthy);
	else
		http_reply(request, &not_found);
}

/* *http stays NULL when there is to be none. */
static bool
start_metrics(Loop *loop, Metrics *metrics, const Options *options, Http **http)
{
	char		address[64];
	HttpOptions http_options = {
		.listen = address,
		.max_connections = METRICS_CONNECTIONS,
		.request_timeout_ms = METRICS_TIMEOUT_MS,
		.idle_timeout_ms = 4 * METRICS_TIMEOUT_MS
	};

	*http = NULL;
	if (options->metrics_listen[0] == '\0')
		return true;
	if (!options_split_address(options->metrics_listen, address, sizeof(address), &http_options.port))
	{
		log_error("not ADDR:PORT", LOG_TEXT("metrics_listen", options->metrics_listen));
		return false;
	}
	*http = http_start(loop, &http_options, on_metrics_request, metrics);
	if (*http != NULL)
		log_info("metrics", LOG_TEXT("address", address), LOG_INT("port", http_port(*http)));
	return *http != NULL;
}

static int
run_role(Loop *loop, Metrics *metrics, const Options *options)
{
	switch (options->role)
	{
		case ROLE_SERVE:
			return serve_run(loop, metrics, options);
		case ROLE_SEND:
			return send_run(loop, metrics, options);
	}
	return 1;
}

/* Connections are descriptors: takes as many as the system lets us have. */
static void
raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warning("the limit of open files could not be raised", LOG_INT("open_files", (int64_t) limit.rlim_max));
}

int
main(int argc, char **argv)
{
	Options		options;
	Loop	   *loop;
	Metrics    *metrics;
	Http	   *metrics_http;
	int			exit_code = 2;

	switch (options_parse(argc, argv, &options))
	{
		case OPTIONS_DONE:
			return 0;
		case OPTIONS_BAD:
			return 1;
		case OPTIONS_RUN:
			break;
	}
	log_set_level(options.log_level);
	raise_open_files();
	loop = loop_new();
	metrics = metrics_new();
	if (loop == NULL || metrics == NULL)
	{
		log_error("out of memory");
		return 2;
	}
	if (start_metrics(loop, metrics, &options, &metrics_http))
		exit_code = run_role(loop, metrics, &options);
	http_free(metrics_http);
	metrics_free(metrics);
	loop_free(loop);
	log_info("stopped", LOG_INT("exit_code", exit_code));
	return exit_code;
}
