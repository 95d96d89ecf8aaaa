/*
 * transition.c: the triggers on UPDATE of postback.conversion, and the batch's own updates.
 *
 * Whoever changes a conversion, a row trigger refuses what the state table forbids and recalculates what the change asks for,
 * and a statement trigger writes every effect of the changed rows, in chunks, with a constant number of SQL statements each. The batch
 * (receive.c) has decided already and writes its effects itself: it says so through conversions_update.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "conversion.h"

/* Changed rows whose effects are written at once. */
#define CHUNK 1024

/* Columns of postback.conversion, in the table's order, as far as the trigger names them. */
enum
{
	COLUMN_STATUS = 6,
	COLUMN_VALUE = 12,
	COLUMN_SALE_VALUE = 14,
	COLUMN_COMMISSION = 15,
	COLUMN_FEE = 16,
	COLUMN_HOLD_UNTIL = 22,
	COLUMN_REASON = 27,
	COLUMN_NOTICE = 28,
	COLUMN_UPDATED_AT = 30
};

/*
 * Trigger depth at which conversions_update is running, or -1: rows that its statement touches were decided by the batch.
 * An UPDATE by somebody's trigger within it is one level deeper and is checked like any other.
 */
static int	trusted_depth = -1;

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

static bool
trusted(void)
{
	return trusted_depth >= 0 && trigger_depth() == trusted_depth + 1;
}

static void
put_conversion_update(Rows *rows, const Conversion *c)
{
	bool		attributed = c->attribution != ATTRIBUTION_NONE;

	rows_next(rows);
	put_ulid(rows, &c->id);
	put_cstring(rows, pb_state_name(c->status));
	put_ulid(rows, attributed ? &c->offer_id : NULL);
	put_ulid(rows, attributed ? &c->publisher_id : NULL);
	put_ulid(rows, c->has_click ? &c->click_id : NULL);
	put_cstring(rows, attribution_name(c->attribution));
	put_bigint(rows, c->value);
	put_datum(rows, Int64GetDatum(c->sale_value), !c->has_sale_value);
	put_datum(rows, Int64GetDatum(c->commission), !c->priced);
	put_datum(rows, Int64GetDatum(c->fee), !c->priced);
	put_ulid(rows, c->has_terms ? &c->terms_id : NULL);
	put_datum(rows, c->fx_rate, !c->has_rate);
	put_datum(rows, TimestampTzGetDatum(c->hold_until), !c->has_hold);
	put_slice(rows, c->external_transaction_id);
	put_slice(rows, c->sub_id);
	put_cstring(rows, c->subs != NULL ? array_cstring(c->subs) : NULL);
	put_slice(rows, c->reason);
	put_slice(rows, c->notice);
}

/* Writes decided conversions, without the triggers' checks and effects, within SPI. */
void
conversions_update(Conversion *const *conversions, int count)
{
	Rows	   *rows;
	int			depth_before = trusted_depth;

	if (count == 0)
		return;
	rows = rows_begin(ST_UPDATE, count);
	for (int i = 0; i < count; i++)
		put_conversion_update(rows, conversions[i]);
	trusted_depth = trigger_depth();
	PG_TRY();
	{
		rows_execute(rows);
	}
	PG_FINALLY();
	{
		trusted_depth = depth_before;
	}
	PG_END_TRY();
}

/* The name of the first column that differs but may not be changed by UPDATE, or NULL. */
static const char *
forbidden_column(Record *old_row, Record *new_row, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		switch (i + 1)
		{
			case COLUMN_STATUS:
			case COLUMN_VALUE:
			case COLUMN_HOLD_UNTIL:
			case COLUMN_REASON:
			case COLUMN_NOTICE:
			case COLUMN_UPDATED_AT:
				continue;
		}
		if (attribute->attisdropped)
			continue;
		if (old_row->nulls[i] != new_row->nulls[i] ||
			(!old_row->nulls[i] && !datum_image_eq(old_row->values[i], new_row->values[i],
												   attribute->attbyval, attribute->attlen)))
			return NameStr(attribute->attname);
	}
	return NULL;
}

/* What a person should call instead of a forbidden change of status. */
static const char *
transition_hint(PbState from, PbState to)
{
	if (from == PB_APPROVED && to == PB_REVERSED)
		return "To claw an approved commission back, call postback.reverse(conversion, reason, notice).";
	if (from == PB_REVERSED && to == PB_PENDING)
		return "To open it again, call postback.reopen(conversion).";
	if (from == PB_REVERSED)
		return "Call postback.reopen(conversion) first, then approve it.";
	return "An approved conversion is final; postback.reverse(conversion, reason, notice) claws it back.";
}

