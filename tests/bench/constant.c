/*
 * constant.c: the daemon's own loop and HTTP module with a constant for an answer.
 *
 * The yardstick for requests over HTTP: what is left of postbackd serve when
 * there is neither a queue nor a database.  Every request is read and checked as
 * the daemon does and answered at once with one prepared answer, as long as
 * that to a new order.  "constant PORT"; SIGTERM ends it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "http.h"
#include "loop.h"

static const char body[] =
	"{\"ok\":true,\"result\":\"created\",\"conversion_id\":\"01JZZZZZZZZZZZZZZZZZZZZZZZ\",\"order\":\"orders-1000000\","
	"\"goal\":\"\",\"status\":\"pending\",\"value\":4999,\"currency\":\"EUR\",\"commission\":400,\"fee\":140,"
	"\"attribution\":\"click\",\"hold_until\":\"2026-12-04T10:00:00Z\"}";

static void
answer(void *context, HttpRequest *request)
{
	http_reply_prepared(request, context);
}

static void
end(void *context, int signal_number)
{
	(void) signal_number;
	loop_stop(context, 0);
}

int
main(int argc, char **argv)
{
	HttpReply	reply = {.status = 200,.content_type = "application/json",.body = {body, sizeof(body) - 1}};
	HttpOptions options = {
		.listen = "127.0.0.1",
		.max_connections = 10000,
		.max_connections_per_address = 1000,
		.request_timeout_ms = 10000,
		.idle_timeout_ms = 60000
	};
	HttpPrepared *prepared;
	Loop	   *loop;
	Http	   *http;
	int			code;

	if (argc != 2)
	{
		fputs("constant PORT\n", stderr);
		return 1;
	}
	options.port = atoi(argv[1]);
	loop = loop_new();
	prepared = http_prepare(&reply);
	if (loop == NULL || prepared == NULL || !loop_on_signal(loop, end, loop))
	{
		fputs("constant: could not start\n", stderr);
		return 1;
	}
	http = http_start(loop, &options, answer, prepared);
	if (http == NULL)
		return 1;
	code = loop_run(loop);
	http_free(http);
	http_prepared_free(prepared);
	loop_free(loop);
	return code;
}
