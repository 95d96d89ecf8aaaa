/*
 * backfill.c: deliveries that no change fires at this moment: of the conversions of a time past, and tests.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "callback.h"

/* Conversions that are looked at, and whose deliveries are written, at once. */
#define CHUNK 1024

/* Conversions among which one for a test is looked for: those that were created last. */
#define NEWEST 10000

/* Conversions as they are, as if each had just been created so. */
typedef struct Batch
{
	Conversion *conversions;
	Change	   *changes;
	int			count;
} Batch;

static Callback *
callback_by_id(const PbUlid *id)
{
	Rows	   *rows = rows_begin(ST_CALLBACK, 1);
	Callback   *callback = palloc(sizeof(Callback));
	Record		record;

	rows_next(rows);
	put_ulid(rows, id);
	if (rows_execute(rows) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("callback %s does not exist", ulid_cstring(id)),
				 errhint("SELECT id, name FROM postback.callback lists them.")));
	record = record_read(0);
	callback_read(&record, callback);
	if (callback->broken)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("callback %s cannot be rendered", ulid_cstring(id)),
				 errhint("SELECT * FROM postback.lint_callbacks() tells what is wrong.")));
	return callback;
}

static void
put_scope(Rows *rows, const Callback *callback)
{
	put_ulid(rows, callback->has_brand ? &callback->brand_id : NULL);
	put_ulid(rows, callback->has_offer ? &callback->offer_id : NULL);
	put_ulid(rows, callback->has_publisher ? &callback->publisher_id : NULL);
}

/* What rows_execute found. */
static Batch
batch_read(uint64 found)
{
	Batch		batch;

	batch.conversions = palloc(sizeof(Conversion) * Max(found, 1));
	batch.changes = palloc(sizeof(Change) * Max(found, 1));
	batch.count = (int) found;
	for (uint64 i = 0; i < found; i++)
	{
		conversion_read(record_read(i), &batch.conversions[i]);
		batch.changes[i] = (Change) {.after = &batch.conversions[i], .actor = "sql"};
	}
	return batch;
}

/* Leaves those that would fire the callback if they were created as they are. */
static void
keep_matching(Batch *batch, const Callback *callback)
{
	int			offer_count;
	OfferName  *offers = offer_names_load(batch->changes, batch->count, &offer_count);
	int			kept = 0;

	for (int i = 0; i < batch->count; i++)
		if (callback_fires(callback, &batch->changes[i],
						   offer_name_find(offers, offer_count, &batch->changes[i].after->offer_id)))
			batch->changes[kept++] = batch->changes[i];
	batch->count = kept;
}

/* Leaves those of which the callback has no delivery. */
static void
keep_undelivered(Batch *batch, const Callback *callback)
{
	Rows	   *rows = rows_begin(ST_SEQUENCES, batch->count);
	bool	   *delivered = palloc0(sizeof(bool) * Max(batch->count, 1));
	uint64		found;
	int			kept = 0;

	for (int i = 0; i < batch->count; i++)
	{
		rows_next(rows);
		put_int(rows, i);
		put_ulid(rows, &batch->changes[i].after->id);
		put_ulid(rows, &callback->id);
	}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		int			n = take_int(&record);

		take_int(&record);
		delivered[n] = take_bool(&record);
	}
	for (int i = 0; i < batch->count; i++)
		if (!delivered[i])
			batch->changes[kept++] = batch->changes[i];
	batch->count = kept;
}

/* The same conversions as they are now, and stay until the transaction ends; without those that are being changed. */
static Batch
batch_lock(const Batch *batch)
{
	Rows	   *rows = rows_begin(ST_LOCK_CONVERSIONS, batch->count);

	for (int i = 0; i < batch->count; i++)
	{
		rows_next(rows);
		put_ulid(rows, &batch->changes[i].after->id);
	}
	return batch_read(rows_execute(rows));
}

