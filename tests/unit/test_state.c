/*
 * test_state.c: the life of a conversion (extension/core/state.c).
 *
 * The first table is the manual's "now \ sent" table, one line per cell and per condition in it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "state.h"

#define NO_VALUE (-1)
#define CURRENT 4999

/* What a call does to a conversion of value CURRENT that is priced and no test order. */
static const struct
{
	PbState		now;
	PbSent		sent;
	int64_t		value;
	PbAction	action;
	PbCode		code;
}			matrix[] =
{
	/* none: only new and approved create; what overtakes its own new is parked */
	{PB_NONE, PB_SENT_NEW, 4999, PB_DO_CREATE, PB_OK},
	{PB_NONE, PB_SENT_NEW, 0, PB_DO_CREATE, PB_OK},
	{PB_NONE, PB_SENT_NEW, NO_VALUE, PB_DO_REFUSE, PB_MISSING_PARAMETER},
	{PB_NONE, PB_SENT_APPROVED, 4999, PB_DO_CREATE_APPROVE, PB_OK},
	{PB_NONE, PB_SENT_APPROVED, 0, PB_DO_CREATE_APPROVE, PB_OK},
	{PB_NONE, PB_SENT_APPROVED, NO_VALUE, PB_DO_PARK, PB_UNKNOWN_ORDER},
	{PB_NONE, PB_SENT_REVERSED, 4999, PB_DO_PARK, PB_UNKNOWN_ORDER},
	{PB_NONE, PB_SENT_REVERSED, NO_VALUE, PB_DO_PARK, PB_UNKNOWN_ORDER},
	{PB_NONE, PB_SENT_PARTIAL, 4999, PB_DO_PARK, PB_UNKNOWN_ORDER},
	{PB_NONE, PB_SENT_PARTIAL, NO_VALUE, PB_DO_REFUSE, PB_MISSING_PARAMETER},

	/* pending: everything may still happen */
	{PB_PENDING, PB_SENT_NEW, 4999, PB_DO_DUPLICATE, PB_OK},
	{PB_PENDING, PB_SENT_NEW, 5000, PB_DO_DUPLICATE, PB_OK},
	{PB_PENDING, PB_SENT_NEW, 4998, PB_DO_DUPLICATE, PB_OK},
	{PB_PENDING, PB_SENT_NEW, NO_VALUE, PB_DO_DUPLICATE, PB_OK},
	{PB_PENDING, PB_SENT_APPROVED, NO_VALUE, PB_DO_APPROVE, PB_OK},
	{PB_PENDING, PB_SENT_APPROVED, 4999, PB_DO_APPROVE, PB_OK},
	{PB_PENDING, PB_SENT_APPROVED, 4998, PB_DO_REFUSE, PB_VALUE_MISMATCH},
	{PB_PENDING, PB_SENT_APPROVED, 5000, PB_DO_REFUSE, PB_VALUE_MISMATCH},
	{PB_PENDING, PB_SENT_APPROVED, 0, PB_DO_REFUSE, PB_VALUE_MISMATCH},
	{PB_PENDING, PB_SENT_REVERSED, NO_VALUE, PB_DO_REVERSE, PB_OK},
	{PB_PENDING, PB_SENT_REVERSED, 4999, PB_DO_REVERSE, PB_OK},
	{PB_PENDING, PB_SENT_REVERSED, 1, PB_DO_REVERSE, PB_OK},
	{PB_PENDING, PB_SENT_PARTIAL, 4998, PB_DO_ADJUST, PB_OK},
	{PB_PENDING, PB_SENT_PARTIAL, 0, PB_DO_ADJUST, PB_OK},
	{PB_PENDING, PB_SENT_PARTIAL, 4999, PB_DO_DUPLICATE, PB_OK},
	{PB_PENDING, PB_SENT_PARTIAL, 5000, PB_DO_REFUSE, PB_VALUE_ABOVE_CURRENT},
	{PB_PENDING, PB_SENT_PARTIAL, NO_VALUE, PB_DO_REFUSE, PB_MISSING_PARAMETER},

	/* approved: locked */
	{PB_APPROVED, PB_SENT_NEW, 4999, PB_DO_DUPLICATE, PB_OK},
	{PB_APPROVED, PB_SENT_NEW, 1, PB_DO_DUPLICATE, PB_OK},
	{PB_APPROVED, PB_SENT_NEW, NO_VALUE, PB_DO_DUPLICATE, PB_OK},
	{PB_APPROVED, PB_SENT_APPROVED, NO_VALUE, PB_DO_DUPLICATE, PB_OK},
	{PB_APPROVED, PB_SENT_APPROVED, 4999, PB_DO_DUPLICATE, PB_OK},
	{PB_APPROVED, PB_SENT_APPROVED, 1, PB_DO_DUPLICATE, PB_OK},
	{PB_APPROVED, PB_SENT_REVERSED, NO_VALUE, PB_DO_REFUSE, PB_LOCKED},
	{PB_APPROVED, PB_SENT_REVERSED, 4999, PB_DO_REFUSE, PB_LOCKED},
	{PB_APPROVED, PB_SENT_PARTIAL, 4998, PB_DO_REFUSE, PB_LOCKED},
	{PB_APPROVED, PB_SENT_PARTIAL, 4999, PB_DO_REFUSE, PB_LOCKED},
	{PB_APPROVED, PB_SENT_PARTIAL, 5000, PB_DO_REFUSE, PB_LOCKED},
	{PB_APPROVED, PB_SENT_PARTIAL, NO_VALUE, PB_DO_REFUSE, PB_MISSING_PARAMETER},

	/* reversed: final */
	{PB_REVERSED, PB_SENT_NEW, 4999, PB_DO_DUPLICATE, PB_OK},
	{PB_REVERSED, PB_SENT_NEW, NO_VALUE, PB_DO_DUPLICATE, PB_OK},
	{PB_REVERSED, PB_SENT_APPROVED, NO_VALUE, PB_DO_REFUSE, PB_LOCKED},
	{PB_REVERSED, PB_SENT_APPROVED, 4999, PB_DO_REFUSE, PB_LOCKED},
	{PB_REVERSED, PB_SENT_REVERSED, NO_VALUE, PB_DO_DUPLICATE, PB_OK},
	{PB_REVERSED, PB_SENT_REVERSED, 4999, PB_DO_DUPLICATE, PB_OK},
	{PB_REVERSED, PB_SENT_PARTIAL, 4998, PB_DO_REFUSE, PB_LOCKED},
	{PB_REVERSED, PB_SENT_PARTIAL, 4999, PB_DO_REFUSE, PB_LOCKED},
	{PB_REVERSED, PB_SENT_PARTIAL, 5000, PB_DO_REFUSE, PB_LOCKED},
	{PB_REVERSED, PB_SENT_PARTIAL, NO_VALUE, PB_DO_REFUSE, PB_MISSING_PARAMETER},
};

