/*
 * click.c: clicks: find the link, record the visit, say where the visitor goes.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "argument.h"
#include "core/form.h"
#include "core/url.h"
#include "receive.h"

#define TRACKING_MAX 1024		/* bytes kept of a tracking value */
#define SUB_COUNT 10
#define CLICK_COLUMNS 7
#define KEY_LENGTH 8

/* A link with what is needed of its brand, offer and publisher. */
typedef struct Link
{
	PbSlice		code;
	PbUlid		brand_id;
	PbUlid		offer_id;
	PbUlid		publisher_id;
	PbSlice		landing_url;
	PbSlice		unrecorded;		/* where visitors go whose click is not recorded; data NULL: nowhere */
	bool		paused;
	PbSlice		fallback_url;	/* data NULL: none */
	bool		keep_details;
	PbSlice		address_key;
	int64		cookie_seconds;
	bool		all_unique;
	PbUlid		repeats_from;	/* unless all are: a visitor with a unique click since this id is no new one */
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
	bool		uncounted;		/* nobody's visit: a HEAD, a prefetch */

	const Link *link;
	PbUlid		id;
	bool		recorded;
	bool		has_address_hash;
	int64		address_hash;
	bool		has_agent_hash;
	int64		agent_hash;
	int64		visitor_hash;	/* if there is an address hash */
	bool		repeated;		/* the visitor has clicked before */
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
		link->all_unique = !take_ulid(&record, &link->repeats_from);
	}
	return links;
}

/* May the byte stand in a URL as it is, by RFC 3986, 2?  A % only if it begins a percent-encoded byte. */
static bool
url_byte_stays(PbSlice url, size_t at)
{
	switch (url.data[at])
	{
		case '%':
			return at + 2 < url.len && isxdigit((unsigned char) url.data[at + 1]) && isxdigit((unsigned char) url.data[at + 2]);
		case '<':
		case '>':
		case '^':
		case '`':
		case '{':
		case '|':
		case '}':
			return false;
		default:
			return pb_url_byte_ok(url.data[at]);
	}
}

/* Appends a part of a URL as set up; what may not stand in one is percent-encoded. */
static void
append_url(StringInfo text, PbSlice part)
{
	size_t		start = 0;

	for (size_t i = 0; i < part.len; i++)
	{
		if (url_byte_stays(part, i))
			continue;
		appendBinaryStringInfo(text, part.data + start, (int) (i - start));
		appendStringInfo(text, "%%%02X", (unsigned char) part.data[i]);
		start = i + 1;
	}
	appendBinaryStringInfo(text, part.data + start, (int) (part.len - start));
}

static PbSlice
fallback(PbSlice url)
{
	StringInfoData text;

	if (url.data == NULL)
		return url;
	initStringInfo(&text);
	append_url(&text, url);
	return (PbSlice) {text.data, text.len};
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
				clicks[i].location = fallback(url);
	}
}

static PbSlice
global_fallback(void)
{
	if (postback_fallback_url == NULL || *postback_fallback_url == '\0')
		return (PbSlice) {NULL, 0};
	return fallback(pb_slice(postback_fallback_url));
}

/* The landing URL with the click id at {click_id}, else appended to the query; "" stands for none, and is not appended. */
static PbSlice
landing(PbSlice url, const char *click_id)
{
	static const PbSlice macro = {"{click_id}", 10};
	size_t		fragment = pb_slice_find(url, '#', 0);
	size_t		start = 0;
	bool		placed = false;
	StringInfoData text;

	initStringInfo(&text);
	for (size_t i = 0; i + macro.len <= url.len; i++)
		if (memcmp(url.data + i, macro.data, macro.len) == 0)
		{
			append_url(&text, (PbSlice) {url.data + start, i - start});
			appendStringInfoString(&text, click_id);
			start = i + macro.len;
			i = start - 1;
			placed = true;
		}
	if (placed || *click_id == '\0')
	{
		append_url(&text, (PbSlice) {url.data + start, url.len - start});
		return (PbSlice) {text.data, text.len};
	}
	append_url(&text, (PbSlice) {url.data, fragment});
	if (pb_slice_find(url, '?', 0) >= fragment)
		appendStringInfoChar(&text, '?');
	else if (url.data[fragment - 1] != '?' && url.data[fragment - 1] != '&')
		appendStringInfoChar(&text, '&');
	appendStringInfo(&text, "click_id=%s", click_id);
	append_url(&text, (PbSlice) {url.data + fragment, url.len - fragment});
	return (PbSlice) {text.data, text.len};
}

