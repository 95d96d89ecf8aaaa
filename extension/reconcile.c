/*
 * reconcile.c: a brand's own list of its orders: read from CSV or JSON with the place of every mistake, and the changes
 * that follow from it, written as staff's, many at once. 66-reconcile.sql compares in between.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "core/csv.h"
#include "core/currency.h"
#include "receive.h"

/* Conversions that are changed at once. */
#define CHUNK 1024

/* Bytes of somebody's text that are shown in a message. */
#define SHOWN 64

#define ROW_COLUMNS 10

/* Parameters that a list may have. */
static const PbParameter listed[] = {
	PB_P_ORDER, PB_P_GOAL, PB_P_STATUS, PB_P_VALUE, PB_P_AMOUNT, PB_P_CURRENCY, PB_P_REASON, PB_P_NOTICE
};

/* A column of the list, or a member of one of its objects. */
typedef struct Column
{
	PbSlice		name;			/* as the brand has it */
	PbParameter parameter;		/* PB_P_UNKNOWN: not read */
} Column;

/* One row of the list. */
typedef struct ListRow
{
	int			line;			/* of a CSV, where it begins; of JSON, its number from 1 */
	PbSlice		p[PB_PARAMETER_COUNT];	/* trimmed; data NULL: absent */
	int			column[PB_PARAMETER_COUNT]; /* of a CSV, from 1 */
	PbSlice		name[PB_PARAMETER_COUNT];	/* the brand's */
} ListRow;

/* A list being read. */
typedef struct ListReader
{
	bool		is_csv;
	const Jsonb *param_map;		/* NULL: none */
	const Jsonb *status_map;
	StringInfoData ignored;		/* names of columns that are not read */
	ReturnSetInfo *result;
} ListReader;

/* "line 3, column 2 (value)", or without the column (number 0) "line 3"; for JSON "row 3, value". */
static char *
place_text(const ListReader *reader, int line, int number, PbSlice name)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, reader->is_csv ? "line %d" : "row %d", line);
	if (number > 0)
		appendStringInfo(&text, ", column %d", number);
	if (name.len > 0)
		appendStringInfo(&text, reader->is_csv ? " (%.*s)" : ", %.*s", (int) pb_utf8_cut(name, SHOWN), name.data);
	return text.data;
}

static char *
row_place(const ListReader *reader, const ListRow *row, PbParameter p)
{
	return place_text(reader, row->line, row->column[p], row->name[p]);
}

#define refuse_list(place, message, detail, hint) \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), \
			 errmsg("%s: %s", place, message), \
			 errdetail("%s", detail), \
			 (hint) != NULL ? errhint("%s", (const char *) (hint)) : 0))

/* "text" with the text cut to what a message bears. */
static char *
quoted(PbSlice text)
{
	return psprintf("\"%.*s\"", (int) pb_utf8_cut(text, SHOWN), text.data);
}

/* What a map of the brand's words says of one, without case; the word itself if nothing. */
static PbSlice
map_word(const Jsonb *map, PbSlice word)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (map == NULL)
		return word;
	iterator = JsonbIteratorInit(unconstify(JsonbContainer *, &map->root));
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&iterator, &value, true);
		if (pb_slice_equal_nocase((PbSlice) {key.val.string.val, key.val.string.len}, word))
			return value.type == jbvString ? (PbSlice) {value.val.string.val, value.val.string.len} : (PbSlice) {"", 0};
	}
	return word;
}

/* The parameter that a name means, PB_P_UNKNOWN if it is none of a list's. */
static PbParameter
find_listed(const ListReader *reader, PbSlice name)
{
	PbParameter found = pb_parameter_find(map_word(reader->param_map, name));

	for (size_t i = 0; i < lengthof(listed); i++)
		if (listed[i] == found)
			return found;
	return PB_P_UNKNOWN;
}

static void
note_ignored(ListReader *reader, PbSlice name)
{
	char	   *text = quoted(name);

	if (strstr(reader->ignored.data, text) == NULL && reader->ignored.len < 1024)
		appendStringInfo(&reader->ignored, "%s%s", reader->ignored.len > 0 ? ", " : "", text);
}

