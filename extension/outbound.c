/*
 * outbound.c: the requests of the callbacks that a change of a conversion, an event or a click fires, rendered in the same
 * transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "callback.h"
#include "core/header.h"
#include "core/url.h"

#define REQUEST_MAX 65536		/* bytes of a rendered URL, body or header value */
#define VALUE_MAX 128			/* bytes of a number, date or id among the macro values */

/* The personal details of a click, when a template asks for them. */
typedef struct ClickDetail
{
	PbUlid		id;
	PbSlice		ip;
	PbSlice		user_agent;
	PbSlice		country;
	PbSlice		referrer;
} ClickDetail;

/* Sets broken if it does not compile: what is saved has passed the same compiler, but for what a dump brought back. */
static PbTemplate *
template_compile(PbSlice text, PbTemplateKind kind, bool *broken)
{
	PbTemplate *template = palloc(sizeof(PbTemplate));

	if (pb_template_compile(text, kind, template, NULL) != PB_LINT_OK)
		*broken = true;
	return template;
}

/* Reads a JSON object of names and values; string values are templates. */
static Fields
fields_read(Jsonb *jsonb, bool *broken)
{
	Fields		fields = {NULL, 0};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	fields.items = palloc0(sizeof(Field) * Max(JB_ROOT_COUNT(jsonb), 1));
	iterator = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		Field	   *field;

		if (token != WJB_KEY)
			continue;
		field = &fields.items[fields.count++];
		field->name = (PbSlice) {key.val.string.val, key.val.string.len};
		JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvString)
			field->template = template_compile((PbSlice) {value.val.string.val, value.val.string.len},
											   PB_TEMPLATE_VALUE, broken);
		else
		{
			Jsonb	   *part = JsonbValueToJsonb(&value);

			field->json = pb_slice(JsonbToCString(NULL, &part->root, VARSIZE(part)));
		}
	}
	return fields;
}

/* "host:port" in lower case: what connection caps and the breaker go by.  Sets broken if the URL has none. */
static PbSlice
endpoint_of(PbSlice url, bool *broken)
{
	size_t		end = 0;
	PbUrl		parts;
	char	   *text;

	/* Only scheme and host are looked at: they hold no macros, the rest may. */
	end = pb_slice_find(url, '/', pb_slice_find(url, '/', 0) + 2);
	end = Min(end, pb_slice_find(url, '?', 0));
	end = Min(end, pb_slice_find(url, '#', 0));
	if (pb_url_split((PbSlice) {url.data, end}, &parts) != PB_URL_OK)
	{
		*broken = true;
		return (PbSlice) {NULL, 0};
	}
	text = psprintf(parts.host_is_v6 ? "[%.*s]:%u" : "%.*s:%u", (int) parts.host.len, parts.host.data, parts.port);
	return pb_slice(asc_tolower(text, strlen(text)));
}

/* Reads the columns of CALLBACK_COLUMNS in plan.c. */
void
callback_read(Record *r, Callback *callback)
{
	Datum		datum;
	PbSlice		url;

	memset(callback, 0, sizeof(*callback));
	take_ulid(r, &callback->id);
	callback->enabled = take_bool(r);
	callback->type = take_slice(r);
	callback->has_brand = take_ulid(r, &callback->brand_id);
	callback->has_offer = take_ulid(r, &callback->offer_id);
	callback->has_publisher = take_ulid(r, &callback->publisher_id);
	callback->goal = take_slice(r);
	take_datum(r, &datum);
	for (PbState s = PB_PENDING; s < PB_STATE_COUNT; s++)
		callback->statuses[s] = text_array_contains(DatumGetArrayTypeP(datum), pb_slice(pb_state_public_name(s)),
															pb_slice_equal);
	callback->reasons = take_datum(r, &datum) ? DatumGetArrayTypeP(datum) : NULL;
	take_datum(r, &callback->delay);
	callback->method = take_slice(r);
	url = take_slice(r);
	callback->endpoint = endpoint_of(url, &callback->broken);
	callback->url = template_compile(url, PB_TEMPLATE_URL, &callback->broken);
	if (take_datum(r, &datum))
		callback->params = fields_read(DatumGetJsonbP(datum), &callback->broken);
	if (take_datum(r, &datum))
		callback->headers = fields_read(DatumGetJsonbP(datum), &callback->broken);
	callback->include_test = take_bool(r);
	callback->on_adjust = take_bool(r);
}