static void
clicks_resolve(Click *clicks, int count)
{
	int			link_count;
	Link	   *links = links_load(clicks, count, &link_count);

	for (int i = 0; i < link_count; i++)
	{
		Link	   *link = &links[i];

		link->unrecorded = !link->paused ? landing(link->landing_url, "") :
			link->fallback_url.data != NULL ? fallback(link->fallback_url) : global_fallback();
	}
	for (int i = 0; i < count; i++)
	{
		Click	   *click = &clicks[i];

		click->location = global_fallback();
		for (int j = 0; j < link_count && click->link == NULL; j++)
			if (pb_slice_equal(links[j].code, click->code))
				click->link = &links[j];
		if (click->link == NULL)
			continue;
		click->location = click->link->unrecorded;
		if (click->link->paused || click->uncounted)
			continue;
		click->recorded = true;
		click->id = ulid_next();
		click_decode(click);
		click->location = landing(click->link->landing_url, psprintf("clk_%s", ulid_cstring(&click->id)));
	}
	find_fallbacks(clicks, count);
}

/* Who it was, as keyed hashes. */
static void
click_hash(Click *click)
{
	PbSlice		key = click->link->address_key;
	uint64		visitor;

	if (click->user_agent.data != NULL)
	{
		click->has_agent_hash = true;
		click->agent_hash = address_hash(key, click->user_agent);
	}
	if (!click->has_remote)
		return;
	click->has_address_hash = true;
	click->address_hash = address_hash(key, visitor_text(click->remote));
	visitor = hash_combine64(hash_combine64((uint64) click->address_hash, (uint64) click->agent_hash),
							 hash_bytes_extended((const unsigned char *) click->link->code.data,
												 (int) click->link->code.len, 0));
	/* What one address has clicked lies together in the index. */
	click->visitor_hash = (int64) (((uint64) click->address_hash & ~UINT64CONST(0xFFFFFFFF)) | (visitor & 0xFFFFFFFF));
}

/*
 * Finds the clicks of visitors who have made a unique one through the same link within the window; two of one visitor in the
 * same instant by different connections may both be taken for unique.
 */
static void
clicks_find_repeats(Click *clicks, int count)
{
	Rows	   *rows = rows_begin(ST_REPEATS, count);
	PbUlid		oldest;
	PbUlid		newest = ulid_next();
	uint64		found;

	memset(&oldest, 0xFF, sizeof(oldest));
	for (int i = 0; i < count; i++)
		if (clicks[i].recorded && !clicks[i].link->all_unique &&
			memcmp(&clicks[i].link->repeats_from, &oldest, sizeof(oldest)) < 0)
			oldest = clicks[i].link->repeats_from;
	for (int i = 0; i < count; i++)
	{
		Click	   *click = &clicks[i];

		if (!click->recorded)
			continue;
		click_hash(click);
		if (!click->has_address_hash || click->link->all_unique)
			continue;
		rows_next(rows);
		put_int(rows, i);
		put_bigint(rows, click->visitor_hash);
		put_ulid(rows, &click->link->repeats_from);
		put_ulid(rows, &oldest);
		put_ulid(rows, &newest);
		for (int j = 0; j < i && !click->repeated; j++)
			click->repeated = clicks[j].recorded && clicks[j].has_address_hash &&
				clicks[j].visitor_hash == click->visitor_hash;
	}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);

		clicks[take_int(&record)].repeated = true;
	}
}

/* sub1..sub10, or NULL if there is none. */
static ArrayType *
subs_array(const Click *click)
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
	return construct_md_array(values, nulls, 1, &count, &lower, TEXTOID, -1, false, TYPALIGN_INT);
}