/* "order, order_id, ..." */
static char *
names_of(PbParameter p)
{
	StringInfoData text;
	const char *name;

	initStringInfo(&text);
	for (int i = 0; (name = pb_parameter_alias(p, i)) != NULL; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", name);
	return text.data;
}

static void
take_value(ListRow *row, PbParameter p, PbSlice value)
{
	value = pb_slice_trim(value);
	row->p[p] = value.len > 0 ? value : (PbSlice) {NULL, 0};
}

/* What the status word asks for: new, approved, reversed, partial; NULL if there is none. */
static const char *
row_status(const ListReader *reader, const ListRow *row)
{
	static const char *const words[PB_SENT_COUNT] = {
		[PB_SENT_NEW] = "new",
		[PB_SENT_APPROVED] = "approved",
		[PB_SENT_REVERSED] = "reversed",
		[PB_SENT_PARTIAL] = "partial"
	};
	PbSlice		word = row->p[PB_P_STATUS];
	PbSent		sent;

	if (word.data == NULL)
		return NULL;
	if (!pb_status_word(map_word(reader->status_map, word), &sent))
		refuse_list(row_place(reader, row, PB_P_STATUS), psprintf("status %s is not known", quoted(word)),
					"Expected new, approved, reversed or partial, or a word that means the same (pending, confirmed, cancelled ...).",
					"status_map translates the brand's own words: {\"ok\": \"approved\"}.");
	if (sent == PB_SENT_PARTIAL && row->p[PB_P_VALUE].data == NULL && row->p[PB_P_AMOUNT].data == NULL)
		refuse_list(row_place(reader, row, PB_P_STATUS), "a partial has no value",
					"Expected the order value that is left, in value (smallest unit) or amount (full units).", NULL);
	return words[sent];
}

static const char *
row_currency(const ListReader *reader, const ListRow *row)
{
	const PbCurrency *currency;

	if (row->p[PB_P_CURRENCY].data == NULL)
		return NULL;
	currency = pb_currency_find(row->p[PB_P_CURRENCY]);
	if (currency == NULL)
		refuse_list(row_place(reader, row, PB_P_CURRENCY),
					psprintf("currency %s is not known", quoted(row->p[PB_P_CURRENCY])),
					"Expected an ISO 4217 code of three letters, such as EUR.", NULL);
	return currency->code;
}

/* The value in minor units; false if there is none. */
static bool
row_value(const ListReader *reader, const ListRow *row, int64 *value)
{
	if (row->p[PB_P_VALUE].data == NULL)
		return false;
	if (pb_money_parse_minor(row->p[PB_P_VALUE], value) != PB_OK)
		refuse_list(row_place(reader, row, PB_P_VALUE),
					psprintf("%s is no order value", quoted(row->p[PB_P_VALUE])),
					"Expected digits in the smallest unit of the currency (4999 = 49.99), at most 10^15.",
					"Values in full units belong into a column named amount.");
	return true;
}

static void
check_lengths(const ListReader *reader, const ListRow *row)
{
	if (row->p[PB_P_ORDER].data == NULL)
		refuse_list(row->name[PB_P_ORDER].len > 0 ? row_place(reader, row, PB_P_ORDER) :
					place_text(reader, row->line, 0, (PbSlice) {NULL, 0}),
					"there is no order", "Expected the brand's reference of the order, 1 to 255 bytes.", NULL);
	for (size_t i = 0; i < lengthof(listed); i++)
		if (row->p[listed[i]].len > pb_parameter_limit(listed[i]))
			refuse_list(row_place(reader, row, listed[i]), psprintf("it is %zu bytes long", row->p[listed[i]].len),
						psprintf("Expected %zu bytes at most.", pb_parameter_limit(listed[i])), NULL);
}

static void
put_text(Datum *values, bool *nulls, int i, PbSlice text)
{
	nulls[i] = text.data == NULL;
	values[i] = nulls[i] ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(text.data, (int) text.len));
}

static PbSlice
slice_or_null(const char *text)
{
	return text != NULL ? pb_slice(text) : (PbSlice) {NULL, 0};
}

