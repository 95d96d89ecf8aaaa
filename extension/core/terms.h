/*
 * terms.h: the commission and fee of one order value.
 *
 * Amounts are minor units of the brand's currency; percentages are millionths
 * of a percent (5 % = 5000000), so six decimals are exact.
 */
#ifndef PB_TERMS_H
#define PB_TERMS_H

#include "code.h"

#define PB_PERCENT_ONE INT64_C(1000000)

/* From an order value on (inclusive), this percent and fixed amount instead of the terms' own. */
typedef struct PbBracket
{
	int64_t		from;
	int64_t		percent;
	int64_t		fixed;
} PbBracket;

typedef struct PbTerms
{
	int64_t		percent;		/* 0 if none */
	int64_t		fixed;			/* 0 if none */
	int64_t		min;			/* lower bound of the commission, 0 if none */
	int64_t		max;			/* upper bound, INT64_MAX if none; min <= max */
	const PbBracket *brackets;	/* ascending by from; the last with from <= value wins */
	size_t		bracket_count;
} PbTerms;

typedef enum PbFeeOf
{
	PB_FEE_NONE,
	PB_FEE_OF_COMMISSION,
	PB_FEE_OF_VALUE
} PbFeeOf;

/*
 * value * percent + fixed, rounded once half away from zero, then held to min..max.  PB_BAD_VALUE if the amount
 * before min and max does not fit.
 */
extern PbCode pb_commission(const PbTerms *terms, int64_t value, int64_t *commission);

/*
 * percent of the (already rounded) commission or of the order value, rounded once.  PB_BAD_VALUE on overflow.
 */
extern PbCode pb_fee(PbFeeOf of, int64_t percent, int64_t value, int64_t commission, int64_t *fee);

/* What an order value earns the publisher and the network.  PB_BAD_VALUE if one of them, or their sum, does not fit. */
extern PbCode pb_price(const PbTerms *terms, PbFeeOf of, int64_t fee_percent, int64_t value,
					   int64_t *commission, int64_t *fee);

#endif							/* PB_TERMS_H */
