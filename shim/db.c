/*
 * db.c: libpq without waiting.  One state machine per connection.
 *
 *     DOWN --timer--> CONNECTING --> CHECKING --> PREPARING --> FREE <--> BUSY
 *       ^_________________|______________|_____________|_________|________|
 */
#include "db.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../extension/core/version.h"
#include "log.h"

#ifndef POSTBACK_VERSION
#define POSTBACK_VERSION "unknown"
#endif

/* From pg_type.dat and utils/inet.h: fixed for good. */
#define OID_BYTEA 17
#define OID_INT4 23
#define OID_TEXT 25
#define OID_INET 869
#define OID_BYTEA_ARRAY 1001
#define OID_INT4_ARRAY 1007
#define OID_TEXT_ARRAY 1009
#define OID_INET_ARRAY 1041
#define PGSQL_AF_INET 2
#define PGSQL_AF_INET6 3

#define ARRAY_HEADER 20			/* dimensions, has-null flag, element type, length, lower bound */
#define KEPT_BUFFER (1024 * 1024)

typedef struct Argument
{
	DbType		type;
	char	   *data;			/* arrays: ARRAY_HEADER bytes, filled in when sent, and then the elements */
	size_t		length;
	size_t		room;
	int			count;
	bool		is_null;
	bool		has_null;
} Argument;

struct DbArguments
{
	int			count;
	bool		failed;			/* out of memory: the call must not be made */
	Argument	items[DB_PARAMETER_LIMIT];
};

typedef enum State
{
	STATE_DOWN,
	STATE_CONNECTING,
	STATE_CHECKING,
	STATE_PREPARING,
	STATE_FREE,
	STATE_BUSY
} State;

struct DbConnection
{
	Db		   *db;
	int			number;			/* for the log: 1, 2, ... */
	State		state;
	PGconn	   *pg;
	LoopIo		io;
	LoopTimer	timer;			/* back-off, connect timeout or the call's timeout, by state */
	int			failures;		/* in a row, for the back-off */
	int			prepared;		/* statements prepared so far */
	LogLimit	log_limit;

	/* What is under way: a set-up step or a call. */
	PGresult   *result;
	int			statement;
	int64_t		sent_us;
	DbHandler	handler;
	void	   *context;
};

struct DbResult
{
	DbOutcome	outcome;
	DbConnection *connection;
	const PGresult *rows;
	char		sqlstate[6];
	char		message[LOG_TEXT_ROOM];
};

struct Db
{
	Loop	   *loop;
	Metrics    *metrics;
	DbOptions	options;
	bool		was_ready;		/* some connection was ready at some time */
	bool		closing;
	Metric	   *connects;
	Metric	   *losses;
	int			count;
	DbConnection connections[];
};

static void connection_begin(void *context);
static void connection_step(DbConnection *connection);
static void on_socket(void *context, unsigned ready);

/* ---- arguments ---- */

static bool
is_array(DbType type)
{
	return type >= DB_INT_ARRAY;
}

static Oid
type_oid(DbType type)
{
	switch (type)
	{
		case DB_INT:
			return OID_INT4;
		case DB_TEXT:
			return OID_TEXT;
		case DB_INT_ARRAY:
			return OID_INT4_ARRAY;
		case DB_TEXT_ARRAY:
			return OID_TEXT_ARRAY;
		case DB_BYTEA_ARRAY:
			return OID_BYTEA_ARRAY;
		case DB_INET_ARRAY:
			return OID_INET_ARRAY;
		case DB_END:
			break;
	}
	return 0;
}

static Oid
element_oid(DbType type)
{
	switch (type)
	{
		case DB_INT_ARRAY:
			return OID_INT4;
		case DB_TEXT_ARRAY:
			return OID_TEXT;
		case DB_BYTEA_ARRAY:
			return OID_BYTEA;
		case DB_INET_ARRAY:
			return OID_INET;
		default:
			return 0;
	}
}