/* Checks a row and adds it to the result. */
static void
row_finish(ListReader *reader, const ListRow *row)
{
	Datum		values[ROW_COLUMNS];
	bool		nulls[ROW_COLUMNS] = {false};
	int64		value = 0;
	bool		has_amount = row->p[PB_P_AMOUNT].data != NULL;

	check_lengths(reader, row);
	values[0] = Int32GetDatum(row->line);
	put_text(values, nulls, 1, row->p[PB_P_ORDER]);
	put_text(values, nulls, 2, row->p[PB_P_GOAL]);
	put_text(values, nulls, 3, slice_or_null(row_status(reader, row)));
	nulls[4] = !row_value(reader, row, &value);
	values[4] = Int64GetDatum(value);
	put_text(values, nulls, 5, row->p[PB_P_AMOUNT]);
	put_text(values, nulls, 6, slice_or_null(has_amount ? row_place(reader, row, PB_P_AMOUNT) : NULL));
	put_text(values, nulls, 7, slice_or_null(row_currency(reader, row)));
	put_text(values, nulls, 8, row->p[PB_P_REASON]);
	put_text(values, nulls, 9, row->p[PB_P_NOTICE]);
	tuplestore_putvalues(reader->result->setResult, reader->result->setDesc, values, nulls);
}

/* The next field, its text in place of raw; false at the end. */
static bool
next_field(const ListReader *reader, PbCsv *csv, PbCsvField *field, const Column *columns, int count)
{
	PbCsvToken	token = pb_csv_next(csv, field);
	const char *what;
	const char *hint = "A field in quotes holds a quote as two: \"say \"\"yes\"\"\".";

	switch (token)
	{
		case PB_CSV_END:
			return false;
		case PB_CSV_FIELD:
			if (field->quoted)
			{
				char	   *text = palloc(field->raw.len + 1);

				field->raw = (PbSlice) {text, pb_csv_unquote(field->raw, text)};
			}
			return true;
		case PB_CSV_QUOTE_INSIDE:
			what = "there is a quote inside a field that is not in quotes";
			break;
		case PB_CSV_TEXT_AFTER_QUOTE:
			what = "something follows the closing quote";
			break;
		default:
			what = "a quote is opened and never closed";
			hint = "Look for the quote that is missing; all that follows was read as one field.";
	}
	refuse_list(place_text(reader, field->line, field->number,
						   field->number <= count ? columns[field->number - 1].name : (PbSlice) {NULL, 0}),
				what, "Expected fields in quotes as a whole or not at all (RFC 4180).", hint);
	return false;
}

/* Takes the header row; returns its columns. */
static Column *
read_header(ListReader *reader, PbCsv *csv, int *count)
{
	int			capacity = 16;
	Column	   *columns = palloc(sizeof(Column) * capacity);
	bool		has_order = false;
	PbCsvField	field = {0};

	*count = 0;
	while (!field.last && next_field(reader, csv, &field, columns, 0))
	{
		PbSlice		name = pb_slice_trim(field.raw);
		PbParameter p = find_listed(reader, name);

		if (*count == capacity)
			columns = repalloc(columns, sizeof(Column) * (capacity *= 2));
		for (int i = 0; p != PB_P_UNKNOWN && i < *count; i++)
			if (columns[i].parameter == p)
				refuse_list(place_text(reader, field.line, field.number, name),
							psprintf("column %d (%.*s) means %s too", i + 1, (int) pb_utf8_cut(columns[i].name, SHOWN),
									 columns[i].name.data, pb_parameter_name(p)),
							"Expected each of order, goal, status, value, amount, currency, reason and notice once.",
							"param_map says what a column means: {\"transaction_id\": \"\"} leaves that one out.");
		if (p == PB_P_UNKNOWN && name.len > 0)
			note_ignored(reader, name);
		has_order = has_order || p == PB_P_ORDER;
		columns[(*count)++] = (Column) {name, p};
	}
	if (!has_order)
		refuse_list(place_text(reader, Max(field.line, 1), 0, (PbSlice) {NULL, 0}),
					*count == 0 ? "there is no header row" : "no column is named order",
					psprintf("Expected the names of the columns, one of them %s.", names_of(PB_P_ORDER)),
					*count == 1 ? "If the columns are not separated by commas, give delimiter => ';'." :
					"param_map says what other names mean: {\"Bestellnummer\": \"order\"}.");
	return columns;
}

