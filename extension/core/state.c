/*
 * state.c: the life of a conversion as tables: what a postback does in each state, which changes of state
 * are allowed to whom, and the words for both.
 */
#include "state.h"

/* When a rule holds. */
typedef enum Condition
{
	ALWAYS,
	WITHOUT_VALUE,
	VALUE_BELOW,				/* the call's value is lower than the conversion's */
	VALUE_EQUAL,
	VALUE_DIFFERS,
	IF_UNPRICED,
	IF_TEST
} Condition;

typedef struct Rule
{
	Condition	when;
	PbDecision	decision;
} Rule;

#define RULES_MAX 4

#define CREATE			{PB_DO_CREATE, PB_OK}
#define CREATE_ONLY		{PB_DO_CREATE, PB_UNPRICED}
#define CREATE_APPROVE	{PB_DO_CREATE_APPROVE, PB_OK}
#define DUPLICATE		{PB_DO_DUPLICATE, PB_OK}
#define APPROVE			{PB_DO_APPROVE, PB_OK}
#define REVERSE			{PB_DO_REVERSE, PB_OK}
#define ADJUST			{PB_DO_ADJUST, PB_OK}
#define REOPEN			{PB_DO_REOPEN, PB_OK}
#define REFUSE(code)	{PB_DO_REFUSE, code}
#define PARK(code)		{PB_DO_PARK, code}

/*
 * One cell per state and word sent; the first rule of a cell that holds decides, the last one always does.
 * What is missing from the call itself comes before what the state forbids.
 */
static const Rule cells[PB_STATE_COUNT][PB_SENT_COUNT][RULES_MAX] =
{
	[PB_NONE] = {
		[PB_SENT_NEW] = {
			{WITHOUT_VALUE, REFUSE(PB_MISSING_PARAMETER)},
			{ALWAYS, CREATE}
		},
		[PB_SENT_APPROVED] = {
			{WITHOUT_VALUE, PARK(PB_UNKNOWN_ORDER)},
			{IF_UNPRICED, CREATE_ONLY},
			{ALWAYS, CREATE_APPROVE}
		},
		[PB_SENT_REVERSED] = {
			{ALWAYS, PARK(PB_UNKNOWN_ORDER)}
		},
		[PB_SENT_PARTIAL] = {
			{WITHOUT_VALUE, REFUSE(PB_MISSING_PARAMETER)},
			{ALWAYS, PARK(PB_UNKNOWN_ORDER)}
		}
	},
	[PB_PENDING] = {
		[PB_SENT_NEW] = {
			{ALWAYS, DUPLICATE}
		},
		[PB_SENT_APPROVED] = {
			{VALUE_DIFFERS, REFUSE(PB_VALUE_MISMATCH)},
			{IF_UNPRICED, PARK(PB_UNPRICED)},
			{ALWAYS, APPROVE}
		},
		[PB_SENT_REVERSED] = {
			{ALWAYS, REVERSE}
		},
		[PB_SENT_PARTIAL] = {
			{WITHOUT_VALUE, REFUSE(PB_MISSING_PARAMETER)},
			{VALUE_BELOW, ADJUST},
			{VALUE_EQUAL, DUPLICATE},
			{ALWAYS, REFUSE(PB_VALUE_ABOVE_CURRENT)}
		}
	},
	[PB_APPROVED] = {
		[PB_SENT_NEW] = {
			{ALWAYS, DUPLICATE}
		},
		[PB_SENT_APPROVED] = {
			{ALWAYS, DUPLICATE}
		},
		[PB_SENT_REVERSED] = {
			{ALWAYS, REFUSE(PB_LOCKED)}
		},
		[PB_SENT_PARTIAL] = {
			{WITHOUT_VALUE, REFUSE(PB_MISSING_PARAMETER)},
			{ALWAYS, REFUSE(PB_LOCKED)}
		}
	},
	[PB_REVERSED] = {
		[PB_SENT_NEW] = {
			{IF_TEST, REOPEN},
			{ALWAYS, DUPLICATE}
		},
		[PB_SENT_APPROVED] = {
			{ALWAYS, REFUSE(PB_LOCKED)}
		},
		[PB_SENT_REVERSED] = {
			{ALWAYS, DUPLICATE}
		},
		[PB_SENT_PARTIAL] = {
			{WITHOUT_VALUE, REFUSE(PB_MISSING_PARAMETER)},
			{ALWAYS, REFUSE(PB_LOCKED)}
		}
	}
};

/* To whom a change of state is allowed. */
typedef enum Allowed
{
	NOBODY,
	STAFF,
	STAFF_OR_TEST,				/* anyone for a test order */
	ANYONE
} Allowed;