static int
parameter_count(const DbStatement *statement)
{
	int			count = 0;

	while (count < DB_PARAMETER_LIMIT && statement->types[count] != DB_END)
		count++;
	return count;
}

DbArguments *
db_arguments_new(const DbStatement *statement)
{
	DbArguments *arguments = calloc(1, sizeof(*arguments));

	if (arguments == NULL)
		return NULL;
	arguments->count = parameter_count(statement);
	for (int i = 0; i < arguments->count; i++)
		arguments->items[i].type = statement->types[i];
	db_arguments_clear(arguments);
	return arguments;
}

void
db_arguments_free(DbArguments *arguments)
{
	if (arguments == NULL)
		return;
	for (int i = 0; i < arguments->count; i++)
		free(arguments->items[i].data);
	free(arguments);
}

void
db_arguments_clear(DbArguments *arguments)
{
	arguments->failed = false;
	for (int i = 0; i < arguments->count; i++)
	{
		Argument   *argument = &arguments->items[i];

		if (argument->room > KEPT_BUFFER)
		{
			free(argument->data);
			argument->data = NULL;
			argument->room = 0;
		}
		argument->length = is_array(argument->type) ? ARRAY_HEADER : 0;
		argument->count = 0;
		argument->has_null = false;
		argument->is_null = !is_array(argument->type);
	}
}

/* Room for more bytes at the argument's end; NULL (remembered) when there is no memory. */
static char *
argument_extend(DbArguments *arguments, Argument *argument, size_t more)
{
	size_t		needed = argument->length + more;
	char	   *end;

	if (needed > argument->room)
	{
		size_t		room = argument->room < 1024 ? 1024 : argument->room;
		char	   *data;

		while (room < needed)
			room *= 2;
		data = realloc(argument->data, room);
		if (data == NULL)
		{
			arguments->failed = true;
			return NULL;
		}
		argument->data = data;
		argument->room = room;
	}
	end = argument->data + argument->length;
	argument->length = needed;
	return end;
}

static void
put_int(char *at, int32_t value)
{
	uint32_t	network = htonl((uint32_t) value);

	memcpy(at, &network, sizeof(network));
}

static int32_t
get_int(const char *at)
{
	uint32_t	network;

	memcpy(&network, at, sizeof(network));
	return (int32_t) ntohl(network);
}

void
db_set_int(DbArguments *arguments, int index, int32_t value)
{
	Argument   *argument = &arguments->items[index];
	char	   *at;

	argument->length = 0;
	at = argument_extend(arguments, argument, 4);
	if (at != NULL)
		put_int(at, value);
	argument->is_null = false;
}

void
db_set_text(DbArguments *arguments, int index, PbSlice value)
{
	Argument   *argument = &arguments->items[index];
	char	   *at;

	argument->length = 0;
	at = argument_extend(arguments, argument, value.len + 1);
	if (at == NULL)
		return;
	if (value.len > 0)
		memcpy(at, value.data, value.len);
	argument->length = value.len;
	argument->is_null = false;
}

static char *
add_element(DbArguments *arguments, int index, size_t length)
{
	Argument   *argument = &arguments->items[index];
	char	   *at;

	/* The header's room comes with the first element. */
	if (argument->count == 0)
	{
		argument->length = 0;
		if (argument_extend(arguments, argument, ARRAY_HEADER) == NULL)
			return NULL;
	}
	at = argument_extend(arguments, argument, 4 + length);
	if (at == NULL)
		return NULL;
	argument->count++;
	put_int(at, (int32_t) length);
	return at + 4;
}

void
db_add_int(DbArguments *arguments, int index, int32_t value)
{
	char	   *at = add_element(arguments, index, 4);

	if (at != NULL)
		put_int(at, value);
}

void
db_add_text(DbArguments *arguments, int index, PbSlice value)
{
	char	   *at = add_element(arguments, index, value.len);

	if (at != NULL && value.len > 0)
		memcpy(at, value.data, value.len);
}

