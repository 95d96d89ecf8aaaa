/*
 * tables.c: prints the manual's tables, in Markdown, from the core's tables of data. See manual.
 *
 * Each is preceded by a line "table NAME". Rows that follow each other and differ in the first name only become one.
 */
#include <stdio.h>
#include <string.h>

#include "code.h"
#include "macro.h"
#include "parameter.h"
#include "state.h"

#define COLUMNS_MAX 4
#define CELL_MAX 512

typedef char Cell[CELL_MAX];

/* The row that is not printed yet, because the next may join it. */
static Cell row[COLUMNS_MAX];
static int	columns;
static int	names;				/* which column has the names */
static bool pending;

static void
flush_row(void)
{
	for (int i = 0; pending && i < columns; i++)
		printf(*row[i] ? "| %s " : "| ", row[i]);
	if (pending)
		puts("|");
	pending = false;
}

/* head: the first lines of the table. */
static void
begin(const char *name, const char *head, int column_count, int names_column)
{
	flush_row();
	printf("table %s\n%s\n", name, head);
	columns = column_count;
	names = names_column;
}

static void
add_row(Cell *cells)
{
	bool		joins = pending;

	for (int i = 0; joins && i < columns; i++)
		joins = i == names || strcmp(row[i], cells[i]) == 0;
	if (joins)
	{
		size_t		length = strlen(row[names]);

		snprintf(row[names] + length, CELL_MAX - length, " %s", cells[names]);
		return;
	}
	flush_row();
	memcpy(row, cells, sizeof(Cell) * (size_t) columns);
	pending = true;
}

/* Appends a name as code; the empty one has none. */
static void
add_name(Cell cell, const char *name)
{
	size_t		length = strlen(cell);

	snprintf(cell + length, CELL_MAX - length, *name ? "%s`%s`" : "%s(empty)", length > 0 ? " " : "", name);
}

static void
parameters(void)
{
	begin("parameters", "| parameter | also accepted as | bytes | meaning |\n|---|---|---|---|", 4, 0);
	for (PbParameter p = 0; p < PB_PARAMETER_COUNT; p++)
	{
		Cell		cells[COLUMNS_MAX] = {0};
		const char *alias;

		add_name(cells[0], pb_parameter_name(p));
		for (int i = 1; (alias = pb_parameter_alias(p, i)) != NULL; i++)
			add_name(cells[1], alias);
		snprintf(cells[2], CELL_MAX, "%zu", pb_parameter_limit(p));
		snprintf(cells[3], CELL_MAX, "%s", pb_parameter_meaning(p));
		add_row(cells);
	}
}

static void
statuses(void)
{
	begin("statuses", "| word | means the same |\n|---|---|", 2, 0);
	for (PbSent sent = 0; sent < PB_SENT_COUNT; sent++)
	{
		Cell		cells[COLUMNS_MAX] = {0};
		const char *word;
		PbSent		meant;

		add_name(cells[0], pb_sent_name(sent));
		for (size_t i = 0; (word = pb_status_word_list(i, &meant)) != NULL; i++)
			if (meant == sent && strcmp(word, pb_sent_name(sent)) != 0)
				add_name(cells[1], word);
		add_row(cells);
	}
}

static void
results(void)
{
	begin("results", "| `result` | |\n|---|---|", 2, 0);
	for (PbResult r = PB_RESULT_NONE + 1; r < PB_RESULT_COUNT; r++)
	{
		Cell		cells[COLUMNS_MAX] = {0};

		add_name(cells[0], pb_result_name(r));
		snprintf(cells[1], CELL_MAX, "%s", pb_result_meaning(r));
		add_row(cells);
	}
}

static void
warnings(void)
{
	begin("warnings", "| `warning` | |\n|---|---|", 2, 0);
	for (PbWarning w = PB_WARNING_NONE + 1; w < PB_WARNING_COUNT; w++)
	{
		Cell		cells[COLUMNS_MAX] = {0};

		add_name(cells[0], pb_warning_name(w));
		snprintf(cells[1], CELL_MAX, "%s", pb_warning_meaning(w));
		add_row(cells);
	}
}

static void
codes(void)
{
	begin("codes", "| HTTP | code | |\n|---|---|---|", 3, 1);
	for (PbCode code = PB_OK + 1; code < PB_CODE_COUNT; code++)
	{
		Cell		cells[COLUMNS_MAX] = {0};

		snprintf(cells[0], CELL_MAX, "%d", pb_code_http(code));
		add_name(cells[1], pb_code_name(code));
		snprintf(cells[2], CELL_MAX, "%s", pb_code_meaning(code));
		add_row(cells);
	}
}

static void
macros(void)
{
	begin("macros", "| macro | also | value |\n|---|---|---|", 3, 0);
	for (PbMacro m = 0; m < PB_MACRO_COUNT; m++)
	{
		Cell		cells[COLUMNS_MAX] = {0};
		const char *alias;

		add_name(cells[0], pb_macro_name(m));
		for (int i = 0; (alias = pb_macro_alias(m, i)) != NULL; i++)
			add_name(cells[1], alias);
		snprintf(cells[2], CELL_MAX, "%s", pb_macro_meaning(m));
		add_row(cells);
	}
}

int
main(void)
{
	parameters();
	statuses();
	results();
	warnings();
	codes();
	macros();
	flush_row();
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
