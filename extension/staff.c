/*
 * staff.c: what the network's people may do to one conversion, beyond what postbacks may: claw back, reopen, raise a value,
 * attribute by hand.  The answer has the form of a postback's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "receive.h"

/* A staff call under way: the conversion as it is, a copy to be changed, and the answer. */
typedef struct StaffCall
{
	Call		call;
	Token		token;			/* stands in for the one that a postback would have */
	Conversion *before;
	Conversion *after;
} StaffCall;

/* Loads and locks the conversion; refuses the call if there is none. */
static void
staff_begin(StaffCall *staff, const PbUlid *id)
{
	Rows	   *rows = rows_begin(ST_CONVERSIONS_BY_ID, 1);

	memset(staff, 0, sizeof(*staff));
	staff->call.number = 1;
	rows_next(rows);
	put_ulid(rows, id);
	if (rows_execute(rows) != 1)
	{
		item_refuse(&staff->call, PB_NOT_FOUND, "conversion", "there is no conversion %s", ulid_cstring(id));
		return;
	}
	staff->before = palloc(sizeof(Conversion));
	conversion_read(record_read(0), staff->before);
	staff->after = conversion_copy(staff->before);
	staff->call.conversion = staff->before;
}

/* Writes the change and its effects, unless it was refused or there is none. */
static void
staff_finish(StaffCall *staff, PbResult result, PbSlice reason, PbSlice notice)
{
	Change		change = {.before = staff->before, .after = staff->after, .actor = "staff"};

	if (staff->call.code != PB_OK)
		return;
	staff->call.result = result;
	if (result == PB_RESULT_DUPLICATE)
		return;
	if (reason.data != NULL)
		staff->after->reason = reason;
	if (notice.data != NULL)
		staff->after->notice = notice;
	conversions_update(&staff->after, 1);
	effects_write(&change, 1);
	staff->call.conversion = staff->after;
}

static Datum
staff_reply(FunctionCallInfo fcinfo, StaffCall *staff)
{
	TupleDesc	desc;
	Datum		values[REPLY_COLUMNS];
	bool		nulls[REPLY_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "staff functions must return postback.reply");
	reply_values(&staff->call, values, nulls);
	return PointerGetDatum(SPI_returntuple(heap_form_tuple(BlessTupleDesc(desc), values, nulls), desc));
}

static void
refuse_locked(StaffCall *staff, const char *hint)
{
	item_refuse(&staff->call, PB_LOCKED, "conversion", "the conversion is %s; %s",
				pb_state_name(staff->before->status), hint);
}

static const Brand *
brand_of(const Conversion *c)
{
	int			found;
	const Brand *brand = brands_load(&c->brand_id, 1, &found);

	if (found != 1)
		elog(ERROR, "brand %s is missing", ulid_cstring(&c->brand_id));
	return brand;
}

static PbResult
do_approve(StaffCall *staff)
{
	switch (staff->before->status)
	{
		case PB_APPROVED:
			return PB_RESULT_DUPLICATE;
		case PB_PENDING:
			if (!staff->before->priced)
				item_refuse(&staff->call, PB_UNPRICED, "conversion",
							"the conversion has no commission yet; set terms for its offer or a rate for its currency");
			break;
		default:
			refuse_locked(staff, "reopen it first");
	}
	staff->after->status = PB_APPROVED;
	return PB_RESULT_APPROVED;
}

static PbResult
do_reverse(StaffCall *staff)
{
	if (staff->before->status == PB_REVERSED)
		return PB_RESULT_DUPLICATE;
	staff->after->status = PB_REVERSED;
	return PB_RESULT_REVERSED;
}

static PbResult
do_reopen(StaffCall *staff)
{
	if (staff->before->status == PB_PENDING)
		return PB_RESULT_DUPLICATE;
	if (staff->before->status != PB_REVERSED)
	{
		refuse_locked(staff, "only a reversed one can be reopened");
		return PB_RESULT_NONE;
	}
	staff->after->status = PB_PENDING;
	staff->after->reason = (PbSlice) {NULL, 0};
	staff->after->has_hold = true;
	holds_load((const Conversion *const *) &staff->before, 1, &staff->after->hold_until);
	return PB_RESULT_REOPENED;
}

static PbResult
do_adjust(StaffCall *staff, int64 value)
{
	const Terms *terms;

	if (value < 0 || value > PB_VALUE_MAX)
		item_refuse(&staff->call, PB_BAD_VALUE, "value", "value must be 0 to 10^15 minor units");
	else if (staff->before->status != PB_PENDING)
		refuse_locked(staff, "only a pending one can be adjusted");
	else if (value == staff->before->value)
		return PB_RESULT_DUPLICATE;
	else
	{
		terms_load(&staff->before, 1, &terms);
		staff->after->value = value;
		if (conversion_price(staff->after, terms) != PB_OK)
			item_refuse(&staff->call, PB_BAD_VALUE, "value", "the value is too large for its commission to be computed");
	}
	return PB_RESULT_ADJUSTED;
}