void
db_add_bytes(DbArguments *arguments, int index, PbSlice value)
{
	db_add_text(arguments, index, value);
}

/* family, prefix length, "is a cidr", address length, address: as inet_send has it */
void
db_add_address(DbArguments *arguments, int index, const PbAddress *value)
{
	size_t		size = value->family == 6 ? 16 : 4;
	char	   *at = add_element(arguments, index, 4 + size);

	if (at == NULL)
		return;
	at[0] = value->family == 6 ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	at[1] = (char) (size * 8);
	at[2] = 0;
	at[3] = (char) size;
	memcpy(at + 4, value->bytes, size);
}

void
db_add_null(DbArguments *arguments, int index)
{
	char	   *at = add_element(arguments, index, 0);

	if (at != NULL)
		put_int(at - 4, -1);
	arguments->items[index].has_null = true;
}

/* Fills in the header; an empty array has no dimension. */
static bool
finish_array(DbArguments *arguments, Argument *argument)
{
	if (argument->count == 0)
	{
		argument->length = 0;
		if (argument_extend(arguments, argument, ARRAY_HEADER) == NULL)
			return false;
		argument->length = 12;
	}
	put_int(argument->data, argument->count == 0 ? 0 : 1);
	put_int(argument->data + 4, argument->has_null ? 1 : 0);
	put_int(argument->data + 8, (int32_t) element_oid(argument->type));
	put_int(argument->data + 12, argument->count);
	put_int(argument->data + 16, 1);
	return true;
}

/* ---- what a connection is ---- */

static const DbStatement *
current_statement(const DbConnection *connection)
{
	return &connection->db->options.statements[connection->statement];
}

static bool
is_ready(const DbConnection *connection)
{
	return connection->state == STATE_FREE || connection->state == STATE_BUSY;
}

/* The message's first line, without "FATAL:  " and the like being lost. */
static void
first_line(char *out, size_t size, const char *text)
{
	size_t		length = text == NULL ? 0 : strcspn(text, "\n");

	if (length >= size)
		length = size - 1;
	if (length > 0)
		memcpy(out, text, length);
	out[length] = '\0';
}

static void
fill_error(DbResult *result, const PGresult *rows)
{
	const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY);

	first_line(result->sqlstate, sizeof(result->sqlstate), sqlstate);
	first_line(result->message, sizeof(result->message), message != NULL ? message : PQresultErrorMessage(rows));
}

static void
count_call(DbConnection *connection, DbOutcome outcome)
{
	static const char *const names[] = {"done", "error", "lost"};
	const char *name = current_statement(connection)->name;
	Metrics    *metrics = connection->db->metrics;
	char		labels[96];

	snprintf(labels, sizeof(labels), "statement=\"%s\",outcome=\"%s\"", name, names[outcome]);
	metric_add(metrics_counter(metrics, "postbackd_database_calls_total", labels,
							   "Database calls by statement and outcome; lost: the connection broke or the call timed out."), 1);
	snprintf(labels, sizeof(labels), "statement=\"%s\"", name);
	metric_observe(metrics_histogram(metrics, "postbackd_database_call_seconds", labels,
									 "Time from sending a database call to its end.",
									 metrics_seconds_bounds, metrics_seconds_bound_count),
				   (double) (loop_now_us() - connection->sent_us) / 1e6);
}

/* ---- losing and coming back ---- */

static int64_t
backoff_ms(DbConnection *connection)
{
	int			doublings = connection->failures < 10 ? connection->failures : 10;
	int64_t		delay = (int64_t) DB_BACKOFF_MIN_MS << doublings;

	if (delay > DB_BACKOFF_MAX_MS)
		delay = DB_BACKOFF_MAX_MS;
	connection->failures++;
	return delay / 2 + loop_random(connection->db->loop, delay / 2 + 1);
}