static void
read_csv(ListReader *reader, PbSlice text, char delimiter)
{
	PbCsv		csv = {.text = text,.delimiter = delimiter};
	int			count;
	Column	   *columns = read_header(reader, &csv, &count);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "row of a list", ALLOCSET_DEFAULT_SIZES);
	MemoryContext list_context = MemoryContextSwitchTo(row_context);
	ListRow		row = {0};
	PbCsvField	field;

	while (next_field(reader, &csv, &field, columns, count))
	{
		if (field.number == 1)
		{
			row = (ListRow) {.line = field.line};
			CHECK_FOR_INTERRUPTS();
		}
		if (field.number > count || (field.last && field.number < count))
			refuse_list(place_text(reader, row.line, 0, (PbSlice) {NULL, 0}),
						psprintf(field.last ? "there are %d columns" : "there are more than %d columns",
								 field.last ? field.number : count),
						psprintf("Expected %d, as many as in the header row.", count),
						"A value with a delimiter in it must be in quotes.");
		if (columns[field.number - 1].parameter != PB_P_UNKNOWN)
		{
			PbParameter p = columns[field.number - 1].parameter;

			row.column[p] = field.number;
			row.name[p] = columns[field.number - 1].name;
			take_value(&row, p, field.raw);
		}
		if (field.last)
		{
			row_finish(reader, &row);
			MemoryContextReset(row_context);
		}
	}
	MemoryContextSwitchTo(list_context);
	MemoryContextDelete(row_context);
}

/* One object of a JSON list. */
static void
read_object(ListReader *reader, const JsonbValue *object, int number)
{
	ListRow		row = {.line = number};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		refuse_list(place_text(reader, number, 0, (PbSlice) {NULL, 0}), "it is no object",
					"Expected [{\"order\": \"A-1\", \"status\": \"approved\", \"value\": 4999}, ...].", NULL);
	iterator = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		PbSlice		name;
		PbParameter p;

		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&iterator, &value, true);
		name = (PbSlice) {key.val.string.val, key.val.string.len};
		p = find_listed(reader, name);
		if (p == PB_P_UNKNOWN)
		{
			note_ignored(reader, name);
			continue;
		}
		if (row.p[p].data != NULL)
			refuse_list(place_text(reader, number, 0, name),
						psprintf("\"%.*s\" means %s too", (int) pb_utf8_cut(row.name[p], SHOWN), row.name[p].data,
								 pb_parameter_name(p)),
						"Expected each of order, goal, status, value, amount, currency, reason and notice once.", NULL);
		row.name[p] = name;
		switch (value.type)
		{
			case jbvNull:
				break;
			case jbvString:
				take_value(&row, p, (PbSlice) {value.val.string.val, value.val.string.len});
				break;
			case jbvNumeric:
				take_value(&row, p, pb_slice(DatumGetCString(DirectFunctionCall1(numeric_out,
																				 NumericGetDatum(value.val.numeric)))));
				break;
			default:
				refuse_list(place_text(reader, number, 0, name), "it is neither text nor a number",
							"Expected a string, a number or null.", NULL);
		}
	}
	row_finish(reader, &row);
}

static void
read_json(ListReader *reader, Jsonb *rows)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;
	int			number = 0;
	MemoryContext row_context;
	MemoryContext list_context;

	if (!JB_ROOT_IS_ARRAY(rows) || JB_ROOT_IS_SCALAR(rows))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows is no array"),
				 errdetail("Expected [{\"order\": \"A-1\", \"status\": \"approved\", \"value\": 4999}, ...].")));
	iterator = JsonbIteratorInit(&rows->root);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "row of a list", ALLOCSET_DEFAULT_SIZES);
	list_context = MemoryContextSwitchTo(row_context);
	while (true)
	{
		/* The iterator's own state outlives the row. */
		MemoryContextSwitchTo(list_context);
		token = JsonbIteratorNext(&iterator, &element, true);
		MemoryContextSwitchTo(row_context);
		if (token == WJB_DONE)
			break;
		if (token != WJB_ELEM)
			continue;
		read_object(reader, &element, ++number);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(list_context);
	MemoryContextDelete(row_context);
}

