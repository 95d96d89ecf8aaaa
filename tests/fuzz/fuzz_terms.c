/*
 * fuzz_terms.c: commission and fee (extension/core/terms.c) against big numbers: percent of the value plus the fixed
 * amount, rounded once half away from zero, then held between least and most.
 */
#include "big.h"

#include "terms.h"

#define BRACKETS_MAX 6

/* Amounts and percentages are not negative (the tables see to that). */
static int64_t
take_amount(Input *in)
{
	int64_t		n = take_int64(in);

	return n < 0 ? -(n + 1) : n;
}

static int
by_from(const void *a, const void *b)
{
	const PbBracket *x = a;
	const PbBracket *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

static void
check_commission(const PbTerms *terms, int64_t value)
{
	const PbBracket *bracket = NULL;
	int64_t		percent;
	int64_t		fixed;
	int64_t		commission = -1;
	int64_t		unbounded = -1;
	PbTerms		without_bounds = *terms;
	bool		fits;
	Big			hundred_times;

	for (size_t i = terms->bracket_count; i > 0 && bracket == NULL; i--)
		if (terms->brackets[i - 1].from <= value)
			bracket = &terms->brackets[i - 1];
	percent = bracket != NULL ? bracket->percent : terms->percent;
	fixed = bracket != NULL ? bracket->fixed : terms->fixed;

	without_bounds.min = 0;
	without_bounds.max = INT64_MAX;
	fits = pb_commission(&without_bounds, value, &unbounded) == PB_OK;
	hundred_times = big_plus(big_times(big((uint64_t) value), (uint64_t) percent), big_times(big((uint64_t) fixed), 100000000));
	HOLDS(is_rounded(hundred_times, false, big(100000000), fits, unbounded));

	HOLDS((pb_commission(terms, value, &commission) == PB_OK) == fits);
	if (!fits)
		return;
	HOLDS(commission >= terms->min && commission <= terms->max);
	HOLDS(commission == unbounded || commission == terms->min || commission == terms->max);
	HOLDS(commission == unbounded || unbounded < terms->min || unbounded > terms->max);
}

static void
check_fee(int64_t percent, int64_t value, int64_t commission)
{
	static const PbFeeOf all[] = {PB_FEE_NONE, PB_FEE_OF_COMMISSION, PB_FEE_OF_VALUE};

	for (size_t i = 0; i < COUNT(all); i++)
	{
		int64_t		base = all[i] == PB_FEE_NONE ? 0 : all[i] == PB_FEE_OF_VALUE ? value : commission;
		int64_t		fee = -1;
		bool		fits = pb_fee(all[i], percent, value, commission, &fee) == PB_OK;

		HOLDS(is_rounded(big_times(big((uint64_t) base), (uint64_t) percent), false, big(100000000), fits, fee));
	}
}

static void
check_properties(Input *in)
{
	PbBracket	brackets[BRACKETS_MAX];
	PbTerms		terms = {.bracket_count = (size_t) take_choice(in, BRACKETS_MAX + 1)};
	int64_t		value = take_amount(in);
	int64_t		a = take_amount(in);
	int64_t		b = take_amount(in);

	terms.percent = take_amount(in);
	terms.fixed = take_amount(in);
	terms.min = a < b ? a : b;
	terms.max = a < b ? b : a;
	for (size_t i = 0; i < terms.bracket_count; i++)
	{
		brackets[i].from = take_choice(in, 4) == 0 ? value : take_amount(in);
		brackets[i].percent = take_amount(in);
		brackets[i].fixed = take_amount(in);
	}
	qsort(brackets, terms.bracket_count, sizeof(PbBracket), by_from);
	terms.brackets = (const PbBracket *) copy_of((PbSlice) {(const char *) brackets, sizeof(PbBracket) * terms.bracket_count}).data;
	check_commission(&terms, value);
	check_fee(terms.percent, value, a);
}
