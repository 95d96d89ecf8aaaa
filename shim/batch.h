/*
 * batch.h: requests that wait for the database, and the calls that answer them.
 *
 * Nothing waits for a timer to form a batch: whenever a connection is free,
 * everything waiting of one kind (up to a limit) goes in one call, oldest kind first.  Batches grow by
 * themselves while the connections are busy.
 *
 * Every request is answered within BATCH_DEADLINE_MS of its arrival, whatever
 * the database does:
 *   its call was committed: with its own row of the result;
 *   its call failed as a whole: a batch is tried again item by item, on the same
 *   connection, so that one bad item cannot hurt the others; a single item gets "unavailable";
 *   no connection, a full queue, or no answer by the deadline: "unavailable".
 * A kind may have a last resort (BatchKind.resort), which is asked as soon as the database
 * has done nothing for BATCH_RESORT_MS while it was wanted, a call of the kind has taken so long,
 * or there has been no connection for so long.  A long queue alone is no reason.
 *
 * "Unavailable" means that nothing was recorded, with one exception: a call that
 * was under way when the connection broke or the deadline came is in doubt.  It
 * is told as unavailable too, so the sender tries again, and idempotency makes
 * that harmless.  (A call that the server only comes to after its connection was closed is rolled back: see
 * require_client in the extension.  What is left is a commit under way.)  What may not happen is a success that was
 * not committed, and that cannot: success is only ever read from the result of a committed call.
 */
#ifndef POSTBACKD_BATCH_H
#define POSTBACKD_BATCH_H

#include "db.h"
#include "http.h"
#include "metrics.h"

#define BATCH_LIMIT 256
#define BATCH_DEADLINE_MS 1900
#define BATCH_RESORT_MS 120

typedef struct Batch Batch;

/* What is done with requests of one kind. */
typedef struct BatchKind
{
	const char *name;			/* label in metrics and the log */
	int			statement;		/* index in the Db's table */

	/* Appends one request, as item number item, to the statement's array arguments. */
	void		(*fill) (void *context, DbArguments *arguments, int item, const HttpRequest *request);

	/* Answers the request from its row; the row's item number (column 0) has already been used. */
	void		(*answer) (void *context, HttpRequest *request, const DbResult *result, int row);

	/* Answers that the database cannot take it now. */
	void		(*unavailable) (void *context, HttpRequest *request);

	/*
	 * Answers without the database a request that it keeps waiting; false: that cannot be done, and the request goes on
	 * waiting.  Its call, if there is one under way, may still be committed.  NULL: never.
	 */
	bool		(*resort) (void *context, HttpRequest *request);
	void	   *context;
} BatchKind;

typedef struct BatchOptions
{
	int			batch;			/* most requests in one call, up to BATCH_LIMIT */
	int			queue;			/* most requests waiting, all kinds together */
	int			connections;	/* of the Db: as many calls can be under way */
	const DbStatement *statements;	/* the Db's table */
	const BatchKind *kinds;
	int			kind_count;
} BatchOptions;

/* NULL when out of memory. */
extern Batch *batch_new(Loop *loop, Metrics *metrics, const BatchOptions *options) __attribute__((warn_unused_result));

/* To be called once, before the first request; batch_send must be the Db's on_free. */
extern void batch_use(Batch *batch, Db *db);
extern void batch_send(Batch *batch, DbConnection *connection);

/* Takes a request of a kind; it will be answered, perhaps at once. */
extern void batch_add(Batch *batch, int kind, HttpRequest *request);

/* Sends what waits to the connections that are free: at the end of a turn. */
extern void batch_flush(Batch *batch);

/* Answers everything that waits or is under way as unavailable. */
extern void batch_give_up(Batch *batch);

extern int	batch_waiting(const Batch *batch);

/* After db_free. */
extern void batch_free(Batch *batch);

#endif							/* POSTBACKD_BATCH_H */
