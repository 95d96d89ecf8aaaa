/*
 * match.c: which callbacks a change of a conversion fires: one table of conditions, by which deliveries are decided and by
 * which people are told why there is none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "callback.h"

/* A callback and what might fire it. */
typedef struct Match
{
	const Callback *callback;
	const Change *change;
	const OfferName *offer;		/* of the conversion; NULL: none */
} Match;

/* A condition: what the callback wants and what was found are for people. */
typedef struct Check
{
	const char *name;
	bool		of_conversions; /* nothing to do with clicks and events */
	bool		(*holds) (const Match *m);
	const char *(*wanted) (const Match *m);
	const char *(*found) (const Match *m);
} Check;

bool
text_array_contains(ArrayType *array, PbSlice value, bool (*equal) (PbSlice, PbSlice))
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i] && equal(text_slice(DatumGetTextPP(elements[i])), value))
			return true;
	return false;
}

static const char *
slice_text(PbSlice slice)
{
	return pnstrdup(slice.data, slice.len);
}

static const char *
id_or(bool has_id, const PbUlid *id, const char *otherwise)
{
	return has_id ? ulid_cstring(id) : otherwise;
}

static bool
enabled_holds(const Match *m)
{
	return m->callback->enabled && !m->callback->broken;
}

static const char *
enabled_wanted(const Match *m)
{
	return "enabled";
}

static const char *
enabled_found(const Match *m)
{
	return m->callback->broken ? "broken (see lint_callbacks())" : m->callback->enabled ? "enabled" : "disabled";
}

/* As in the column type of postback.callback. */
const char *
cause_name(Cause cause)
{
	static const char *const names[] = {"conversion", "event", "click"};

	return names[cause];
}

/* What the callback tells of. */
Cause
callback_cause(const Callback *callback)
{
	for (Cause cause = CAUSE_CONVERSION; cause <= CAUSE_CLICK; cause++)
		if (pb_slice_equal(callback->type, pb_slice(cause_name(cause))))
			return cause;
	elog(ERROR, "unknown type \"%.*s\" of a callback", (int) callback->type.len, callback->type.data);
}

static bool
type_holds(const Match *m)
{
	return callback_cause(m->callback) == m->change->cause;
}

static const char *
type_wanted(const Match *m)
{
	return slice_text(m->callback->type);
}

static const char *
type_found(const Match *m)
{
	return cause_name(m->change->cause);
}

static bool
attributed_holds(const Match *m)
{
	return m->change->after->attribution != ATTRIBUTION_NONE;
}

static const char *
attributed_wanted(const Match *m)
{
	return "attributed";
}

static const char *
attributed_found(const Match *m)
{
	return attribution_name(m->change->after->attribution);
}

static bool
test_holds(const Match *m)
{
	return !m->change->after->test || m->callback->include_test;
}

static const char *
test_wanted(const Match *m)
{
	return m->callback->include_test ? "any order" : "no test order";
}

static const char *
test_found(const Match *m)
{
	return m->change->after->test ? "test order" : "no test order";
}

static bool
brand_holds(const Match *m)
{
	return !m->callback->has_brand || ulid_equal(&m->callback->brand_id, &m->change->after->brand_id);
}

static const char *
brand_wanted(const Match *m)
{
	return id_or(m->callback->has_brand, &m->callback->brand_id, "any");
}

static const char *
brand_found(const Match *m)
{
	return ulid_cstring(&m->change->after->brand_id);
}

static bool
offer_holds(const Match *m)
{
	return !m->callback->has_offer || ulid_equal(&m->callback->offer_id, &m->change->after->offer_id);
}

static const char *
offer_wanted(const Match *m)
{
	return id_or(m->callback->has_offer, &m->callback->offer_id, "any");
}

static const char *
offer_found(const Match *m)
{
	return id_or(attributed_holds(m), &m->change->after->offer_id, "none");
}

static bool
publisher_holds(const Match *m)
{
	return !m->callback->has_publisher || ulid_equal(&m->callback->publisher_id, &m->change->after->publisher_id);
}

static const char *
publisher_wanted(const Match *m)
{
	return id_or(m->callback->has_publisher, &m->callback->publisher_id, "any");
}

