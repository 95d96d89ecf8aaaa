/*
 * click.c: clicks: find the link, record the visit, say where the visitor goes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "argument.h"
#include "core/form.h"
#include "receive.h"

#define TRACKING_MAX 1024		/* bytes kept of a tracking value */
#define SUB_COUNT 10
#define CLICK_COLUMNS 6
#define KEY_LENGTH 8

/* A link with what is needed of its brand, offer and publisher. */
typedef struct Link
{
	PbSlice		code;
	PbUlid		brand_id;
	PbUlid		offer_id;
	PbUlid		publisher_id;
	PbSlice		landing_url;
	bool		paused;
	PbSlice		fallback_url;	/* data NULL: none */
	bool		keep_details;
	PbSlice		address_key;
	int64		cookie_seconds;
} Link;

typedef struct Fallback
{
	PbSlice		key;
	PbSlice		url;
} Fallback;

typedef struct Click
{
	int			number;
	PbSlice		code;
	PbSlice		query;
	Datum		remote;
	bool		has_remote;
	PbSlice		user_agent;
	PbSlice		referrer;
	PbSlice		country;

	const Link *link;
	PbUlid		id;
	bool		recorded;
	PbSlice		external_transaction_id;
	PbSlice		sub_id;
	PbSlice		subs[SUB_COUNT];
	bool		truncated;
	PbSlice		location;		/* data NULL: 404 */
} Click;

/* The place in a click for a parameter of its link, or NULL. */
static PbSlice *
tracking_place(Click *click, PbSlice name)
{
	static const struct
	{
		const char *name;
		bool		external;
	}			names[] = {
		{"external_transaction_id", true}, {"external_id", true},
		{"sub_id", false}, {"subid", false}, {"aff_sub", false},
	};

	for (size_t i = 0; i < lengthof(names); i++)
		if (pb_slice_equal_nocase(name, pb_slice(names[i].name)))
			return names[i].external ? &click->external_transaction_id : &click->sub_id;
	for (int i = 0; i < SUB_COUNT; i++)
	{
		char		sub[8];

		snprintf(sub, sizeof(sub), "sub%d", i + 1);
		if (pb_slice_equal_nocase(name, pb_slice(sub)))
			return &click->subs[i];
	}
	return NULL;
}

/* Takes the tracking values off the query; one that is no UTF-8 is kept as it came, one too long is cut. */
static void
click_decode(Click *click)
{
	PbSlice		rest = click->query;
	PbSlice		name;
	PbSlice		value;

	while (rest.data != NULL && pb_form_next(&rest, &name, &value))
	{
		char	   *buffer = palloc(name.len + value.len + 1);
		size_t		name_length = pb_form_decode(name, buffer);
		PbSlice		decoded = {buffer + name_length, 0};
		PbSlice    *place = tracking_place(click, (PbSlice) {buffer, name_length});

		if (place == NULL || place->data != NULL)
			continue;
		decoded.len = pb_form_decode(value, buffer + name_length);
		if (decoded.len == 0)
			continue;
		if (!pb_utf8_valid(decoded))
			decoded = value;
		if (decoded.len > TRACKING_MAX)
		{
			decoded.len = pb_utf8_cut(decoded, TRACKING_MAX);
			click->truncated = true;
		}
		*place = decoded;
	}
}

static Link *
links_load(const Click *clicks, int count, int *link_count)
{
	Rows	   *rows = rows_begin(ST_LINKS, count);
	PbSlice		last = {NULL, 0};
	Link	   *links;

	for (int i = 0; i < count; i++)
	{
		if (clicks[i].code.data == NULL || (last.data != NULL && pb_slice_equal(last, clicks[i].code)))
			continue;
		last = clicks[i].code;
		rows_next(rows);
		put_slice(rows, last);
	}
	*link_count = (int) rows_execute(rows);
	links = palloc0(sizeof(Link) * Max(*link_count, 1));
	for (int i = 0; i < *link_count; i++)
	{
		Record		record = record_read(i);
		Link	   *link = &links[i];

		link->code = take_slice(&record);
		take_ulid(&record, &link->brand_id);
		take_ulid(&record, &link->offer_id);
		take_ulid(&record, &link->publisher_id);
		link->landing_url = take_slice(&record);
		link->paused = take_bool(&record);
		link->fallback_url = take_slice(&record);
		link->keep_details = take_bool(&record);
		link->address_key = take_slice(&record);
		take_bigint(&record, &link->cookie_seconds);
	}
	return links;
}