static void
log_loss(DbConnection *connection, const char *event, const char *why)
{
	int64_t		suppressed;

	if (!log_allowed(&connection->log_limit, loop_now_ms(connection->db->loop), &suppressed))
		return;
	log_warning(event, LOG_INT("connection", connection->number), LOG_TEXT("error", why),
				LOG_INT("suppressed", suppressed));
}

/* Closes, tells a call under way that it is lost, and comes back after the back-off. */
static void
connection_lost(DbConnection *connection, const char *why)
{
	Db		   *db = connection->db;
	bool		was_busy = connection->state == STATE_BUSY;
	char		reason[LOG_TEXT_ROOM];

	first_line(reason, sizeof(reason), why);
	if (is_ready(connection))
		metric_add(db->losses, 1);
	log_loss(connection, is_ready(connection) ? "database connection lost" : "cannot connect to the database", reason);

	loop_io_stop(db->loop, &connection->io);
	PQclear(connection->result);
	connection->result = NULL;
	PQfinish(connection->pg);
	connection->pg = NULL;
	connection->state = STATE_DOWN;
	if (!db->closing)
		loop_timer_set(db->loop, &connection->timer, backoff_ms(connection), connection_begin, connection);

	if (was_busy)
	{
		DbResult	result = {.outcome = DB_LOST};

		first_line(result.message, sizeof(result.message), reason);
		count_call(connection, DB_LOST);
		connection->handler(connection->context, &result);
	}
}

static void
on_timeout(void *context)
{
	DbConnection *connection = context;

	if (connection->state == STATE_BUSY)
		connection_lost(connection, "no answer in time");
	else
		connection_lost(connection, "no connection in time");
}

/* The server must not be used: fatal for the process as long as it never worked. */
static void
connection_refused(DbConnection *connection, const char *why, const char *hint)
{
	Db		   *db = connection->db;
	char		reason[LOG_TEXT_ROOM];

	first_line(reason, sizeof(reason), why);
	log_error("the database is refused", LOG_TEXT("reason", reason), LOG_TEXT("hint", hint));
	connection_lost(connection, reason);
	if (!db->was_ready && db->options.on_refused != NULL)
		db->options.on_refused(db->options.context);
}

/* ---- connecting ---- */

static void
ignore_notice(void *context, const PGresult *notice)
{
	(void) context;
	log_debug("notice from the database", LOG_TEXT("notice", PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY)));
}

static void
connection_watch(DbConnection *connection, unsigned interest)
{
	Db		   *db = connection->db;

	if (!loop_io_start(db->loop, &connection->io, PQsocket(connection->pg), interest, on_socket, connection))
		log_error("cannot watch the database's socket", LOG_INT("connection", connection->number));
}

static void
connection_begin(void *context)
{
	DbConnection *connection = context;
	Db		   *db = connection->db;
	const char *keywords[] = {"fallback_application_name", "client_encoding", NULL};
	const char *values[] = {db->options.application_name, "UTF8", NULL};

	connection->state = STATE_CONNECTING;
	connection->prepared = 0;
	connection->pg = PQconnectStartParams(keywords, values, 1);
	if (connection->pg == NULL || PQstatus(connection->pg) == CONNECTION_BAD)
	{
		connection_lost(connection, connection->pg == NULL ? "out of memory" : PQerrorMessage(connection->pg));
		return;
	}
	PQsetNoticeReceiver(connection->pg, ignore_notice, NULL);
	loop_timer_set(db->loop, &connection->timer, DB_CONNECT_TIMEOUT_MS, on_timeout, connection);
	connection_watch(connection, LOOP_WRITE);
}

