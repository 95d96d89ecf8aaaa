/*
 * delivery.c: rows of postback.claim in, arrays of postback.settle out.
 *
 * The one place that knows the columns and arguments of the two.
 */
#include "delivery.h"

#include <stdlib.h>
#include <string.h>

#include "transfer.h"

/* A text buffer that one large delivery grew is given back beyond this. */
#define TEXT_KEEP 4096

const DbStatement delivery_statements[DELIVERY_STATEMENTS] = {
	[DELIVERY_CLAIM] = {
		.name = "claim",
		.sql = "SELECT attempt_id::text, delivery_id::text, endpoint, method, url, headers, body, secrets, attempt,"
		" timeout_ms FROM postback.claim($1, $2, make_interval(secs => $3), $4, $5)",
		.types = {DB_TEXT, DB_INT, DB_INT, DB_TEXT_ARRAY, DB_INT, DB_END},
	},
	[DELIVERY_SETTLE] = {
		.name = "settle",
		.sql = "SELECT postback.settle($1, $2::text[]::postback.ulid[], $3::text[]::postback.ulid[], $4, $5, $6, $7, $8, $9,"
		" $10)",
		.types = {DB_TEXT, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_TEXT_ARRAY, DB_INT_ARRAY, DB_TEXT_ARRAY, DB_INT_ARRAY,
		DB_INT_ARRAY, DB_INET_ARRAY, DB_TEXT_ARRAY, DB_END},
	},
};

enum ClaimColumn
{
	ATTEMPT_ID, DELIVERY_ID, ENDPOINT, METHOD, URL, HEADERS, BODY, SECRETS, ATTEMPT, TIMEOUT_MS
};

enum ClaimArgument
{
	CLAIM_SENDER, CLAIM_MAX_ITEMS, CLAIM_LEASE, CLAIM_FULL, CLAIM_PER_ENDPOINT
};

enum SettleArgument
{
	SETTLE_SENDER, SETTLE_DELIVERY_IDS, SETTLE_ATTEMPT_IDS, SETTLE_OUTCOMES, SETTLE_HTTP_CODES, SETTLE_ERRORS, SETTLE_RETRY_AFTERS,
	SETTLE_MILLISECONDS, SETTLE_ADDRESSES, SETTLE_RESPONSES
};

const char *
delivery_outcome_name(DeliveryOutcome outcome)
{
	static const char *const names[DELIVERY_OUTCOMES] = {
		[DELIVERY_RESPONSE] = "response",
		[DELIVERY_ERROR] = "error",
		[DELIVERY_BLOCKED] = "blocked",
		[DELIVERY_RELEASED] = "released",
	};

	return names[outcome];
}

/* ---- claim ---- */

void
claim_arguments(DbArguments *arguments, const ClaimQuestion *question)
{
	db_arguments_clear(arguments);
	db_set_text(arguments, CLAIM_SENDER, question->sender);
	db_set_int(arguments, CLAIM_MAX_ITEMS, question->max_items);
	db_set_int(arguments, CLAIM_LEASE, question->lease_s);
	db_set_int(arguments, CLAIM_PER_ENDPOINT, question->per_endpoint);
}

void
claim_add_full(DbArguments *arguments, const char *endpoint)
{
	db_add_text(arguments, CLAIM_FULL, pb_slice(endpoint));
}

PbSlice
claim_endpoint(const DbResult *result, int row)
{
	return db_text(result, row, ENDPOINT);
}

/* Bytes of all texts of a row. */
static size_t
row_text_size(const DbResult *result, int row)
{
	static const int lists[] = {HEADERS, SECRETS};
	size_t		size = db_text(result, row, URL).len + db_text(result, row, BODY).len;

	for (size_t i = 0; i < 2; i++)
	{
		DbArrayReader reader = db_text_array(result, row, lists[i]);
		PbSlice		element;
		bool		is_null;

		while (db_array_next(&reader, &element, &is_null))
			size += is_null ? 0 : element.len;
	}
	return size;
}

static bool
make_room(Delivery *delivery, size_t size)
{
	char	   *grown;

	if (size <= delivery->text_cap && delivery->text_cap <= TEXT_KEEP)
		return true;
	if (size < 1024)
		size = 1024;
	free(delivery->text);
	delivery->text_cap = 0;
	delivery->text = grown = malloc(size);
	if (grown == NULL)
		return false;
	delivery->text_cap = size;
	return true;
}

static PbSlice
copy_text(char **at, PbSlice text)
{
	PbSlice		copy = {*at, text.len};

	if (text.len > 0)
		memcpy(*at, text.data, text.len);
	*at += text.len;
	return copy;
}

/* Returns the number of elements; sets *overflow if there are more than limit. */
static size_t
copy_list(char **at, DbArrayReader reader, PbSlice *list, size_t limit, bool *overflow)
{
	size_t		count = 0;
	PbSlice		element;
	bool		is_null;

	while (db_array_next(&reader, &element, &is_null))
	{
		if (is_null)
			continue;
		if (count == limit)
		{
			*overflow = true;
			break;
		}
		list[count++] = copy_text(at, element);
	}
	return count;
}

/* A ulid's text; anything longer than the room is no ulid and would be cut. */
static void
copy_id(char *id, PbSlice text)
{
	size_t		len = text.len < DELIVERY_ID_ROOM ? text.len : DELIVERY_ID_ROOM - 1;

	if (len > 0)
		memcpy(id, text.data, len);
	id[len] = '\0';
}