/* Where clicks on unknown links of known brands go. */
static void
find_fallbacks(Click *clicks, int count)
{
	Rows	   *rows = rows_begin(ST_FALLBACKS, 8);
	uint64		found;

	for (int i = 0; i < count; i++)
		if (clicks[i].link == NULL && clicks[i].code.len >= KEY_LENGTH)
		{
			rows_next(rows);
			put_slice(rows, (PbSlice) {clicks[i].code.data, KEY_LENGTH});
		}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		PbSlice		key = take_slice(&record);
		PbSlice		url = take_slice(&record);

		for (int i = 0; i < count; i++)
			if (clicks[i].link == NULL && clicks[i].code.len >= KEY_LENGTH &&
				pb_slice_equal((PbSlice) {clicks[i].code.data, KEY_LENGTH}, key))
				clicks[i].location = url;
	}
}

static PbSlice
global_fallback(void)
{
	if (postback_fallback_url == NULL || *postback_fallback_url == '\0')
		return (PbSlice) {NULL, 0};
	return pb_slice(postback_fallback_url);
}

/* The landing URL with the click id at {click_id}, else appended to the query. */
static PbSlice
landing(PbSlice url, const PbUlid *id)
{
	static const char macro[] = "{click_id}";
	char	   *click_id = psprintf("clk_%s", ulid_cstring(id));
	size_t		fragment = pb_slice_find(url, '#', 0);
	size_t		question = pb_slice_find(url, '?', 0);
	bool		placed = false;
	StringInfoData text;

	initStringInfo(&text);
	for (size_t i = 0; i < url.len; i++)
	{
		if (i + strlen(macro) <= url.len && memcmp(url.data + i, macro, strlen(macro)) == 0)
		{
			appendStringInfoString(&text, click_id);
			i += strlen(macro) - 1;
			placed = true;
		}
		else
			appendStringInfoChar(&text, url.data[i]);
	}
	if (placed)
		return (PbSlice) {text.data, text.len};
	resetStringInfo(&text);
	appendBinaryStringInfo(&text, url.data, (int) fragment);
	if (question >= fragment)
		appendStringInfoChar(&text, '?');
	else if (fragment > 0 && url.data[fragment - 1] != '?' && url.data[fragment - 1] != '&')
		appendStringInfoChar(&text, '&');
	appendStringInfo(&text, "click_id=%s", click_id);
	appendBinaryStringInfo(&text, url.data + fragment, (int) (url.len - fragment));
	return (PbSlice) {text.data, text.len};
}

static void
clicks_resolve(Click *clicks, int count)
{
	int			link_count;
	const Link *links = links_load(clicks, count, &link_count);

	for (int i = 0; i < count; i++)
	{
		Click	   *click = &clicks[i];

		click->location = global_fallback();
		for (int j = 0; j < link_count && click->link == NULL; j++)
			if (pb_slice_equal(links[j].code, click->code))
				click->link = &links[j];
		if (click->link == NULL)
			continue;
		if (click->link->paused)
		{
			if (click->link->fallback_url.data != NULL)
				click->location = click->link->fallback_url;
			continue;
		}
		click->recorded = true;
		click->id = ulid_next();
		click_decode(click);
		click->location = landing(click->link->landing_url, &click->id);
	}
	find_fallbacks(clicks, count);
}

