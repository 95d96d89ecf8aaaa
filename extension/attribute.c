/*
 * attribute.c: who earns an order that may be created: by click id, promo code or last click; and what it is priced by.
 *
 * Each step is one statement for all items that need it.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "common/hmac.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#include "core/address.h"
#include "receive.h"

static TimestampTz
minus(TimestampTz at, Datum interval)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(at), interval));
}

/* First 8 bytes of a keyed hash: comparable, not reversible without the brand's key. */
int64
address_hash(PbSlice key, PbSlice text)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	int64		hash;

	if (context == NULL || pg_hmac_init(context, (const uint8 *) key.data, key.len) < 0 ||
		pg_hmac_update(context, (const uint8 *) text.data, text.len) < 0 ||
		pg_hmac_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute HMAC");
	pg_hmac_free(context);
	memcpy(&hash, digest, sizeof(hash));
	return hash;
}

/* An inet as text without a mask. */
PbSlice
address_text(Datum remote)
{
	text	   *host = DatumGetTextPP(DirectFunctionCall1(network_host, remote));

	return text_slice(host);
}

/* The address of a visitor, as it is hashed: an IPv4 one within an IPv6 one (::ffff:192.0.2.1) is the same visitor's. */
PbSlice
visitor_text(Datum remote)
{
	static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
	inet	   *address = DatumGetInetPP(remote);
	const unsigned char *bytes = ip_addr(address);

	if (ip_family(address) == PGSQL_AF_INET6 && memcmp(bytes, mapped, sizeof(mapped)) == 0)
		return pb_slice(psprintf("%d.%d.%d.%d", bytes[12], bytes[13], bytes[14], bytes[15]));
	return address_text(remote);
}

static void
take_click(Record *r, Source *source, PbUlid *brand_id)
{
	Datum		datum;

	take_ulid(r, &source->click_id);
	take_ulid(r, brand_id);
	take_ulid(r, &source->offer_id);
	take_ulid(r, &source->publisher_id);
	source->external_transaction_id = take_slice(r);
	source->sub_id = take_slice(r);
	source->subs = take_datum(r, &datum) ? DatumGetArrayTypeP(datum) : NULL;
	source->has_click = true;
}

/* Least and greatest of some ids; NULL: there were none.  What lies beyond need not be looked at. */
typedef struct Span
{
	const PbUlid *least;
	const PbUlid *greatest;
} Span;

static void
span_extend(Span *span, const PbUlid *least, const PbUlid *greatest)
{
	if (span->least == NULL || memcmp(least, span->least, sizeof(PbUlid)) < 0)
		span->least = least;
	if (span->greatest == NULL || memcmp(greatest, span->greatest, sizeof(PbUlid)) > 0)
		span->greatest = greatest;
}

/* The clicks that items name; a click of another brand is as good as unknown. */
static void
find_clicks(Call **items, int count)
{
	Rows	   *rows = rows_begin(ST_CLICKS, count);
	Span		span = {NULL, NULL};
	uint64		found;

	for (int i = 0; i < count; i++)
		if (items[i]->has_click)
			span_extend(&span, &items[i]->click_id, &items[i]->click_id);
	for (int i = 0; i < count; i++)
		if (items[i]->has_click)
		{
			rows_next(rows);
			put_int(rows, i);
			put_ulid(rows, &items[i]->click_id);
			put_ulid(rows, span.least);
			put_ulid(rows, span.greatest);
		}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Call	   *item = items[take_int(&record)];
		PbUlid		brand_id;
		Source		source;

		memset(&source, 0, sizeof(source));
		take_click(&record, &source, &brand_id);
		if (!ulid_equal(&brand_id, &item->token->brand_id))
			continue;
		source.how = ATTRIBUTION_CLICK;
		item->source = source;
	}
	for (int i = 0; i < count; i++)
		if (items[i]->click_malformed)
			items[i]->source.warning = PB_WARNING_BAD_CLICK_ID;
		else if (items[i]->has_click && items[i]->source.how == ATTRIBUTION_NONE)
			items[i]->source.warning = PB_WARNING_UNKNOWN_CLICK_ID;
}

