/*
 * health.h: how callbacks fare, as the database knows it, for /metrics of the sender.
 *
 * At most so many callbacks as the operator allows have series of their own: those in trouble first, then the
 * busiest; which they are is postback.callback_metrics's to say.  The database is asked after a scrape, not more
 * often than every HEALTH_INTERVAL_MS, so a scrape shows what was so at the one before it.
 */
#ifndef POSTBACKD_HEALTH_H
#define POSTBACKD_HEALTH_H

#include "db.h"
#include "loop.h"
#include "metrics.h"

#define HEALTH_INTERVAL_MS 10000

typedef struct Health Health;

/* The statement that is given to health_work, in the table of its connection. */
extern const DbStatement health_statement;

/* callbacks: how many may have series, more than 0.  Shows itself in metrics from now on.  NULL: out of memory. */
extern Health *health_new(Loop *loop, Metrics *metrics, int callbacks) __attribute__((warn_unused_result));

/* Not before the connections are closed. */
extern void health_free(Health *health);

/* Asks the database on a free connection if it is time to. */
extern void health_work(Health *health, Db *db, int statement);

#endif							/* POSTBACKD_HEALTH_H */
