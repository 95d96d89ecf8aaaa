/*
 * lint.c: what is wrong or doubtful in a callback: when it is saved, and of all that are saved.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "callback.h"
#include "core/header.h"

#define FINDINGS_MAX 32			/* of one template */
#define HEADERS_MAX 40			/* the sender takes some more, for its own and auth */
#define WHAT_MAX 128			/* bytes shown of the piece that a finding is about */

/* The columns that are looked at; NULL where the column is null, or no JSON object where it should be one. */
typedef struct Subject
{
	PbSlice		type;
	ArrayType  *statuses;
	ArrayType  *reasons;
	PbSlice		url;
	Jsonb	   *params;
	Jsonb	   *headers;
	Jsonb	   *auth;
} Subject;

typedef struct Finding
{
	bool		error;
	const char *field;			/* reasons, url, auth, or params or headers and the name */
	const char *name;
	size_t		position;		/* 1, 2 ... in bytes; 0: the field as a whole */
	PbSlice		what;
	const char *hint;
} Finding;

typedef void (*Report) (void *to, const Finding *finding);

/* What to do about it; of an unknown macro the nearest name is said instead. */
static const char *const hints[] = {
	[PB_LINT_UNKNOWN_MACRO] = "See the manual's list of macros.",
	[PB_LINT_UNCLOSED_MACRO] = "Close it with }; a brace that is meant is written %7B.",
	[PB_LINT_BAD_MODIFIER] = "{name:raw}, {payout:minor} (money only), {status:pending=hold,approved=sale}, each once.",
	[PB_LINT_MACRO_IN_HOST] = "Macros may stand in the path and the query.",
	[PB_LINT_MACRO_IN_SCHEME] = "Begin with https:// and the host; macros may stand in the path and the query.",
	[PB_LINT_BAD_SCHEME] = "Begin with https:// or http://.",
	[PB_LINT_BAD_URL] = "Percent-encode what may not stand in a URL (at most 4096 bytes); no user name, host names in ASCII (xn--...).",
	[PB_LINT_TOO_MANY_PARTS] = "A template may have 256 macros and pieces of text between them.",
	[PB_LINT_FOREIGN_SYNTAX] = "It is sent as it stands: macros are written {name} here.",
	[PB_LINT_HTML_LEAVINGS] = "HTML took a parameter's name for a sign: write & and the whole name, as plain text.",
	[PB_LINT_DOUBLE_ENCODING] = "%25 is an encoded %: what stands here was encoded twice.",
	[PB_LINT_PLAIN_HTTP] = "Use https, or who listens on the way reads what is sent.",
	[PB_LINT_SPECIAL_ADDRESS] = "The sender blocks it, unless --allow-egress opens the range of its address.",
};

static const char *
hint_of(const PbFinding *f)
{
	return f->nearest != NULL ? psprintf("Did you mean {%s}?", f->nearest) : hints[f->lint];
}

#define BIT(lint) (1u << (lint))

/* Returns which findings there are, as a set of bits. */
static uint32
template_lint(const char *field, PbSlice text, PbTemplateKind kind, Report report, void *to)
{
	PbFinding	findings[FINDINGS_MAX];
	size_t		count = pb_template_lint(text, kind, findings, lengthof(findings));
	uint32		found = 0;

	for (size_t i = 0; i < count; i++)
	{
		const PbFinding *f = &findings[i];
		Finding		finding = {pb_lint_is_error(f->lint), field, pb_lint_name(f->lint), f->position + 1,
			{f->what.data, pb_utf8_cut(f->what, WHAT_MAX)}, hint_of(f)};

		report(to, &finding);
		found |= BIT(f->lint);
	}
	return found;
}

static void
header_lint(const char *field, PbSlice name, bool is_string, bool has_auth, Report report, void *to)
{
	Finding		finding = {true, field, NULL, 0, {name.data, pb_utf8_cut(name, WHAT_MAX)}, NULL};

	if (!pb_header_name_ok(name))
	{
		finding.name = "bad_header_name";
		finding.hint = "Header names have letters, digits and hyphens.";
		report(to, &finding);
	}
	if (pb_header_reserved(name))
	{
		finding.name = "reserved_header";
		finding.hint = "It is set by the sender.";
		report(to, &finding);
	}
	if (has_auth && pb_slice_equal_nocase(name, PB_LITERAL("authorization")))
	{
		finding.name = "reserved_header";
		finding.hint = "It is made of auth: leave out one of them.";
		report(to, &finding);
	}
	if (!is_string)
	{
		finding.name = "bad_header_value";
		finding.hint = "Write the header's value in quotes.";
		report(to, &finding);
	}
}

