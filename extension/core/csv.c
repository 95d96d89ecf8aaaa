/*
 * csv.c: comma separated values, field by field.
 */
#include "csv.h"

#include <string.h>

static const char byte_order_mark[] = "\xEF\xBB\xBF";

static bool
at_line_end(const PbCsv *csv)
{
	return csv->text.data[csv->position] == '\n' || csv->text.data[csv->position] == '\r';
}

static bool
at_end(const PbCsv *csv)
{
	return csv->position >= csv->text.len;
}

/* Steps over one line end: CRLF, LF or CR. */
static void
pass_line_end(PbCsv *csv)
{
	if (csv->text.data[csv->position] == '\r' && csv->position + 1 < csv->text.len &&
		csv->text.data[csv->position + 1] == '\n')
		csv->position++;
	csv->position++;
	csv->line++;
}

/* What stands inside quotes, the opening one passed; false if they are not closed. */
static bool
pass_quoted(PbCsv *csv, PbCsvField *field)
{
	size_t		start = csv->position;

	while (!at_end(csv))
	{
		if (csv->text.data[csv->position] == '"')
		{
			if (csv->position + 1 >= csv->text.len || csv->text.data[csv->position + 1] != '"')
			{
				field->raw = (PbSlice) {csv->text.data + start, csv->position - start};
				csv->position++;
				return true;
			}
			csv->position += 2;
		}
		else if (at_line_end(csv))
			pass_line_end(csv);
		else
			csv->position++;
	}
	field->raw = (PbSlice) {csv->text.data + start, csv->position - start};
	return false;
}

/* A field without quotes; false if there is one in it. */
static bool
pass_plain(PbCsv *csv, PbCsvField *field)
{
	size_t		start = csv->position;
	bool		quote = false;

	while (!at_end(csv) && !at_line_end(csv) && csv->text.data[csv->position] != csv->delimiter)
	{
		quote = quote || csv->text.data[csv->position] == '"';
		csv->position++;
	}
	field->raw = (PbSlice) {csv->text.data + start, csv->position - start};
	return !quote;
}

PbCsvToken
pb_csv_next(PbCsv *csv, PbCsvField *field)
{
	if (csv->position == 0 && csv->text.len >= 3 && memcmp(csv->text.data, byte_order_mark, 3) == 0)
		csv->position = 3;
	if (csv->number == 0)
	{
		while (!at_end(csv) && at_line_end(csv))
			pass_line_end(csv);
		if (at_end(csv))
			return PB_CSV_END;
	}
	*field = (PbCsvField) {.number = ++csv->number,.line = csv->line + 1};
	if (!at_end(csv) && csv->text.data[csv->position] == '"')
	{
		field->quoted = true;
		csv->position++;
		if (!pass_quoted(csv, field))
			return PB_CSV_QUOTE_NOT_CLOSED;
		if (!at_end(csv) && !at_line_end(csv) && csv->text.data[csv->position] != csv->delimiter)
			return PB_CSV_TEXT_AFTER_QUOTE;
	}
	else if (!pass_plain(csv, field))
		return PB_CSV_QUOTE_INSIDE;

	if (!at_end(csv) && csv->text.data[csv->position] == csv->delimiter)
		csv->position++;
	else
	{
		if (!at_end(csv))
			pass_line_end(csv);
		csv->number = 0;
		field->last = true;
	}
	return PB_CSV_FIELD;
}

size_t
pb_csv_unquote(PbSlice raw, char *out)
{
	size_t		length = 0;

	for (size_t i = 0; i < raw.len; i++)
	{
		out[length++] = raw.data[i];
		if (raw.data[i] == '"' && i + 1 < raw.len && raw.data[i + 1] == '"')
			i++;
	}
	return length;
}