static const Allowed transitions[PB_STATE_COUNT][PB_STATE_COUNT] =
{
	/* to:			none	pending			approved	reversed */
	[PB_NONE] = {ANYONE, ANYONE, NOBODY, NOBODY},
	[PB_PENDING] = {NOBODY, ANYONE, ANYONE, ANYONE},
	[PB_APPROVED] = {NOBODY, NOBODY, ANYONE, STAFF},
	[PB_REVERSED] = {NOBODY, STAFF_OR_TEST, NOBODY, ANYONE},
};

/* What brands write for each of the four words; case does not matter. */
static const struct
{
	const char *word;
	PbSent		sent;
}			status_words[] =
{
	{"", PB_SENT_NEW},
	{"new", PB_SENT_NEW},
	{"pending", PB_SENT_NEW},
	{"approved", PB_SENT_APPROVED},
	{"approve", PB_SENT_APPROVED},
	{"done", PB_SENT_APPROVED},
	{"confirmed", PB_SENT_APPROVED},
	{"accepted", PB_SENT_APPROVED},
	{"reversed", PB_SENT_REVERSED},
	{"cancelled", PB_SENT_REVERSED},
	{"canceled", PB_SENT_REVERSED},
	{"denied", PB_SENT_REVERSED},
	{"rejected", PB_SENT_REVERSED},
	{"declined", PB_SENT_REVERSED},
	{"refunded", PB_SENT_REVERSED},
	{"chargeback", PB_SENT_REVERSED},
	{"partial", PB_SENT_PARTIAL},
	{"adjusted", PB_SENT_PARTIAL},
};

#define STATUS_WORD_COUNT (sizeof(status_words) / sizeof(status_words[0]))

/* The states' names, inside and outside. */
static const struct
{
	const char *name;
	const char *public_name;
}			states[PB_STATE_COUNT] =
{
	[PB_NONE] = {"", ""},
	[PB_PENDING] = {"pending", "pending"},
	[PB_APPROVED] = {"approved", "approved"},
	[PB_REVERSED] = {"reversed", "rejected"},
};

static bool
holds(Condition when, const PbFacts *facts)
{
	switch (when)
	{
		case ALWAYS:
			return true;
		case WITHOUT_VALUE:
			return !facts->has_value;
		case VALUE_BELOW:
			return facts->has_value && facts->value < facts->current;
		case VALUE_EQUAL:
			return facts->has_value && facts->value == facts->current;
		case VALUE_DIFFERS:
			return facts->has_value && facts->value != facts->current;
		case IF_UNPRICED:
			return facts->unpriced;
		case IF_TEST:
			return facts->test;
	}
	return false;
}

PbDecision
pb_decide(const PbFacts *facts)
{
	const Rule *rule = cells[facts->now][facts->sent];

	while (!holds(rule->when, facts))
		rule++;
	return rule->decision;
}

bool
pb_status_word(PbSlice word, PbSent *sent)
{
	for (size_t i = 0; i < STATUS_WORD_COUNT; i++)
	{
		if (pb_slice_equal_nocase(word, pb_slice(status_words[i].word)))
		{
			*sent = status_words[i].sent;
			return true;
		}
	}
	return false;
}

const char *
pb_status_word_list(size_t i, PbSent *sent)
{
	if (i >= STATUS_WORD_COUNT)
		return NULL;
	*sent = status_words[i].sent;
	return status_words[i].word;
}

const char *
pb_sent_name(PbSent sent)
{
	static const char *const names[PB_SENT_COUNT] = {
		[PB_SENT_NEW] = "new",
		[PB_SENT_APPROVED] = "approved",
		[PB_SENT_REVERSED] = "reversed",
		[PB_SENT_PARTIAL] = "partial",
	};

	return names[sent];
}

const char *
pb_state_name(PbState state)
{
	return states[state].name;
}

bool
pb_state_find(PbSlice name, PbState *state)
{
	for (int i = PB_NONE + 1; i < PB_STATE_COUNT; i++)
	{
		if (pb_slice_equal(name, pb_slice(states[i].name)))
		{
			*state = (PbState) i;
			return true;
		}
	}
	return false;
}

const char *
pb_state_public_name(PbState state)
{
	return states[state].public_name;
}

bool
pb_transition_allowed(PbState from, PbState to, bool test, PbActor actor)
{
	switch (transitions[from][to])
	{
		case ANYONE:
			return true;
		case STAFF_OR_TEST:
			return test || actor == PB_STAFF;
		case STAFF:
			return actor == PB_STAFF;
		case NOBODY:
			break;
	}
	return false;
}
