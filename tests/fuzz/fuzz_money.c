/*
 * fuzz_money.c: decimal text, minor units, rounding and rates (extension/core/money.c) against big numbers.
 */
#include "big.h"

#include "money.h"

static bool
all_digits(PbSlice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
	return true;
}

/* digits followed by zeros, as a number; false beyond limit. */
static bool
number_of(PbSlice digits, PbSlice more, size_t length, uint64_t limit, int64_t *n)
{
	Big			sum = {0};

	for (size_t i = 0; i < digits.len + length; i++)
	{
		size_t		k = i - digits.len;
		char		c = i < digits.len ? digits.data[i] : k < more.len ? more.data[k] : '0';

		sum = big_plus(big_times(sum, 10), big((uint64_t) (c - '0')));
		if (big_compare(sum, big(limit)) > 0)
			return false;
	}
	*n = (int64_t) (sum.limb[0] | (uint64_t) sum.limb[1] << 32);
	return true;
}

static bool
reference_minor(PbSlice text, int64_t *minor)
{
	return text.len > 0 && all_digits(text) && number_of(text, (PbSlice) {0}, 0, PB_VALUE_MAX, minor);
}

/* "12.34" into "12" and "34"; false unless both are digits and the second is there if a period is. */
static bool
cut_at_period(PbSlice text, PbSlice *whole, PbSlice *fraction)
{
	const char *period = text.len == 0 ? NULL : memchr(text.data, '.', text.len);

	*whole = (PbSlice) {text.data, period == NULL ? text.len : (size_t) (period - text.data)};
	*fraction = period == NULL ? (PbSlice) {0} : (PbSlice) {period + 1, text.len - whole->len - 1};
	return whole->len > 0 && (period == NULL || fraction->len > 0) && all_digits(*whole) && all_digits(*fraction);
}

static PbSlice
without_trailing_zeros(PbSlice fraction)
{
	while (fraction.len > 0 && fraction.data[fraction.len - 1] == '0')
		fraction.len--;
	return fraction;
}

static void
check_parsing(PbSlice text, int exponent)
{
	PbSlice		whole;
	PbSlice		fraction;
	PbDecimal	decimal = {0};
	int64_t		expected = 0;
	int64_t		minor = 0;
	bool		good = cut_at_period(text, &whole, &fraction);
	bool		fits = reference_minor(text, &expected);

	HOLDS((pb_money_parse_minor(text, &minor) == PB_OK) == fits);
	HOLDS(!fits || minor == expected);

	fraction = without_trailing_zeros(fraction);
	fits = good && fraction.len <= (size_t) exponent &&
		number_of(whole, fraction, (size_t) exponent, PB_VALUE_MAX, &expected);
	HOLDS((pb_money_parse_major(text, exponent, &minor) == PB_OK) == fits);
	HOLDS(!fits || minor == expected);

	fits = good && fraction.len <= 18 &&
		number_of(whole, fraction, fraction.len, UINT64_C(999999999999999999), &expected);
	HOLDS((pb_decimal_parse(text, &decimal) == PB_OK) == fits);
	HOLDS(!fits || (decimal.mantissa == expected && decimal.scale == (int) fraction.len));
}

/* What is shown is the digits of the amount, with a period, and means the same amount again. */
static void
check_formatting(int64_t minor, int exponent)
{
	PbSlice		shown = WRITTEN(out, pb_money_format(minor, exponent, &out));
	char		digits[64];
	char		expected[64];
	int			length = snprintf(digits, sizeof(digits), "%0*llu", exponent + 1, (unsigned long long) magnitude(minor));
	int64_t		again = 0;

	snprintf(expected, sizeof(expected), exponent > 0 ? "%s%.*s.%s" : "%s%.*s", minor < 0 ? "-" : "",
		length - exponent, digits, digits + length - exponent);
	HOLDS(pb_slice_equal(shown, pb_slice(expected)));
	if (minor >= 0 && minor <= PB_VALUE_MAX)
		HOLDS(pb_money_parse_major(shown, exponent, &again) == PB_OK && again == minor);
}

static Big
big_of_128(unsigned __int128 n)
{
	Big			result = {0};

	for (int i = 0; i < 4; i++, n >>= 32)
		result.limb[i] = (uint32_t) n;
	return result;
}

static void
check_rounding(Input *in)
{
	PbInt128	numerator = (PbInt128) ((unsigned __int128) take_number(in, 8) << 64 | take_number(in, 8));
	PbInt128	divisor = (PbInt128) (((unsigned __int128) take_number(in, 8) << 64 | take_number(in, 8)) >> 1);
	bool		negative = numerator < 0;
	unsigned __int128 size = negative ? 0 - (unsigned __int128) numerator : (unsigned __int128) numerator;
	int64_t		result = 0;
	bool		fits = pb_round_div(numerator, divisor, &result);

	if (divisor == 0)
		HOLDS(!fits);
	else
		HOLDS(is_rounded(big_of_128(size), negative, big_of_128((unsigned __int128) divisor), fits, result));
}

static void
check_muldiv(int64_t a, int64_t b, int64_t c)
{
	int64_t		result = 0;
	bool		fits = pb_muldiv(a, b, c, &result);

	if (c <= 0)
		HOLDS(!fits);
	else
		HOLDS(is_rounded(big_times(big(magnitude(a)), magnitude(b)), (a < 0) != (b < 0), big((uint64_t) c), fits, result));
}

/* value / 10^from * mantissa / 10^scale * 10^to. */
static void
check_conversion(Input *in)
{
	int64_t		value = take_int64(in);
	PbDecimal	rate = {(int64_t) (magnitude(take_int64(in)) % UINT64_C(1000000000000000000)), take_choice(in, 19)};
	int			from = take_choice(in, 5);
	int			to = take_choice(in, 5);
	Big			numerator = big_power_of_ten(big_times(big(magnitude(value)), (uint64_t) rate.mantissa), to);
	int64_t		result = 0;
	bool		fits = pb_money_convert(value, from, rate, to, &result) == PB_OK;

	HOLDS(is_rounded(numerator, value < 0, big_power_of_ten(big(1), from + rate.scale), fits, result));
}

static void
check_properties(Input *in)
{
	int64_t		a;
	int64_t		b;

	switch (take_choice(in, 5))
	{
		case 0:
			check_rounding(in);
			break;
		case 1:
			a = take_int64(in);
			b = take_int64(in);
			check_muldiv(a, b, take_int64(in));
			break;
		case 2:
			check_conversion(in);
			break;
		case 3:
			a = take_int64(in);
			check_formatting(a, take_choice(in, 19));
			break;
		default:
			{
				int			exponent = take_choice(in, 5);

				check_parsing(take_rest(in), exponent);
			}
	}
}