bool
delivery_read(Delivery *delivery, const DbResult *result, int row)
{
	char	   *at;

	if (!make_room(delivery, row_text_size(result, row)))
		return false;
	at = delivery->text;
	copy_id(delivery->attempt_id, db_text(result, row, ATTEMPT_ID));
	copy_id(delivery->delivery_id, db_text(result, row, DELIVERY_ID));
	delivery->post = pb_slice_equal(db_text(result, row, METHOD), PB_LITERAL("POST"));
	delivery->attempt = db_int(result, row, ATTEMPT);
	delivery->timeout_ms = db_int(result, row, TIMEOUT_MS);
	delivery->url = copy_text(&at, db_text(result, row, URL));
	delivery->body = copy_text(&at, db_text(result, row, BODY));
	delivery->unreadable = false;
	delivery->header_count = copy_list(&at, db_text_array(result, row, HEADERS), delivery->headers,
									   DELIVERY_HEADER_LIMIT, &delivery->unreadable);
	delivery->secret_count = copy_list(&at, db_text_array(result, row, SECRETS), delivery->secrets,
									   DELIVERY_SECRET_LIMIT, &delivery->unreadable);
	delivery->http_code = 0;
	delivery->retry_after = -1;
	delivery->milliseconds = -1;
	delivery->address = (PbAddress) {0};
	delivery->error = delivery->response = (PbSlice) {0};
	delivery->shortage = false;
	delivery->settle_failures = 0;
	return true;
}

/* ---- result ---- */

/* Length of the valid UTF-8 character (not NUL) that text begins with, or 0. */
static size_t
character_length(PbSlice text)
{
	for (size_t len = 1; len <= 4 && len <= text.len; len++)
		if (pb_utf8_valid((PbSlice) {text.data, len}))
			return len;
	return 0;
}

/* Writes text with each byte that is no UTF-8 (or NUL) as U+FFFD; at most limit bytes. */
static void
out_repaired(PbOut *out, PbSlice text, size_t limit)
{
	size_t		start = out->len;

	while (text.len > 0)
	{
		size_t		len = character_length(text);
		PbSlice		piece = len > 0 ? (PbSlice) {text.data, len} : PB_LITERAL("\xEF\xBF\xBD");

		if (out->len - start + piece.len > limit)
			return;
		pb_out_slice(out, piece);
		text.data += len > 0 ? len : 1;
		text.len -= len > 0 ? len : 1;
	}
}

/* text, cut to limit and repaired where it must be. */
static PbSlice
put_text(PbOut *out, PbSlice text, size_t limit)
{
	size_t		start = out->len;

	text.len = pb_utf8_cut(text, limit);
	if (pb_utf8_valid(text))
		pb_out_slice(out, text);
	else
		out_repaired(out, text, limit);
	return (PbSlice) {out->data + start, out->len - start};
}

void
delivery_set_texts(Delivery *delivery, const char *error, PbSlice response)
{
	PbOut		out;

	delivery->url = delivery->body = (PbSlice) {0};
	delivery->header_count = delivery->secret_count = 0;
	delivery->error = delivery->response = (PbSlice) {0};
	if (!make_room(delivery, DELIVERY_ERROR_LIMIT + (response.len > 0 ? TRANSFER_KEEP_LIMIT : 0)))
		return;
	out = pb_out(delivery->text, delivery->text_cap);
	delivery->error = put_text(&out, pb_slice(error), DELIVERY_ERROR_LIMIT);
	delivery->response = put_text(&out, response, TRANSFER_KEEP_LIMIT);
}

/* ---- settle ---- */

void
settle_arguments(DbArguments *arguments, PbSlice sender)
{
	db_arguments_clear(arguments);
	db_set_text(arguments, SETTLE_SENDER, sender);
}

static void
add_text_or_null(DbArguments *arguments, int index, PbSlice text)
{
	if (text.len > 0)
		db_add_text(arguments, index, text);
	else
		db_add_null(arguments, index);
}

static void
add_int_or_null(DbArguments *arguments, int index, int value, int least)
{
	if (value >= least)
		db_add_int(arguments, index, value);
	else
		db_add_null(arguments, index);
}

void
settle_add(DbArguments *arguments, const Delivery *delivery)
{
	db_add_text(arguments, SETTLE_DELIVERY_IDS, pb_slice(delivery->delivery_id));
	db_add_text(arguments, SETTLE_ATTEMPT_IDS, pb_slice(delivery->attempt_id));
	db_add_text(arguments, SETTLE_OUTCOMES, pb_slice(delivery_outcome_name(delivery->outcome)));
	add_int_or_null(arguments, SETTLE_HTTP_CODES, delivery->http_code, 1);
	add_text_or_null(arguments, SETTLE_ERRORS, delivery->error);
	add_int_or_null(arguments, SETTLE_RETRY_AFTERS, delivery->retry_after, 0);
	add_int_or_null(arguments, SETTLE_MILLISECONDS, delivery->milliseconds, 0);
	if (delivery->address.family != 0)
		db_add_address(arguments, SETTLE_ADDRESSES, &delivery->address);
	else
		db_add_null(arguments, SETTLE_ADDRESSES);
	add_text_or_null(arguments, SETTLE_RESPONSES, delivery->response);
}

void
delivery_free_text(Delivery *delivery)
{
	free(delivery->text);
	delivery->text = NULL;
	delivery->text_cap = 0;
}