static bool
names_no_click(const Call *item)
{
	return !item->has_click && !item->click_malformed;
}

static void
find_promo_codes(Call **items, int count)
{
	Rows	   *rows = rows_begin(ST_PROMO_CODES, count);
	uint64		found;

	for (int i = 0; i < count; i++)
		if (names_no_click(items[i]) && items[i]->p[PB_P_PROMO_CODE].data != NULL)
		{
			rows_next(rows);
			put_int(rows, i);
			put_ulid(rows, &items[i]->token->brand_id);
			put_slice(rows, items[i]->p[PB_P_PROMO_CODE]);
		}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Source	   *source = &items[take_int(&record)]->source;

		source->how = ATTRIBUTION_PROMO_CODE;
		take_ulid(&record, &source->offer_id);
		take_ulid(&record, &source->publisher_id);
		source->promo_code = take_slice(&record);
	}
}

/* The hash of the address that the call names by ip; false if it names none.  What is no address matches none. */
bool
narrowing_address(const Call *item, int64 *hash)
{
	PbSlice		ip = item->p[PB_P_IP];
	PbAddress	address;

	if (ip.data == NULL)
		return false;
	if (pb_address_parse(ip, &address))
		ip = visitor_text(DirectFunctionCall1(inet_in, CStringGetDatum(pnstrdup(ip.data, ip.len))));
	*hash = address_hash(item->token->brand->address_key, ip);
	return true;
}

/* What windows are judged by: for a call that is made again, when it first came. */
static TimestampTz
judged_at(const Call *item, TimestampTz now)
{
	return item->replays ? item->received : now;
}

/* Clicks from this id on are inside the window. */
static PbUlid
oldest_id(TimestampTz now, Datum window)
{
	return ulid_floor_of(minus(now, window));
}

/* A click before this id is old enough: its millisecond is over. */
static PbUlid
newest_id(TimestampTz now, Datum min_age)
{
	return ulid_floor_of(minus(now, min_age) + 1000);
}

static void
find_last_clicks(Call **items, int count, TimestampTz now)
{
	Rows	   *rows = rows_begin(ST_LAST_CLICKS, count);
	PbUlid	   *bounds = palloc(sizeof(PbUlid) * 4 * Max(count, 1));
	bool	   *wanted = palloc0(sizeof(bool) * Max(count, 1));
	Span		span = {NULL, NULL};
	uint64		found;

	for (int i = 0; i < count; i++)
	{
		const Brand *brand = items[i]->token->brand;
		TimestampTz at = judged_at(items[i], now);
		PbUlid	   *bound = &bounds[4 * i];

		wanted[i] = names_no_click(items[i]) && items[i]->source.how == ATTRIBUTION_NONE;
		if (!wanted[i])
			continue;
		bound[0] = oldest_id(at, brand->longest_window);
		bound[1] = newest_id(at, brand->youngest_age);
		bound[2] = oldest_id(at, brand->attribution_window);
		bound[3] = newest_id(at, brand->min_click_age);
		span_extend(&span, &bound[0], &bound[1]);
	}
	for (int i = 0; i < count; i++)
	{
		Call	   *item = items[i];
		int64		hash = 0;
		bool		by_address;

		if (!wanted[i])
			continue;
		by_address = narrowing_address(item, &hash);
		rows_next(rows);
		put_int(rows, i);
		put_ulid(rows, &item->token->brand_id);
		for (int j = 0; j < 4; j++)
			put_ulid(rows, &bounds[4 * i + j]);
		put_timestamp(rows, judged_at(item, now));
		put_ulid(rows, item->has_offer ? &item->offer_id : NULL);
		put_ulid(rows, item->has_publisher ? &item->publisher_id : NULL);
		put_datum(rows, Int64GetDatum(hash), !by_address);
		put_ulid(rows, span.least);
		put_ulid(rows, span.greatest);
	}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Source	   *source = &items[take_int(&record)]->source;
		PbUlid		brand_id;

		take_click(&record, source, &brand_id);
		source->how = ATTRIBUTION_LAST_CLICK;
	}
}