static const Jsonb *
argument_map(FunctionCallInfo fcinfo, int n, const char *name)
{
	Jsonb	   *map;

	if (PG_ARGISNULL(n))
		return NULL;
	map = PG_GETARG_JSONB_P(n);
	if (!JB_ROOT_IS_OBJECT(map))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is no object", name),
				 errdetail("Expected the brand's words and ours: {\"theirs\": \"ours\"}.")));
	return map;
}

/* reconcile_list(csv, rows, delimiter, param_map, status_map, quiet) */
PG_FUNCTION_INFO_V1(postback_reconcile_list);
Datum
postback_reconcile_list(PG_FUNCTION_ARGS)
{
	ListReader	reader = {.is_csv = !PG_ARGISNULL(0)};
	PbSlice		delimiter = PG_ARGISNULL(2) ? PB_LITERAL(",") : argument_scalar(fcinfo, 2);

	InitMaterializedSRF(fcinfo, 0);
	reader.result = (ReturnSetInfo *) fcinfo->resultinfo;
	reader.param_map = argument_map(fcinfo, 3, "param_map");
	reader.status_map = argument_map(fcinfo, 4, "status_map");
	initStringInfo(&reader.ignored);
	if (delimiter.len != 1 || strchr("\"\r\n", delimiter.data[0]) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delimiter \"%.*s\" cannot separate columns", (int) delimiter.len, delimiter.data),
				 errdetail("Parameter delimiter must be one character of one byte, no quote and no line end.")));
	if (reader.is_csv)
		read_csv(&reader, argument_scalar(fcinfo, 0), delimiter.data[0]);
	else if (!PG_ARGISNULL(1))
		read_json(&reader, PG_GETARG_JSONB_P(1));
	if (reader.ignored.len > 0 && (PG_ARGISNULL(5) || !PG_GETARG_BOOL(5)))
		ereport(NOTICE,
				(errmsg("not read: %s", reader.ignored.data)));
	return (Datum) 0;
}

/* What is to become of one conversion. */
typedef struct Wish
{
	PbUlid		id;
	PbState		status;
	int64		value;
	PbSlice		reason;			/* data NULL: as it is; likewise notice */
	PbSlice		notice;
} Wish;

static int
wish_compare(const void *left, const void *right)
{
	return memcmp(&((const Wish *) left)->id, &((const Wish *) right)->id, sizeof(PbUlid));
}

static const Wish *
wish_find(const Wish *wishes, int count, const PbUlid *id)
{
	Wish		key = {.id = *id};

	return bsearch(&key, wishes, count, sizeof(Wish), wish_compare);
}

static void
refuse_change(const Conversion *c, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("order \"%.*s\" is %s and cannot be %s", (int) c->order_ref.len, c->order_ref.data,
					pb_state_name(c->status), what),
			 errdetail("Nothing of this call is applied."),
			 errhint("%s", hint)));
}

/* With another value, recalculated by what it was priced with. */
static const Conversion *
with_value(const Conversion *before, const Wish *wish, const Terms *terms)
{
	Conversion *after = conversion_copy(before);

	if (before->status != PB_PENDING)
		refuse_change(before, "adjusted", "Only a pending one can be.");
	after->value = wish->value;
	if (conversion_price(after, terms) != PB_OK)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the commission of order \"%.*s\" would be too large", (int) before->order_ref.len,
						before->order_ref.data),
				 errdetail("Nothing of this call is applied.")));
	return after;
}

static const Conversion *
with_status(const Conversion *before, const Wish *wish)
{
	Conversion *after = conversion_copy(before);

	if (!pb_transition_allowed(before->status, wish->status, before->test, PB_STAFF) || wish->status == PB_PENDING)
		refuse_change(before, pb_state_name(wish->status), "Call postback.reopen(conversion) first.");
	if (wish->status == PB_APPROVED && !before->priced)
		refuse_change(before, "approved", "It has no price yet: set terms for its offer or a rate for its currency.");
	after->status = wish->status;
	return after;
}