static void
batch_deliver(const Batch *batch, const Callback *callback)
{
	int			offer_count;
	OfferName  *offers = offer_names_load(batch->changes, batch->count, &offer_count);
	Firing	   *firings = palloc0(sizeof(Firing) * Max(batch->count, 1));

	for (int i = 0; i < batch->count; i++)
		firings[i] = (Firing) {
			.change = &batch->changes[i],
			.callback = callback,
			.offer = offer_name_find(offers, offer_count, &batch->changes[i].after->offer_id),
			.since = batch->changes[i].after->updated_at
		};
	firings_write(firings, batch->count);
}

/* The least id that is greater. */
static PbUlid
ulid_successor(PbUlid id)
{
	for (int i = sizeof(id.bytes) - 1; i >= 0 && ++id.bytes[i] == 0; i--)
		;
	return id;
}

PG_FUNCTION_INFO_V1(postback_write_backfill);
Datum
postback_write_backfill(PG_FUNCTION_ARGS)
{
	PbUlid		from = ulid_floor_of(PG_GETARG_TIMESTAMPTZ(1));
	PbUlid		before = ulid_floor_of(PG_GETARG_TIMESTAMPTZ(2));
	bool		preview = PG_GETARG_BOOL(3);
	int64		written = 0;
	int			read;

	do
	{
		/* One connection per chunk: what it allocates is given back before the next. */
		int			level = statements_begin();
		const Callback *callback = callback_by_id(PG_GETARG_ULID_P(0));
		Rows	   *rows = rows_begin(ST_CONVERSIONS_OF_TIME, 1);
		Batch		batch;

		rows_next(rows);
		put_ulid(rows, &from);
		put_ulid(rows, &before);
		put_scope(rows, callback);
		put_int(rows, CHUNK);
		batch = batch_read(rows_execute(rows));
		read = batch.count;
		if (read > 0)
			from = ulid_successor(batch.conversions[read - 1].id);
		keep_matching(&batch, callback);
		keep_undelivered(&batch, callback);
		if (!preview && batch.count > 0)
		{
			/* Looked at again once they cannot change any more: what a change meanwhile fired is not told twice. */
			batch = batch_lock(&batch);
			keep_matching(&batch, callback);
			keep_undelivered(&batch, callback);
			batch_deliver(&batch, callback);
		}
		written += batch.count;
		statements_end(level);
		CHECK_FOR_INTERRUPTS();
	} while (read == CHUNK);
	PG_RETURN_INT64(written);
}

/* The newest conversion in scope and state, or NULL. */
static Conversion *
newest_matching(const Callback *callback)
{
	Rows	   *rows = rows_begin(ST_NEWEST_CONVERSIONS, 1);
	Batch		batch;

	rows_next(rows);
	put_scope(rows, callback);
	put_int(rows, NEWEST);
	batch = batch_read(rows_execute(rows));
	keep_matching(&batch, callback);
	return batch.count > 0 ? conversion_copy(batch.changes[0].after) : NULL;
}

static PbState
first_status(const Callback *callback)
{
	for (PbState s = PB_PENDING; s < PB_STATE_COUNT; s++)
		if (callback->statuses[s])
			return s;
	return PB_PENDING;
}

/* The first of the callback's reasons. */
static PbSlice
first_reason(const Callback *callback)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (callback->reasons == NULL)
		return PB_LITERAL("sample");
	deconstruct_array(callback->reasons, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	return count > 0 && !nulls[0] ? text_slice(DatumGetTextPP(elements[0])) : PB_LITERAL("sample");
}

/* The newest click or event in scope, as a change tells of it; false: none. */
static bool
newest_other(const Callback *callback, Change *change)
{
	Rows	   *rows = rows_begin(change->cause == CAUSE_EVENT ? ST_NEWEST_EVENTS : ST_NEWEST_CLICKS, 1);
	uint64		found;

	rows_next(rows);
	put_scope(rows, callback);
	put_int(rows, NEWEST);
	found = rows_execute(rows);
	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);
		Conversion *c = palloc0(sizeof(Conversion));
		Datum		subs;

		take_ulid(&record, &c->id);
		take_ulid(&record, &c->brand_id);
		take_ulid(&record, &c->offer_id);
		take_ulid(&record, &c->publisher_id);
		c->has_click = take_ulid(&record, &c->click_id);
		c->order_ref = take_slice(&record);
		c->notice = take_slice(&record);
		c->sub_id = take_slice(&record);
		c->external_transaction_id = take_slice(&record);
		c->subs = take_datum(&record, &subs) ? DatumGetArrayTypeP(subs) : NULL;
		c->attribution = ATTRIBUTION_CLICK;
		c->updated_at = ulid_timestamp(&c->id);
		change->event = take_slice(&record);
		change->after = c;
		if (callback_fires(callback, change, NULL))
			return true;
	}
	return false;
}