/* A value that is no text goes as it is, macros and all. */
static void
json_lint(const char *field, JsonbValue *value, Report report, void *to)
{
	Jsonb	   *jsonb = JsonbValueToJsonb(value);
	PbSlice		text = pb_slice(JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb)));
	PbTemplate *template = palloc(sizeof(PbTemplate));

	if (pb_template_compile(text, PB_TEMPLATE_VALUE, template, NULL) != PB_LINT_OK)
		return;					/* no macro that we know */
	for (size_t i = 0; i < template->part_count; i++)
	{
		const char *name = pb_macro_name(template->parts[i].macro);

		if (!template->parts[i].is_macro)
			continue;
		report(to, &(Finding) {false, field, "macro_in_json", 0, pb_slice(name),
							   "Macros are filled in in texts only, not within an object or a list."});
		return;
	}
}

static void
fields_lint(const Subject *subject, bool headers, Report report, void *to)
{
	const char *column = headers ? "headers" : "params";
	Jsonb	   *jsonb = headers ? subject->headers : subject->params;
	JsonbIterator *iterator = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		PbSlice		name;
		char	   *field;

		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&iterator, &value, true);
		name = (PbSlice) {key.val.string.val, key.val.string.len};
		field = psprintf("%s.%.*s", column, (int) name.len, name.data);
		if (headers)
			header_lint(field, name, value.type == jbvString, subject->auth != NULL, report, to);
		if (value.type == jbvString)
			template_lint(field, (PbSlice) {value.val.string.val, value.val.string.len}, PB_TEMPLATE_VALUE,
						  report, to);
		else if (!headers)
			json_lint(field, &value, report, to);
	}
}

/* The string of that name, or one without data. */
static PbSlice
member(Jsonb *jsonb, const char *name)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&jsonb->root, name, (int) strlen(name), &value) == NULL || value.type != jbvString)
		return (PbSlice) {NULL, 0};
	return (PbSlice) {value.val.string.val, value.val.string.len};
}

static bool
is_visible_ascii(PbSlice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] < '!' || text.data[i] > '~')
			return false;
	return text.len > 0;
}

static bool
auth_is_whole(Jsonb *auth)
{
	PbSlice		type = member(auth, "type");
	PbSlice		user = member(auth, "user");

	if (pb_slice_equal(type, PB_LITERAL("bearer")))
		return is_visible_ascii(member(auth, "token"));
	return pb_slice_equal(type, PB_LITERAL("basic")) && user.data != NULL &&
		pb_slice_find(user, ':', 0) == user.len && member(auth, "password").data != NULL;
}

/* Reasons narrow rejected only: without it among the statuses they never have a say. */
static void
reasons_lint(const Subject *subject, Report report, void *to)
{
	PbSlice		what;

	if (subject->reasons == NULL || subject->statuses == NULL ||
		!pb_slice_equal(subject->type, pb_slice(cause_name(CAUSE_CONVERSION))) ||
		text_array_contains(subject->statuses, pb_slice(pb_state_public_name(PB_REVERSED)), pb_slice_equal))
		return;
	what = pb_slice(array_cstring(subject->reasons));
	report(to, &(Finding) {false, "reasons", "reasons_without_rejected", 0, {what.data, pb_utf8_cut(what, WHAT_MAX)},
						   "It fires on its statuses whatever the reason: add rejected to statuses, or leave reasons out."});
}

/* All findings, column by column.  What is secret in auth is in none. */
static void
callback_lint(const Subject *subject, Report report, void *to)
{
	uint32		url;

	reasons_lint(subject, report, to);
	url = template_lint("url", subject->url, PB_TEMPLATE_URL, report, to);
	if (subject->params != NULL)
		fields_lint(subject, false, report, to);
	if (subject->headers != NULL)
		fields_lint(subject, true, report, to);
	if (subject->headers != NULL && JB_ROOT_COUNT(subject->headers) > HEADERS_MAX)
		report(to, &(Finding) {true, "headers", "too_many_headers", 0, PB_LITERAL(""), "A request may have 40 of them."});
	if (subject->auth != NULL && !auth_is_whole(subject->auth))
		report(to, &(Finding) {true, "auth", "bad_auth", 0, PB_LITERAL(""),
							   "{\"type\":\"basic\",\"user\":\"...\",\"password\":\"...\"} (no colon in user) "
							   "or {\"type\":\"bearer\",\"token\":\"...\"}"});
	/* A special-purpose address is reached through --allow-egress only: a network of one's own. */
	if (subject->auth != NULL && (url & BIT(PB_LINT_PLAIN_HTTP)) != 0 && (url & BIT(PB_LINT_SPECIAL_ADDRESS)) == 0)
		report(to, &(Finding) {true, "auth", "auth_without_https", 0, PB_LITERAL("http://"),
							   "Use https, or who listens on the way reads the password."});
}