/* The cause, and the parties of what is attributed, without repeats of neighbours. */
static void
put_scope(Rows *rows, const Change *changes, int count)
{
	const PbUlid *last_brand = NULL;
	const PbUlid *last_offer = NULL;
	const PbUlid *last_publisher = NULL;

	for (int i = 0; i < count; i++)
	{
		const Conversion *c = changes[i].after;

		if (c->attribution == ATTRIBUTION_NONE)
			continue;
		if (last_brand != NULL && ulid_equal(last_brand, &c->brand_id) && ulid_equal(last_offer, &c->offer_id) &&
			ulid_equal(last_publisher, &c->publisher_id))
			continue;
		last_brand = &c->brand_id;
		last_offer = &c->offer_id;
		last_publisher = &c->publisher_id;
		rows_next(rows);
		put_cstring(rows, cause_name(changes[i].cause));
		put_ulid(rows, last_brand);
		put_ulid(rows, last_offer);
		put_ulid(rows, last_publisher);
	}
}

static Callback *
callbacks_load(const Change *changes, int count, int *callback_count)
{
	Rows	   *rows = rows_begin(ST_CALLBACKS, count);
	Callback   *callbacks;
	uint64		found;

	put_scope(rows, changes, count);
	found = rows_execute(rows);
	callbacks = palloc(sizeof(Callback) * Max(found, 1));
	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);

		callback_read(&record, &callbacks[i]);
	}
	*callback_count = (int) found;
	return callbacks;
}

/* Of the changed, attributed conversions. */
OfferName *
offer_names_load(const Change *changes, int count, int *offer_count)
{
	Rows	   *rows = rows_begin(ST_OFFER_NAMES, count);
	const PbUlid *last = NULL;
	OfferName  *offers;
	uint64		found;

	for (int i = 0; i < count; i++)
	{
		const Conversion *c = changes[i].after;

		if (c->attribution == ATTRIBUTION_NONE || (last != NULL && ulid_equal(last, &c->offer_id)))
			continue;
		last = &c->offer_id;
		rows_next(rows);
		put_ulid(rows, last);
	}
	found = rows_execute(rows);
	offers = palloc(sizeof(OfferName) * Max(found, 1));
	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);

		take_ulid(&record, &offers[i].id);
		offers[i].name = take_slice(&record);
		offers[i].goals_enabled = take_bool(&record);
	}
	*offer_count = (int) found;
	return offers;
}

/* NULL: none. */
const OfferName *
offer_name_find(const OfferName *offers, int count, const PbUlid *id)
{
	for (int i = 0; i < count; i++)
		if (ulid_equal(&offers[i].id, id))
			return &offers[i];
	return NULL;
}

/* Are they of one order?  All changes of an order stand together. */
static bool
same_order(const Firing *a, const Firing *b)
{
	return ulid_equal(&a->change->after->brand_id, &b->change->after->brand_id) &&
		pb_slice_equal(a->change->after->order_ref, b->change->after->order_ref);
}

/* Numbers the firings: 1, 2, 3 per callback and conversion, going on from what was delivered before. */
static void
sequences_assign(Firing *firings, int count)
{
	Rows	   *rows = rows_begin(ST_SEQUENCES, 16);
	uint64		found;

	for (int i = 0; i < count; i++)
		if (firings[i].change->before != NULL)
		{
			rows_next(rows);
			put_int(rows, i);
			put_ulid(rows, &firings[i].change->after->id);
			put_ulid(rows, &firings[i].callback->id);
		}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Firing	   *firing = &firings[take_int(&record)];

		firing->seq = take_int(&record);
	}
	/* Firings stand in the order of the changes: each one follows the last of its pair before it. */
	for (int i = 0; i < count; i++)
	{
		for (int j = i - 1; j >= 0 && firings[i].change->before != NULL && same_order(&firings[j], &firings[i]); j--)
			if (firings[j].callback == firings[i].callback &&
				ulid_equal(&firings[j].change->after->id, &firings[i].change->after->id))
			{
				firings[i].seq = firings[j].seq;
				break;
			}
		firings[i].seq++;
	}
}

/* A short value written into memory of its own. */
static PbSlice
value_format(const char *format,...) pg_attribute_printf(1, 2);

