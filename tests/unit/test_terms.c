/*
 * test_terms.c: commission and fee (extension/core/terms.c).
 *
 * The rule: percent of the order value plus the fixed amount, rounded once half away from zero, then held
 * to min..max; the fee is a percentage of the rounded commission or of the value.  Expected amounts were
 * worked out by hand.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "terms.h"

static const PbTerms none = {.max = INT64_MAX};

static void
assert_commission(PbTerms terms, int64_t value, int64_t expected)
{
	int64_t		commission = 424242;

	assert_int_equal(pb_commission(&terms, value, &commission), PB_OK);
	assert_true(commission == expected);
}

static void
assert_no_commission(PbTerms terms, int64_t value)
{
	int64_t		commission;

	assert_int_equal(pb_commission(&terms, value, &commission), PB_BAD_VALUE);
}

static PbTerms
percent_and_fixed(int64_t percent, int64_t fixed)
{
	PbTerms		terms = none;

	terms.percent = percent;
	terms.fixed = fixed;
	return terms;
}

static void
percent_and_fixed_amount_are_added(void **state)
{
	(void) state;
	assert_commission(none, 4999, 0);
	assert_commission(percent_and_fixed(8000000, 0), 4999, 400);	/* 8 % of 49.99 = 3.9992 */
	assert_commission(percent_and_fixed(0, 250), 4999, 250);
	assert_commission(percent_and_fixed(0, 250), 0, 250);
	assert_commission(percent_and_fixed(5000000, 100), 10000, 600);
	assert_commission(percent_and_fixed(100000000, 0), 4999, 4999);
	assert_commission(percent_and_fixed(200000000, 1), 4999, 9999);
	assert_commission(percent_and_fixed(5000000, 0), 0, 0);
}

static void
commission_is_rounded_half_away_from_zero(void **state)
{
	(void) state;
	assert_commission(percent_and_fixed(5000000, 0), 9, 0); /* 0.45 */
	assert_commission(percent_and_fixed(5000000, 0), 10, 1);	/* 0.5 */
	assert_commission(percent_and_fixed(5000000, 0), 30, 2);	/* 1.5 */
	assert_commission(percent_and_fixed(5000000, 0), 50, 3);	/* 2.5 */
	assert_commission(percent_and_fixed(5000000, 0), 49, 2);	/* 2.45 */
	assert_commission(percent_and_fixed(5000000, 7), 50, 10);	/* 9.5 */
	assert_commission(percent_and_fixed(5000000, 7), 49, 9);	/* 9.45 */
}

static void
percent_is_exact_to_six_decimals(void **state)
{
	(void) state;
	assert_commission(percent_and_fixed(1, 0), 100000000, 1);	/* 0.000001 % */
	assert_commission(percent_and_fixed(1, 0), 50000000, 1);
	assert_commission(percent_and_fixed(1, 0), 49999999, 0);
	assert_commission(percent_and_fixed(12345678, 0), 100000000, 12345678);
	assert_commission(percent_and_fixed(33333333, 0), 3, 1);	/* 0.99999999 */
}

/* 0.5 - 1 = -0.5 becomes -1; rounding the 0.5 first would give 0. */
static void
the_sum_is_rounded_not_its_terms(void **state)
{
	PbTerms		terms = percent_and_fixed(5000000, -1);

	(void) state;
	terms.min = INT64_MIN;
	assert_commission(terms, 10, -1);
}

static void
commission_is_held_to_min_and_max(void **state)
{
	PbTerms		terms = percent_and_fixed(10000000, 0);

	(void) state;
	terms.min = 100;
	terms.max = 500;
	assert_commission(terms, 0, 100);
	assert_commission(terms, 994, 100); /* 99.4 */
	assert_commission(terms, 1000, 100);
	assert_commission(terms, 1010, 101);
	assert_commission(terms, 4990, 499);
	assert_commission(terms, 5000, 500);
	assert_commission(terms, 5005, 500);	/* 500.5 */
	assert_commission(terms, 1000000, 500);
	terms.min = terms.max = 300;
	assert_commission(terms, 0, 300);
	assert_commission(terms, 1000000, 300);
	terms.min = terms.max = 0;
	assert_commission(terms, 1000000, 0);
}

static void
the_last_bracket_reached_replaces_percent_and_fixed(void **state)
{
	static const PbBracket brackets[] = {
		{10000, 8000000, 0}, {50000, 10000000, 5}, {100000, 0, 7777}
	};
	PbTerms		terms = percent_and_fixed(5000000, 100);

	(void) state;
	terms.brackets = brackets;
	terms.bracket_count = 3;
	assert_commission(terms, 0, 100);
	assert_commission(terms, 9999, 600);	/* 499.95 + 100: the terms' own */
	assert_commission(terms, 10000, 800);	/* from is inclusive */
	assert_commission(terms, 10001, 800);
	assert_commission(terms, 49999, 4000);	/* 3999.92 */
	assert_commission(terms, 50000, 5005);
	assert_commission(terms, 99999, 10005); /* 9999.9 + 5 */
	assert_commission(terms, 100000, 7777);
	assert_commission(terms, INT64_C(1000000000000000), 7777);
	terms.max = 4500;
	assert_commission(terms, 50000, 4500);
	terms.bracket_count = 1;
	assert_commission(terms, 50000, 4000);
}