/* What is wrong is of the level that is pointed to, what is doubtful a notice. */
static void
raise_finding(void *to, const Finding *f)
{
	const int  *wrong = to;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s: %s", f->field, f->name);
	if (f->position > 0)
		appendStringInfo(&text, " at position %zu", f->position);
	if (f->what.len > 0)
		appendStringInfo(&text, ": \"%.*s\"", (int) f->what.len, f->what.data);
	ereport(f->error ? *wrong : NOTICE,
			(errcode(f->error ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("%s", text.data),
			 errhint("%s", f->hint)));
}

static Jsonb *
object_or_null(Datum value, bool is_null)
{
	Jsonb	   *jsonb = is_null ? NULL : DatumGetJsonbP(value);

	return jsonb != NULL && JB_ROOT_IS_OBJECT(jsonb) ? jsonb : NULL;
}

static Jsonb *
tuple_object(HeapTuple tuple, TupleDesc desc, const char *column)
{
	bool		is_null;
	Datum		value = heap_getattr(tuple, SPI_fnumber(desc, column), desc, &is_null);

	return object_or_null(value, is_null);
}

static ArrayType *
tuple_array(HeapTuple tuple, TupleDesc desc, const char *column)
{
	bool		is_null;
	Datum		value = heap_getattr(tuple, SPI_fnumber(desc, column), desc, &is_null);

	return is_null ? NULL : DatumGetArrayTypeP(value);
}

static PbSlice
tuple_slice(HeapTuple tuple, TupleDesc desc, const char *column)
{
	bool		is_null;
	Datum		value = heap_getattr(tuple, SPI_fnumber(desc, column), desc, &is_null);

	return is_null ? (PbSlice) {NULL, 0} : text_slice(DatumGetTextPP(value));
}

/* Is the row made by this transaction?  A dump brings rows back that were accepted when they were made, whatever is wrong now. */
static bool
is_new(const TriggerData *trigger, HeapTuple tuple, TupleDesc desc)
{
	bool		is_null;
	Datum		created = heap_getattr(tuple, SPI_fnumber(desc, "created"), desc, &is_null);

	return TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || is_null ||
		DatumGetTimestampTz(created) == GetCurrentTransactionStartTimestamp();
}

PG_FUNCTION_INFO_V1(postback_callback_check);
Datum
postback_callback_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	tuple;
	TupleDesc	desc;
	Subject		subject;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("callback_check must be called before INSERT or UPDATE, for each row")));
	trigger_table_check(trigger, "callback_check", "callback");
	desc = RelationGetDescr(trigger->tg_relation);
	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;

	subject.url = tuple_slice(tuple, desc, "url");
	if (subject.url.data != NULL)	/* else the table's NOT NULL refuses it */
	{
		int			wrong = is_new(trigger, tuple, desc) ? ERROR : WARNING;

		subject.type = tuple_slice(tuple, desc, "type");
		subject.statuses = tuple_array(tuple, desc, "statuses");
		subject.reasons = tuple_array(tuple, desc, "reasons");
		subject.params = tuple_object(tuple, desc, "params");
		subject.headers = tuple_object(tuple, desc, "headers");
		subject.auth = tuple_object(tuple, desc, "auth");
		callback_lint(&subject, raise_finding, &wrong);
	}
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		int			updated = SPI_fnumber(desc, "updated");
		Datum		now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		bool		not_null = false;

		tuple = heap_modify_tuple_by_cols(tuple, desc, 1, &updated, &now, &not_null);
	}
	return PointerGetDatum(tuple);
}

/* Where the findings of one callback go as rows. */
typedef struct Listing
{
	ReturnSetInfo *rsinfo;
	const PbUlid *callback_id;
} Listing;

static Datum
slice_datum(PbSlice text)
{
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

static void
list_finding(void *to, const Finding *f)
{
	const Listing *listing = to;
	Datum		values[7] = {
		UlidPGetDatum(listing->callback_id),
		CStringGetTextDatum(f->field),
		CStringGetTextDatum(f->name),
		Int32GetDatum((int32) f->position),
		slice_datum(f->what),
		CStringGetTextDatum(f->hint),
		BoolGetDatum(f->error)
	};
	bool		nulls[7] = {false};

	nulls[3] = f->position == 0;
	tuplestore_putvalues(listing->rsinfo->setResult, listing->rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(postback_lint_callbacks);
Datum
postback_lint_callbacks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Rows	   *rows;
	uint64		found;
	int			level;

	InitMaterializedSRF(fcinfo, 0);
	level = statements_begin();
	rows = rows_begin(ST_CALLBACK_TEXTS, 1);
	rows_next(rows);
	found = rows_execute(rows);
	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);
		PbUlid		id;
		Subject		subject;
		Datum		value;

		take_ulid(&record, &id);
		subject.type = take_slice(&record);
		subject.statuses = take_datum(&record, &value) ? DatumGetArrayTypeP(value) : NULL;
		subject.reasons = take_datum(&record, &value) ? DatumGetArrayTypeP(value) : NULL;
		subject.url = take_slice(&record);
		subject.params = take_datum(&record, &value) ? object_or_null(value, false) : NULL;
		subject.headers = take_datum(&record, &value) ? object_or_null(value, false) : NULL;
		subject.auth = take_datum(&record, &value) ? object_or_null(value, false) : NULL;
		callback_lint(&subject, list_finding, &(Listing) {rsinfo, &id});
		CHECK_FOR_INTERRUPTS();
	}
	statements_end(level);
	return (Datum) 0;
}