/* Another attempt of libpq may have another socket, even under the same number: watch anew each time. */
static void
connection_poll(DbConnection *connection)
{
	PostgresPollingStatusType status = PQconnectPoll(connection->pg);

	loop_io_stop(connection->db->loop, &connection->io);
	if (status == PGRES_POLLING_FAILED)
		connection_lost(connection, PQerrorMessage(connection->pg));
	else if (status == PGRES_POLLING_OK)
	{
		PQsetnonblocking(connection->pg, 1);
		connection_watch(connection, LOOP_READ);
		connection_step(connection);
	}
	else
		connection_watch(connection, status == PGRES_POLLING_READING ? LOOP_READ : LOOP_WRITE);
}

/* ---- set-up: settings checked, session settings, statements prepared ---- */

static bool
flush(DbConnection *connection)
{
	int			left = PQflush(connection->pg);

	if (left < 0)
		return false;
	loop_io_change(connection->db->loop, &connection->io, left > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	return true;
}

/*
 * One round trip: what must be right, and this session's own settings.  What it
 * found of synchronous_commit it keeps: a later change of the server's would make its 200s a lie.
 * client_connection_check_interval makes the server notice that we have closed a
 * connection whose call it is still working on (see DB_LOST in db.h).
 */
static bool
send_check(DbConnection *connection)
{
	const DbOptions *options = &connection->db->options;
	char		sql[768];

	snprintf(sql, sizeof(sql),
			 "SELECT pg_catalog.current_setting('fsync'), pg_catalog.current_setting('full_page_writes'),"
			 " pg_catalog.set_config('synchronous_commit', pg_catalog.current_setting('synchronous_commit'), false), postback.version(),"
			 " pg_catalog.set_config('client_connection_check_interval', '500ms', false),"
			 " CASE WHEN %d > 0 THEN pg_catalog.set_config('statement_timeout', '%dms', false) END,"
			 " CASE WHEN %d > 0 THEN pg_catalog.set_config('lock_timeout', '%dms', false) END",
			 options->statement_timeout_ms, options->statement_timeout_ms,
			 options->lock_timeout_ms, options->lock_timeout_ms);
	return PQsendQuery(connection->pg, sql) != 0;
}

static bool
send_prepare(DbConnection *connection)
{
	const DbStatement *statement = &connection->db->options.statements[connection->prepared];
	int			count = parameter_count(statement);
	Oid			oids[DB_PARAMETER_LIMIT];

	for (int i = 0; i < count; i++)
		oids[i] = type_oid(statement->types[i]);
	return PQsendPrepare(connection->pg, statement->name, statement->sql, count, oids) != 0;
}

static void
connection_ready(DbConnection *connection)
{
	Db		   *db = connection->db;

	connection->state = STATE_FREE;
#ifdef POSTBACK_TEST_EARLY_ANSWER
	PQenterPipelineMode(connection->pg);
#endif
	connection->failures = 0;
	db->was_ready = true;
	loop_timer_stop(db->loop, &connection->timer);
	metric_add(db->connects, 1);
	log_info("database connected", LOG_INT("connection", connection->number),
			 LOG_INT("backend", PQbackendPID(connection->pg)),
			 LOG_INT("server_version", PQserverVersion(connection->pg)));
	if (db->options.on_free != NULL)
		db->options.on_free(db->options.context, connection);
}

/* Sends the next step of the set-up, or is ready. */
static void
connection_step(DbConnection *connection)
{
	bool		sent;

	if (connection->state == STATE_CONNECTING)
	{
		connection->state = STATE_CHECKING;
		sent = send_check(connection);
	}
	else if (connection->prepared < connection->db->options.statement_count)
	{
		connection->state = STATE_PREPARING;
		sent = send_prepare(connection);
	}
	else
	{
		connection_ready(connection);
		return;
	}
	if (!sent || !flush(connection))
		connection_lost(connection, PQerrorMessage(connection->pg));
}

/* Text of the setting that would make a 200 a lie, or NULL. */
static const char *
unsafe_setting(const PGresult *rows)
{
	if (strcmp(PQgetvalue(rows, 0, 0), "on") != 0)
		return "fsync is off";
	if (strcmp(PQgetvalue(rows, 0, 1), "on") != 0)
		return "full_page_writes is off";
	if (strcmp(PQgetvalue(rows, 0, 2), "off") == 0)
		return "synchronous_commit is off";
	return NULL;
}

static void
end_check(DbConnection *connection, const PGresult *rows)
{
	const char *unsafe = unsafe_setting(rows);
	const char *version = PQgetvalue(rows, 0, 3);

	if (unsafe != NULL)
	{
		connection_refused(connection, unsafe,
						   "An answer of 200 promises that the record survives a crash: switch it on.");
		return;
	}
	if (!pb_same_minor(version, POSTBACK_VERSION))
		log_warning("the extension is of another version", LOG_TEXT("extension", version),
					LOG_TEXT("daemon", POSTBACK_VERSION));
	connection_step(connection);
}

/* Undefined function, schema, table ..., no right: it will not go away by itself. */
static bool
is_refusal(const char *sqlstate)
{
	return strncmp(sqlstate, "42", 2) == 0 || strncmp(sqlstate, "3F", 2) == 0;
}

static void
end_setup(DbConnection *connection, const PGresult *rows)
{
	DbResult	error = {.outcome = DB_ERROR};

	if (PQresultStatus(rows) == PGRES_FATAL_ERROR)
	{
		fill_error(&error, rows);
		if (is_refusal(error.sqlstate))
			connection_refused(connection, error.message,
							   "Is the extension postback installed in this database and up to date (ALTER EXTENSION postback UPDATE), "
							   "and may this role execute its functions?");
		else
			connection_lost(connection, error.message);
		return;
	}
	if (connection->state == STATE_CHECKING)
		end_check(connection, rows);
	else
	{
		connection->prepared++;
		connection_step(connection);
	}
}

/* ---- calls ---- */

/*
 * After these errors the session itself is of no more use: a plan that no longer fits
 * the function's result, a prepared statement that is gone, a server that has become
 * read-only after a fail-over.  A new connection mends them.
 */
static bool
needs_new_session(const char *sqlstate)
{
	return strcmp(sqlstate, "0A000") == 0 || strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "25006") == 0;
}

