/*
 * db.h: non-blocking calls of prepared statements on a small set of connections.
 *
 * The only place that knows libpq.  Each connection goes through: connect,
 * settings checked, session set up, statements prepared, free; then free and
 * busy in turn.  When it is lost it comes back by itself, after an exponential
 * back-off with jitter (DB_BACKOFF_MIN_MS to DB_BACKOFF_MAX_MS), and is checked and prepared anew.
 *
 * Where to connect is libpq's own affair (PGHOST, PGPORT, PGUSER, PGDATABASE,
 * PGPASSFILE, PGSERVICE ...).  libpq resolves names with a blocking call:
 * name a socket directory, an address, or a host that /etc/hosts knows.
 *
 * A call is one statement outside any transaction block: one call = one
 * transaction = one flush.  Its one answer is a call of the handler:
 *
 *   DB_DONE   ReadyForQuery was seen without an error: it is committed (the
 *             server sends CommandComplete *before* it commits, so that alone
 *             would not be enough).  Rows can be read.
 *   DB_ERROR  the server refused it and rolled back: nothing was recorded.
 *             sqlstate and message are set.
 *   DB_LOST   the connection broke, or timeout_ms passed without an answer,
 *             while the call was under way: it may or may not have been committed.
 *             The connection is closed and reopened: what it might still answer
 *             is nobody's any more.  (The server-side statement_timeout is set below timeout_ms,
 *             so a call that is merely slow ends as a certain DB_ERROR; DB_LOST
 *             after a timeout means a server that does not react at all.
 *             libpq's PQcancel would block the loop on just such a server.)
 *
 * The handler runs from the loop, never from inside db_call.  When it runs the
 * connection is free again, so that it can make the next call on it, unless
 * db_connection says otherwise.
 */
#ifndef POSTBACKD_DB_H
#define POSTBACKD_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "../extension/core/address.h"
#include "../extension/core/slice.h"
#include "loop.h"
#include "metrics.h"

#define DB_PARAMETER_LIMIT 16
#define DB_BACKOFF_MIN_MS 50
#define DB_BACKOFF_MAX_MS 2000
#define DB_CONNECT_TIMEOUT_MS 5000

typedef struct Db Db;
typedef struct DbConnection DbConnection;
typedef struct DbArguments DbArguments;
typedef struct DbResult DbResult;

/*
 * Types of parameters.  What has no row here (interval, ulid, ulid[]) goes as
 * text with a cast in the SQL: $1::text::interval.
 */
typedef enum DbType
{
	DB_END,						/* ends a list of types */
	DB_INT,
	DB_TEXT,
	DB_INT_ARRAY,
	DB_TEXT_ARRAY,
	DB_BYTEA_ARRAY,
	DB_INET_ARRAY
} DbType;

typedef struct DbStatement
{
	const char *name;			/* of the prepared statement, also its label in metrics */
	const char *sql;
	DbType		types[DB_PARAMETER_LIMIT + 1];	/* ends with DB_END */
} DbStatement;

typedef enum DbOutcome
{
	DB_DONE,
	DB_ERROR,
	DB_LOST
} DbOutcome;

typedef void (*DbHandler) (void *context, const DbResult *result);

typedef struct DbOptions
{
	const char *application_name;	/* as pg_stat_activity shows it */
	int			connections;
	const DbStatement *statements;	/* a static table: a call names one by its index */
	int			statement_count;
	int			statement_timeout_ms;	/* for the session; 0 = the server's */
	int			lock_timeout_ms;	/* likewise */

	/* A connection has become free (after connecting, or after a call's handler has returned without using it). */
	void		(*on_free) (void *context, DbConnection *connection);

	/*
	 * The server must not be used: a setting would make a 200 a lie, or the
	 * extension is missing or of another age.  Called only as long as no connection was ever
	 * ready (later refusals are logged and tried again, and the database counts as
	 * down meanwhile).  Already logged; the role stops the loop with exit code 2.
	 */
	void		(*on_refused) (void *context);
	void	   *context;
} DbOptions;

/* Begins to connect.  NULL only when out of memory. */
extern Db  *db_new(Loop *loop, Metrics *metrics, const DbOptions *options) __attribute__((warn_unused_result));

/* Closes all; calls under way get DB_LOST first. */
extern void db_free(Db *db);

/* Number of connections that are ready (free or busy). */
extern int	db_ready_count(const Db *db);

/* A free connection, or NULL. */
extern DbConnection *db_free_connection(Db *db) __attribute__((warn_unused_result));

/*
 * Sends statement with arguments on a free connection; arguments may be reused
 * at once.  handler is called exactly once if this returns true.  False:
 * nothing was sent, the handler is not called, and the connection is gone (it comes back by itself).
 */
extern bool db_call(DbConnection *connection, int statement, const DbArguments *arguments, int timeout_ms,
					DbHandler handler, void *context) __attribute__((warn_unused_result));

/*
 * Arguments: buffers that are kept and reused from call to call.  An index
 * counts from 0 and must agree with the statement's types.  db_arguments_clear makes
 * every scalar NULL and every array empty, keeping the memory (buffers beyond 1 MB are given back).
 * Out of memory is remembered, and makes db_call return false.
 */
extern DbArguments *db_arguments_new(const DbStatement *statement) __attribute__((warn_unused_result));
extern void db_arguments_free(DbArguments *arguments);
extern void db_arguments_clear(DbArguments *arguments);

extern void db_set_int(DbArguments *arguments, int index, int32_t value);
extern void db_set_text(DbArguments *arguments, int index, PbSlice value);

/* Appends one element to the array parameter.  Text must be valid UTF-8 without NUL. */
extern void db_add_int(DbArguments *arguments, int index, int32_t value);
extern void db_add_text(DbArguments *arguments, int index, PbSlice value);
extern void db_add_bytes(DbArguments *arguments, int index, PbSlice value);
extern void db_add_address(DbArguments *arguments, int index, const PbAddress *value);
extern void db_add_null(DbArguments *arguments, int index);

/*
 * The result; valid until the handler returns.  Columns come in binary; these
 * read int4, text (and types sent like it: ulid is not), bytea.
 */
extern DbOutcome db_outcome(const DbResult *result);

/* NULL when it is not free: after DB_LOST, or when an error made a new session necessary. */
extern DbConnection *db_connection(const DbResult *result);

extern const char *db_sqlstate(const DbResult *result); /* "" unless DB_ERROR */
extern const char *db_message(const DbResult *result);	/* primary message, one line; "" after DB_DONE */

extern int	db_rows(const DbResult *result);
extern bool db_is_null(const DbResult *result, int row, int column);
extern int32_t db_int(const DbResult *result, int row, int column); /* 0 if null */
extern PbSlice db_text(const DbResult *result, int row, int column);	/* empty if null */

/* Reads a text[] column element by element: false at its end (an empty or null array has none). */
typedef struct DbArrayReader
{
	PbSlice		rest;
	int			left;
} DbArrayReader;

extern DbArrayReader db_text_array(const DbResult *result, int row, int column);
extern bool db_array_next(DbArrayReader *reader, PbSlice *element, bool *is_null);

#endif							/* POSTBACKD_DB_H */
