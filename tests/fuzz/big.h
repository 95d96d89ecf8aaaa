/*
 * big.h: natural numbers of 320 bits with nothing but what a definition of rounding needs: plus, times, compare.
 */
#ifndef BIG_H
#define BIG_H

#include "fuzz.h"

#define LIMBS 10

typedef struct Big
{
	uint32_t	limb[LIMBS];	/* the least significant first */
} Big;

static inline Big
big_times(Big a, uint64_t b)
{
	uint32_t	half[2] = {(uint32_t) b, (uint32_t) (b >> 32)};
	Big			product = {0};

	for (int h = 0; h < 2; h++)
	{
		uint64_t	carry = 0;

		for (int i = 0; i + h < LIMBS; i++)
		{
			carry += (uint64_t) a.limb[i] * half[h] + product.limb[i + h];
			product.limb[i + h] = (uint32_t) carry;
			carry >>= 32;
		}
		HOLDS(carry == 0);
	}
	return product;
}

static inline Big
big(uint64_t n)
{
	return (Big) {{(uint32_t) n, (uint32_t) (n >> 32)}};
}

static inline Big
big_plus(Big a, Big b)
{
	uint64_t	carry = 0;

	for (int i = 0; i < LIMBS; i++)
	{
		carry += (uint64_t) a.limb[i] + b.limb[i];
		a.limb[i] = (uint32_t) carry;
		carry >>= 32;
	}
	HOLDS(carry == 0);
	return a;
}

/* Negative, zero or positive. */
static inline int
big_compare(Big a, Big b)
{
	for (int i = LIMBS - 1; i >= 0; i--)
		if (a.limb[i] != b.limb[i])
			return a.limb[i] < b.limb[i] ? -1 : 1;
	return 0;
}

static inline Big
big_power_of_ten(Big a, int exponent)
{
	for (; exponent > 0; exponent--)
		a = big_times(a, 10);
	return a;
}

static inline uint64_t
magnitude(int64_t n)
{
	return n < 0 ? 0 - (uint64_t) n : (uint64_t) n;
}

/*
 * Is result what (negative ? -1 : 1) * numerator / divisor gives, rounded half away from zero, and did it fit an
 * int64 exactly if it should?  By the definition: |result| is the m with (2m - 1) * divisor <= 2 * numerator < (2m + 1) * divisor.
 */
static inline bool
is_rounded(Big numerator, bool negative, Big divisor, bool fits, int64_t result)
{
	uint64_t	limit = negative ? UINT64_C(1) << 63 : INT64_MAX;
	uint64_t	m = fits ? magnitude(result) : limit;
	Big			twice = big_times(numerator, 2);
	Big			middle = big_times(big_times(divisor, m), 2);
	bool		below = big_compare(twice, big_plus(middle, divisor)) < 0;

	if (!fits)
		return !below;
	return below && (m == 0 || big_compare(big_plus(twice, divisor), middle) >= 0) &&
		(m == 0 || (result < 0) == negative);
}

#endif							/* BIG_H */
