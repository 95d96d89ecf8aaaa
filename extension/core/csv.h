/*
 * csv.h: comma separated values, read as RFC 4180 has them.
 *
 * Fields are separated by a delimiter, records by CRLF, LF or CR; a byte order mark at the start is skipped, and so
 * are empty lines. A field in double quotes may hold delimiters and line ends, and quotes written twice.
 */
#ifndef PB_CSV_H
#define PB_CSV_H

#include "slice.h"

/* What a reader finds next. */
typedef enum PbCsvToken
{
	PB_CSV_FIELD,
	PB_CSV_END,					/* no more fields */
	PB_CSV_QUOTE_INSIDE,		/* error: a quote in a field that does not begin with one */
	PB_CSV_TEXT_AFTER_QUOTE,	/* error: something between the closing quote and the delimiter */
	PB_CSV_QUOTE_NOT_CLOSED		/* error: the text ends within quotes */
} PbCsvToken;

/* The field that was found, also the one that an error is about. */
typedef struct PbCsvField
{
	PbSlice		raw;			/* without the quotes around it; those inside are still doubled */
	bool		quoted;
	bool		last;			/* of its record */
	int			number;			/* in its record, from 1 */
	int			line;			/* where it begins, from 1 */
} PbCsvField;

/* A text being read; zero but for text and delimiter before the first call. */
typedef struct PbCsv
{
	PbSlice		text;
	char		delimiter;
	size_t		position;
	int			line;			/* line ends passed */
	int			number;			/* fields passed of the current record */
} PbCsv;

extern PbCsvToken pb_csv_next(PbCsv *csv, PbCsvField *field);

/* Writes raw with doubled quotes made single into out, which has room for raw.len bytes; returns the length. */
extern size_t pb_csv_unquote(PbSlice raw, char *out);

#endif							/* PB_CSV_H */
