/*
 * click.c: one click from its request to its arguments, and from its row to its redirect.
 */
#include "click.h"

#include <stdio.h>
#include <string.h>

#include "forwarded.h"
#include "text.h"

const DbStatement click_statement = {
	.name = "click_batch",
	.sql = "SELECT item, http_status, location, cookie, outcome, landing"
	" FROM postback.click_batch(items => $1, links => $2, queries => $3, remotes => $4,"
	" user_agents => $5, referrers => $6, countries => $7, counted => $8::boolean[])",
	.types = {DB_INT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_INET_ARRAY,
		DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_INT_ARRAY, DB_END}
};

enum
{
	ARG_ITEM, ARG_LINK, ARG_QUERY, ARG_REMOTE, ARG_USER_AGENT, ARG_REFERRER, ARG_COUNTRY, ARG_COUNTED
};

enum
{
	COL_ITEM, COL_STATUS, COL_LOCATION, COL_COOKIE, COL_OUTCOME, COL_LANDING
};

#define PREFIX "/c/"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define COOKIE_LIMIT 1024

bool
clicks_init(Clicks *clicks, Loop *loop, Metrics *metrics, Answers *answers, const Options *options)
{
	static const char unrecorded[] = "postbackd_clicks_unrecorded_total";
	static const char help[] =
		"Clicks that the database did not confirm in time: sent to the landing page without a click id, or refused.";

	*clicks = (Clicks) {.answers = answers, .trusted = &options->trust_proxy};
	clicks->redirected = metrics_counter(metrics, unrecorded, "answer=\"landing\"", help);
	clicks->refused = metrics_counter(metrics, unrecorded, "answer=\"unavailable\"", help);
	clicks->landings = landings_new(loop, metrics, options->landing_life * 1000);
	return clicks->landings != NULL;
}

void
clicks_end(Clicks *clicks)
{
	landings_free(clicks->landings);
	clicks->landings = NULL;
}

Route
click_route(PbSlice path)
{
	if (path.len <= PREFIX_LENGTH || path.len > PREFIX_LENGTH + CLICK_LINK_LIMIT ||
		!pb_slice_equal((PbSlice) {path.data, PREFIX_LENGTH}, PB_LITERAL(PREFIX)) ||
		pb_slice_find(path, '/', PREFIX_LENGTH) < path.len)
		return ROUTE_OTHER;
	return ROUTE_CLICK;
}

bool
click_check(Clicks *clicks, HttpRequest *request)
{
	if (pb_slice_equal(request->method, PB_LITERAL("GET")) || pb_slice_equal(request->method, PB_LITERAL("HEAD")))
		return true;
	answer_error(clicks->answers, ROUTE_CLICK, request, PB_METHOD_NOT_ALLOWED);
	return false;
}

static PbSlice
link_of(const HttpRequest *request)
{
	return (PbSlice) {request->path.data + PREFIX_LENGTH, request->path.len - PREFIX_LENGTH};
}

/* Does the browser say that nobody has seen this yet?  "Sec-Purpose: prefetch;prerender", "X-Moz: prefetch" ... */
static bool
is_prefetch(PbSlice purpose)
{
	static const char *const words[] = {"prefetch", "prerender", "preview"};
	size_t		start = 0;

	for (size_t i = 0; i <= purpose.len; i++)
	{
		if (i < purpose.len && strchr(";, \t", purpose.data[i]) == NULL)
			continue;
		for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
			if (pb_slice_equal_nocase((PbSlice) {purpose.data + start, i - start}, pb_slice(words[w])))
				return true;
		start = i + 1;
	}
	return false;
}

static bool
is_counted(const HttpRequest *request)
{
	return !pb_slice_equal(request->method, PB_LITERAL("HEAD")) &&
		(request->field[HTTP_PURPOSE].data == NULL || !is_prefetch(request->field[HTTP_PURPOSE]));
}

static void
fill(void *context, DbArguments *arguments, int item, const HttpRequest *request)
{
	const Clicks *clicks = context;
	PbAddress	sender = forwarded_sender(clicks->trusted, request);

	db_add_int(arguments, ARG_ITEM, item);
	text_add_encoded(arguments, ARG_LINK, link_of(request));
	text_add_encoded(arguments, ARG_QUERY, request->query);
	db_add_address(arguments, ARG_REMOTE, &sender);
	text_add_optional(arguments, ARG_USER_AGENT, request->field[HTTP_USER_AGENT]);
	text_add_optional(arguments, ARG_REFERRER, request->field[HTTP_REFERER]);
	text_add_optional(arguments, ARG_COUNTRY, request->field[HTTP_COUNTRY]);
	db_add_int(arguments, ARG_COUNTED, is_counted(request));
}

/* To the landing page as it was last known, without a click id; false if it is not known. */
static bool
redirect_unrecorded(void *context, HttpRequest *request)
{
	Clicks	   *clicks = context;
	const char *address = landings_find(clicks->landings, link_of(request));
	HttpReply	reply = {.status = 302, .header = {{"Location", address}, {"Cache-Control", "no-store"}}};
	bool		counted = is_counted(request);

	if (address == NULL)
		return false;
	if (counted)
		metric_add(clicks->redirected, 1);
	answer_count(clicks->answers, ROUTE_CLICK, request, counted ? PB_LITERAL("unrecorded") : PB_LITERAL("not_counted"));
	http_reply(request, &reply);
	return true;
}

/* What a visitor gets when the click cannot be recorded. */
static void
unavailable(void *context, HttpRequest *request)
{
	Clicks	   *clicks = context;

	if (redirect_unrecorded(context, request))
		return;
	if (is_counted(request))
		metric_add(clicks->refused, 1);
	answer_error(clicks->answers, ROUTE_CLICK, request, PB_UNAVAILABLE);
}

static void
answer(void *context, HttpRequest *request, const DbResult *result, int row)
{
	Clicks	   *clicks = context;
	char		cookie[COOKIE_LIMIT];
	HttpReply	reply = {.status = db_int(result, row, COL_STATUS)};
	int			headers = 0;

	landings_learn(clicks->landings, link_of(request), db_is_null(result, row, COL_LANDING) ?
				   (PbSlice) {NULL, 0} : db_text(result, row, COL_LANDING));
	if (db_is_null(result, row, COL_LOCATION))
	{
		answer_error(clicks->answers, ROUTE_CLICK, request, PB_UNKNOWN_LINK);
		return;
	}
	reply.header[headers++] = (HttpHeader) {"Location", db_text(result, row, COL_LOCATION).data};
	reply.header[headers++] = (HttpHeader) {"Cache-Control", "no-store"};
	if (!db_is_null(result, row, COL_COOKIE))
	{
		snprintf(cookie, sizeof(cookie), "%s%s", db_text(result, row, COL_COOKIE).data,
				 forwarded_is_tls(clicks->trusted, request) ? "; Secure" : "");
		reply.header[headers++] = (HttpHeader) {"Set-Cookie", cookie};
	}
	answer_count(clicks->answers, ROUTE_CLICK, request, db_text(result, row, COL_OUTCOME));
	http_reply(request, &reply);
}

BatchKind
click_kind(Clicks *clicks, int statement)
{
	BatchKind	kind = {
		.name = "click", .statement = statement, .fill = fill, .answer = answer,
		.unavailable = unavailable, .resort = redirect_unrecorded, .context = clicks
	};

	return kind;
}