static void
put_click(Rows *rows, const Click *click)
{
	const Link *link = click->link;
	ArrayType  *subs = subs_array(click);

	rows_next(rows);
	put_ulid(rows, &click->id);
	put_ulid(rows, &link->brand_id);
	put_ulid(rows, &link->offer_id);
	put_ulid(rows, &link->publisher_id);
	put_slice(rows, link->code);
	put_datum(rows, Int64GetDatum(click->address_hash), !click->has_address_hash);
	put_datum(rows, Int64GetDatum(click->agent_hash), !click->has_agent_hash);
	put_datum(rows, Int64GetDatum(click->visitor_hash), !click->has_address_hash);
	put_bool(rows, !click->repeated);
	put_slice(rows, click->external_transaction_id);
	put_slice(rows, click->sub_id);
	put_datum(rows, PointerGetDatum(subs), subs == NULL);
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

/*
 * Tells callbacks of the recorded clicks, in the same transaction: where none is set up for clicks of these parties, that costs
 * the batch one look-up.
 */
static void
clicks_deliver(const Click *clicks, int count)
{
	Conversion *subjects = palloc0(sizeof(Conversion) * Max(count, 1));
	Change	   *changes = palloc0(sizeof(Change) * Max(count, 1));
	int			change_count = 0;

	for (int i = 0; i < count; i++)
	{
		const Click *click = &clicks[i];
		Conversion *c = &subjects[change_count];

		if (!click->recorded)
			continue;
		c->id = c->click_id = click->id;
		c->brand_id = click->link->brand_id;
		c->attribution = ATTRIBUTION_CLICK;
		c->offer_id = click->link->offer_id;
		c->publisher_id = click->link->publisher_id;
		c->has_click = true;
		c->external_transaction_id = click->external_transaction_id;
		c->sub_id = click->sub_id;
		c->subs = subs_array(click);
		changes[change_count++] = (Change) {.after = c, .cause = CAUSE_CLICK};
	}
	deliveries_write(changes, change_count);
}

/* A slice as a text column; data NULL: null. */
static void
set_slice(Datum *values, bool *nulls, int column, PbSlice slice)
{
	nulls[column] = slice.data == NULL;
	if (slice.data != NULL)
		values[column] = PointerGetDatum(cstring_to_text_with_len(slice.data, slice.len));
}

static void
click_values(const Click *click, Datum *values, bool *nulls)
{
	const char *outcome = click->recorded ? "recorded" : click->link == NULL ? pb_code_name(PB_UNKNOWN_LINK) :
		click->link->paused ? "paused" : "not_counted";

	memset(nulls, false, sizeof(bool) * CLICK_COLUMNS);
	values[0] = Int32GetDatum(click->number);
	values[1] = Int32GetDatum(click->location.data != NULL ? 302 : 404);
	set_slice(values, nulls, 2, click->location);
	nulls[3] = nulls[5] = !click->recorded;
	if (click->recorded)
	{
		/* One per brand: a visitor's click for another brand on this host is no reason to forget this one. */
		values[3] = CStringGetTextDatum(psprintf("postback_click_%.*s=clk_%s; Max-Age=" INT64_FORMAT
												 "; Path=/; HttpOnly; SameSite=Lax",
												 KEY_LENGTH, click->link->code.data, ulid_cstring(&click->id),
												 click->link->cookie_seconds));
		values[5] = UlidPGetDatum(&click->id);
	}
	values[4] = CStringGetTextDatum(outcome);
	set_slice(values, nulls, 6, click->link != NULL ? click->link->unrecorded : (PbSlice) {NULL, 0});
}

static void
clicks_run(Click *clicks, int count)
{
	clicks_resolve(clicks, count);
	clicks_find_repeats(clicks, count);
	clicks_write(clicks, count);
	clicks_deliver(clicks, count);
}

PG_FUNCTION_INFO_V1(postback_click_batch);
Datum
postback_click_batch(PG_FUNCTION_ARGS)
{
	int			level;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Argument	numbers;
	Argument	arguments[7];
	static const char *const names[] = {"links", "queries", "remotes", "user_agents", "referrers", "countries",
	"counted"};
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
		clicks[i].uncounted = arguments[6].given && !arguments[6].nulls[i] && !DatumGetBool(arguments[6].values[i]);
	}
	clicks_run(clicks, numbers.count);
	for (int i = 0; i < numbers.count; i++)
	{
		click_values(&clicks[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	statements_end(level);
	require_client();
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
