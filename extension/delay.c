/*
 * delay.c: what a callback fires on is looked at again when its delay is over, by the conditions by which it was decided.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "callback.h"

/* A delivery whose delay is over. */
typedef struct Waiting
{
	PbUlid		id;
	bool		of_conversion;
	PbUlid		conversion_id;
	PbUlid		callback_id;
	PbState		status;			/* that it tells, if of a conversion */
	Conversion	subject;		/* else: what it tells of, as a change has it */
	Change		change;
} Waiting;

static void
waiting_read(Record *record, Waiting *waiting)
{
	PbUlid		event_id;
	PbSlice		status;

	memset(waiting, 0, sizeof(*waiting));
	take_ulid(record, &waiting->id);
	waiting->of_conversion = take_ulid(record, &waiting->conversion_id);
	take_ulid(record, &waiting->callback_id);
	status = take_slice(record);
	if (waiting->of_conversion && !pb_state_find(status, &waiting->status))
		elog(ERROR, "delivery %s has an unknown status", ulid_cstring(&waiting->id));
	waiting->change = (Change) {
		.after = &waiting->subject, .actor = "sql",.cause = take_ulid(record, &event_id) ? CAUSE_EVENT : CAUSE_CLICK
	};
	waiting->subject.attribution = ATTRIBUTION_CLICK;
	take_ulid(record, &waiting->subject.brand_id);
	take_ulid(record, &waiting->subject.offer_id);
	take_ulid(record, &waiting->subject.publisher_id);
	waiting->change.event = take_slice(record);
	waiting->subject.test = take_bool(record);
}

static Waiting *
waiting_load(ArrayType *ids, int *waiting_count)
{
	Rows	   *rows = rows_begin(ST_WAITING, 16);
	ArrayIterator iterator = array_create_iterator(ids, 0, NULL);
	Waiting    *waiting;
	Datum		value;
	bool		is_null;
	uint64		found;

	while (array_iterate(iterator, &value, &is_null))
	{
		rows_next(rows);
		put_ulid(rows, is_null ? NULL : DatumGetUlidP(value));
	}
	found = rows_execute(rows);
	waiting = palloc(sizeof(Waiting) * Max(found, 1));
	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);

		waiting_read(&record, &waiting[i]);
	}
	*waiting_count = (int) found;
	return waiting;
}

static Conversion *
conversions_load(const Waiting *waiting, int count, int *conversion_count)
{
	Rows	   *rows = rows_begin(ST_CONVERSION, count);
	Conversion *conversions;
	uint64		found;

	for (int i = 0; i < count; i++)
		if (waiting[i].of_conversion)
		{
			rows_next(rows);
			put_ulid(rows, &waiting[i].conversion_id);
		}
	found = rows_execute(rows);
	conversions = palloc(sizeof(Conversion) * Max(found, 1));
	for (uint64 i = 0; i < found; i++)
		conversion_read(record_read(i), &conversions[i]);
	*conversion_count = (int) found;
	return conversions;
}

static Callback *
callbacks_load(const Waiting *waiting, int count, int *callback_count)
{
	Rows	   *rows = rows_begin(ST_CALLBACK, count);
	Callback   *callbacks;
	uint64		found;

	for (int i = 0; i < count; i++)
	{
		rows_next(rows);
		put_ulid(rows, &waiting[i].callback_id);
	}
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

/* What the delivery tells of as it is now; NULL: it is gone. */
static const Change *
change_of(const Waiting *delivery, const Change *changes, int count)
{
	if (!delivery->of_conversion)
		return &delivery->change;
	for (int i = 0; i < count; i++)
		if (ulid_equal(&changes[i].after->id, &delivery->conversion_id))
			return &changes[i];
	return NULL;
}

static const Callback *
callback_find(const Callback *callbacks, int count, const PbUlid *id)
{
	for (int i = 0; i < count; i++)
		if (ulid_equal(&callbacks[i].id, id))
			return &callbacks[i];
	return NULL;
}

/* Why the callback would not fire on the conversion as it is, or on another status than the delivery tells; NULL: it would. */
static const char *
misfit(const Waiting *delivery, const Callback *callback, const Change *change, const OfferName *offer)
{
	Callback	wanted = *callback;

	/* One that is disabled at this moment keeps its deliveries. */
	wanted.enabled = true;
	if (!delivery->of_conversion)
		return callback_misfit(&wanted, change, offer);
	for (PbState s = PB_PENDING; s < PB_STATE_COUNT; s++)
		wanted.statuses[s] = s == delivery->status;
	if (!callback->statuses[delivery->status])
		return psprintf("the callback tells of %s no more", pb_state_public_name(delivery->status));
	return callback_misfit(&wanted, change, offer);
}

PG_FUNCTION_INFO_V1(postback_delay_misfits);
Datum
postback_delay_misfits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *ids = PG_GETARG_ARRAYTYPE_P(0);
	Waiting    *waiting;
	int			waiting_count;
	Conversion *conversions;
	int			conversion_count;
	Change	   *changes;
	Callback   *callbacks;
	int			callback_count;
	OfferName  *offers;
	int			offer_count;
	int			level;

	InitMaterializedSRF(fcinfo, 0);
	if (ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids)) == 0)
		return (Datum) 0;
	level = statements_begin();
	waiting = waiting_load(ids, &waiting_count);
	conversions = conversions_load(waiting, waiting_count, &conversion_count);
	callbacks = callbacks_load(waiting, waiting_count, &callback_count);
	changes = palloc(sizeof(Change) * Max(conversion_count, 1));
	for (int i = 0; i < conversion_count; i++)
		changes[i] = (Change) {.after = &conversions[i], .actor = "sql"};
	offers = offer_names_load(changes, conversion_count, &offer_count);
	for (int i = 0; i < waiting_count; i++)
	{
		const Change *change = change_of(&waiting[i], changes, conversion_count);
		const Callback *callback = callback_find(callbacks, callback_count, &waiting[i].callback_id);
		const char *why;
		Datum		values[2];
		bool		nulls[2] = {false};

		if (change == NULL || callback == NULL)
			continue;
		why = misfit(&waiting[i], callback, change, offer_name_find(offers, offer_count, &change->after->offer_id));
		if (why == NULL)
			continue;
		values[0] = UlidPGetDatum(&waiting[i].id);
		values[1] = CStringGetTextDatum(psprintf("when the delay was over: %s", why));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	statements_end(level);
	return (Datum) 0;
}
