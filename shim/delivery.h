/*
 * delivery.h: one claimed delivery: read from a row of postback.claim, given back as an element of postback.settle.
 */
#ifndef POSTBACKD_DELIVERY_H
#define POSTBACKD_DELIVERY_H

#include "db.h"
#include "guard.h"
#include "resolve.h"

#define DELIVERY_ID_ROOM 32
#define DELIVERY_HEADER_LIMIT 48
#define DELIVERY_SECRET_LIMIT 4
#define DELIVERY_ERROR_LIMIT 400

/* What became of a claim, as postback.settle names it. */
typedef enum DeliveryOutcome
{
	DELIVERY_RESPONSE,			/* the server answered; whether well is the database's to judge */
	DELIVERY_ERROR,				/* no answer, or none that could be read */
	DELIVERY_BLOCKED,			/* may never be sent: the egress guard, or a URL that is none */
	DELIVERY_RELEASED,			/* given back unsent */
	DELIVERY_OUTCOMES
} DeliveryOutcome;

struct Endpoint;
struct Attempts;

typedef struct Delivery
{
	struct Delivery *next;		/* in the one list or queue that it is in */
	struct Attempts *attempts;	/* that make it, while it is in flight */
	struct Endpoint *endpoint;	/* until it has ended */

	/* the claim */
	char		attempt_id[DELIVERY_ID_ROOM];
	char		delivery_id[DELIVERY_ID_ROOM];
	bool		post;
	int			attempt;		/* 1, 2, ... */
	int			timeout_ms;
	int64_t		lease_end_ms;	/* of the loop's clock */
	PbSlice		url;
	PbSlice		body;
	PbSlice		headers[DELIVERY_HEADER_LIMIT];
	size_t		header_count;
	PbSlice		secrets[DELIVERY_SECRET_LIMIT];
	size_t		secret_count;
	bool		unreadable;		/* more headers or secrets than fit */

	/* the sending */
	int64_t		started_us;
	GuardTarget target;
	ResolveWaiter waiter;

	/* the result; url, body, headers and secrets are no more once it is set */
	DeliveryOutcome outcome;
	int			http_code;		/* 0 = none */
	int			retry_after;	/* -1 = none */
	bool		shortage;		/* released for want of descriptors, memory or room of ours */
	int			milliseconds;	/* -1 = none */
	PbAddress	address;		/* family 0 = none */
	PbSlice		error;
	PbSlice		response;
	int			settle_failures;	/* how often the database refused it */

	/* where the slices point; kept when the struct is used again */
	char	   *text;
	size_t		text_cap;
} Delivery;

/* Name of an outcome in postback.settle and in metrics. */
extern const char *delivery_outcome_name(DeliveryOutcome outcome);

/* Statements and their arguments, for DbOptions. */
enum DeliveryStatement
{
	DELIVERY_CLAIM,
	DELIVERY_SETTLE,
	DELIVERY_STATEMENTS
};

extern const DbStatement delivery_statements[DELIVERY_STATEMENTS];

typedef struct ClaimQuestion
{
	PbSlice		sender;
	int			max_items;
	int			lease_s;
	int			per_endpoint;
} ClaimQuestion;

/* The name of one endpoint that there is no room for is added with claim_add_full. */
extern void claim_arguments(DbArguments *arguments, const ClaimQuestion *question);
extern void claim_add_full(DbArguments *arguments, const char *endpoint);

/* The endpoint of a claimed row ("host:port"); valid as long as the result. */
extern PbSlice claim_endpoint(const DbResult *result, int row);

/* Copies a claimed row.  False: out of memory. */
extern bool delivery_read(Delivery *delivery, const DbResult *result, int row) __attribute__((warn_unused_result));

/*
 * Sets the texts of a result: error and response may be any bytes, and are cut
 * and made valid UTF-8 here.  Out of memory leaves them empty.
 */
extern void delivery_set_texts(Delivery *delivery, const char *error, PbSlice response);

extern void settle_arguments(DbArguments *arguments, PbSlice sender);
extern void settle_add(DbArguments *arguments, const Delivery *delivery);

/* Frees what delivery->text holds. */
extern void delivery_free_text(Delivery *delivery);

#endif							/* POSTBACKD_DELIVERY_H */
