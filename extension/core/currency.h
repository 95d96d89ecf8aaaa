/*
 * currency.h: ISO 4217, all active currencies with their exponents (minor unit digits).
 */
#ifndef PB_CURRENCY_H
#define PB_CURRENCY_H

#include "slice.h"

/* The largest exponent of all. */
#define PB_EXPONENT_MAX 4

typedef struct PbCurrency
{
	char		code[4];		/* three capitals and NUL */
	int8_t		exponent;		/* digits of the minor unit: JPY 0, EUR 2, KWD 3 */
} PbCurrency;

/* Sorted by code. */
extern const PbCurrency pb_currencies[];
extern const size_t pb_currency_count;

/* The currency of a code in any case, or NULL. */
extern const PbCurrency *pb_currency_find(PbSlice code);

#endif							/* PB_CURRENCY_H */