static Offer *
offers_load(Call **items, int count, int *offer_count)
{
	Rows	   *rows = rows_begin(ST_OFFERS, count);
	const PbUlid *last = NULL;
	Offer	   *offers;

	for (int i = 0; i < count; i++)
	{
		if (items[i]->source.how == ATTRIBUTION_NONE || (last != NULL && ulid_equal(last, &items[i]->source.offer_id)))
			continue;
		last = &items[i]->source.offer_id;
		rows_next(rows);
		put_ulid(rows, last);
	}
	*offer_count = (int) rows_execute(rows);
	offers = palloc0(sizeof(Offer) * Max(*offer_count, 1));
	for (int i = 0; i < *offer_count; i++)
	{
		Record		record = record_read(i);
		Offer	   *offer = &offers[i];

		take_ulid(&record, &offer->id);
		take_ulid(&record, &offer->brand_id);
		offer->has_hold = take_datum(&record, &offer->hold);
		offer->has_window = take_datum(&record, &offer->attribution_window);
		offer->has_min_age = take_datum(&record, &offer->min_click_age);
		offer->goals_enabled = take_bool(&record);
		offer->default_goal = take_slice(&record);
	}
	return offers;
}

/* Joins each attributed item with its offer, and drops clicks outside the offer's window. */
static void
check_offers(Call **items, int count, const Offer *offers, int offer_count, TimestampTz now)
{
	for (int i = 0; i < count; i++)
	{
		Call	   *item = items[i];
		Source	   *source = &item->source;
		TimestampTz at = judged_at(item, now);
		TimestampTz clicked;

		if (source->how == ATTRIBUTION_NONE)
			continue;
		for (int j = 0; j < offer_count && source->offer == NULL; j++)
			if (ulid_equal(&offers[j].id, &source->offer_id))
				source->offer = &offers[j];
		if (source->offer == NULL || !ulid_equal(&source->offer->brand_id, &item->token->brand_id))
		{
			memset(source, 0, sizeof(*source));
			continue;
		}
		if (source->how != ATTRIBUTION_CLICK || item->any_age)
			continue;
		clicked = ulid_timestamp(&source->click_id);
		if (clicked < minus(at, source->offer->has_window ? source->offer->attribution_window :
							item->token->brand->attribution_window) ||
			(clicked > minus(at, source->offer->has_min_age ? source->offer->min_click_age :
							 item->token->brand->min_click_age) &&
			 clicked <= at))
		{
			memset(source, 0, sizeof(*source));
			source->warning = PB_WARNING_OUTSIDE_WINDOW;
		}
	}
}

/* The goal that an item will be kept under, as far as its offer's defaults say. */
static PbSlice
goal_wanted(const Call *item)
{
	const Offer *offer = item->source.offer;

	if (item->p[PB_P_GOAL].data != NULL)
		return item->p[PB_P_GOAL];
	if (offer != NULL && offer->goals_enabled && !item->goal_kept && offer->default_goal.data != NULL)
		return offer->default_goal;
	return PB_LITERAL("");
}

/* The goal that an item is priced by: none while its offer has goals switched off. */
static PbSlice
goal_priced(const Source *source)
{
	return source->offer->goals_enabled ? source->goal : PB_LITERAL("");
}

/* What a look-up of terms found. */
typedef struct TermsFound
{
	const Source *source;		/* the first item's that asked */
	const Terms *terms;			/* NULL: none */
	PbSlice		spelling;		/* of the goal by the offer; data NULL: it does not define it */
} TermsFound;

/* Among the last few look-ups, the one that is the same; -1 if there is none. */
static int
same_terms(const TermsFound *found, int count, const Source *source)
{
	for (int i = count - 1; i >= Max(count - 16, 0); i--)
		if (ulid_equal(&found[i].source->offer_id, &source->offer_id) &&
			ulid_equal(&found[i].source->publisher_id, &source->publisher_id) &&
			pb_slice_equal(goal_priced(found[i].source), goal_priced(source)))
			return i;
	return -1;
}

