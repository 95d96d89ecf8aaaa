/*
 * money.h: decimal text <-> minor units, and conversion between currencies.
 *
 * Amounts are int64 minor units.  Intermediates are 128 bits wide; a result that
 * does not fit is PB_BAD_VALUE.  Rounding is half away from zero, once per call.
 */
#ifndef PB_MONEY_H
#define PB_MONEY_H

#include "code.h"

/* Largest order value accepted, in minor units. */
#define PB_VALUE_MAX INT64_C(1000000000000000)

/* A non-negative decimal: mantissa / 10^scale, scale 0..18. */
typedef struct PbDecimal
{
	int64_t		mantissa;
	int			scale;
} PbDecimal;

/* For intermediates: exact where two amounts are multiplied. */
__extension__ typedef __int128 PbInt128;

/* round-half-away-from-zero(numerator / divisor), divisor > 0; false if it does not fit. */
extern bool pb_round_div(PbInt128 numerator, PbInt128 divisor, int64_t *result);

/* round-half-away-from-zero(a * b / c), c > 0; false if it does not fit. */
extern bool pb_muldiv(int64_t a, int64_t b, int64_t c, int64_t *result);

/* "4999" -> 4999.  Digits only (leading zeros allowed), at most PB_VALUE_MAX, else PB_BAD_VALUE. */
extern PbCode pb_money_parse_minor(PbSlice text, int64_t *minor);

/*
 * "49.99", exponent 2 -> 4999.  Digits with at most one period and at least one digit;
 * ".5" and "5." are PB_BAD_VALUE; more fraction digits than exponent only if the further ones are zeros;
 * at most PB_VALUE_MAX in minor units, else PB_BAD_VALUE.
 */
extern PbCode pb_money_parse_major(PbSlice text, int exponent, int64_t *minor);

/* 4999, exponent 2 -> "49.99"; -5, 2 -> "-0.05"; 150, 0 -> "150".  Any int64; exponent 0..18. */
extern void pb_money_format(int64_t minor, int exponent, PbOut *out);

/*
 * "5.125" -> {5125, 3}: digits with at most one period, at least one digit before and after it; trailing
 * zeros of the fraction are dropped.  PB_BAD_VALUE if more than 18 digits are left, not counting leading
 * zeros, or more than 18 in the fraction.
 */
extern PbCode pb_decimal_parse(PbSlice text, PbDecimal *out);

/*
 * value minor units of a currency with from_exponent, at rate (1 from = rate to, in full units),
 * into minor units of one with to_exponent, rounded once.
 */
extern PbCode pb_money_convert(int64_t value, int from_exponent, PbDecimal rate, int to_exponent, int64_t *result);

#endif							/* PB_MONEY_H */