static PbResult
do_attribute(StaffCall *staff, const PbUlid *click_id)
{
	Call	   *call = &staff->call;
	Conversion *after = staff->after;
	const Source *source = &call->source;

	if (staff->before->status != PB_PENDING || staff->before->attribution != ATTRIBUTION_NONE)
	{
		item_refuse(call, PB_LOCKED, "conversion", "only a pending, unattributed conversion can be attributed");
		return PB_RESULT_NONE;
	}
	staff->token.brand_id = after->brand_id;
	staff->token.brand = brand_of(after);
	call->token = &staff->token;
	call->any_age = true;
	call->goal_kept = true;
	call->has_click = true;
	call->click_id = *click_id;
	call->currency = after->currency;
	if (after->goal.len > 0)
		call->p[PB_P_GOAL] = after->goal;
	batch_attribute(&call, 1, GetCurrentTransactionStartTimestamp());
	call->token = NULL;
	if (source->how != ATTRIBUTION_CLICK)
	{
		item_refuse(call, PB_NOT_FOUND, "click", "the conversion's brand has no click clk_%s", ulid_cstring(click_id));
		return PB_RESULT_NONE;
	}
	after->attribution = ATTRIBUTION_CLICK;
	after->offer_id = source->offer_id;
	after->publisher_id = source->publisher_id;
	after->has_click = true;
	after->click_id = source->click_id;
	after->external_transaction_id = source->external_transaction_id;
	after->subs = source->subs;
	if (source->sub_id.data != NULL)
		after->sub_id = source->sub_id;
	if (!after->has_rate)
	{
		after->has_rate = source->has_rate;
		after->fx_rate = source->fx_rate;
	}
	/* The offer's own hold, from when the order came. */
	if (source->offer != NULL && source->offer->has_hold)
	{
		after->has_hold = true;
		after->hold_until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(after->created_at),
																	source->offer->hold));
	}
	if (conversion_price(after, source->terms) != PB_OK)
		item_refuse(call, PB_BAD_VALUE, "conversion", "the value is too large for its commission to be computed");
	else if (!after->priced)
		item_warn(call, PB_WARNING_UNPRICED);
	return PB_RESULT_ADJUSTED;
}

/* Which staff function is called. */
typedef enum StaffAction
{
	STAFF_APPROVE,
	STAFF_REVERSE,
	STAFF_REOPEN,
	STAFF_ADJUST,
	STAFF_ATTRIBUTE
} StaffAction;

/* One call: first argument the conversion, last two reason and notice, between them value or click. */
static Datum
staff_call(FunctionCallInfo fcinfo, StaffAction action)
{
	int			level;
	StaffCall	staff;
	int			last = PG_NARGS() - 1;
	PbResult	result = PB_RESULT_NONE;
	Datum		reply;

	for (int i = 0; i < last - 1; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d must not be null", i + 1)));
	level = statements_begin();
	staff_begin(&staff, PG_GETARG_ULID_P(0));
	if (staff.call.code == PB_OK)
		switch (action)
		{
			case STAFF_APPROVE:
				result = do_approve(&staff);
				break;
			case STAFF_REVERSE:
				result = do_reverse(&staff);
				break;
			case STAFF_REOPEN:
				result = do_reopen(&staff);
				break;
			case STAFF_ADJUST:
				result = do_adjust(&staff, PG_GETARG_INT64(1));
				break;
			case STAFF_ATTRIBUTE:
				result = do_attribute(&staff, PG_GETARG_ULID_P(1));
				break;
		}
	staff_finish(&staff, result, argument_scalar(fcinfo, last - 1), argument_scalar(fcinfo, last));
	reply = staff_reply(fcinfo, &staff);
	statements_end(level);
	return reply;
}

#define STAFF_FUNCTION(name, action) \
	PG_FUNCTION_INFO_V1(name); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		return staff_call(fcinfo, action); \
	}

STAFF_FUNCTION(postback_staff_approve, STAFF_APPROVE)
STAFF_FUNCTION(postback_staff_reverse, STAFF_REVERSE)
STAFF_FUNCTION(postback_staff_reopen, STAFF_REOPEN)
STAFF_FUNCTION(postback_staff_adjust, STAFF_ADJUST)
STAFF_FUNCTION(postback_staff_attribute, STAFF_ATTRIBUTE)