#define MATRIX_COUNT (sizeof(matrix) / sizeof(matrix[0]))

/* The facts of one line of the matrix. */
static PbFacts
facts_of(size_t line)
{
	PbFacts		facts = {
		.now = matrix[line].now,
		.sent = matrix[line].sent,
		.has_value = matrix[line].value != NO_VALUE,
		.value = matrix[line].value == NO_VALUE ? 0 : matrix[line].value,
		.current = matrix[line].now == PB_NONE ? 0 : CURRENT,
	};

	return facts;
}

static void
assert_decides(PbFacts facts, PbAction action, PbCode code, size_t line)
{
	PbDecision	decision = pb_decide(&facts);

	if (decision.action != action || decision.code != code)
		fail_msg("line %zu: action %d, code %s; expected %d, %s", line, decision.action,
				 pb_code_name(decision.code), action, pb_code_name(code));
}

static void
every_cell_is_decided_as_in_the_manual(void **state)
{
	bool		seen[PB_STATE_COUNT][PB_SENT_COUNT] = {{false}};

	(void) state;
	for (size_t i = 0; i < MATRIX_COUNT; i++)
	{
		assert_decides(facts_of(i), matrix[i].action, matrix[i].code, i);
		seen[matrix[i].now][matrix[i].sent] = true;
	}
	for (int now = 0; now < PB_STATE_COUNT; now++)
	{
		for (int sent = 0; sent < PB_SENT_COUNT; sent++)
			assert_true(seen[now][sent]);
	}
}