/* Changes the wished-for conversions and writes all effects, within SPI; returns how many were changed. */
static int
wishes_apply(Wish *wishes, int count)
{
	Rows	   *rows = rows_begin(ST_CONVERSIONS_BY_ID, count);
	Conversion **before = palloc(sizeof(Conversion *) * count);
	Conversion **after = palloc(sizeof(Conversion *) * count);
	const Terms **terms = palloc0(sizeof(Terms *) * count);
	Change	   *changes = palloc(sizeof(Change) * count * 2);
	int			change_count = 0;
	int			after_count = 0;
	int			found;

	qsort(wishes, count, sizeof(Wish), wish_compare);
	for (int i = 0; i < count; i++)
		if (i == 0 || !ulid_equal(&wishes[i].id, &wishes[i - 1].id))
		{
			rows_next(rows);
			put_ulid(rows, &wishes[i].id);
		}
	found = (int) rows_execute(rows);
	for (int i = 0; i < found; i++)
	{
		before[i] = palloc(sizeof(Conversion));
		conversion_read(record_read(i), before[i]);
	}
	terms_load(before, found, terms);
	for (int i = 0; i < found; i++)
	{
		const Wish *wish = wish_find(wishes, count, &before[i]->id);
		const Conversion *now = before[i];
		Conversion *last;
		int			first = change_count;

		/* A value that is set and an approval are two changes, as two postbacks would make them. */
		if (wish->value != now->value)
		{
			const Conversion *changed = with_value(now, wish, terms[i]);

			changes[change_count++] = (Change) {.before = now, .after = changed, .actor = "staff"};
			now = changed;
		}
		if (wish->status != now->status)
		{
			const Conversion *changed = with_status(now, wish);

			changes[change_count++] = (Change) {.before = now, .after = changed, .actor = "staff"};
			now = changed;
		}
		if (change_count == first)
			continue;
		last = unconstify(Conversion *, now);
		if (wish->reason.data != NULL)
			last->reason = wish->reason;
		if (wish->notice.data != NULL)
			last->notice = wish->notice;
		after[after_count++] = last;
	}
	conversions_update(after, after_count);
	effects_write(changes, change_count);
	return after_count;
}

/* reconcile_apply(conversions, statuses, values, reasons, notices) */
PG_FUNCTION_INFO_V1(postback_reconcile_apply);
Datum
postback_reconcile_apply(PG_FUNCTION_ARGS)
{
	Argument	ids = argument_take(fcinfo, 0, "conversions", -1);
	Argument	statuses = argument_take(fcinfo, 1, "statuses", ids.count);
	Argument	values = argument_take(fcinfo, 2, "values", ids.count);
	Argument	reasons = argument_take(fcinfo, 3, "reasons", ids.count);
	Argument	notices = argument_take(fcinfo, 4, "notices", ids.count);
	Wish	   *wishes = palloc0(sizeof(Wish) * Max(ids.count, 1));
	int64		changed = 0;

	for (int i = 0; i < ids.count; i++)
	{
		if (ids.nulls[i] || !statuses.given || statuses.nulls[i] || !values.given || values.nulls[i] ||
			!pb_state_find(argument_slice(&statuses, i), &wishes[i].status))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d of conversions, statuses and values is incomplete", i + 1)));
		wishes[i].id = *DatumGetUlidP(ids.values[i]);
		wishes[i].value = DatumGetInt64(values.values[i]);
		wishes[i].reason = argument_slice(&reasons, i);
		wishes[i].notice = argument_slice(&notices, i);
	}
	for (int i = 0; i < ids.count; i += CHUNK)
	{
		/* One connection per chunk: what it allocates is given back before the next. */
		int			level = statements_begin();

		changed += wishes_apply(&wishes[i], Min(CHUNK, ids.count - i));
		statements_end(level);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_INT64(changed);
}
