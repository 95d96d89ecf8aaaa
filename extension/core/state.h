/*
 * state.h: the life of a conversion, as one table.
 *
 * The table (state.c) is read by the inbound batch, by the trigger on UPDATE of conversion
 * and by the documentation; nobody else knows the rules.
 */
#ifndef PB_STATE_H
#define PB_STATE_H

#include "code.h"

typedef enum PbState
{
	PB_NONE,					/* no such conversion yet */
	PB_PENDING,
	PB_APPROVED,
	PB_REVERSED,
	PB_STATE_COUNT
} PbState;

/* What a postback's status word asks for. */
typedef enum PbSent
{
	PB_SENT_NEW,
	PB_SENT_APPROVED,
	PB_SENT_REVERSED,
	PB_SENT_PARTIAL,
	PB_SENT_COUNT
} PbSent;

/* What is to be done. */
typedef enum PbAction
{
	PB_DO_CREATE,				/* -> pending */
	PB_DO_CREATE_APPROVE,		/* -> pending, then approved, as two changes */
	PB_DO_DUPLICATE,			/* nothing changes, answered 200 */
	PB_DO_APPROVE,
	PB_DO_REVERSE,
	PB_DO_ADJUST,				/* new lower value, recalculated */
	PB_DO_REOPEN,				/* reversed test order -> pending with the new value and hold */
	PB_DO_REFUSE,				/* answered with code, nothing changes */
	PB_DO_PARK					/* answered with code, kept until it can be applied */
} PbAction;

/* What the decision depends on. */
typedef struct PbFacts
{
	PbState		now;
	PbSent		sent;
	bool		has_value;		/* the call carries value or amount */
	int64_t		value;			/* if so, in minor units of the conversion's currency */
	int64_t		current;		/* the conversion's value; ignored for PB_NONE */
	bool		test;			/* the conversion is a test order */
	bool		unpriced;		/* the conversion (or the one to be created) has no commission yet */
} PbFacts;

typedef struct PbDecision
{
	PbAction	action;
	PbCode		code;			/* PB_OK, or why it is refused or parked */
} PbDecision;

/*
 * The decision for one postback.
 *
 * none x new: without value refuse missing_parameter, else create.  none x approved with value:
 * create-approve (unpriced: the approval is parked by the caller after the creation: answered PB_DO_CREATE
 * with code PB_UNPRICED); without value: park unknown_order.
 * none x reversed/partial: park unknown_order.  partial without a value: refuse missing_parameter, whatever
 * the state.
 * pending x approved: has_value and value != current: refuse value_mismatch; unpriced: park unpriced; else
 * approve.
 * pending x partial: lower: adjust, equal: duplicate, higher: refuse value_above_current.
 * reversed x new: test: reopen (without a value: with the current one), else duplicate.
 * The rest as in the table of the manual.
 */
extern PbDecision pb_decide(const PbFacts *facts);

/* A status word as brands write it, without case ("" and "pending" are new, "done" is approved ...). */
extern bool pb_status_word(PbSlice word, PbSent *sent);

/* The i-th of these words and what it asks for, or NULL past the last: for documentation. */
extern const char *pb_status_word_list(size_t i, PbSent *sent);

/* "new", "approved", "reversed", "partial": each a word that pb_status_word reads. */
extern const char *pb_sent_name(PbSent sent);

/* "pending", "approved", "reversed"; "" for PB_NONE. */
extern const char *pb_state_name(PbState state);

/* By pb_state_name, exactly; false for "". */
extern bool pb_state_find(PbSlice name, PbState *state);

/* How the state is called outside (firing status, {status}, logs): reversed is "rejected". */
extern const char *pb_state_public_name(PbState state);

/* Who asks for a change of state by UPDATE. */
typedef enum PbActor
{
	PB_ANYONE,					/* an inbound call, cron, an application, psql */
	PB_STAFF					/* the staff functions: may also reverse an approved one and reopen */
} PbActor;

/* May a conversion go from one state to the other?  Same to same is always allowed. */
extern bool pb_transition_allowed(PbState from, PbState to, bool test, PbActor actor);

#endif							/* PB_STATE_H */