static void
check_status(const Conversion *before, const Conversion *after)
{
	if (after->status == before->status)
		return;
	if (!pb_transition_allowed(before->status, after->status, before->test, PB_ANYONE))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conversion %s is %s and cannot become %s", ulid_cstring(&before->id),
						pb_state_name(before->status), pb_state_name(after->status)),
				 errdetail("Order \"%.*s\".", (int) before->order_ref.len, before->order_ref.data),
				 errhint("%s", transition_hint(before->status, after->status))));
	if (after->status == PB_APPROVED && !before->priced)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conversion %s has no price yet and cannot be approved", ulid_cstring(&before->id)),
				 errhint("Set terms for its offer (postback.set_terms) or a rate for its currency (postback.set_fx_rate).")));
}

static void
check_value(const Conversion *before, const Conversion *after)
{
	if (after->value == before->value)
		return;
	if (before->status != PB_PENDING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conversion %s is %s: its value cannot change", ulid_cstring(&before->id),
						pb_state_name(before->status)),
				 errhint("%s", transition_hint(before->status, PB_PENDING))));
	if (after->value > before->value || after->value < 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("value of conversion %s can only be lowered, from " INT64_FORMAT " to " INT64_FORMAT " is no reduction",
						ulid_cstring(&before->id), before->value, after->value),
				 errhint("To set another value, call postback.adjust(conversion, value).")));
}

/* Recalculates a lowered value by the frozen terms and rate. */
static void
reprice(Conversion *c)
{
	int			level;
	Terms		terms;
	bool		found = false;

	level = statements_begin();
	if (c->has_terms)
	{
		Rows	   *rows = rows_begin(ST_TERMS_BY_ID, 1);

		rows_next(rows);
		put_ulid(rows, &c->terms_id);
		if (rows_execute(rows) == 1)
		{
			Record		record = record_read(0);

			found = terms_take(&record, &terms);
		}
	}
	if (conversion_price(c, found ? &terms : NULL) != PB_OK)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the commission of conversion %s would be too large", ulid_cstring(&c->id))));
	statements_end(level);
}

static TimestampTz
reopened_hold(const Conversion *c)
{
	int			level = statements_begin();
	TimestampTz hold_until;

	holds_load(&c, 1, &hold_until);
	statements_end(level);
	return hold_until;
}

/* The new row with what follows from the change. */
static HeapTuple
complete_row(HeapTuple tuple, TupleDesc desc, const Conversion *before, Conversion *after)
{
	int			columns[6] = {COLUMN_UPDATED_AT, COLUMN_SALE_VALUE, COLUMN_COMMISSION, COLUMN_FEE};
	Datum		values[6];
	bool		nulls[6] = {false};
	bool		reopened = before->status == PB_REVERSED && after->status == PB_PENDING;
	int			count = 1;

	values[0] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	if (after->value != before->value)
	{
		reprice(after);
		values[1] = Int64GetDatum(after->sale_value);
		nulls[1] = !after->has_sale_value;
		values[2] = Int64GetDatum(after->commission);
		nulls[2] = !after->priced;
		values[3] = Int64GetDatum(after->fee);
		nulls[3] = !after->priced;
		count = 4;
	}
	if (reopened && after->hold_until == before->hold_until)
	{
		columns[count] = COLUMN_HOLD_UNTIL;
		values[count++] = TimestampTzGetDatum(reopened_hold(after));
	}
	if (reopened && pb_slice_equal(after->reason, before->reason))
	{
		columns[count] = COLUMN_REASON;
		values[count] = (Datum) 0;
		nulls[count++] = true;
	}
	return heap_modify_tuple_by_cols(tuple, desc, count, columns, values, nulls);
}

static void
check_trigger(FunctionCallInfo fcinfo, const char *name, bool row)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s must be called as a trigger", name)));
	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ||
		(row && (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))) ||
		(!row && (!TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s must be called %s UPDATE, for each %s", name,
						row ? "before" : "after", row ? "row" : "statement")));
	trigger_table_check(trigger, name, "conversion");
}

