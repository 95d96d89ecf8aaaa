/*
 * postback.h: requests on /p/TOKEN and /p/TOKEN.gif, and receive_batch.
 */
#ifndef POSTBACKD_POSTBACK_H
#define POSTBACKD_POSTBACK_H

#include "answer.h"
#include "batch.h"
#include "limit.h"
#include "options.h"

#define POSTBACK_TOKEN_LIMIT 255	/* bytes of a token in a path; longer ones are no address of ours */

typedef struct Postbacks
{
	Answers    *answers;
	const CidrList *trusted;
	Limits	   *limits;
} Postbacks;

/* The statement, for the Db's table. */
extern const DbStatement postback_statement;

/* The kind, for the Batch's table; statement is the index of postback_statement there. */
extern BatchKind postback_kind(Postbacks *postbacks, int statement);

/* ROUTE_POSTBACK or ROUTE_PIXEL if the path is one of these, else ROUTE_OTHER. */
extern Route postback_route(PbSlice path);

/* Answers what can be refused without the database (404, 405, 415, 429) and returns false; else the request may be queued. */
extern bool postback_check(Postbacks *postbacks, Route route, HttpRequest *request);

#endif							/* POSTBACKD_POSTBACK_H */