static const char *
publisher_found(const Match *m)
{
	return id_or(attributed_holds(m), &m->change->after->publisher_id, "none");
}

static bool
status_holds(const Match *m)
{
	return m->callback->statuses[m->change->after->status];
}

static const char *
status_wanted(const Match *m)
{
	StringInfoData text;

	initStringInfo(&text);
	for (PbState s = PB_PENDING; s < PB_STATE_COUNT; s++)
		if (m->callback->statuses[s])
			appendStringInfo(&text, text.len > 0 ? " or %s" : "%s", pb_state_public_name(s));
	return text.data;
}

static const char *
status_found(const Match *m)
{
	return pb_state_public_name(m->change->after->status);
}

static bool
newly_attributed(const Change *change)
{
	return change->before != NULL && change->before->attribution == ATTRIBUTION_NONE;
}

/* It is news: created, attributed, another status; or, where that is asked for, another payout. */
static bool
change_holds(const Match *m)
{
	const Change *change = m->change;

	if (change->before == NULL || change->before->status != change->after->status || newly_attributed(change))
		return true;
	return m->callback->on_adjust && change->before->commission != change->after->commission;
}

static const char *
change_wanted(const Match *m)
{
	return m->callback->on_adjust ? "another status or payout" : "another status";
}

static const char *
change_found(const Match *m)
{
	const Conversion *before = m->change->before;
	const Conversion *after = m->change->after;

	if (before == NULL)
		return "created";
	if (before->status != after->status)
		return psprintf("%s, was %s", pb_state_public_name(after->status), pb_state_public_name(before->status));
	if (newly_attributed(m->change))
		return "attributed";
	return before->commission != after->commission ? "another payout" : "same status and payout";
}

/* Reasons narrow rejected only. */
static bool
reason_holds(const Match *m)
{
	const Conversion *now = m->change->after;

	return now->status != PB_REVERSED || m->callback->reasons == NULL ||
		(now->reason.data != NULL && text_array_contains(m->callback->reasons, now->reason, names_equal));
}

static const char *
reason_wanted(const Match *m)
{
	return m->callback->reasons != NULL ? array_cstring(m->callback->reasons) : "any";
}

static const char *
reason_found(const Match *m)
{
	const Conversion *now = m->change->after;

	if (now->status != PB_REVERSED)
		return "not rejected";
	return now->reason.data != NULL ? slice_text(now->reason) : "none";
}

static bool
goals_off(const Match *m)
{
	return m->offer != NULL && !m->offer->goals_enabled;
}

/* Of an event it is the name; clicks have none. */
static bool
goal_holds(const Match *m)
{
	if (m->callback->goal.data == NULL || m->change->cause == CAUSE_CLICK)
		return true;
	if (m->change->cause == CAUSE_EVENT)
		return names_equal(m->callback->goal, m->change->event);
	return goals_off(m) || names_equal(m->callback->goal, m->change->after->goal);
}

static const char *
goal_wanted(const Match *m)
{
	if (m->callback->goal.data == NULL)
		return "any";
	return goals_off(m) ? psprintf("any: the offer has goals switched off, else %s", slice_text(m->callback->goal)) :
		slice_text(m->callback->goal);
}

static const char *
goal_found(const Match *m)
{
	PbSlice		goal = m->change->cause == CAUSE_EVENT ? m->change->event : m->change->after->goal;

	return goal.len > 0 ? slice_text(goal) : "none";
}

#define CHECK(name) {#name, false, name##_holds, name##_wanted, name##_found}
#define CONVERSION_CHECK(name) {#name, true, name##_holds, name##_wanted, name##_found}

/* All must hold.  A condition more is a row here and its three functions. */
static const Check checks[] = {
	CHECK(enabled),
	CHECK(type),
	CHECK(attributed),
	CHECK(test),
	CHECK(brand),
	CHECK(offer),
	CHECK(publisher),
	CONVERSION_CHECK(status),
	CONVERSION_CHECK(change),
	CONVERSION_CHECK(reason),
	CHECK(goal),
};

static bool
check_holds(const Check *check, const Match *m)
{
	return (check->of_conversions && m->change->cause != CAUSE_CONVERSION) || check->holds(m);
}