static void
a_bracket_from_zero_holds_from_the_start(void **state)
{
	static const PbBracket brackets[] = {{0, 0, 33}};
	PbTerms		terms = percent_and_fixed(5000000, 100);

	(void) state;
	terms.brackets = brackets;
	terms.bracket_count = 1;
	assert_commission(terms, 0, 33);
}

static void
commission_beyond_64_bits_fails(void **state)
{
	PbTerms		capped = percent_and_fixed(200000000, 0);

	(void) state;
	assert_commission(percent_and_fixed(100000000, 0), INT64_MAX, INT64_MAX);
	assert_commission(percent_and_fixed(0, INT64_MAX), 0, INT64_MAX);
	assert_commission(percent_and_fixed(INT64_MAX, 0), 100000000, INT64_MAX);
	assert_no_commission(percent_and_fixed(200000000, 0), INT64_MAX);
	assert_no_commission(percent_and_fixed(100000000, 1), INT64_MAX);
	assert_no_commission(percent_and_fixed(100000000, INT64_MAX), 1);
	assert_no_commission(percent_and_fixed(INT64_MAX, INT64_MAX), INT64_MAX);
	/* 0.5 more than the largest */
	assert_no_commission(percent_and_fixed(50000000, INT64_MAX), 1);
	/* 0.49999999 more */
	assert_commission(percent_and_fixed(49999999, INT64_MAX), 1, INT64_MAX);
	/* max does not hide it */
	capped.max = 500;
	assert_no_commission(capped, INT64_MAX);
}

static void
assert_fee(PbFeeOf of, int64_t percent, int64_t value, int64_t commission, int64_t expected)
{
	int64_t		fee = 424242;

	assert_int_equal(pb_fee(of, percent, value, commission, &fee), PB_OK);
	assert_true(fee == expected);
}

static void
fee_is_a_share_of_what_it_is_of(void **state)
{
	(void) state;
	assert_fee(PB_FEE_OF_COMMISSION, 35000000, 4999, 400, 140);
	assert_fee(PB_FEE_OF_VALUE, 35000000, 4999, 400, 1750);	/* 1749.65 */
	assert_fee(PB_FEE_NONE, 35000000, 4999, 400, 0);
	assert_fee(PB_FEE_NONE, INT64_MAX, INT64_MAX, INT64_MAX, 0);
	assert_fee(PB_FEE_OF_COMMISSION, 0, 4999, 400, 0);
	assert_fee(PB_FEE_OF_COMMISSION, 35000000, 4999, 0, 0);
	assert_fee(PB_FEE_OF_VALUE, 35000000, 0, 400, 0);
	assert_fee(PB_FEE_OF_COMMISSION, 100000000, 4999, 400, 400);
}

static void
fee_is_rounded_half_away_from_zero(void **state)
{
	(void) state;
	assert_fee(PB_FEE_OF_COMMISSION, 35000000, 0, 1, 0);	/* 0.35 */
	assert_fee(PB_FEE_OF_COMMISSION, 35000000, 0, 10, 4);	/* 3.5 */
	assert_fee(PB_FEE_OF_COMMISSION, 35000000, 0, 30, 11);	/* 10.5 */
	assert_fee(PB_FEE_OF_COMMISSION, 50000000, 0, 5, 3);	/* 2.5 */
	assert_fee(PB_FEE_OF_COMMISSION, 49999999, 0, 5, 2);
	assert_fee(PB_FEE_OF_VALUE, 35000000, 10, 0, 4);
	assert_fee(PB_FEE_OF_COMMISSION, 35000000, 0, -10, -4);
}

static void
fee_beyond_64_bits_fails(void **state)
{
	int64_t		fee;

	(void) state;
	assert_fee(PB_FEE_OF_VALUE, 100000000, INT64_MAX, 0, INT64_MAX);
	assert_int_equal(pb_fee(PB_FEE_OF_VALUE, 100000001, INT64_MAX, 0, &fee), PB_BAD_VALUE);
	assert_int_equal(pb_fee(PB_FEE_OF_COMMISSION, 200000000, 0, INT64_MAX, &fee), PB_BAD_VALUE);
	assert_int_equal(pb_fee(PB_FEE_OF_COMMISSION, INT64_MAX, 0, INT64_MAX, &fee), PB_BAD_VALUE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percent_and_fixed_amount_are_added),
		cmocka_unit_test(commission_is_rounded_half_away_from_zero),
		cmocka_unit_test(percent_is_exact_to_six_decimals),
		cmocka_unit_test(the_sum_is_rounded_not_its_terms),
		cmocka_unit_test(commission_is_held_to_min_and_max),
		cmocka_unit_test(the_last_bracket_reached_replaces_percent_and_fixed),
		cmocka_unit_test(a_bracket_from_zero_holds_from_the_start),
		cmocka_unit_test(commission_beyond_64_bits_fails),
		cmocka_unit_test(fee_is_a_share_of_what_it_is_of),
		cmocka_unit_test(fee_is_rounded_half_away_from_zero),
		cmocka_unit_test(fee_beyond_64_bits_fails),
	};

	return cmocka_run_group_tests_name("terms", tests, NULL, NULL);
}
