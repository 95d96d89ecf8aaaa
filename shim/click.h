/*
 * click.h: requests on /c/LINK, and click_batch.
 */
#ifndef POSTBACKD_CLICK_H
#define POSTBACKD_CLICK_H

#include "answer.h"
#include "batch.h"
#include "landing.h"
#include "options.h"

#define CLICK_LINK_LIMIT 255	/* bytes of a link code in a path; longer ones are no address of ours */

typedef struct Clicks
{
	Answers    *answers;
	const CidrList *trusted;
	Landings   *landings;
	Metric	   *redirected;		/* unrecorded, but sent to the landing page */
	Metric	   *refused;		/* unrecorded and nowhere to send to */
} Clicks;

/* Makes its parts; false when out of memory. */
extern bool clicks_init(Clicks *clicks, Loop *loop, Metrics *metrics, Answers *answers, const Options *options)
			__attribute__((warn_unused_result));
extern void clicks_end(Clicks *clicks);

/* The statement, for the Db's table. */
extern const DbStatement click_statement;

/* The kind, for the Batch's table; statement is the index of click_statement there. */
extern BatchKind click_kind(Clicks *clicks, int statement);

/* ROUTE_CLICK if the path is one of these, else ROUTE_OTHER. */
extern Route click_route(PbSlice path);

/* Answers what can be refused without the database (405) and returns false; else the request may be queued. */
extern bool click_check(Clicks *clicks, HttpRequest *request);

#endif							/* POSTBACKD_CLICK_H */