static void
a_test_order_differs_only_in_being_reopened(void **state)
{
	(void) state;
	for (size_t i = 0; i < MATRIX_COUNT; i++)
	{
		PbFacts		facts = facts_of(i);

		facts.test = true;
		if (facts.now == PB_REVERSED && facts.sent == PB_SENT_NEW)
			assert_decides(facts, PB_DO_REOPEN, PB_OK, i);
		else
			assert_decides(facts, matrix[i].action, matrix[i].code, i);
	}
}

static void
an_unpriced_one_is_not_approved_yet(void **state)
{
	(void) state;
	for (size_t i = 0; i < MATRIX_COUNT; i++)
	{
		PbFacts		facts = facts_of(i);

		facts.unpriced = true;
		if (matrix[i].action == PB_DO_CREATE_APPROVE)
			assert_decides(facts, PB_DO_CREATE, PB_UNPRICED, i);
		else if (matrix[i].action == PB_DO_APPROVE)
			assert_decides(facts, PB_DO_PARK, PB_UNPRICED, i);
		else
			assert_decides(facts, matrix[i].action, matrix[i].code, i);
	}
}

/* A value left over in the struct must not count when the call carries none. */
static void
a_value_that_was_not_sent_is_not_looked_at(void **state)
{
	(void) state;
	for (size_t i = 0; i < MATRIX_COUNT; i++)
	{
		PbFacts		facts = facts_of(i);

		if (facts.has_value)
			continue;
		facts.value = CURRENT - 1;
		assert_decides(facts, matrix[i].action, matrix[i].code, i);
		facts.value = CURRENT;
		assert_decides(facts, matrix[i].action, matrix[i].code, i);
	}
}

static void
assert_word(const char *word, PbSent expected)
{
	PbSent		sent = PB_SENT_COUNT;

	if (!pb_status_word(pb_slice(word), &sent))
		fail_msg("\"%s\" is unknown", word);
	assert_int_equal(sent, expected);
}

static void
every_status_word_is_understood(void **state)
{
	(void) state;
	assert_word("", PB_SENT_NEW);
	assert_word("new", PB_SENT_NEW);
	assert_word("pending", PB_SENT_NEW);
	assert_word("approved", PB_SENT_APPROVED);
	assert_word("approve", PB_SENT_APPROVED);
	assert_word("done", PB_SENT_APPROVED);
	assert_word("confirmed", PB_SENT_APPROVED);
	assert_word("accepted", PB_SENT_APPROVED);
	assert_word("reversed", PB_SENT_REVERSED);
	assert_word("cancelled", PB_SENT_REVERSED);
	assert_word("canceled", PB_SENT_REVERSED);
	assert_word("denied", PB_SENT_REVERSED);
	assert_word("rejected", PB_SENT_REVERSED);
	assert_word("declined", PB_SENT_REVERSED);
	assert_word("refunded", PB_SENT_REVERSED);
	assert_word("chargeback", PB_SENT_REVERSED);
	assert_word("partial", PB_SENT_PARTIAL);
	assert_word("adjusted", PB_SENT_PARTIAL);
}

static void
status_words_are_read_without_case(void **state)
{
	(void) state;
	assert_word("NEW", PB_SENT_NEW);
	assert_word("Approved", PB_SENT_APPROVED);
	assert_word("cAnCeLLeD", PB_SENT_REVERSED);
	assert_word("PARTIAL", PB_SENT_PARTIAL);
}

static void
other_words_are_no_status(void **state)
{
	static const char *const words[] = {
		" ", "approved ", " new", "approv", "approvedd", "reject", "cancel", "refund", "reverse", "paid", "hold",
		"1", "0", "true", "none", "reopened", "adjust"
	};
	PbSent		sent;

	(void) state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (pb_status_word(pb_slice(words[i]), &sent))
			fail_msg("\"%s\" was understood", words[i]);
	}
	assert_false(pb_status_word(PB_LITERAL("\0"), &sent));
	assert_false(pb_status_word(PB_LITERAL("new\0"), &sent));
	assert_true(pb_status_word((PbSlice) {NULL, 0}, &sent));
	assert_int_equal(sent, PB_SENT_NEW);
}

