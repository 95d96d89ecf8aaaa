/*
 * answer.c: prepared errors, and one counter per (route, outcome).
 */
#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define OUTCOME_LIMIT 64		/* outcomes remembered per route; further ones are looked up each time */

typedef struct Outcome
{
	char		name[49];
	Metric	   *count;
} Outcome;

struct Answers
{
	Metrics    *metrics;
	HttpPrepared *errors[ROUTE_COUNT][PB_CODE_COUNT];
	HttpPrepared *healthy;
	Outcome		outcomes[ROUTE_COUNT][OUTCOME_LIMIT];
	int			outcome_count[ROUTE_COUNT];
	Metric	   *seconds[ROUTE_COUNT];
};

static const char gif[] =
	"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,"
	"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02" "D\x01\x00;";

const PbSlice answer_gif = {gif, sizeof(gif) - 1};

static const struct
{
	const char *name;
	const char *allow;
}			routes[ROUTE_COUNT] = {
	[ROUTE_POSTBACK] = {"postback", "GET, POST"},
	[ROUTE_PIXEL] = {"pixel", "GET, POST"},
	[ROUTE_CLICK] = {"click", "GET, HEAD"},
	[ROUTE_HEALTH] = {"health", "GET, HEAD"},
	[ROUTE_OTHER] = {"other", ""},
};

/* What the daemon itself answers, and on which routes. */
static const struct
{
	PbCode		code;
	const char *message;
	unsigned	routes;
}			errors[] = {
	{PB_NOT_FOUND, "There is nothing here: postbacks go to /p/TOKEN, clicks to /c/LINK.",
	1u << ROUTE_POSTBACK | 1u << ROUTE_PIXEL | 1u << ROUTE_OTHER},
	{PB_UNKNOWN_LINK, "There is no such link: check the tracking URL.", 1u << ROUTE_CLICK},
	{PB_METHOD_NOT_ALLOWED, "This address does not take that method: Allow says which it takes.",
	1u << ROUTE_POSTBACK | 1u << ROUTE_PIXEL | 1u << ROUTE_CLICK | 1u << ROUTE_HEALTH},
	{PB_UNSUPPORTED_MEDIA_TYPE,
		"The body must be application/x-www-form-urlencoded, multipart/form-data or application/json.",
	1u << ROUTE_POSTBACK | 1u << ROUTE_PIXEL},
	{PB_RATE_LIMITED, "Too many calls with this token; nothing was recorded. Please send it again after Retry-After seconds.",
	1u << ROUTE_POSTBACK | 1u << ROUTE_PIXEL},
	{PB_UNAVAILABLE, "The database cannot record this now; nothing was acknowledged. Please send it again.",
	1u << ROUTE_POSTBACK | 1u << ROUTE_PIXEL | 1u << ROUTE_CLICK | 1u << ROUTE_HEALTH},
};

#define ERROR_COUNT (sizeof(errors) / sizeof(errors[0]))

static void
add_header(HttpReply *reply, const char *name, const char *value)
{
	for (int i = 0; i < HTTP_REPLY_HEADERS; i++)
	{
		if (reply->header[i].name == NULL)
		{
			reply->header[i] = (HttpHeader) {name, value};
			return;
		}
	}
}

static HttpPrepared *
prepare_error(Route route, PbCode code, const char *message)
{
	char		body[256];
	HttpReply	reply = {.status = pb_code_http(code)};

	if (route == ROUTE_PIXEL)
	{
		reply.content_type = "image/gif";
		reply.body = answer_gif;
		add_header(&reply, "X-Postback-Code", pb_code_name(code));
	}
	else
	{
		snprintf(body, sizeof(body), "{\"ok\":false,\"code\":\"%s\",\"message\":\"%s\"}", pb_code_name(code), message);
		reply.content_type = "application/json";
		reply.body = pb_slice(body);
	}
	add_header(&reply, "Cache-Control", "no-store");
	if (code == PB_METHOD_NOT_ALLOWED)
		add_header(&reply, "Allow", routes[route].allow);
	if (code == PB_UNAVAILABLE || code == PB_RATE_LIMITED)
		add_header(&reply, "Retry-After", "1");
	return http_prepare(&reply);
}

