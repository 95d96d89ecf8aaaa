/*
 * money.c: decimal text, minor units and rates; the only place where amounts are rounded.
 */
#include "money.h"

#define DECIMAL_DIGITS_MAX 18
#define DECIMAL_MAX INT64_C(999999999999999999)

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Appends a decimal digit to *n; false if that passes max. */
static bool
push_digit(int64_t *n, char digit, int64_t max)
{
	int64_t		d = digit - '0';

	if (*n > (max - d) / 10)
		return false;
	*n = *n * 10 + d;
	return true;
}

/* Takes "12.34" apart into "12" and "34" (empty without a period); false if it is no such number. */
static bool
split_decimal(PbSlice text, PbSlice *whole, PbSlice *fraction)
{
	size_t		period = pb_slice_find(text, '.', 0);

	for (size_t i = 0; i < text.len; i++)
	{
		if (i != period && !is_digit(text.data[i]))
			return false;
	}
	*whole = (PbSlice) {text.data, period};
	*fraction = (PbSlice) {NULL, 0};
	if (period < text.len)
	{
		*fraction = (PbSlice) {text.data + period + 1, text.len - period - 1};
		if (fraction->len == 0)
			return false;
	}
	return whole->len > 0;
}

static PbInt128
power_of_ten(int exponent)
{
	PbInt128	power = 1;

	while (exponent-- > 0)
		power *= 10;
	return power;
}

bool
pb_round_div(PbInt128 numerator, PbInt128 divisor, int64_t *result)
{
	PbInt128	quotient;
	PbInt128	remainder;

	if (divisor <= 0)
		return false;
	quotient = numerator / divisor;
	remainder = numerator % divisor;
	if (remainder < 0)
		remainder = -remainder;
	/* at least half: doubling the remainder could overflow */
	if (remainder >= divisor - remainder)
		quotient += numerator < 0 ? -1 : 1;
	if (quotient < INT64_MIN || quotient > INT64_MAX)
		return false;
	*result = (int64_t) quotient;
	return true;
}

bool
pb_muldiv(int64_t a, int64_t b, int64_t c, int64_t *result)
{
	return pb_round_div((PbInt128) a * b, c, result);
}

PbCode
pb_money_parse_minor(PbSlice text, int64_t *minor)
{
	int64_t		n = 0;

	if (text.len == 0)
		return PB_BAD_VALUE;
	for (size_t i = 0; i < text.len; i++)
	{
		if (!is_digit(text.data[i]) || !push_digit(&n, text.data[i], PB_VALUE_MAX))
			return PB_BAD_VALUE;
	}
	*minor = n;
	return PB_OK;
}

PbCode
pb_money_parse_major(PbSlice text, int exponent, int64_t *minor)
{
	size_t		digits = (size_t) exponent;
	PbSlice		whole;
	PbSlice		fraction;
	int64_t		n = 0;

	if (!split_decimal(text, &whole, &fraction))
		return PB_BAD_VALUE;
	for (size_t i = 0; i < whole.len; i++)
	{
		if (!push_digit(&n, whole.data[i], PB_VALUE_MAX))
			return PB_BAD_VALUE;
	}
	for (size_t i = 0; i < digits; i++)
	{
		if (!push_digit(&n, i < fraction.len ? fraction.data[i] : '0', PB_VALUE_MAX))
			return PB_BAD_VALUE;
	}
	for (size_t i = digits; i < fraction.len; i++)
	{
		if (fraction.data[i] != '0')
			return PB_BAD_VALUE;
	}
	*minor = n;
	return PB_OK;
}

void
pb_money_format(int64_t minor, int exponent, PbOut *out)
{
	int64_t		unit = (int64_t) power_of_ten(exponent);
	int64_t		whole = minor / unit;
	int64_t		fraction = minor % unit;

	if (minor < 0 && whole == 0)
		pb_out_char(out, '-');
	pb_out_int(out, whole);
	if (exponent > 0)
		pb_out_char(out, '.');
	if (fraction < 0)
		fraction = -fraction;
	while ((unit /= 10) > 0)
		pb_out_char(out, (char) ('0' + fraction / unit % 10));
}

PbCode
pb_decimal_parse(PbSlice text, PbDecimal *out)
{
	PbSlice		whole;
	PbSlice		fraction;
	int64_t		n = 0;

	if (!split_decimal(text, &whole, &fraction))
		return PB_BAD_VALUE;
	while (fraction.len > 0 && fraction.data[fraction.len - 1] == '0')
		fraction.len--;
	if (fraction.len > DECIMAL_DIGITS_MAX)
		return PB_BAD_VALUE;
	for (size_t i = 0; i < whole.len; i++)
	{
		if (!push_digit(&n, whole.data[i], DECIMAL_MAX))
			return PB_BAD_VALUE;
	}
	for (size_t i = 0; i < fraction.len; i++)
	{
		if (!push_digit(&n, fraction.data[i], DECIMAL_MAX))
			return PB_BAD_VALUE;
	}
	*out = (PbDecimal) {n, (int) fraction.len};
	return PB_OK;
}

PbCode
pb_money_convert(int64_t value, int from_exponent, PbDecimal rate, int to_exponent, int64_t *result)
{
	PbInt128	product = (PbInt128) value * rate.mantissa;
	int			shift = to_exponent - from_exponent - rate.scale;
	bool		fits;

	if (shift < 0)
		fits = pb_round_div(product, power_of_ten(-shift), result);
	else
	{
		/* a product that is too large already only grows; one that is not leaves room for the power */
		fits = product >= INT64_MIN && product <= INT64_MAX &&
			pb_round_div(product * power_of_ten(shift), 1, result);
	}
	return fits ? PB_OK : PB_BAD_VALUE;
}