#ifdef POSTBACK_TEST_EARLY_ANSWER
/* Only for tests/crash, which must notice: a call is handled when its rows have come, and committed afterwards. */
static void
on_late_commit(void *context, const DbResult *result)
{
	(void) context;
	(void) result;
}

static bool
commit_late(DbConnection *connection)
{
	if (connection->state != STATE_FREE || connection->handler == on_late_commit || PQpipelineSync(connection->pg) == 0)
		return false;
	connection->state = STATE_BUSY;
	connection->handler = on_late_commit;
	return flush(connection);
}
#endif

static void
end_call(DbConnection *connection, const PGresult *rows)
{
	Db		   *db = connection->db;
	DbResult	result = {.outcome = DB_DONE, .connection = connection, .rows = rows};
	ExecStatusType status = PQresultStatus(rows);

	loop_timer_stop(db->loop, &connection->timer);
	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
	{
		result.outcome = DB_ERROR;
		fill_error(&result, rows);
	}
	count_call(connection, result.outcome);
	connection->state = STATE_FREE;
	if (result.outcome == DB_ERROR && needs_new_session(result.sqlstate))
	{
		connection_lost(connection, result.message);
		result.connection = NULL;
	}
	connection->handler(connection->context, &result);
#ifdef POSTBACK_TEST_EARLY_ANSWER
	if (commit_late(connection))
		return;
#endif
	if (connection->state == STATE_FREE && !db->closing && db->options.on_free != NULL)
		db->options.on_free(db->options.context, connection);
}

/*
 * ReadyForQuery: what was under way has ended.  Its result leaves the
 * connection first, since the next step may begin at once.
 */
static void
end_step(DbConnection *connection)
{
	PGresult   *rows = connection->result;

	connection->result = NULL;
	if (connection->state == STATE_BUSY)
		end_call(connection, rows);
	else
		end_setup(connection, rows);
	PQclear(rows);
}

