/*
 * postback.c: one postback from its request to its arguments, and from its row to its answer.
 */
#include "postback.h"

#include <stdio.h>

#include "forwarded.h"
#include "text.h"

const DbStatement postback_statement = {
	.name = "receive_batch",
	.sql = "SELECT item, http_status, content_type, body, outcome, retry_after, rate_limit"
	" FROM postback.receive_batch(items => $1, tokens => $2, methods => $3, queries => $4, bodies => $5,"
	" content_types => $6, remotes => $7, signatures => $8, cookies => $9, raw_bodies => $10)",
	.types = {DB_INT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY,
		DB_TEXT_ARRAY, DB_INET_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_BYTEA_ARRAY, DB_END}
};

enum
{
	ARG_ITEM, ARG_TOKEN, ARG_METHOD, ARG_QUERY, ARG_BODY,
	ARG_CONTENT_TYPE, ARG_REMOTE, ARG_SIGNATURE, ARG_COOKIE, ARG_RAW_BODY
};

enum
{
	COL_ITEM, COL_STATUS, COL_CONTENT_TYPE, COL_BODY, COL_OUTCOME, COL_RETRY_AFTER, COL_RATE_LIMIT
};

#define PREFIX "/p/"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define KEY_LENGTH 8

/* An underscore and the brand's key follow; without them it is a cookie of version 0.1.0. */
#define COOKIE "postback_click"

/* What kinds of body there are. */
static const char *const media_types[] = {
	"application/x-www-form-urlencoded", "multipart/form-data", "application/json"
};

/* ---- the path ---- */

static bool
ends_with_gif(PbSlice token)
{
	return token.len > 4 && pb_slice_equal((PbSlice) {token.data + token.len - 4, 4}, PB_LITERAL(".gif"));
}

/* Both need a path of which postback_route has said yes. */
static Route
route_of(PbSlice path)
{
	return ends_with_gif(path) ? ROUTE_PIXEL : ROUTE_POSTBACK;
}

static PbSlice
token_of(PbSlice path)
{
	PbSlice		token = {path.data + PREFIX_LENGTH, path.len - PREFIX_LENGTH};

	if (ends_with_gif(token))
		token.len -= 4;
	return token;
}

Route
postback_route(PbSlice path)
{
	if (path.len <= PREFIX_LENGTH || !pb_slice_equal((PbSlice) {path.data, PREFIX_LENGTH}, PB_LITERAL(PREFIX)) ||
		pb_slice_find(path, '/', PREFIX_LENGTH) < path.len)
		return ROUTE_OTHER;
	return route_of(path);
}

/* ---- what the daemon refuses by itself ---- */

static bool
is_post(const HttpRequest *request)
{
	return pb_slice_equal(request->method, PB_LITERAL("POST"));
}

static bool
is_acceptable_type(const HttpRequest *request)
{
	PbSlice		type = request->field[HTTP_CONTENT_TYPE];

	if (request->body.len == 0)
		return true;
	type.len = pb_slice_find(type, ';', 0);
	while (type.len > 0 && (type.data[type.len - 1] == ' ' || type.data[type.len - 1] == '\t'))
		type.len--;
	for (size_t i = 0; i < sizeof(media_types) / sizeof(media_types[0]); i++)
		if (pb_slice_equal_nocase(type, pb_slice(media_types[i])))
			return true;
	return false;
}

bool
postback_check(Postbacks *postbacks, Route route, HttpRequest *request)
{
	bool		post = is_post(request);

	if (token_of(request->path).len > POSTBACK_TOKEN_LIMIT)
	{
		answer_error(postbacks->answers, route, request, PB_NOT_FOUND);
		return false;
	}
	if (!post && !pb_slice_equal(request->method, PB_LITERAL("GET")))
	{
		answer_error(postbacks->answers, route, request, PB_METHOD_NOT_ALLOWED);
		return false;
	}
	if (post && !is_acceptable_type(request))
	{
		answer_error(postbacks->answers, route, request, PB_UNSUPPORTED_MEDIA_TYPE);
		return false;
	}
	if (!limits_allow(postbacks->limits, token_of(request->path)))
	{
		answer_error(postbacks->answers, route, request, PB_RATE_LIMITED);
		return false;
	}
	return true;
}

