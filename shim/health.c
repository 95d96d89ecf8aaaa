/*
 * health.c: how callbacks fare, as the database knows it, for /metrics of the sender.
 */
#include "health.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

#define CALL_TIMEOUT_MS 20000
#define NAME_LIMIT 64

/* The columns of the statement. */
enum
{
	CALLBACK, NAME, FIRST_FIGURE
};

const DbStatement health_statement = {
	.name = "health",
	.sql = "SELECT callback::text, name, enabled::int::text, attempts::text, success_ratio::text, p50_seconds::text,"
	" p99_seconds::text, streak::text, last_error_age::text, failing_age::text, queued::text, overdue::text,"
	" all_enabled::text, all_failing::text, all_disabled::text FROM postback.callback_metrics($1)",
	.types = {DB_INT, DB_END},
};

/* What is shown of each callback, in the order of the columns; a null is not shown. */
static const struct
{
	const char *name;			/* after "postback_callback_" */
	const char *labels;			/* further ones */
	const char *help;			/* NULL: of the same family as the one before */
}			figures[] =
{
	{"enabled", "", "1, or 0 if it is disabled."},
	{"attempts", "", "Attempts of the last hour."},
	{"success_ratio", "", "Share of them that succeeded, 0 to 1."},
	{"attempt_seconds", ",quantile=\"0.5\"", "How long they took."},
	{"attempt_seconds", ",quantile=\"0.99\"", NULL},
	{"streak", "", "Attempts without success in a row, up to now, of the last hour."},
	{"last_error_age_seconds", "", "Since the last attempt without success, of the last hour."},
	{"failing_seconds", "", "Since the first attempt without success after the last success."},
	{"queued", "", "Deliveries that are not finished."},
	{"overdue_seconds", "", "Since the oldest delivery that still waits fell due."},
};

#define FIGURE_COUNT ((int) (sizeof(figures) / sizeof(figures[0])))

/* Counts of all callbacks: the columns after the figures. */
static const char *const states[] = {"enabled", "failing", "disabled"};

#define STATE_COUNT ((int) (sizeof(states) / sizeof(states[0])))

struct Health
{
	Loop	   *loop;
	DbArguments *arguments;
	bool		wanted;			/* somebody has looked since the database was asked */
	bool		asking;
	int64_t		ask_after_ms;
	char	   *text;			/* the exposition of the last answer, NULL: none yet */
	size_t		text_len;
};

/* ---- the text ---- */

/* As a label's value: cut, quotes, backslashes and line ends escaped. */
static void
out_label(PbOut *out, PbSlice value)
{
	value.len = pb_utf8_cut(value, NAME_LIMIT);
	for (size_t i = 0; i < value.len; i++)
	{
		char		c = value.data[i];

		if (c == '"' || c == '\\' || c == '\n')
			pb_out_char(out, '\\');
		pb_out_char(out, c == '\n' ? 'n' : c);
	}
}

static void
out_text(PbOut *out, const char *text)
{
	pb_out_slice(out, pb_slice(text));
}

static void
out_family(PbOut *out, const char *name, const char *more, const char *help)
{
	out_text(out, "# HELP ");
	out_text(out, name);
	out_text(out, more);
	out_text(out, " ");
	out_text(out, help);
	out_text(out, "\n# TYPE ");
	out_text(out, name);
	out_text(out, more);
	out_text(out, " gauge\n");
}

static void
out_figure(PbOut *out, const DbResult *result, int figure)
{
	if (figures[figure].help != NULL)
		out_family(out, "postback_callback_", figures[figure].name, figures[figure].help);
	for (int row = 0; row < db_rows(result); row++)
	{
		if (db_is_null(result, row, FIRST_FIGURE + figure))
			continue;
		out_text(out, "postback_callback_");
		out_text(out, figures[figure].name);
		out_text(out, "{callback=\"");
		out_label(out, db_text(result, row, CALLBACK));
		out_text(out, "\",name=\"");
		out_label(out, db_text(result, row, NAME));
		out_text(out, "\"");
		out_text(out, figures[figure].labels);
		out_text(out, "} ");
		pb_out_slice(out, db_text(result, row, FIRST_FIGURE + figure));
		out_text(out, "\n");
	}
}

static void
out_answer(PbOut *out, const DbResult *result)
{
	out_family(out, "postback_callbacks", "", "Callbacks; those that fail are counted among the enabled ones too.");
	for (int state = 0; state < STATE_COUNT; state++)
	{
		out_text(out, "postback_callbacks{state=\"");
		out_text(out, states[state]);
		out_text(out, "\"} ");
		if (db_rows(result) > 0)
			pb_out_slice(out, db_text(result, 0, FIRST_FIGURE + FIGURE_COUNT + state));
		else
			out_text(out, "0");
		out_text(out, "\n");
	}
	for (int figure = 0; figure < FIGURE_COUNT; figure++)
		out_figure(out, result, figure);
}

/* ---- asking ---- */

static void
keep_answer(Health *health, const DbResult *result)
{
	PbOut		out = pb_out(NULL, 0);
	char	   *text;

	out_answer(&out, result);
	text = malloc(out.len);
	if (text == NULL)
		return;					/* the former answer stays */
	health->text_len = out.len;
	out = pb_out(text, out.len);
	out_answer(&out, result);
	free(health->text);
	health->text = text;
}

static void
on_answer(void *context, const DbResult *result)
{
	Health	   *health = context;

	health->asking = false;
	if (db_outcome(result) == DB_DONE)
		keep_answer(health, result);
	else
		log_debug("callbacks could not be asked after", LOG_TEXT("sqlstate", db_sqlstate(result)),
				  LOG_TEXT("error", db_message(result)));
}

void
health_work(Health *health, Db *db, int statement)
{
	int64_t		now = loop_now_ms(health->loop);
	DbConnection *connection;

	if (!health->wanted || health->asking || now < health->ask_after_ms)
		return;
	connection = db_free_connection(db);
	if (connection == NULL)
		return;
	health->wanted = false;
	health->ask_after_ms = now + HEALTH_INTERVAL_MS;
	health->asking = db_call(connection, statement, health->arguments, CALL_TIMEOUT_MS, on_answer, health);
}

static void
show(void *context, PbOut *out)
{
	Health	   *health = context;

	health->wanted = true;
	pb_out_bytes(out, health->text, health->text_len);
}

Health *
health_new(Loop *loop, Metrics *metrics, int callbacks)
{
	Health	   *health = calloc(1, sizeof(*health));

	if (health == NULL)
		return NULL;
	health->loop = loop;
	health->wanted = true;
	health->arguments = db_arguments_new(&health_statement);
	if (health->arguments == NULL)
	{
		free(health);
		return NULL;
	}
	db_arguments_clear(health->arguments);
	db_set_int(health->arguments, 0, callbacks);
	metrics_on_show(metrics, show, health);
	return health;
}

void
health_free(Health *health)
{
	if (health == NULL)
		return;
	db_arguments_free(health->arguments);
	free(health->text);
	free(health);
}