static void
states_have_a_name_within_and_one_without(void **state)
{
	(void) state;
	assert_string_equal(pb_state_name(PB_NONE), "");
	assert_string_equal(pb_state_name(PB_PENDING), "pending");
	assert_string_equal(pb_state_name(PB_APPROVED), "approved");
	assert_string_equal(pb_state_name(PB_REVERSED), "reversed");
	assert_string_equal(pb_state_public_name(PB_PENDING), "pending");
	assert_string_equal(pb_state_public_name(PB_APPROVED), "approved");
	assert_string_equal(pb_state_public_name(PB_REVERSED), "rejected");
}

static void
states_are_found_by_their_inner_name(void **state)
{
	PbState		found = PB_NONE;

	(void) state;
	assert_true(pb_state_find(PB_LITERAL("pending"), &found));
	assert_int_equal(found, PB_PENDING);
	assert_true(pb_state_find(PB_LITERAL("approved"), &found));
	assert_int_equal(found, PB_APPROVED);
	assert_true(pb_state_find(PB_LITERAL("reversed"), &found));
	assert_int_equal(found, PB_REVERSED);
	assert_false(pb_state_find(PB_LITERAL("rejected"), &found));
	assert_false(pb_state_find(PB_LITERAL("Pending"), &found));
	assert_false(pb_state_find(PB_LITERAL("new"), &found));
	assert_false(pb_state_find(PB_LITERAL(""), &found));
}

/* Who may make each change: nobody, staff only, staff or (for a test order) anyone, anyone. */
static const struct
{
	PbState		from;
	PbState		to;
	bool		anyone;
	bool		anyone_test;
	bool		staff;
	bool		staff_test;
}			changes[] =
{
	{PB_NONE, PB_NONE, true, true, true, true},
	{PB_NONE, PB_PENDING, true, true, true, true},
	{PB_NONE, PB_APPROVED, false, false, false, false},
	{PB_NONE, PB_REVERSED, false, false, false, false},
	{PB_PENDING, PB_NONE, false, false, false, false},
	{PB_PENDING, PB_PENDING, true, true, true, true},
	{PB_PENDING, PB_APPROVED, true, true, true, true},
	{PB_PENDING, PB_REVERSED, true, true, true, true},
	{PB_APPROVED, PB_NONE, false, false, false, false},
	{PB_APPROVED, PB_PENDING, false, false, false, false},
	{PB_APPROVED, PB_APPROVED, true, true, true, true},
	{PB_APPROVED, PB_REVERSED, false, false, true, true},
	{PB_REVERSED, PB_NONE, false, false, false, false},
	{PB_REVERSED, PB_PENDING, false, true, true, true},
	{PB_REVERSED, PB_APPROVED, false, false, false, false},
	{PB_REVERSED, PB_REVERSED, true, true, true, true},
};

static void
changes_of_state_are_allowed_to_whom_they_should(void **state)
{
	(void) state;
	assert_int_equal(sizeof(changes) / sizeof(changes[0]), PB_STATE_COUNT * PB_STATE_COUNT);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		PbState		from = changes[i].from;
		PbState		to = changes[i].to;

		assert_int_equal(pb_transition_allowed(from, to, false, PB_ANYONE), changes[i].anyone);
		assert_int_equal(pb_transition_allowed(from, to, true, PB_ANYONE), changes[i].anyone_test);
		assert_int_equal(pb_transition_allowed(from, to, false, PB_STAFF), changes[i].staff);
		assert_int_equal(pb_transition_allowed(from, to, true, PB_STAFF), changes[i].staff_test);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell_is_decided_as_in_the_manual),
		cmocka_unit_test(a_test_order_differs_only_in_being_reopened),
		cmocka_unit_test(an_unpriced_one_is_not_approved_yet),
		cmocka_unit_test(a_value_that_was_not_sent_is_not_looked_at),
		cmocka_unit_test(every_status_word_is_understood),
		cmocka_unit_test(status_words_are_read_without_case),
		cmocka_unit_test(other_words_are_no_status),
		cmocka_unit_test(states_have_a_name_within_and_one_without),
		cmocka_unit_test(states_are_found_by_their_inner_name),
		cmocka_unit_test(changes_of_state_are_allowed_to_whom_they_should),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