/* ---- request to arguments ---- */

/* The visitor's click for the brand of the token. */
static PbSlice
cookie_of(const HttpRequest *request)
{
	PbSlice		token = token_of(request->path);
	char		name[sizeof(COOKIE) + KEY_LENGTH + 1];
	PbSlice		found;

	snprintf(name, sizeof(name), COOKIE "_%.*s", (int) (token.len < KEY_LENGTH ? token.len : KEY_LENGTH), token.data);
	found = text_cookie(request->field[HTTP_COOKIE], pb_slice(name));
	return found.data != NULL ? found : text_cookie(request->field[HTTP_COOKIE], PB_LITERAL(COOKIE));
}

static void
fill_body(DbArguments *arguments, const HttpRequest *request)
{
	bool		is_text = pb_utf8_valid(request->body);

	if (request->body.len == 0 || !is_text)
		db_add_null(arguments, ARG_BODY);
	else
		db_add_text(arguments, ARG_BODY, request->body);
	if (request->body.len == 0 || is_text)
		db_add_null(arguments, ARG_RAW_BODY);
	else
		db_add_bytes(arguments, ARG_RAW_BODY, request->body);
}

static void
fill(void *context, DbArguments *arguments, int item, const HttpRequest *request)
{
	const Postbacks *postbacks = context;
	PbAddress	sender = forwarded_sender(postbacks->trusted, request);
	PbSlice		none = {NULL, 0};
	bool		pixel = route_of(request->path) == ROUTE_PIXEL;

	db_add_int(arguments, ARG_ITEM, item);
	text_add_encoded(arguments, ARG_TOKEN, token_of(request->path));
	db_add_text(arguments, ARG_METHOD, request->method);
	text_add_encoded(arguments, ARG_QUERY, request->query);
	fill_body(arguments, request);
	text_add_optional(arguments, ARG_CONTENT_TYPE, is_post(request) ? request->field[HTTP_CONTENT_TYPE] : none);
	db_add_address(arguments, ARG_REMOTE, &sender);
	text_add_optional(arguments, ARG_SIGNATURE, request->field[HTTP_SIGNATURE]);
	text_add_optional(arguments, ARG_COOKIE, pixel ? cookie_of(request) : none);
}

/* ---- row to answer ---- */

static void
answer(void *context, HttpRequest *request, const DbResult *result, int row)
{
	Postbacks  *postbacks = context;
	Route		route = route_of(request->path);
	PbSlice		outcome = db_text(result, row, COL_OUTCOME);
	HttpReply	reply = {.status = db_int(result, row, COL_STATUS)};
	char		retry_after[16];
	int			headers = 0;

	limits_learn(postbacks->limits, token_of(request->path), db_int(result, row, COL_RATE_LIMIT));
	reply.header[headers++] = (HttpHeader) {"Cache-Control", "no-store"};
	if (route == ROUTE_PIXEL)
	{
		reply.content_type = "image/gif";
		reply.body = answer_gif;
		reply.header[headers++] = (HttpHeader) {"X-Postback-Code", outcome.data};
	}
	else
	{
		reply.content_type = db_text(result, row, COL_CONTENT_TYPE).data;
		reply.body = db_text(result, row, COL_BODY);
	}
	if (!db_is_null(result, row, COL_RETRY_AFTER))
	{
		snprintf(retry_after, sizeof(retry_after), "%d", db_int(result, row, COL_RETRY_AFTER));
		reply.header[headers++] = (HttpHeader) {"Retry-After", retry_after};
	}
	answer_count(postbacks->answers, route, request, outcome);
	http_reply(request, &reply);
}

static void
unavailable(void *context, HttpRequest *request)
{
	Postbacks  *postbacks = context;

	answer_error(postbacks->answers, route_of(request->path), request, PB_UNAVAILABLE);
}

BatchKind
postback_kind(Postbacks *postbacks, int statement)
{
	BatchKind	kind = {
		.name = "postback", .statement = statement, .fill = fill, .answer = answer,
		.unavailable = unavailable, .context = postbacks
	};

	return kind;
}
