/*
 * fuzz_csv.c: comma separated values (extension/core/csv.c) against a reader that goes byte by byte, and written fields
 * read back.
 */
#include "fuzz.h"

#include "csv.h"

static const char delimiters[] = ",;\t|";

/* What the reference keeps in mind between two bytes. */
typedef enum Where
{
	FIELD_START,
	PLAIN,
	QUOTED,
	QUOTE_SEEN,					/* in quotes: it ends them, or is the first of two */
} Where;

typedef struct Reference
{
	PbSlice		text;
	char		delimiter;
	size_t		at;
	int			line;
	int			number;
} Reference;

/* One line end, whichever it is, is one '\n'; EOF at the end. */
static int
next_char(Reference *r)
{
	int			c;

	if (r->at >= r->text.len)
		return EOF;
	c = (uint8_t) r->text.data[r->at++];
	if (c == '\r' && r->at < r->text.len && r->text.data[r->at] == '\n')
		r->at++;
	return c == '\r' ? '\n' : c;
}

/* Reads a field into out, unquoted. */
static PbCsvToken
reference_next(Reference *r, PbCsvField *field, PbOut *out)
{
	Where		where = FIELD_START;

	*field = (PbCsvField) {.number = r->number + 1,.line = r->line};
	while (true)
	{
		size_t		start = r->at;
		int			c = next_char(r);

		if (where == FIELD_START && c == '"')
		{
			where = QUOTED;
			field->quoted = true;
		}
		else if (where == QUOTED && c == EOF)
			return PB_CSV_QUOTE_NOT_CLOSED;
		else if (where == QUOTED && c == '"')
			where = QUOTE_SEEN;
		else if (where == QUOTE_SEEN && c == '"')
		{
			where = QUOTED;
			pb_out_char(out, '"');
		}
		else if (where == QUOTED)
		{
			r->line += c == '\n';
			pb_out_bytes(out, r->text.data + start, r->at - start);
		}
		else if (c == r->delimiter)
		{
			r->number++;
			return PB_CSV_FIELD;
		}
		else if (c == '\n' || c == EOF)
		{
			bool		nothing = where == FIELD_START && r->number == 0;

			r->line += c == '\n';
			if (nothing && c == EOF)
				return PB_CSV_END;
			if (nothing)
			{
				field->line = r->line;
				continue;
			}
			r->number = 0;
			field->last = true;
			return PB_CSV_FIELD;
		}
		else if (where == QUOTE_SEEN)
			return PB_CSV_TEXT_AFTER_QUOTE;
		else
		{
			where = PLAIN;
			pb_out_char(out, (char) c);
		}
	}
}

static bool
has_quote(PbSlice s)
{
	return pb_slice_find(s, '"', 0) < s.len;
}

static PbSlice
content_of(const PbCsvField *field)
{
	char	   *out = room(field->raw.len);

	if (!field->quoted)
		return field->raw;
	return (PbSlice) {out, pb_csv_unquote(field->raw, out)};
}

static void
check_against_reference(PbSlice text, char delimiter)
{
	static const PbSlice mark = {"\xEF\xBB\xBF", 3};
	bool		marked = text.len >= 3 && memcmp(text.data, mark.data, 3) == 0;
	Reference	reference = {text, delimiter, marked ? 3 : 0, 1, 0};
	PbCsv		csv = {.text = text,.delimiter = delimiter};
	char	   *expected_text = room(text.len);

	/* A run has room for so many copies. */
	for (int i = 0; i < 500; i++)
	{
		PbOut		out = pb_out(expected_text, text.len);
		PbCsvField	expected;
		PbCsvField	field;
		PbCsvToken	token = reference_next(&reference, &expected, &out);
		PbCsvToken	found = pb_csv_next(&csv, &field);

		/* A plain field with a quote is an error at its end. */
		if (token == PB_CSV_FIELD && !expected.quoted && has_quote((PbSlice) {out.data, out.len}))
			token = PB_CSV_QUOTE_INSIDE;
		HOLDS(found == token);
		if (token == PB_CSV_END)
			break;
		HOLDS(field.number == expected.number && field.line == expected.line && field.quoted == expected.quoted);
		if (token != PB_CSV_FIELD)
			break;
		HOLDS(field.last == expected.last);
		HOLDS(field.raw.len == 0 || (field.raw.data >= text.data && field.raw.data + field.raw.len <= text.data + text.len));
		HOLDS(pb_slice_equal(content_of(&field), (PbSlice) {out.data, out.len}));
	}
}

static void
write_quoted(PbOut *out, PbSlice field)
{
	pb_out_char(out, '"');
	for (size_t i = 0; i < field.len; i++)
	{
		if (field.data[i] == '"')
			pb_out_char(out, '"');
		pb_out_char(out, field.data[i]);
	}
	pb_out_char(out, '"');
}

static void
write_fields(PbOut *out, const PbSlice *fields, const bool *last, size_t count, char delimiter, PbSlice end)
{
	for (size_t i = 0; i < count; i++)
	{
		write_quoted(out, fields[i]);
		if (last[i])
			pb_out_slice(out, end);
		else if (i + 1 < count)
			pb_out_char(out, delimiter);
	}
}

static void
check_round_trip(Input *in, char delimiter)
{
	static const PbSlice ends[] = {{"\n", 1}, {"\r\n", 2}, {"\r", 1}};
	PbSlice		fields[16];
	bool		last[16];
	size_t		count = 0;
	PbSlice		end = ends[take_choice(in, COUNT(ends))];
	PbCsv		csv = {.delimiter = delimiter};
	PbCsvField	field;

	while (in->len > 0 && count < COUNT(fields))
	{
		last[count] = take_choice(in, 4) == 0;
		fields[count++] = take_text(in);
	}
	csv.text = WRITTEN(out, write_fields(&out, fields, last, count, delimiter, end));
	for (size_t i = 0; i < count; i++)
	{
		HOLDS(pb_csv_next(&csv, &field) == PB_CSV_FIELD);
		HOLDS(field.quoted && field.last == (last[i] || i + 1 == count));
		HOLDS(pb_slice_equal(content_of(&field), fields[i]));
	}
	HOLDS(pb_csv_next(&csv, &field) == PB_CSV_END);
}

static void
check_properties(Input *in)
{
	int			choice = take_choice(in, 8);
	char		delimiter = delimiters[choice % 4];

	if (choice < 4)
		check_against_reference(take_rest(in), delimiter);
	else
		check_round_trip(in, delimiter);
}