/* An error after rows counts: that is how a COMMIT that failed looks. */
static void
keep_result(DbConnection *connection, PGresult *result)
{
	if (connection->result == NULL || PQresultStatus(result) == PGRES_FATAL_ERROR)
	{
		PQclear(connection->result);
		connection->result = result;
	}
	else
		PQclear(result);
}

static void
read_results(DbConnection *connection)
{
	PGresult   *result;

	if (!PQconsumeInput(connection->pg))
	{
		connection_lost(connection, PQerrorMessage(connection->pg));
		return;
	}
	while (!PQisBusy(connection->pg))
	{
		result = PQgetResult(connection->pg);
		if (PQstatus(connection->pg) == CONNECTION_BAD)
		{
			PQclear(result);
			connection_lost(connection, PQerrorMessage(connection->pg));
			return;
		}
		if (result != NULL)
		{
			keep_result(connection, result);
			continue;
		}
		if (connection->result != NULL)
			end_step(connection);
		return;
	}
}

static void
on_socket(void *context, unsigned ready)
{
	DbConnection *connection = context;

	if (connection->state == STATE_CONNECTING)
	{
		connection_poll(connection);
		return;
	}
	if ((ready & LOOP_WRITE) && !flush(connection))
	{
		connection_lost(connection, PQerrorMessage(connection->pg));
		return;
	}
	if (ready & LOOP_READ)
		read_results(connection);
}

bool
db_call(DbConnection *connection, int statement, const DbArguments *arguments, int timeout_ms,
		DbHandler handler, void *context)
{
	const char *values[DB_PARAMETER_LIMIT];
	int			lengths[DB_PARAMETER_LIMIT];
	int			formats[DB_PARAMETER_LIMIT];
	DbArguments *filled = (DbArguments *) arguments;	/* headers of arrays are written in place */
	Db		   *db = connection->db;

	if (connection->state != STATE_FREE || arguments->failed)
		return false;
	for (int i = 0; i < arguments->count; i++)
	{
		Argument   *argument = &filled->items[i];

		if (is_array(argument->type) && !argument->is_null && !finish_array(filled, argument))
			return false;
		values[i] = argument->is_null ? NULL : argument->data;
		lengths[i] = (int) argument->length;
		formats[i] = 1;
	}
	if (!PQsendQueryPrepared(connection->pg, db->options.statements[statement].name, arguments->count,
							 values, lengths, formats, 1))
	{
		connection_lost(connection, PQerrorMessage(connection->pg));
		return false;
	}
#ifdef POSTBACK_TEST_EARLY_ANSWER
	PQsendFlushRequest(connection->pg);
#endif
	connection->state = STATE_BUSY;
	connection->statement = statement;
	connection->sent_us = loop_now_us();
	connection->handler = handler;
	connection->context = context;
	/* A flush that fails has lost the call; its handler is told from the loop like any other. */
	loop_timer_set(db->loop, &connection->timer, flush(connection) ? timeout_ms : 0, on_timeout, connection);
	return true;
}

/* ---- the set ---- */

static int
busy_count(const Db *db)
{
	int			count = 0;

	for (int i = 0; i < db->count; i++)
		count += db->connections[i].state == STATE_BUSY;
	return count;
}

static void
refresh(void *context)
{
	Db		   *db = context;
	int			ready = db_ready_count(db);

	metric_set(metrics_gauge(db->metrics, "postbackd_database_up", NULL,
							 "1 when at least one database connection is ready."), ready > 0 ? 1 : 0);
	metric_set(metrics_gauge(db->metrics, "postbackd_database_connections_ready", NULL,
							 "Database connections that are ready."), ready);
	metric_set(metrics_gauge(db->metrics, "postbackd_database_connections_busy", NULL,
							 "Database connections with a call under way."), busy_count(db));
}