PG_FUNCTION_INFO_V1(postback_conversion_check);
Datum
postback_conversion_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	Record		old_row;
	Record		new_row;
	Conversion	before;
	Conversion	after;
	const char *column;
	PbSlice status;

	check_trigger(fcinfo, "conversion_check", true);
	if (trusted())
		return PointerGetDatum(trigger->tg_newtuple);

	desc = RelationGetDescr(trigger->tg_relation);
	old_row = record_of_tuple(trigger->tg_trigtuple, desc);
	new_row = record_of_tuple(trigger->tg_newtuple, desc);
	column = forbidden_column(&old_row, &new_row, desc);
	if (column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of a conversion cannot be changed", column),
				 errhint("Set status, value, reason, notice or hold_until; "
						 "postback.attribute(conversion, click) and postback.adjust(conversion, value) do the rest.")));
	if (new_row.nulls[COLUMN_STATUS - 1] || new_row.nulls[COLUMN_VALUE - 1])
		return PointerGetDatum(trigger->tg_newtuple);	/* the table's NOT NULL refuses it */
	status = text_slice(DatumGetTextPP(new_row.values[COLUMN_STATUS - 1]));
	if (!pb_state_find(status, &after.status))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("a conversion cannot get the status \"%.*s\"", (int) status.len, status.data),
				 errhint("Statuses are pending, approved and reversed.")));
	conversion_read(old_row, &before);
	conversion_read(new_row, &after);
	check_status(&before, &after);
	check_value(&before, &after);
	return PointerGetDatum(complete_row(trigger->tg_newtuple, desc, &before, &after));
}

static bool
same_for_effects(const Conversion *before, const Conversion *after)
{
	return before->status == after->status && before->value == after->value &&
		before->commission == after->commission && before->fee == after->fee && before->priced == after->priced &&
		before->reason.len == after->reason.len && before->notice.len == after->notice.len &&
		pb_slice_equal(before->reason, after->reason) && pb_slice_equal(before->notice, after->notice);
}

/* A transition table, read at a place of our own: other triggers of the statement read the same one. */
typedef struct Transition
{
	Tuplestorestate *rows;
	int			pointer;
	TupleTableSlot *slot;
} Transition;

static Transition
transition_open(Tuplestorestate *rows, TupleDesc desc)
{
	Transition	source = {rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND), MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple)};

	tuplestore_select_read_pointer(rows, source.pointer);
	tuplestore_rescan(rows);
	return source;
}

static bool
transition_next(Transition *source)
{
	tuplestore_select_read_pointer(source->rows, source->pointer);
	return tuplestore_gettupleslot(source->rows, true, false, source->slot);
}

/* Copies up to CHUNK changed rows off the two tables, which stand in the same order; returns how many were read. */
static int
read_chunk(TriggerData *trigger, Transition *old_rows, Transition *new_rows, Change *changes, int *count)
{
	const char *actor = strcmp(postback_actor, "cron") == 0 ? "cron" : "sql";
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			read = 0;

	*count = 0;
	while (read < CHUNK && transition_next(old_rows))
	{
		Conversion *before = palloc(sizeof(Conversion));
		Conversion *after = palloc(sizeof(Conversion));

		if (!transition_next(new_rows))
			elog(ERROR, "the old and new rows of an UPDATE of conversion differ in number");
		read++;
		conversion_read(record_of_tuple(ExecCopySlotHeapTuple(old_rows->slot), desc), before);
		conversion_read(record_of_tuple(ExecCopySlotHeapTuple(new_rows->slot), desc), after);
		if (!ulid_equal(&before->id, &after->id))
			elog(ERROR, "the old and new rows of an UPDATE of conversion are not in the same order");
		if (!same_for_effects(before, after))
			changes[(*count)++] = (Change) {.before = before, .after = after, .actor = actor};
	}
	/* A tuple that comes from disk is in the chunk's memory, which goes before the slots are filled again. */
	ExecClearTuple(old_rows->slot);
	ExecClearTuple(new_rows->slot);
	return read;
}

PG_FUNCTION_INFO_V1(postback_conversion_effects);
Datum
postback_conversion_effects(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Transition		old_rows;
	Transition		new_rows;
	int			read;

	check_trigger(fcinfo, "conversion_effects", false);
	if (trusted() || trigger->tg_oldtable == NULL || trigger->tg_newtable == NULL)
		return PointerGetDatum(NULL);

	old_rows = transition_open(trigger->tg_oldtable, RelationGetDescr(trigger->tg_relation));
	new_rows = transition_open(trigger->tg_newtable, RelationGetDescr(trigger->tg_relation));
	do
	{
		int			level;
		Change	   *changes;
		int			count;

		/* One connection per chunk: what it allocates is given back before the next. */
		level = statements_begin();
		changes = palloc(sizeof(Change) * CHUNK);
		read = read_chunk(trigger, &old_rows, &new_rows, changes, &count);
		effects_write(changes, count);
		statements_end(level);
		CHECK_FOR_INTERRUPTS();
	} while (read == CHUNK);
	ExecDropSingleTupleTableSlot(old_rows.slot);
	ExecDropSingleTupleTableSlot(new_rows.slot);
	return PointerGetDatum(NULL);
}