static PbSlice
value_format(const char *format,...)
{
	char	   *text = palloc(VALUE_MAX);
	va_list		arguments;
	int			length;

	va_start(arguments, format);
	length = vsnprintf(text, VALUE_MAX, format, arguments);
	va_end(arguments);
	return (PbSlice) {text, Min(length, VALUE_MAX - 1)};
}

static PbSlice
value_ulid(const PbUlid *ulid)
{
	return pb_slice(ulid_cstring(ulid));
}

static void
set_money(PbMacroValues *values, PbMacro macro, int64 minor, PbSlice currency)
{
	char	   *text = palloc(VALUE_MAX);
	PbOut		out = pb_out(text, VALUE_MAX);

	pb_money_format(minor, currency_exponent(currency), &out);
	values->text[macro] = (PbSlice) {text, out.len};
	values->minor[macro] = value_format(INT64_FORMAT, minor);
}

static void
set_moment(PbMacroValues *values, TimestampTz at, PbMacro date, PbMacro time, PbMacro unix_seconds)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return;
	values->text[date] = value_format("%04d-%02d-%02d", tm.tm_year, tm.tm_mon, tm.tm_mday);
	if (time != PB_M_UNKNOWN)
		values->text[time] = value_format("%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
	values->text[unix_seconds] = value_format(INT64_FORMAT, (int64) timestamptz_to_time_t(at));
}

static void
set_subs(PbMacroValues *values, ArrayType *subs)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (subs == NULL)
		return;
	deconstruct_array(subs, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < Min(count, 10); i++)
		if (!nulls[i])
			values->text[PB_M_SUB1 + i] = text_slice(DatumGetTextPP(elements[i]));
}

