/*
 * replay.c: a receipt's call once more: read again, to explain what was made of it, or made again after a fix.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "receive.h"

static const PbSlice none = {NULL, 0};

/* The value of a hexadecimal digit as a receipt has them, or -1. */
static int
digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * The bytes of a body as they came: where it was no valid text, a receipt has \xNN for each byte that is NUL or not ASCII.
 */
static PbSlice
body_bytes(PbSlice text)
{
	char	   *bytes = palloc(text.len + 1);
	size_t		length = 0;
	PbSlice		body;

	for (size_t i = 0; i < text.len; i++)
	{
		int			value = -1;

		if ((unsigned char) text.data[i] >= 0x80)
			return text;
		if (text.data[i] == '\\' && i + 3 < text.len && text.data[i + 1] == 'x' &&
			digit(text.data[i + 2]) >= 0 && digit(text.data[i + 3]) >= 0)
			value = digit(text.data[i + 2]) * 16 + digit(text.data[i + 3]);
		if (value == 0 || value >= 0x80)
		{
			bytes[length++] = (char) value;
			i += 3;
		}
		else
			bytes[length++] = text.data[i];
	}
	body = (PbSlice) {bytes, length};
	return pb_utf8_valid(body) ? text : body;
}

/* Makes a call of a receipt; false if there is no such receipt (any more). */
static bool
receipt_load(const PbUlid *id, Call *item)
{
	Rows	   *rows = rows_begin(ST_RECEIPT, 1);
	Record		record;
	PbUlid		token_id;
	PbUlid		first;

	memset(item, 0, sizeof(*item));
	item->number = 1;
	rows_next(rows);
	put_ulid(rows, id);
	if (rows_execute(rows) == 0)
		return false;
	record = record_read(0);
	take_ulid(&record, &token_id);
	item->method = take_slice(&record);
	item->query = take_slice(&record);
	item->body = take_slice(&record);
	if (item->body.data != NULL)
		item->body = body_bytes(item->body);
	item->content_type = take_slice(&record);
	item->has_remote = take_datum(&record, &item->remote);
	item->cookie = take_slice(&record);
	take_ulid(&record, &first);
	item->replays = true;
	item->replay_of = *id;
	item->received = ulid_timestamp(&first);
	item->token = token_load(&token_id);
	return true;
}

PG_FUNCTION_INFO_V1(postback_replay);
Datum
postback_replay(PG_FUNCTION_ARGS)
{
	PbUlid	   *id = PG_GETARG_ULID_P(0);
	TupleDesc	desc;
	Call		item;
	Batch		batch = {&item, 1, 0, 0};
	Datum		values[REPLY_COLUMNS];
	bool		nulls[REPLY_COLUMNS];
	Datum		result;
	int			level;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "postback.replay_call must return postback.reply");
	level = statements_begin();
	if (receipt_load(id, &item))
		batch_run(&batch);
	else
		item_refuse(&item, PB_NOT_FOUND, "receipt", "there is no receipt %s, or it is older than receipts are kept",
					ulid_cstring(id));
	reply_values(&item, values, nulls);
	result = PointerGetDatum(SPI_returntuple(heap_form_tuple(BlessTupleDesc(desc), values, nulls), desc));
	statements_end(level);
	return result;
}

/* Text of bytes that may be none: a name or value that was refused for its encoding. */
static Datum
shown(PbSlice bytes, bool *is_null)
{
	*is_null = bytes.data == NULL;
	if (bytes.data == NULL)
		return (Datum) 0;
	bytes = readable(bytes);
	return PointerGetDatum(cstring_to_text_with_len(bytes.data, (int) bytes.len));
}

static bool
is_renamed(const Token *token, PbSlice name)
{
	for (int i = 0; i < token->param_count; i++)
		if (pb_slice_equal_nocase(token->params[i].theirs, pb_slice_trim(name)))
			return true;
	return false;
}

/* What became of one pair, for people. */
static PbSlice
pair_outcome(const Call *item, const Pair *pair)
{
	const char *canonical = pb_parameter_name(pair->parameter);
	const char *renamed = is_renamed(item->token, pair->name) ? " by the token's map" : "";
	PbSlice		value = pb_slice_trim(pair->value);

	if (pair->refused)
		return pb_slice(psprintf("refused: %s", pb_code_name(item->code)));
	if (pair->parameter == PB_P_UNKNOWN)
		return pb_slice(psprintf("ignored%s: no parameter of ours", renamed));
	if (pair->skipped)
		return PB_LITERAL("not read: refused before");
	if (value.len == 0)
		return pb_slice(psprintf("empty%s: as if %s were not sent", renamed, canonical));
	return pb_slice(psprintf("%s = %.*s%s", canonical, (int) value.len, value.data, renamed));
}