static bool
prepare_all(Answers *answers)
{
	HttpReply	ok = {.status = 200, .content_type = "text/plain", .body = PB_LITERAL("ok\n")};

	add_header(&ok, "Cache-Control", "no-store");
	answers->healthy = http_prepare(&ok);
	if (answers->healthy == NULL)
		return false;
	for (int route = 0; route < ROUTE_COUNT; route++)
	{
		for (size_t i = 0; i < ERROR_COUNT; i++)
		{
			if (!(errors[i].routes & 1u << route))
				continue;
			answers->errors[route][errors[i].code] = prepare_error((Route) route, errors[i].code, errors[i].message);
			if (answers->errors[route][errors[i].code] == NULL)
				return false;
		}
	}
	return true;
}

Answers *
answers_new(Metrics *metrics)
{
	Answers    *answers = calloc(1, sizeof(*answers));

	if (answers == NULL)
		return NULL;
	answers->metrics = metrics;
	for (int route = 0; route < ROUTE_COUNT; route++)
	{
		char		labels[64];

		snprintf(labels, sizeof(labels), "route=\"%s\"", routes[route].name);
		answers->seconds[route] = metrics_histogram(metrics, "postbackd_request_seconds", labels,
													"Time from a request being whole to its answer being ready.",
													metrics_seconds_bounds, metrics_seconds_bound_count);
	}
	if (!prepare_all(answers))
	{
		answers_free(answers);
		return NULL;
	}
	return answers;
}

void
answers_free(Answers *answers)
{
	if (answers == NULL)
		return;
	for (int route = 0; route < ROUTE_COUNT; route++)
		for (int code = 0; code < PB_CODE_COUNT; code++)
			http_prepared_free(answers->errors[route][code]);
	http_prepared_free(answers->healthy);
	free(answers);
}

static Metric *
outcome_counter(Answers *answers, Route route, PbSlice outcome)
{
	Outcome    *known = answers->outcomes[route];
	char		name[49];
	char		labels[128];
	Metric	   *count;

	for (int i = 0; i < answers->outcome_count[route]; i++)
		if (strlen(known[i].name) == outcome.len && memcmp(known[i].name, outcome.data, outcome.len) == 0)
			return known[i].count;
	metrics_label(name, outcome);
	snprintf(labels, sizeof(labels), "route=\"%s\",outcome=\"%s\"", routes[route].name, name);
	count = metrics_counter(answers->metrics, "postbackd_requests_total", labels,
							"Requests answered, by route and outcome.");
	if (answers->outcome_count[route] < OUTCOME_LIMIT)
	{
		Outcome    *fresh = &known[answers->outcome_count[route]++];

		memcpy(fresh->name, name, sizeof(name));
		fresh->count = count;
	}
	return count;
}

/* A path of /p/ holds a token, so no path is shown as it is. */
static void
log_answer(Route route, const HttpRequest *request, PbSlice outcome)
{
	size_t		skipped = request->path.len > 3 ? 3 : request->path.len;

	log_debug("answered", LOG_TEXT("route", routes[route].name), LOG_SLICE("method", request->method),
			  LOG_TOKEN("key", ((PbSlice) {request->path.data + skipped, request->path.len - skipped})),
			  LOG_SLICE("outcome", outcome), LOG_INT("microseconds", loop_now_us() - request->arrived_us));
}

void
answer_count(Answers *answers, Route route, const HttpRequest *request, PbSlice outcome)
{
	metric_add(outcome_counter(answers, route, outcome), 1);
	metric_observe(answers->seconds[route], (double) (loop_now_us() - request->arrived_us) / 1e6);
	if (log_enabled(LOG_LEVEL_DEBUG))
		log_answer(route, request, outcome);
}

void
answer_error(Answers *answers, Route route, HttpRequest *request, PbCode code)
{
	answer_count(answers, route, request, pb_slice(pb_code_name(code)));
	http_reply_prepared(request, answers->errors[route][code]);
}

void
answer_health(Answers *answers, HttpRequest *request, bool healthy)
{
	if (!healthy)
	{
		answer_error(answers, ROUTE_HEALTH, request, PB_UNAVAILABLE);
		return;
	}
	answer_count(answers, ROUTE_HEALTH, request, PB_LITERAL("ok"));
	http_reply_prepared(request, answers->healthy);
}