/* The goal that each item will be kept under, its terms, and how the offer spells the goal. */
static void
find_terms(Call **items, int count)
{
	Rows	   *rows = rows_begin(ST_TERMS, count);
	TermsFound *found = palloc0(sizeof(TermsFound) * Max(count, 1));
	int		   *asked = palloc(sizeof(int) * Max(count, 1));	/* per item, its look-up */
	int			found_count = 0;
	uint64		answers;

	for (int i = 0; i < count; i++)
	{
		Source	   *source = &items[i]->source;

		source->goal = goal_wanted(items[i]);
		if (source->how == ATTRIBUTION_NONE)
			continue;
		asked[i] = same_terms(found, found_count, source);
		if (asked[i] >= 0)
			continue;
		asked[i] = found_count;
		found[found_count].source = source;
		rows_next(rows);
		put_int(rows, found_count++);
		put_ulid(rows, &source->offer_id);
		put_ulid(rows, &source->publisher_id);
		put_slice(rows, goal_priced(source));
	}
	answers = rows_execute(rows);
	for (uint64 r = 0; r < answers; r++)
	{
		Record		record = record_read(r);
		TermsFound *answer = &found[take_int(&record)];
		Terms	   *terms = palloc(sizeof(Terms));

		answer->spelling = take_slice(&record);
		if (terms_take(&record, terms))
			answer->terms = terms;
	}
	for (int i = 0; i < count; i++)
	{
		Source	   *source = &items[i]->source;

		if (source->how == ATTRIBUTION_NONE)
			continue;
		source->terms = found[asked[i]].terms;
		if (found[asked[i]].spelling.data != NULL)
			source->goal = found[asked[i]].spelling;
		else
			source->goal_unknown = source->offer->goals_enabled && items[i]->p[PB_P_GOAL].data != NULL;
	}
}

/* The newest rates from other currencies into the brands'. */
static void
find_rates(Call **items, int count)
{
	Rows	   *rows = rows_begin(ST_RATES, 8);
	uint64		found;

	for (int i = 0; i < count; i++)
		if (items[i]->currency.data != NULL && !pb_slice_equal(items[i]->currency, items[i]->token->brand->currency))
		{
			rows_next(rows);
			put_slice(rows, items[i]->currency);
			put_slice(rows, items[i]->token->brand->currency);
		}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		PbSlice		base = take_slice(&record);
		PbSlice		quote = take_slice(&record);
		Datum		rate;

		take_datum(&record, &rate);
		for (int i = 0; i < count; i++)
			if (items[i]->currency.data != NULL && pb_slice_equal(items[i]->currency, base) &&
				pb_slice_equal(items[i]->token->brand->currency, quote))
			{
				items[i]->source.has_rate = true;
				items[i]->source.fx_rate = rate;
			}
	}
}

/* Completes sources that are found: offer, goal, terms, rate. */
void
batch_price(Call **items, int count, TimestampTz now)
{
	int			offer_count;
	const Offer *offers = offers_load(items, count, &offer_count);

	check_offers(items, count, offers, offer_count, now);
	find_terms(items, count);
	find_rates(items, count);
}

/* Fills the source of items that may create something. */
void
batch_attribute(Call **items, int count, TimestampTz now)
{
	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
		memset(&items[i]->source, 0, sizeof(Source));
	find_clicks(items, count);
	find_promo_codes(items, count);
	find_last_clicks(items, count, now);
	batch_price(items, count, now);
}

/* The frozen terms of conversions, terms[i] NULL where there are none. */
void
terms_load(Conversion *const *conversions, int count, const Terms **terms)
{
	Rows	   *rows = rows_begin(ST_TERMS_BY_ID, count);
	uint64		found;

	for (int i = 0; i < count; i++)
	{
		terms[i] = NULL;
		if (!conversions[i]->has_terms)
			continue;
		rows_next(rows);
		put_ulid(rows, &conversions[i]->terms_id);
	}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Terms	   *loaded = palloc(sizeof(Terms));

		if (!terms_take(&record, loaded))
			continue;
		for (int i = 0; i < count; i++)
			if (conversions[i]->has_terms && ulid_equal(&conversions[i]->terms_id, &loaded->id))
				terms[i] = loaded;
	}
}