PG_FUNCTION_INFO_V1(postback_receipt_parameters);
Datum
postback_receipt_parameters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Call		item;
	ListCell   *cell;
	int			level;

	InitMaterializedSRF(fcinfo, 0);
	level = statements_begin();
	if (receipt_load(PG_GETARG_ULID_P(0), &item) && item.token != NULL)
	{
		item.traced = true;
		item_decode(&item);
	}
	foreach(cell, item.pairs)
	{
		const Pair *pair = lfirst(cell);
		Datum		values[5];
		bool		nulls[5];

		values[0] = shown(pair->as_sent, &nulls[0]);
		values[1] = shown(pair->name, &nulls[1]);
		values[2] = shown(pair->value, &nulls[2]);
		values[3] = shown(pair->parameter != PB_P_UNKNOWN ? pb_slice(pb_parameter_name(pair->parameter)) : none, &nulls[3]);
		values[4] = shown(pair_outcome(&item, pair), &nulls[4]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	statements_end(level);
	return (Datum) 0;
}

/* The columns of postback.receipt_request, in its order. */
enum
{
	REQUEST_CODE,
	REQUEST_MESSAGE,
	REQUEST_IS_EVENT,
	REQUEST_ORDER,
	REQUEST_EVENT,
	REQUEST_GOAL,
	REQUEST_STATUS,
	REQUEST_ASKS,
	REQUEST_VALUE,
	REQUEST_CURRENCY,
	REQUEST_TEST,
	REQUEST_CLICK_SENT,
	REQUEST_CLICK_ID,
	REQUEST_PROMO_CODE,
	REQUEST_OFFER,
	REQUEST_PUBLISHER,
	REQUEST_IP,
	REQUEST_ADDRESS_HASH,
	REQUEST_RECEIVED,
	REQUEST_COLUMNS
};

static void
put_parameter(const Call *item, PbParameter parameter, int column, Datum *values, bool *nulls)
{
	PbSlice		value = item->p[parameter];

	values[column] = shown(value, &nulls[column]);
}

static void
put_id(int column, bool has_id, PbUlid *id, Datum *values, bool *nulls)
{
	values[column] = UlidPGetDatum(id);
	nulls[column] = !has_id;
}

/* The value in minor units, by the currency that was sent or by that of the conversion that it is about. */
static void
put_value(const Call *item, PbSlice currency, Datum *values, bool *nulls)
{
	bool		has_value;
	int64		value;

	if (item->code == PB_OK && item_value(item, currency_exponent(currency), &has_value, &value) == PB_OK && has_value)
	{
		values[REQUEST_VALUE] = Int64GetDatum(value);
		nulls[REQUEST_VALUE] = false;
	}
	values[REQUEST_CURRENCY] = shown(currency, &nulls[REQUEST_CURRENCY]);
}

/* What a decoded call asks for. */
static void
put_request(Call *item, PbSlice currency, Datum *values, bool *nulls)
{
	int64		hash;

	put_parameter(item, PB_P_ORDER, REQUEST_ORDER, values, nulls);
	put_parameter(item, PB_P_EVENT, REQUEST_EVENT, values, nulls);
	put_parameter(item, PB_P_GOAL, REQUEST_GOAL, values, nulls);
	put_parameter(item, PB_P_STATUS, REQUEST_STATUS, values, nulls);
	put_parameter(item, PB_P_CLICK_ID, REQUEST_CLICK_SENT, values, nulls);
	put_parameter(item, PB_P_PROMO_CODE, REQUEST_PROMO_CODE, values, nulls);
	put_parameter(item, PB_P_IP, REQUEST_IP, values, nulls);
	put_id(REQUEST_CLICK_ID, item->has_click, &item->click_id, values, nulls);
	put_id(REQUEST_OFFER, item->has_offer, &item->offer_id, values, nulls);
	put_id(REQUEST_PUBLISHER, item->has_publisher, &item->publisher_id, values, nulls);
	values[REQUEST_IS_EVENT] = BoolGetDatum(item->is_event);
	values[REQUEST_TEST] = BoolGetDatum(item->test);
	nulls[REQUEST_IS_EVENT] = nulls[REQUEST_TEST] = false;
	if (!item->is_event)
		values[REQUEST_ASKS] = shown(pb_slice(pb_sent_name(item->sent)), &nulls[REQUEST_ASKS]);
	put_value(item, item->currency.data != NULL ? item->currency : currency, values, nulls);
	if (narrowing_address(item, &hash))
	{
		values[REQUEST_ADDRESS_HASH] = Int64GetDatum(hash);
		nulls[REQUEST_ADDRESS_HASH] = false;
	}
}

PG_FUNCTION_INFO_V1(postback_receipt_request);
Datum
postback_receipt_request(PG_FUNCTION_ARGS)
{
	PbSlice		currency = PG_ARGISNULL(1) ? none : text_slice(PG_GETARG_TEXT_PP(1));
	TupleDesc	desc;
	Call		item;
	Datum		values[REQUEST_COLUMNS] = {0};
	bool		nulls[REQUEST_COLUMNS];
	Datum		result;
	int			level;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "postback.receipt_request must return a row");
	memset(nulls, true, sizeof(nulls));
	level = statements_begin();
	if (receipt_load(PG_GETARG_ULID_P(0), &item))
	{
		values[REQUEST_RECEIVED] = TimestampTzGetDatum(item.received);
		nulls[REQUEST_RECEIVED] = false;
		if (item.token != NULL)
		{
			item_decode(&item);
			put_request(&item, currency.data != NULL ? currency : item.token->brand->currency, values, nulls);
		}
		else
			item_refuse(&item, PB_UNKNOWN_TOKEN, NULL, "its token is gone");
		if (item.code != PB_OK)
			values[REQUEST_CODE] = shown(pb_slice(pb_code_name(item.code)), &nulls[REQUEST_CODE]);
		if (item.message != NULL)
			values[REQUEST_MESSAGE] = shown(pb_slice(item.message), &nulls[REQUEST_MESSAGE]);
	}
	result = PointerGetDatum(SPI_returntuple(heap_form_tuple(BlessTupleDesc(desc), values, nulls), desc));
	statements_end(level);
	return result;
}
