/*
 * terms.c: commission and fee of one order value; see terms.h for units.
 */
#include "terms.h"

#include "money.h"

/* A percentage of 100 % in the units of PbTerms. */
#define PERCENT_WHOLE (100 * PB_PERCENT_ONE)

static int64_t
hold_to(int64_t n, int64_t min, int64_t max)
{
	if (n > max)
		return max;
	return n < min ? min : n;
}

PbCode
pb_commission(const PbTerms *terms, int64_t value, int64_t *commission)
{
	int64_t		percent = terms->percent;
	int64_t		fixed = terms->fixed;
	int64_t		rounded;

	for (size_t i = 0; i < terms->bracket_count && terms->brackets[i].from <= value; i++)
	{
		percent = terms->brackets[i].percent;
		fixed = terms->brackets[i].fixed;
	}
	if (!pb_round_div((PbInt128) value * percent + (PbInt128) fixed * PERCENT_WHOLE, PERCENT_WHOLE, &rounded))
		return PB_BAD_VALUE;
	*commission = hold_to(rounded, terms->min, terms->max);
	return PB_OK;
}

PbCode
pb_fee(PbFeeOf of, int64_t percent, int64_t value, int64_t commission, int64_t *fee)
{
	int64_t		base = 0;

	switch (of)
	{
		case PB_FEE_NONE:
			break;
		case PB_FEE_OF_COMMISSION:
			base = commission;
			break;
		case PB_FEE_OF_VALUE:
			base = value;
			break;
	}
	return pb_muldiv(base, percent, PERCENT_WHOLE, fee) ? PB_OK : PB_BAD_VALUE;
}

PbCode
pb_price(const PbTerms *terms, PbFeeOf of, int64_t fee_percent, int64_t value, int64_t *commission, int64_t *fee)
{
	if (pb_commission(terms, value, commission) != PB_OK || pb_fee(of, fee_percent, value, *commission, fee) != PB_OK ||
		*commission > INT64_MAX - *fee)
		return PB_BAD_VALUE;
	return PB_OK;
}