/* Brand, offer, publisher and currency in the callback's scope: of the newest link there, else such as do not exist. */
static void
sample_parties(const Callback *callback, Conversion *c)
{
	Rows	   *rows = rows_begin(ST_SAMPLE_LINK, 1);

	c->brand_id = callback->has_brand ? callback->brand_id : ulid_next();
	c->offer_id = callback->has_offer ? callback->offer_id : ulid_next();
	c->publisher_id = callback->has_publisher ? callback->publisher_id : ulid_next();
	c->commission_currency = PB_LITERAL("EUR");
	rows_next(rows);
	put_scope(rows, callback);
	if (rows_execute(rows) > 0)
	{
		Record		record = record_read(0);

		take_ulid(&record, &c->brand_id);
		take_ulid(&record, &c->offer_id);
		take_ulid(&record, &c->publisher_id);
		c->commission_currency = take_slice(&record);
	}
}

/* A conversion, event or click that never was. */
static void
sample_change(const Callback *callback, Change *change)
{
	Conversion *c = palloc0(sizeof(Conversion));

	change->after = c;
	sample_parties(callback, c);
	c->has_click = true;
	c->id = c->click_id = ulid_next();
	c->attribution = ATTRIBUTION_CLICK;
	c->external_transaction_id = c->sub_id = PB_LITERAL("sample");
	c->updated_at = GetCurrentTransactionStartTimestamp();
	if (change->cause == CAUSE_CLICK)
		return;
	c->id = ulid_next();
	c->order_ref = PB_LITERAL("SAMPLE");
	c->promo_code = c->notice = PB_LITERAL("sample");
	change->event = PB_LITERAL("");
	if (change->cause == CAUSE_EVENT)
	{
		change->event = callback->goal.data != NULL ? callback->goal : PB_LITERAL("sample");
		return;
	}
	c->goal = callback->goal.data != NULL ? callback->goal : PB_LITERAL("");
	c->status = first_status(callback);
	c->value = 4999;
	c->currency = c->commission_currency;
	c->priced = true;
	c->commission = 400;
	c->fee = 140;
	if (c->status == PB_REVERSED)
		c->reason = first_reason(callback);
}

/* What a test tells of: the newest that fits the callback, else a sample; marked as a test. */
static void
trial_change(const Callback *callback, Change *change)
{
	Conversion *c;

	*change = (Change) {.actor = "sql", .cause = callback_cause(callback)};
	if (change->cause == CAUSE_CONVERSION)
		change->after = newest_matching(callback);
	else if (!newest_other(callback, change))
		change->after = NULL;
	if (change->after == NULL)
		sample_change(callback, change);
	c = conversion_copy(change->after);
	c->test = true;
	change->after = c;
}

PG_FUNCTION_INFO_V1(postback_write_test);
Datum
postback_write_test(PG_FUNCTION_ARGS)
{
	PbUlid	   *result = palloc(sizeof(PbUlid));
	int			level = statements_begin();
	Callback   *callback = callback_by_id(PG_GETARG_ULID_P(0));
	Change		change;
	Firing		firing = {.change = &change, .callback = callback, .trial = true};
	int			offer_count;
	OfferName  *offers;

	callback->include_test = true;
	trial_change(callback, &change);
	offers = offer_names_load(&change, 1, &offer_count);
	firing.offer = offer_name_find(offers, offer_count, &change.after->offer_id);
	firing.since = change.after->updated_at;
	firings_write(&firing, 1);
	*result = firing.id;
	statements_end(level);
	PG_RETURN_ULID_P(result);
}