/* Does the change fire the callback? */
bool
callback_fires(const Callback *callback, const Change *change, const OfferName *offer)
{
	Match		match = {callback, change, offer};

	for (size_t i = 0; i < lengthof(checks); i++)
		if (!check_holds(&checks[i], &match))
			return false;
	return true;
}

/* The first condition that does not hold, in words; NULL: all do. */
const char *
callback_misfit(const Callback *callback, const Change *change, const OfferName *offer)
{
	Match		match = {callback, change, offer};

	for (size_t i = 0; i < lengthof(checks); i++)
		if (!check_holds(&checks[i], &match))
			return psprintf("%s: %s, wanted: %s", checks[i].name, checks[i].found(&match), checks[i].wanted(&match));
	return NULL;
}

/* A row by id; false if there is none, or none that the caller may see. */
static bool
row_by_id(Statement statement, const PbUlid *id, Record *record)
{
	Rows	   *rows = rows_begin(statement, 1);

	rows_next(rows);
	put_ulid(rows, id);
	if (rows_execute(rows) == 0)
		return false;
	*record = record_read(0);
	return true;
}

/*
 * Takes the conversion back to a row of history, its latest if history_id is NULL: what is in after becomes what it was
 * then, before what it was before that; false: it was created then.
 */
static bool
change_load(Conversion *after, Conversion *before, const PbUlid *history_id)
{
	Rows	   *rows = rows_begin(ST_CHANGE, 1);
	PbSlice		from_status;
	Record		record;

	rows_next(rows);
	put_ulid(rows, &after->id);
	put_ulid(rows, history_id);
	if (rows_execute(rows) == 0)
		return false;
	record = record_read(0);
	from_status = take_slice(&record);
	pb_state_find(take_slice(&record), &after->status);
	after->reason = take_slice(&record);
	*before = *after;
	if (from_status.data != NULL)
		pb_state_find(from_status, &before->status);
	before->priced = take_bigint(&record, &before->commission);
	after->priced = take_bigint(&record, &after->commission);
	if (take_bool(&record))
		before->attribution = ATTRIBUTION_NONE;
	if (take_bool(&record))
		before->attribution = after->attribution = ATTRIBUTION_NONE;
	return from_status.data != NULL;
}

static void
refuse_unknown(const char *what, const PbUlid *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %s does not exist", what, ulid_cstring(id)),
			 errdetail("Parameter %s must be the id of a row of postback.%s.", what, what),
			 errhint("SELECT id FROM postback.%s lists them.", what)));
}

PG_FUNCTION_INFO_V1(postback_callback_checks);
Datum
postback_callback_checks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Conversion	before;
	Conversion	after;
	Callback	callback;
	OfferName	offer;
	Change		change = {.after = &after, .actor = "sql"};
	Match		match = {&callback, &change, NULL};
	Record		record;
	int			level;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	level = statements_begin();
	if (!row_by_id(ST_CONVERSION, PG_GETARG_ULID_P(0), &record))
		refuse_unknown("conversion", PG_GETARG_ULID_P(0));
	conversion_read(record, &after);
	if (!row_by_id(ST_CALLBACK, PG_GETARG_ULID_P(1), &record))
		refuse_unknown("callback", PG_GETARG_ULID_P(1));
	callback_read(&record, &callback);
	if (change_load(&after, &before, PG_ARGISNULL(2) ? NULL : PG_GETARG_ULID_P(2)))
		change.before = &before;
	if (attributed_holds(&match) && row_by_id(ST_OFFER_NAMES, &after.offer_id, &record))
	{
		take_ulid(&record, &offer.id);
		offer.name = take_slice(&record);
		offer.goals_enabled = take_bool(&record);
		match.offer = &offer;
	}
	for (size_t i = 0; i < lengthof(checks); i++)
	{
		Datum		values[4] = {
			CStringGetTextDatum(checks[i].name),
			CStringGetTextDatum(checks[i].wanted(&match)),
			CStringGetTextDatum(checks[i].found(&match)),
			BoolGetDatum(checks[i].holds(&match))
		};
		bool		nulls[4] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	statements_end(level);
	return (Datum) 0;
}