/* A version 4 UUID per delivery, taken from its id so that retries and repeats show the same. */
static PbSlice
value_rand(const PbUlid *delivery)
{
	uint8		b[16];
	uint64		high = hash_bytes_extended(delivery->bytes, 16, 1);
	uint64		low = hash_bytes_extended(delivery->bytes, 16, 2);

	memcpy(b, &high, 8);
	memcpy(b + 8, &low, 8);
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	return value_format("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
						b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
						b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* What only a conversion has. */
static void
values_of_conversion(PbMacroValues *v, const Change *change)
{
	const Conversion *c = change->after;
	const Conversion *before = change->before;
	int64		payout_before = before != NULL && before->status != PB_REVERSED ? before->commission : 0;
	int64		payout_after = c->status != PB_REVERSED ? c->commission : 0;

	v->text[PB_M_CONVERSION_ID] = value_ulid(&c->id);
	v->text[PB_M_GOAL] = c->goal;
	if (c->priced)
	{
		set_money(v, PB_M_PAYOUT, c->commission, c->commission_currency);
		set_money(v, PB_M_REVENUE, c->commission + c->fee, c->commission_currency);
		set_money(v, PB_M_DELTA_PAYOUT, payout_after - payout_before, c->commission_currency);
	}
	set_money(v, PB_M_SALE_AMOUNT, c->value, c->currency);
	v->text[PB_M_SALE_CURRENCY] = c->currency;
	v->text[PB_M_CURRENCY] = c->commission_currency;
	v->text[PB_M_STATUS] = pb_slice(pb_state_public_name(c->status));
	if (c->status == PB_REVERSED)
		v->text[PB_M_REJECTION_REASON] = c->reason;
}

/* Every macro's value for one firing. */
static void
values_fill(PbMacroValues *v, const Firing *firing, const ClickDetail *detail)
{
	const Conversion *c = firing->change->after;

	memset(v, 0, sizeof(*v));
	if (firing->change->cause == CAUSE_CONVERSION)
		values_of_conversion(v, firing->change);
	v->text[PB_M_EVENT] = firing->change->event;
	if (c->has_click)
	{
		v->text[PB_M_TRANSACTION_ID] = value_format("clk_%s", ulid_cstring(&c->click_id));
		set_moment(v, ulid_timestamp(&c->click_id), PB_M_CLICK_DATE, PB_M_UNKNOWN, PB_M_CLICK_TIMESTAMP);
	}
	v->text[PB_M_EXTERNAL_TRANSACTION_ID] = c->external_transaction_id;
	v->text[PB_M_ORDER_ID] = c->order_ref;
	v->text[PB_M_OFFER_ID] = value_ulid(&c->offer_id);
	v->text[PB_M_OFFER_NAME] = firing->offer ? firing->offer->name : (PbSlice) {NULL, 0};
	v->text[PB_M_PUBLISHER_ID] = value_ulid(&c->publisher_id);
	v->text[PB_M_BRAND_ID] = value_ulid(&c->brand_id);
	v->text[PB_M_SUB_ID] = c->sub_id;
	set_subs(v, c->subs);
	v->text[PB_M_NOTICE] = c->notice;
	v->text[PB_M_PROMO_CODE] = c->promo_code;
	v->text[PB_M_SEQ] = value_format("%d", firing->seq);
	v->text[PB_M_DELIVERY_ID] = value_ulid(&firing->id);
	set_moment(v, firing->since, PB_M_DATE, PB_M_TIME, PB_M_TIMESTAMP);
	if (detail != NULL)
	{
		v->text[PB_M_IP] = detail->ip;
		v->text[PB_M_USER_AGENT] = detail->user_agent;
		v->text[PB_M_COUNTRY] = detail->country;
		v->text[PB_M_REFERRER] = detail->referrer;
	}
	v->text[PB_M_RAND] = value_rand(&firing->id);
	v->text[PB_M_TEST] = c->test ? PB_LITERAL("1") : PB_LITERAL("0");
}

/* A rendered request. */
typedef struct Request
{
	PbSlice		url;
	Datum		headers;		/* text of a text[] */
	bool		has_headers;
	PbSlice		body;			/* data NULL: none */
	bool		too_long;		/* some part is beyond REQUEST_MAX: it cannot be sent */
} Request;

/* Renders into memory of its own; what is beyond REQUEST_MAX bytes is not, and makes the request too long. */
static PbSlice
render(Request *request, const PbTemplate *template, const PbMacroValues *values)
{
	char		small[2048];
	PbOut		out = pb_out(small, sizeof(small));
	char	   *text;

	pb_template_render(template, values, &out);
	if (out.len > REQUEST_MAX)
	{
		request->too_long = true;
		return PB_LITERAL("");
	}
	text = palloc(out.len + 1);
	if (out.len <= sizeof(small))
		memcpy(text, small, out.len);
	else
	{
		size_t		length = out.len;

		out = pb_out(text, length);
		pb_template_render(template, values, &out);
	}
	return (PbSlice) {text, out.len};
}

/* Appends s through one of the core's escaping writers. */
static void
append_escaped(StringInfo buffer, PbSlice s, void (*escape) (PbOut *, PbSlice))
{
	PbOut		out;

	enlargeStringInfo(buffer, (int) s.len * 6 + 1);
	out = pb_out(buffer->data + buffer->len, s.len * 6);
	escape(&out, s);
	buffer->len += (int) out.len;
	buffer->data[buffer->len] = '\0';
}

static PbSlice
field_value(Request *request, const Field *field, const PbMacroValues *values)
{
	return field->template != NULL ? render(request, field->template, values) : field->json;
}

/* name=value&..., percent-encoded */
static void
append_form(Request *request, StringInfo buffer, const Fields *fields, const PbMacroValues *values, char separator)
{
	for (int i = 0; i < fields->count; i++)
	{
		if (separator != '\0')
			appendStringInfoChar(buffer, separator);
		append_escaped(buffer, fields->items[i].name, pb_out_percent);
		appendStringInfoChar(buffer, '=');
		append_escaped(buffer, field_value(request, &fields->items[i], values), pb_out_percent);
		separator = '&';
	}
}

static void
append_json(Request *request, StringInfo buffer, const Fields *fields, const PbMacroValues *values)
{
	appendStringInfoChar(buffer, '{');
	for (int i = 0; i < fields->count; i++)
	{
		const Field *field = &fields->items[i];

		appendStringInfoString(buffer, i > 0 ? ",\"" : "\"");
		append_escaped(buffer, field->name, pb_out_json);
		appendStringInfoString(buffer, "\":");
		if (field->template == NULL)
		{
			appendBinaryStringInfo(buffer, field->json.data, (int) field->json.len);
			continue;
		}
		appendStringInfoChar(buffer, '"');
		append_escaped(buffer, render(request, field->template, values), pb_out_json);
		appendStringInfoChar(buffer, '"');
	}
	appendStringInfoChar(buffer, '}');
}

/* The headers as the text of an array. */
static void
headers_render(Request *request, const Callback *callback, const PbMacroValues *values)
{
	int			count = callback->headers.count;
	Datum	   *lines;
	StringInfoData line;

	request->has_headers = count > 0;
	if (count == 0)
		return;
	lines = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		const Field *field = &callback->headers.items[i];

		initStringInfo(&line);
		append_escaped(&line, field->name, pb_out_header);
		appendStringInfoString(&line, ": ");
		append_escaped(&line, field_value(request, field, values), pb_out_header);
		lines[i] = PointerGetDatum(cstring_to_text_with_len(line.data, line.len));
	}
	request->headers = PointerGetDatum(construct_array(lines, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The request target: the template, and for GET the params added to its query. */
static void
url_render(Request *request, const Callback *callback, const PbMacroValues *values)
{
	StringInfoData buffer;
	char		separator;

	request->url = render(request, callback->url, values);
	if (!pb_slice_equal(callback->method, PB_LITERAL("GET")) || callback->params.count == 0)
		return;
	separator = pb_slice_find(request->url, '?', 0) < request->url.len ? '&' : '?';
	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, request->url.data, (int) request->url.len);
	append_form(request, &buffer, &callback->params, values, separator);
	request->url = (PbSlice) {buffer.data, buffer.len};
}

static void
body_render(Request *request, const Callback *callback, const PbMacroValues *values)
{
	StringInfoData buffer;

	if (pb_slice_equal(callback->method, PB_LITERAL("GET")))
		return;
	initStringInfo(&buffer);
	if (pb_slice_equal(callback->method, PB_LITERAL("POST_JSON")))
		append_json(request, &buffer, &callback->params, values);
	else
		append_form(request, &buffer, &callback->params, values, '\0');
	request->body = (PbSlice) {buffer.data, buffer.len};
}

static Request
request_render(const Callback *callback, const PbMacroValues *values)
{
	Request		request = {.too_long = false};

	url_render(&request, callback, values);
	headers_render(&request, callback, values);
	body_render(&request, callback, values);
	if (request.url.len > REQUEST_MAX || request.body.len > REQUEST_MAX)
		request.too_long = true;
	if (request.too_long)
	{
		request.url = callback->endpoint;
		request.has_headers = false;
		request.body = (PbSlice) {NULL, 0};
	}
	return request;
}

/* The conversion among whose deliveries this one is numbered and ordered; NULL: none. */
static const PbUlid *
conversion_of(const Firing *firing)
{
	return firing->trial || firing->change->cause != CAUSE_CONVERSION ? NULL : &firing->change->after->id;
}

static void
put_delivery(Rows *rows, const Firing *firing, const Request *request, TimestampTz due_at, const char *state)
{
	const Change *change = firing->change;
	const Conversion *c = change->after;

	rows_next(rows);
	put_ulid(rows, &firing->id);
	put_ulid(rows, &c->brand_id);
	put_ulid(rows, &firing->callback->id);
	put_ulid(rows, conversion_of(firing));
	put_ulid(rows, change->cause == CAUSE_EVENT && !firing->trial ? &c->id : NULL);
	put_ulid(rows, c->has_click && !firing->trial ? &c->click_id : NULL);
	put_ulid(rows, &c->offer_id);
	put_ulid(rows, &c->publisher_id);
	put_slice(rows, change->cause == CAUSE_EVENT ? change->event : c->goal);
	put_cstring(rows, change->cause == CAUSE_CONVERSION ? pb_state_public_name(c->status) : NULL);
	put_datum(rows, Int64GetDatum(c->commission), !c->priced);
	put_datum(rows, Int64GetDatum(c->commission + c->fee), !c->priced);
	put_slice(rows, c->commission_currency);
	put_slice(rows, c->notice);
	put_int(rows, firing->seq);
	put_bool(rows, c->test);
	put_slice(rows, firing->callback->method);
	put_slice(rows, request->url);
	put_datum(rows, request->headers, !request->has_headers);
	put_slice(rows, request->body);
	put_timestamp(rows, due_at);
	put_cstring(rows, state);
	put_cstring(rows, request->too_long ? "the rendered request is longer than 64 KB" : NULL);
}

static bool
uses_details(const Callback *callback)
{
	static const PbMacro details[] = {PB_M_IP, PB_M_USER_AGENT, PB_M_COUNTRY, PB_M_REFERRER};

	for (size_t m = 0; m < lengthof(details); m++)
	{
		if (pb_template_uses(callback->url, details[m]))
			return true;
		for (int i = 0; i < callback->params.count; i++)
			if (callback->params.items[i].template && pb_template_uses(callback->params.items[i].template, details[m]))
				return true;
		for (int i = 0; i < callback->headers.count; i++)
			if (callback->headers.items[i].template && pb_template_uses(callback->headers.items[i].template, details[m]))
				return true;
	}
	return false;
}

static ClickDetail *
details_load(const Firing *firings, int count, int *detail_count)
{
	Rows	   *rows = rows_begin(ST_CLICK_DETAILS, 16);
	ClickDetail *details;
	uint64		found;

	for (int i = 0; i < count; i++)
		if (firings[i].change->after->has_click && uses_details(firings[i].callback))
		{
			rows_next(rows);
			put_ulid(rows, &firings[i].change->after->click_id);
		}
	found = rows_execute(rows);
	details = palloc(sizeof(ClickDetail) * Max(found, 1));
	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);

		take_ulid(&record, &details[i].id);
		details[i].ip = take_slice(&record);
		details[i].user_agent = take_slice(&record);
		details[i].country = take_slice(&record);
		details[i].referrer = take_slice(&record);
	}
	*detail_count = (int) found;
	return details;
}

static const ClickDetail *
detail_find(const ClickDetail *details, int count, const Conversion *c)
{
	for (int i = 0; c->has_click && i < count; i++)
		if (ulid_equal(&details[i].id, &c->click_id))
			return &details[i];
	return NULL;
}

/* Numbers and renders deliveries and puts them into the queue, within SPI. */
void
firings_write(Firing *firings, int count)
{
	Rows	   *deliveries = rows_begin(ST_DELIVER, count);
	Rows	   *queue = rows_begin(ST_QUEUE, count);
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	PbMacroValues *values = palloc(sizeof(PbMacroValues));
	int			detail_count;
	ClickDetail *details;

	sequences_assign(firings, count);
	details = details_load(firings, count, &detail_count);
	for (int i = 0; i < count; i++)
	{
		Firing	   *firing = &firings[i];
		Request		request;
		TimestampTz due_at = now;

		if (!firing->trial)
			due_at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															 TimestampTzGetDatum(firing->since),
															 firing->callback->delay));
		due_at = Max(due_at, now);
		firing->id = ulid_next();
		values_fill(values, firing, detail_find(details, detail_count, firing->change->after));
		request = request_render(firing->callback, values);
		put_delivery(deliveries, firing, &request, due_at,
					 request.too_long ? "failed" : due_at > now ? "waiting" : "queued");
		if (request.too_long)
			continue;
		rows_next(queue);
		put_bool(queue, due_at > now);
		put_ulid(queue, &firing->id);
		put_ulid(queue, &firing->callback->id);
		put_ulid(queue, conversion_of(firing));
		put_int(queue, firing->seq);
		put_slice(queue, firing->callback->endpoint);
		put_timestamp(queue, due_at);
	}
	rows_execute(deliveries);
	rows_execute(queue);
}

/* Decides and renders the deliveries that the changes, all of one cause, bring about, within SPI. */
void
deliveries_write(const Change *changes, int count)
{
	int			callback_count;
	int			offer_count;
	int			firing_count = 0;
	int			capacity = 64;
	Callback   *callbacks = callbacks_load(changes, count, &callback_count);
	OfferName  *offers;
	Firing	   *firings;

	if (callback_count == 0)
		return;
	offers = offer_names_load(changes, count, &offer_count);
	firings = palloc(sizeof(Firing) * capacity);
	for (int i = 0; i < count; i++)
	{
		const OfferName *offer = offer_name_find(offers, offer_count, &changes[i].after->offer_id);

		for (int j = 0; j < callback_count; j++)
		{
			if (!callback_fires(&callbacks[j], &changes[i], offer))
				continue;
			if (firing_count == capacity)
			{
				capacity *= 2;
				firings = repalloc(firings, sizeof(Firing) * capacity);
			}
			firings[firing_count++] = (Firing) {
				.change = &changes[i], .callback = &callbacks[j], .offer = offer,
				.since = GetCurrentTransactionStartTimestamp()
			};
		}
	}
	if (firing_count > 0)
		firings_write(firings, firing_count);
}
