/*
 * click.c: one click from its request to its arguments, and from its row to its redirect.
 */
#include "click.h"

#include <stdio.h>

#include "forwarded.h"
#include "text.h"

const DbStatement click_statement = {
	.name = "click_batch",
	.sql = "SELECT item, http_status, location, cookie, outcome"
	" FROM postback.click_batch(items => $1, links => $2, queries => $3, remotes => $4,"
	" user_agents => $5, referrers => $6, countries => $7)",
	.types = {DB_INT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_INET_ARRAY,
		DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_END}
};

enum
{
	ARG_ITEM, ARG_LINK, ARG_QUERY, ARG_REMOTE, ARG_USER_AGENT, ARG_REFERRER, ARG_COUNTRY
};

enum
{
	COL_ITEM, COL_STATUS, COL_LOCATION, COL_COOKIE, COL_OUTCOME
};

#define PREFIX "/c/"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define COOKIE_LIMIT 1024

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

static void
fill(void *context, DbArguments *arguments, int item, const HttpRequest *request)
{
	const Clicks *clicks = context;
	PbAddress	sender = forwarded_sender(clicks->trusted, request);
	PbSlice		link = {request->path.data + PREFIX_LENGTH, request->path.len - PREFIX_LENGTH};

	db_add_int(arguments, ARG_ITEM, item);
	text_add_encoded(arguments, ARG_LINK, link);
	text_add_encoded(arguments, ARG_QUERY, request->query);
	db_add_address(arguments, ARG_REMOTE, &sender);
	text_add_optional(arguments, ARG_USER_AGENT, request->field[HTTP_USER_AGENT]);
	text_add_optional(arguments, ARG_REFERRER, request->field[HTTP_REFERER]);
	text_add_optional(arguments, ARG_COUNTRY, request->field[HTTP_COUNTRY]);
}

/*
 * What a visitor gets when the click cannot be recorded.  A bounded cache of
 * links would redirect from here; without one there is nowhere to send them.
 */
static void
unavailable(void *context, HttpRequest *request)
{
	Clicks	   *clicks = context;

	answer_error(clicks->answers, ROUTE_CLICK, request, PB_UNAVAILABLE);
}

static void
answer(void *context, HttpRequest *request, const DbResult *result, int row)
{
	Clicks	   *clicks = context;
	char		cookie[COOKIE_LIMIT];
	HttpReply	reply = {.status = db_int(result, row, COL_STATUS)};
	int			headers = 0;

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
		.unavailable = unavailable, .context = clicks
	};

	return kind;
}
