/*
 * receive.c: the inbound batch, top to bottom: decode, authorise, decide, write, answer.
 *
 * Memory: everything is allocated in the SPI procedure context, which goes with statements_end; only the reply
 * rows are copied out, into the caller's tuplestore.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "argument.h"
#include "receive.h"

/* Refuses an item; the first reason stands. */
void
item_refuse(Call *item, PbCode code, const char *parameter, const char *format,...)
{
	StringInfoData text;

	if (item->code != PB_OK)
		return;
	initStringInfo(&text);
	for (;;)
	{
		va_list		arguments;
		int			needed;

		va_start(arguments, format);
		needed = appendStringInfoVA(&text, format, arguments);
		va_end(arguments);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	item->code = code;
	item->parameter = parameter;
	item->message = text.data;
}

void
item_warn(Call *item, PbWarning warning)
{
	if (warning != PB_WARNING_NONE && item->warning_count < (int) lengthof(item->warnings))
		item->warnings[item->warning_count++] = warning;
}

/* The arguments of receive_batch as items. */
static void
batch_read(FunctionCallInfo fcinfo, Batch *batch)
{
	Argument	numbers = argument_take(fcinfo, 0, "items", -1);
	int			count = numbers.count;
	Argument	tokens = argument_take(fcinfo, 1, "tokens", count);
	Argument	methods = argument_take(fcinfo, 2, "methods", count);
	Argument	queries = argument_take(fcinfo, 3, "queries", count);
	Argument	bodies = argument_take(fcinfo, 4, "bodies", count);
	Argument	content_types = argument_take(fcinfo, 5, "content_types", count);
	Argument	remotes = argument_take(fcinfo, 6, "remotes", count);
	Argument	signatures = argument_take(fcinfo, 7, "signatures", count);
	Argument	cookies = argument_take(fcinfo, 8, "cookies", count);
	Argument	raw_bodies = argument_take(fcinfo, 9, "raw_bodies", count);

	batch->count = count;
	batch->items = palloc0(sizeof(Call) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		Call	   *item = &batch->items[i];
		PbSlice		raw = argument_slice(&raw_bodies, i);

		item->number = numbers.nulls[i] ? i : DatumGetInt32(numbers.values[i]);
		item->position = i;
		item->token_text = argument_slice(&tokens, i);
		item->method = argument_slice(&methods, i);
		item->query = argument_slice(&queries, i);
		item->body = argument_slice(&bodies, i);
		item->content_type = argument_slice(&content_types, i);
		item->has_remote = remotes.given && !remotes.nulls[i];
		item->remote = item->has_remote ? remotes.values[i] : (Datum) 0;
		item->signature = argument_slice(&signatures, i);
		item->cookie = argument_slice(&cookies, i);
		if (item->body.data == NULL && raw.data != NULL)
			item->body = raw;
	}
}

/* Text for a receipt from bytes that may be none: what is no UTF-8 is shown as \xNN. */
PbSlice
readable(PbSlice bytes)
{
	StringInfoData text;

	if (bytes.data == NULL || pb_utf8_valid(bytes))
		return bytes;
	initStringInfo(&text);
	for (size_t i = 0; i < bytes.len; i++)
	{
		unsigned char c = (unsigned char) bytes.data[i];

		if (c == 0 || c >= 0x80)
			appendStringInfo(&text, "\\x%02x", c);
		else
			appendStringInfoChar(&text, (char) c);
	}
	return (PbSlice) {text.data, text.len};
}

static void
put_receipt(Rows *rows, const Call *item, float4 milliseconds)
{
	rows_next(rows);
	put_ulid(rows, &item->receipt_id);
	put_ulid(rows, &item->token->brand_id);
	put_ulid(rows, &item->token->id);
	put_slice(rows, item->method.data != NULL ? item->method : PB_LITERAL("GET"));
	put_slice(rows, item->query);
	put_slice(rows, readable(item->body));
	put_slice(rows, item->content_type);
	put_datum(rows, item->remote, !item->has_remote);
	put_datum(rows, Int16GetDatum(reply_status(item)), false);
	put_cstring(rows, item->code == PB_OK ? pb_result_name(item->result) : NULL);
	put_cstring(rows, item->code == PB_OK ? NULL : pb_code_name(item->code));
	put_cstring(rows, item->parameter);
	put_cstring(rows, warnings_text(item));
	put_slice(rows, item->p[PB_P_ORDER]);
	put_ulid(rows, item->conversion != NULL ? &item->conversion->id : NULL);
	put_ulid(rows, item->has_event ? &item->event_id : NULL);
	put_ulid(rows, item->replays ? &item->replay_of : NULL);
	put_slice(rows, item->cookie.len <= COOKIE_MAX ? item->cookie : (PbSlice) {NULL, 0});
	put_datum(rows, Float4GetDatum(milliseconds), false);
}

static void
receipts_write(const Batch *batch)
{
	Rows	   *rows = rows_begin(ST_RECEIPTS, batch->count);
	float4		milliseconds = (float4) ((GetCurrentTimestamp() - batch->started) / 1000.0);

	for (int i = 0; i < batch->count; i++)
		if (batch->items[i].has_receipt)
			put_receipt(rows, &batch->items[i], milliseconds);
	rows_execute(rows);
}

/* The whole way of a batch, within SPI. */
void
batch_run(Batch *batch)
{
	batch->now = GetCurrentTransactionStartTimestamp();
	batch->started = GetCurrentTimestamp();
	batch_authorise(batch);
	for (int i = 0; i < batch->count; i++)
		if (batch->items[i].token != NULL)
			item_decode(&batch->items[i]);
	batch_decide(batch);
	events_write(batch);
	receipts_write(batch);
}

PG_FUNCTION_INFO_V1(postback_receive_batch);
Datum
postback_receive_batch(PG_FUNCTION_ARGS)
{
	int			level;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Batch		batch;
	Datum		values[REPLY_COLUMNS];
	bool		nulls[REPLY_COLUMNS];

	InitMaterializedSRF(fcinfo, 0);
	level = statements_begin();
	batch_read(fcinfo, &batch);
	batch_run(&batch);
	for (int i = 0; i < batch.count; i++)
	{
		reply_values(&batch.items[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	statements_end(level);
	require_client();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(postback_receive);
Datum
postback_receive(PG_FUNCTION_ARGS)
{
	int			level;
	TupleDesc	desc;
	Call		item;
	Batch		batch = {&item, 1, 0, 0};
	Datum		values[REPLY_COLUMNS];
	bool		nulls[REPLY_COLUMNS];
	HeapTuple	tuple;
	Datum		result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "postback.receive must return postback.reply");
	memset(&item, 0, sizeof(item));
	item.number = 1;
	item.token_text = argument_scalar(fcinfo, 0);
	item.query = argument_scalar(fcinfo, 1);
	item.method = argument_scalar(fcinfo, 2);
	item.body = argument_scalar(fcinfo, 3);
	item.content_type = argument_scalar(fcinfo, 4);
	item.has_remote = !PG_ARGISNULL(5);
	item.remote = item.has_remote ? PG_GETARG_DATUM(5) : (Datum) 0;
	item.signature = argument_scalar(fcinfo, 6);
	item.cookie = argument_scalar(fcinfo, 7);
	level = statements_begin();
	batch_run(&batch);
	reply_values(&item, values, nulls);
	tuple = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
	result = PointerGetDatum(SPI_returntuple(tuple, desc));
	statements_end(level);
	return result;
}
