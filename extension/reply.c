/*
 * reply.c: the answer to one postback, as HTTP status and body and as the columns of postback.reply.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "receive.h"

/* The answer's columns, in the order of the type postback.reply. */
enum
{
	REPLY_ITEM,
	REPLY_HTTP_STATUS,
	REPLY_CONTENT_TYPE,
	REPLY_BODY,
	REPLY_OUTCOME,
	REPLY_RETRY_AFTER,
	REPLY_OK,
	REPLY_RESULT,
	REPLY_CODE,
	REPLY_MESSAGE,
	REPLY_PARAMETER,
	REPLY_CONVERSION_ID,
	REPLY_ORDER,
	REPLY_GOAL,
	REPLY_STATUS,
	REPLY_VALUE,
	REPLY_CURRENCY,
	REPLY_COMMISSION,
	REPLY_FEE,
	REPLY_COMMISSION_CURRENCY,
	REPLY_ATTRIBUTION,
	REPLY_HOLD_UNTIL,
	REPLY_CREATED,
	REPLY_APPLIED,
	REPLY_WARNING,
	REPLY_TEST,
	REPLY_EVENT_ID,
	REPLY_RECEIPT_ID,
	REPLY_RATE_LIMIT
};

static bool
style_is(const Call *item, const char *style)
{
	return item->token != NULL && pb_slice_equal(item->token->reply_style, pb_slice(style));
}

/* The HTTP status; senders of style always200 take anything else for an outage, so refusals go as 200. */
int
reply_status(const Call *item)
{
	int			status = pb_code_http(item->code);

	if (style_is(item, "always200") && status != 429 && status != 503)
		return 200;
	return status;
}

static void
json_slice(StringInfo json, const char *name, PbSlice value)
{
	appendStringInfo(json, ",\"%s\":", name);
	escape_json(json, pnstrdup(value.data, value.len));
}

static void
json_ulid(StringInfo json, const char *name, const PbUlid *value)
{
	appendStringInfo(json, ",\"%s\":\"%s\"", name, ulid_cstring(value));
}

static void
json_amount(StringInfo json, const char *name, bool known, int64 value)
{
	if (known)
		appendStringInfo(json, ",\"%s\":" INT64_FORMAT, name, value);
	else
		appendStringInfo(json, ",\"%s\":null", name);
}

/* 2026-12-04T10:00:00Z */
static void
json_timestamp(StringInfo json, const char *name, TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return;
	appendStringInfo(json, ",\"%s\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\"", name,
					 tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void
json_conversion(StringInfo json, const Conversion *c)
{
	json_ulid(json, "conversion_id", &c->id);
	json_slice(json, "order", c->order_ref);
	json_slice(json, "goal", c->goal);
	json_slice(json, "status", pb_slice(pb_state_name(c->status)));
	json_amount(json, "value", true, c->value);
	json_slice(json, "currency", c->currency);
	json_amount(json, "commission", c->priced, c->commission);
	json_amount(json, "fee", c->priced, c->fee);
	json_slice(json, "commission_currency", c->commission_currency);
	json_slice(json, "attribution", pb_slice(attribution_name(c->attribution)));
	if (c->status == PB_PENDING && c->has_hold)
		json_timestamp(json, "hold_until", c->hold_until);
	if (c->test)
		appendStringInfoString(json, ",\"test\":true");
}

/* All warnings in one word list, or NULL. */
char *
warnings_text(const Call *item)
{
	StringInfoData text;

	if (item->warning_count == 0)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < item->warning_count; i++)
		appendStringInfo(&text, i > 0 ? " %s" : "%s", pb_warning_name(item->warnings[i]));
	return text.data;
}

static char *
json_body(const Call *item)
{
	StringInfoData json;

	initStringInfo(&json);
	if (item->code != PB_OK)
	{
		appendStringInfo(&json, "{\"ok\":false,\"code\":\"%s\"", pb_code_name(item->code));
		json_slice(&json, "message", pb_slice(item->message));
		if (item->parameter != NULL)
			json_slice(&json, "parameter", pb_slice(item->parameter));
	}
	else
	{
		appendStringInfo(&json, "{\"ok\":true,\"result\":\"%s\"", pb_result_name(item->result));
		if (item->created && item->result != PB_RESULT_CREATED)
			appendStringInfoString(&json, ",\"created\":true");
		if (item->conversion != NULL)
			json_conversion(&json, item->conversion);
		if (item->has_event)
			json_ulid(&json, "event_id", &item->event_id);
		for (int i = 0; i < item->applied_count; i++)
			appendStringInfo(&json, i == 0 ? ",\"applied\":[\"%s\"" : ",\"%s\"", pb_result_name(item->applied[i]));
		if (item->applied_count > 0)
			appendStringInfoChar(&json, ']');
		if (item->warning_count > 0)
			json_slice(&json, "warning", pb_slice(warnings_text(item)));
	}
	if (item->has_receipt)
		json_ulid(&json, "receipt", &item->receipt_id);
	appendStringInfoChar(&json, '}');
	return json.data;
}

static char *
text_body(const Call *item)
{
	if (item->code != PB_OK)
		return psprintf("ERROR %s", pb_code_name(item->code));
	return item->result == PB_RESULT_DUPLICATE ? "DUPLICATE" : "OK";
}

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	if (text != NULL)
		values[column] = CStringGetTextDatum(text);
}