Db *
db_new(Loop *loop, Metrics *metrics, const DbOptions *options)
{
	Db		   *db = calloc(1, sizeof(*db) + (size_t) options->connections * sizeof(DbConnection));

	if (db == NULL)
		return NULL;
	db->loop = loop;
	db->metrics = metrics;
	db->options = *options;
	db->count = options->connections;
	db->connects = metrics_counter(metrics, "postbackd_database_connects_total", NULL,
								   "Database connections made, first ones and reconnects.");
	db->losses = metrics_counter(metrics, "postbackd_database_connections_lost_total", NULL,
								 "Database connections that were ready and were lost.");
	metrics_on_refresh(metrics, refresh, db);
	for (int i = 0; i < db->count; i++)
	{
		DbConnection *connection = &db->connections[i];

		connection->db = db;
		connection->number = i + 1;
		loop_timer_set(loop, &connection->timer, 0, connection_begin, connection);
	}
	return db;
}

void
db_free(Db *db)
{
	if (db == NULL)
		return;
	db->closing = true;
	for (int i = 0; i < db->count; i++)
	{
		DbConnection *connection = &db->connections[i];

		if (connection->state == STATE_BUSY)
			connection_lost(connection, "closing");
		loop_timer_stop(db->loop, &connection->timer);
		loop_io_stop(db->loop, &connection->io);
		PQclear(connection->result);
		PQfinish(connection->pg);
	}
	free(db);
}

int
db_ready_count(const Db *db)
{
	int			count = 0;

	for (int i = 0; i < db->count; i++)
		count += is_ready(&db->connections[i]);
	return count;
}

DbConnection *
db_free_connection(Db *db)
{
	for (int i = 0; i < db->count; i++)
		if (db->connections[i].state == STATE_FREE)
			return &db->connections[i];
	return NULL;
}

/* ---- results ---- */

DbOutcome
db_outcome(const DbResult *result)
{
	return result->outcome;
}

DbConnection *
db_connection(const DbResult *result)
{
	return result->connection;
}

const char *
db_sqlstate(const DbResult *result)
{
	return result->sqlstate;
}

const char *
db_message(const DbResult *result)
{
	return result->message;
}

int
db_rows(const DbResult *result)
{
	return result->outcome == DB_DONE ? PQntuples(result->rows) : 0;
}

bool
db_is_null(const DbResult *result, int row, int column)
{
	return PQgetisnull(result->rows, row, column) != 0;
}

int32_t
db_int(const DbResult *result, int row, int column)
{
	if (PQgetlength(result->rows, row, column) != 4)
		return 0;
	return get_int(PQgetvalue(result->rows, row, column));
}

PbSlice
db_text(const DbResult *result, int row, int column)
{
	return (PbSlice) {PQgetvalue(result->rows, row, column), (size_t) PQgetlength(result->rows, row, column)};
}

DbArrayReader
db_text_array(const DbResult *result, int row, int column)
{
	PbSlice		value = db_text(result, row, column);
	DbArrayReader reader = {.rest = {NULL, 0}, .left = 0};

	if (value.len >= ARRAY_HEADER && get_int(value.data) == 1)
	{
		reader.left = get_int(value.data + 12);
		reader.rest = (PbSlice) {value.data + ARRAY_HEADER, value.len - ARRAY_HEADER};
	}
	return reader;
}

bool
db_array_next(DbArrayReader *reader, PbSlice *element, bool *is_null)
{
	int32_t		length;

	if (reader->left <= 0 || reader->rest.len < 4)
		return false;
	length = get_int(reader->rest.data);
	reader->rest.data += 4;
	reader->rest.len -= 4;
	reader->left--;
	*is_null = length < 0;
	if (length < 0)
		length = 0;
	if ((size_t) length > reader->rest.len)
		return false;
	*element = (PbSlice) {reader->rest.data, (size_t) length};
	reader->rest.data += length;
	reader->rest.len -= (size_t) length;
	return true;
}