/* sub1..sub10 as the text of an array, or NULL if there is none. */
static char *
subs_text(const Click *click)
{
	Datum		values[SUB_COUNT];
	bool		nulls[SUB_COUNT];
	int			count = 0;
	int			lower = 1;

	for (int i = 0; i < SUB_COUNT; i++)
	{
		nulls[i] = click->subs[i].data == NULL;
		if (nulls[i])
			continue;
		values[i] = PointerGetDatum(cstring_to_text_with_len(click->subs[i].data, click->subs[i].len));
		count = i + 1;
	}
	if (count == 0)
		return NULL;
	return array_cstring(construct_md_array(values, nulls, 1, &count, &lower, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
put_click(Rows *rows, const Click *click)
{
	const Link *link = click->link;

	rows_next(rows);
	put_ulid(rows, &click->id);
	put_ulid(rows, &link->brand_id);
	put_ulid(rows, &link->offer_id);
	put_ulid(rows, &link->publisher_id);
	put_slice(rows, link->code);
	if (click->has_remote)
		put_bigint(rows, address_hash(link->address_key, address_text(click->remote)));
	else
		put_null(rows);
	if (click->user_agent.data != NULL)
		put_bigint(rows, address_hash(link->address_key, click->user_agent));
	else
		put_null(rows);
	put_slice(rows, click->external_transaction_id);
	put_slice(rows, click->sub_id);
	put_cstring(rows, subs_text(click));
	put_bool(rows, click->truncated);
}

static void
clicks_write(const Click *clicks, int count)
{
	Rows	   *rows = rows_begin(ST_INSERT_CLICKS, count);
	Rows	   *details = rows_begin(ST_INSERT_CLICK_DETAILS, 8);

	for (int i = 0; i < count; i++)
	{
		const Click *click = &clicks[i];

		if (!click->recorded)
			continue;
		put_click(rows, click);
		if (!click->link->keep_details)
			continue;
		rows_next(details);
		put_ulid(details, &click->id);
		put_ulid(details, &click->link->brand_id);
		put_datum(details, click->remote, !click->has_remote);
		put_slice(details, click->user_agent);
		put_slice(details, click->country);
		put_slice(details, click->referrer);
	}
	rows_execute(rows);
	rows_execute(details);
}

static void
click_values(const Click *click, Datum *values, bool *nulls)
{
	const char *outcome = click->recorded ? "recorded" : click->link != NULL ? "paused" :
		pb_code_name(PB_UNKNOWN_LINK);

	memset(nulls, false, sizeof(bool) * CLICK_COLUMNS);
	values[0] = Int32GetDatum(click->number);
	values[1] = Int32GetDatum(click->location.data != NULL ? 302 : 404);
	nulls[2] = click->location.data == NULL;
	if (!nulls[2])
		values[2] = PointerGetDatum(cstring_to_text_with_len(click->location.data, click->location.len));
	nulls[3] = nulls[5] = !click->recorded;
	if (click->recorded)
	{
		values[3] = CStringGetTextDatum(psprintf("postback_click=clk_%s; Max-Age=" INT64_FORMAT
												 "; Path=/; HttpOnly; SameSite=Lax",
												 ulid_cstring(&click->id), click->link->cookie_seconds));
		values[5] = UlidPGetDatum(&click->id);
	}
	values[4] = CStringGetTextDatum(outcome);
}

static void
clicks_run(Click *clicks, int count)
{
	clicks_resolve(clicks, count);
	clicks_write(clicks, count);
}

PG_FUNCTION_INFO_V1(postback_click_batch);
Datum
postback_click_batch(PG_FUNCTION_ARGS)
{
	int			level;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Argument	numbers;
	Argument	arguments[6];
	static const char *const names[] = {"links", "queries", "remotes", "user_agents", "referrers", "countries"};
	Click	   *clicks;
	Datum		values[CLICK_COLUMNS];
	bool		nulls[CLICK_COLUMNS];

	InitMaterializedSRF(fcinfo, 0);
	level = statements_begin();
	numbers = argument_take(fcinfo, 0, "items", -1);
	for (int i = 0; i < (int) lengthof(arguments); i++)
		arguments[i] = argument_take(fcinfo, i + 1, names[i], numbers.count);
	clicks = palloc0(sizeof(Click) * Max(numbers.count, 1));
	for (int i = 0; i < numbers.count; i++)
	{
		clicks[i].number = numbers.nulls[i] ? i : DatumGetInt32(numbers.values[i]);
		clicks[i].code = argument_slice(&arguments[0], i);
		clicks[i].query = argument_slice(&arguments[1], i);
		clicks[i].has_remote = arguments[2].given && !arguments[2].nulls[i];
		clicks[i].remote = clicks[i].has_remote ? arguments[2].values[i] : (Datum) 0;
		clicks[i].user_agent = argument_slice(&arguments[3], i);
		clicks[i].referrer = argument_slice(&arguments[4], i);
		clicks[i].country = argument_slice(&arguments[5], i);
	}
	clicks_run(clicks, numbers.count);
	for (int i = 0; i < numbers.count; i++)
	{
		click_values(&clicks[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	statements_end(level);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(postback_click);
Datum
postback_click(PG_FUNCTION_ARGS)
{
	int			level;
	TupleDesc	desc;
	Click		click;
	Datum		values[CLICK_COLUMNS];
	bool		nulls[CLICK_COLUMNS];
	Datum		result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "postback.click must return postback.click_reply");
	memset(&click, 0, sizeof(click));
	click.number = 1;
	click.code = argument_scalar(fcinfo, 0);
	click.query = argument_scalar(fcinfo, 1);
	click.has_remote = !PG_ARGISNULL(2);
	click.remote = click.has_remote ? PG_GETARG_DATUM(2) : (Datum) 0;
	click.user_agent = argument_scalar(fcinfo, 3);
	click.referrer = argument_scalar(fcinfo, 4);
	click.country = argument_scalar(fcinfo, 5);
	level = statements_begin();
	clicks_run(&click, 1);
	click_values(&click, values, nulls);
	result = PointerGetDatum(SPI_returntuple(heap_form_tuple(BlessTupleDesc(desc), values, nulls), desc));
	statements_end(level);
	return result;
}