static void
set_slice(Datum *values, bool *nulls, int column, PbSlice slice)
{
	nulls[column] = slice.data == NULL;
	if (slice.data != NULL)
		values[column] = PointerGetDatum(cstring_to_text_with_len(slice.data, slice.len));
}

static void
set_value(Datum *values, bool *nulls, int column, Datum value)
{
	values[column] = value;
	nulls[column] = false;
}

static void
set_conversion(const Conversion *c, Datum *values, bool *nulls)
{
	set_value(values, nulls, REPLY_CONVERSION_ID, UlidPGetDatum(&c->id));
	set_slice(values, nulls, REPLY_ORDER, c->order_ref);
	set_slice(values, nulls, REPLY_GOAL, c->goal);
	set_text(values, nulls, REPLY_STATUS, pb_state_name(c->status));
	set_value(values, nulls, REPLY_VALUE, Int64GetDatum(c->value));
	set_slice(values, nulls, REPLY_CURRENCY, c->currency);
	if (c->priced)
	{
		set_value(values, nulls, REPLY_COMMISSION, Int64GetDatum(c->commission));
		set_value(values, nulls, REPLY_FEE, Int64GetDatum(c->fee));
	}
	set_slice(values, nulls, REPLY_COMMISSION_CURRENCY, c->commission_currency);
	set_text(values, nulls, REPLY_ATTRIBUTION, attribution_name(c->attribution));
	if (c->status == PB_PENDING && c->has_hold)
		set_value(values, nulls, REPLY_HOLD_UNTIL, TimestampTzGetDatum(c->hold_until));
	set_value(values, nulls, REPLY_TEST, BoolGetDatum(c->test));
}

/* Fills one row of postback.reply. */
void
reply_values(const Call *item, Datum *values, bool *nulls)
{
	bool		ok = item->code == PB_OK;
	bool		text = style_is(item, "text");
	const char *code = ok ? NULL : pb_code_name(item->code);
	const char *result = ok ? pb_result_name(item->result) : NULL;

	memset(nulls, true, sizeof(bool) * REPLY_COLUMNS);
	set_value(values, nulls, REPLY_ITEM, Int32GetDatum(item->number));
	set_value(values, nulls, REPLY_HTTP_STATUS, Int32GetDatum(reply_status(item)));
	set_text(values, nulls, REPLY_CONTENT_TYPE, text ? "text/plain" : "application/json");
	set_text(values, nulls, REPLY_BODY, text ? text_body(item) : json_body(item));
	set_text(values, nulls, REPLY_OUTCOME, ok ? result : code);
	if (pb_code_http(item->code) == 503)
		set_value(values, nulls, REPLY_RETRY_AFTER, Int32GetDatum(1));
	set_value(values, nulls, REPLY_OK, BoolGetDatum(ok));
	set_text(values, nulls, REPLY_RESULT, result);
	set_text(values, nulls, REPLY_CODE, code);
	set_text(values, nulls, REPLY_MESSAGE, item->message);
	set_text(values, nulls, REPLY_PARAMETER, item->parameter);
	set_slice(values, nulls, REPLY_ORDER, item->p[PB_P_ORDER].data != NULL && pb_utf8_valid(item->p[PB_P_ORDER]) ?
			  item->p[PB_P_ORDER] : (PbSlice) {NULL, 0});
	if (item->conversion != NULL)
		set_conversion(item->conversion, values, nulls);
	set_value(values, nulls, REPLY_CREATED, BoolGetDatum(item->created));
	if (item->applied_count > 0)
	{
		Datum		applied[lengthof(item->applied)];

		for (int i = 0; i < item->applied_count; i++)
			applied[i] = CStringGetTextDatum(pb_result_name(item->applied[i]));
		set_value(values, nulls, REPLY_APPLIED,
				  PointerGetDatum(construct_array(applied, item->applied_count, TEXTOID, -1, false, TYPALIGN_INT)));
	}
	set_text(values, nulls, REPLY_WARNING, warnings_text(item));
	if (item->has_event)
		set_value(values, nulls, REPLY_EVENT_ID, UlidPGetDatum(&item->event_id));
	if (item->has_receipt)
		set_value(values, nulls, REPLY_RECEIPT_ID, UlidPGetDatum(&item->receipt_id));
	if (item->token != NULL && item->token->rate_limit > 0)
		set_value(values, nulls, REPLY_RATE_LIMIT, Int32GetDatum(item->token->rate_limit));
}
