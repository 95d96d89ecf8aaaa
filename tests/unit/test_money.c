/*
 * test_money.c: parsing, showing, rounding and converting amounts (extension/core/money.c).
 *
 * The rule: half away from zero, once; a result beyond 64 bits is an error.  Expected amounts were worked
 * out by hand.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "money.h"

static void
assert_muldiv(int64_t a, int64_t b, int64_t c, int64_t expected)
{
	int64_t		result = 424242;

	assert_true(pb_muldiv(a, b, c, &result));
	assert_true(result == expected);
}

static void
assert_muldiv_fails(int64_t a, int64_t b, int64_t c)
{
	int64_t		result;

	assert_false(pb_muldiv(a, b, c, &result));
}

static void
halves_are_rounded_away_from_zero(void **state)
{
	(void) state;
	assert_muldiv(0, 1, 2, 0);
	assert_muldiv(1, 1, 2, 1);	/* 0.5 */
	assert_muldiv(-1, 1, 2, -1);
	assert_muldiv(1, -1, 2, -1);
	assert_muldiv(-1, -1, 2, 1);
	assert_muldiv(3, 1, 2, 2);	/* 1.5 */
	assert_muldiv(-3, 1, 2, -2);
	assert_muldiv(5, 1, 2, 3);	/* 2.5: not to even */
	assert_muldiv(-5, 1, 2, -3);
	assert_muldiv(25, 1, 10, 3);
	assert_muldiv(-25, 1, 10, -3);
}

static void
other_fractions_are_rounded_to_the_nearest(void **state)
{
	(void) state;
	assert_muldiv(1, 1, 3, 0);
	assert_muldiv(2, 1, 3, 1);
	assert_muldiv(-1, 1, 3, 0);
	assert_muldiv(-2, 1, 3, -1);
	assert_muldiv(24, 1, 10, 2);
	assert_muldiv(26, 1, 10, 3);
	assert_muldiv(-24, 1, 10, -2);
	assert_muldiv(-26, 1, 10, -3);
	assert_muldiv(49999, 1, 100000, 0);
	assert_muldiv(50000, 1, 100000, 1);
	assert_muldiv(50001, 1, 100000, 1);
	assert_muldiv(4999, 5, 100, 250);	/* 249.95 */
	assert_muldiv(7, 6, 3, 14);
}

static void
products_beyond_64_bits_are_exact(void **state)
{
	(void) state;
	assert_muldiv(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX);
	assert_muldiv(INT64_MIN, INT64_MAX, INT64_MAX, INT64_MIN);
	assert_muldiv(INT64_MIN, 1, 1, INT64_MIN);
	assert_muldiv(INT64_MAX, 2, 2, INT64_MAX);
	/* half of the largest (odd) divisor lies between these two */
	assert_muldiv(INT64_C(4611686018427387903), 1, INT64_MAX, 0);
	assert_muldiv(INT64_C(4611686018427387904), 1, INT64_MAX, 1);
	assert_muldiv(INT64_C(-4611686018427387903), 1, INT64_MAX, 0);
	assert_muldiv(INT64_C(-4611686018427387904), 1, INT64_MAX, -1);
	assert_muldiv(INT64_C(1000000000000000), INT64_C(5000000), INT64_C(100000000), INT64_C(50000000000000));
}

static void
results_beyond_64_bits_fail(void **state)
{
	(void) state;
	assert_muldiv_fails(INT64_MAX, 2, 1);
	assert_muldiv_fails(INT64_MIN, 2, 1);
	assert_muldiv_fails(INT64_MIN, -1, 1);
	assert_muldiv_fails(INT64_MAX, 3, 2);
	assert_muldiv_fails(INT64_MAX, INT64_MAX, 1);
	assert_muldiv_fails(INT64_MIN, INT64_MIN, 1);
	assert_muldiv_fails(INT64_MIN, INT64_MIN, INT64_MAX);
	/* (2^64 - 1) / 2 = 2^63 - 0.5: rounding takes it out of range, but its negative just into it */
	assert_muldiv_fails(INT64_C(4294967295), INT64_C(4294967297), 2);
	assert_muldiv(INT64_C(-4294967295), INT64_C(4294967297), 2, INT64_MIN);
	/* (2^64 + 1) / 2 */
	assert_muldiv_fails(INT64_C(-274177), INT64_C(67280421310721), 2);
}

static void
divisors_below_one_fail(void **state)
{
	(void) state;
	assert_muldiv_fails(1, 1, 0);
	assert_muldiv_fails(0, 0, 0);
	assert_muldiv_fails(1, 1, -1);
	assert_muldiv_fails(1, 1, INT64_MIN);
}

static void
quotients_of_128_bits_are_rounded_without_overflow(void **state)
{
	PbInt128	huge = (PbInt128) INT64_MAX * INT64_MAX * 2;	/* about 2^127 */
	int64_t		result;

	(void) state;
	assert_true(pb_round_div(huge, huge, &result));
	assert_true(result == 1);
	assert_true(pb_round_div(huge / 2, huge, &result));
	assert_true(result == 1);
	assert_true(pb_round_div(huge / 2 - 1, huge, &result));
	assert_true(result == 0);
	assert_true(pb_round_div(-huge / 2, huge, &result));
	assert_true(result == -1);
	assert_true(pb_round_div(-huge / 2 + 1, huge, &result));
	assert_true(result == 0);
	assert_true(pb_round_div(huge - 1, huge, &result));
	assert_true(result == 1);
	assert_false(pb_round_div(huge, 1, &result));
	assert_false(pb_round_div(-huge, 1, &result));
}

static void
assert_minor(const char *text, int64_t expected)
{
	int64_t		minor = -1;

	assert_int_equal(pb_money_parse_minor(pb_slice(text), &minor), PB_OK);
	assert_true(minor == expected);
}

static void
values_in_minor_units_are_digits(void **state)
{
	(void) state;
	assert_minor("4999", 4999);
	assert_minor("0", 0);
	assert_minor("00", 0);
	assert_minor("0004999", 4999);
	assert_minor("999999999999999", INT64_C(999999999999999));
	assert_minor("1000000000000000", INT64_C(1000000000000000));
	assert_minor("000000000000000000000000000000001", 1);
}

static void
other_values_in_minor_units_are_bad(void **state)
{
	static const char *const bad[] = {
		"", " ", "-1", "+1", "-0", "1.0", "1.", ".1", ".", "1,000", "1'000", "1_000", "1 000", " 1", "1 ", "1e3",
		"1E3", "0x10", "abc", "12a", "/", ":", "NaN", "Infinity", "4999EUR",
		"\xEF\xBC\x91",			/* a full-width digit one */
		"\xD9\xA1",				/* an Arabic-Indic one */
		"1000000000000001", "1000000000000010", "9999999999999999",
		"9223372036854775807", "9223372036854775808", "18446744073709551616", "18446744073709551617",
		"100000000000000000000000000000000000000000"
	};
	int64_t		minor;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (pb_money_parse_minor(pb_slice(bad[i]), &minor) != PB_BAD_VALUE)
			fail_msg("\"%s\" was accepted", bad[i]);
	}
	assert_int_equal(pb_money_parse_minor((PbSlice) {NULL, 0}, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_minor(PB_LITERAL("1\0"), &minor), PB_BAD_VALUE);
}

static void
assert_major(const char *text, int exponent, int64_t expected)
{
	int64_t		minor = -1;

	assert_int_equal(pb_money_parse_major(pb_slice(text), exponent, &minor), PB_OK);
	assert_true(minor == expected);
}

static void
values_in_full_units_take_the_currencys_digits(void **state)
{
	(void) state;
	assert_major("49.99", 2, 4999);
	assert_major("49.9", 2, 4990);
	assert_major("49", 2, 4900);
	assert_major("0", 2, 0);
	assert_major("0.00", 2, 0);
	assert_major("0.01", 2, 1);
	assert_major("00049.99", 2, 4999);
	assert_major("49", 0, 49);
	assert_major("1.234", 3, 1234);
	assert_major("1.2", 3, 1200);
	assert_major("1.2345", 4, 12345);
	assert_major("0.0001", 4, 1);
}

static void
further_fraction_digits_must_be_zeros(void **state)
{
	int64_t		minor;

	(void) state;
	assert_major("49.990", 2, 4999);
	assert_major("49.99000000000000000000000000000000", 2, 4999);
	assert_major("49.0", 0, 49);
	assert_major("49.00", 0, 49);
	assert_major("1.2340", 3, 1234);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("49.991"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("49.999"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("49.9900001"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("49.5"), 0, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("49.05"), 0, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("1.2345"), 3, &minor), PB_BAD_VALUE);
}

static void
values_in_full_units_end_at_ten_to_the_fifteenth_minor_ones(void **state)
{
	int64_t		minor;

	(void) state;
	assert_major("10000000000000", 2, INT64_C(1000000000000000));
	assert_major("10000000000000.00", 2, INT64_C(1000000000000000));
	assert_major("9999999999999.99", 2, INT64_C(999999999999999));
	assert_major("1000000000000000", 0, INT64_C(1000000000000000));
	assert_major("1000000000000", 3, INT64_C(1000000000000000));
	assert_int_equal(pb_money_parse_major(PB_LITERAL("10000000000000.01"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("10000000000001"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("1000000000000000"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("1000000000000001"), 0, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("1000000000000.001"), 3, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("92233720368547758.08"), 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("184467440737095516.16"), 2, &minor), PB_BAD_VALUE);
}

static void
other_values_in_full_units_are_bad(void **state)
{
	static const char *const bad[] = {
		"", " ", ".", "..", ".5", "5.", "1.2.3", "1..2", "-1", "-1.00", "+1", "1.-5", "1.+5", "1,50", "1.000,50",
		"1,000.50", " 1", "1 ", "1. 5", "1e3", "1.5e1", "0x1", "inf", "nan", "$1", "1.5a", "a.5",
		"\xEF\xBC\x91.50"
	};
	int64_t		minor;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (pb_money_parse_major(pb_slice(bad[i]), 2, &minor) != PB_BAD_VALUE)
			fail_msg("\"%s\" was accepted", bad[i]);
	}
	assert_int_equal(pb_money_parse_major(PB_LITERAL("5."), 0, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major((PbSlice) {NULL, 0}, 2, &minor), PB_BAD_VALUE);
	assert_int_equal(pb_money_parse_major(PB_LITERAL("1.5\0"), 2, &minor), PB_BAD_VALUE);
}

static void
assert_formats(int64_t minor, int exponent, const char *expected)
{
	char		room[32];
	PbOut		out = pb_out(room, sizeof(room));

	pb_money_format(minor, exponent, &out);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(room, expected, out.len);
}

static void
amounts_are_shown_in_full_units(void **state)
{
	(void) state;
	assert_formats(4999, 2, "49.99");
	assert_formats(4900, 2, "49.00");
	assert_formats(0, 2, "0.00");
	assert_formats(5, 2, "0.05");
	assert_formats(50, 2, "0.50");
	assert_formats(100, 2, "1.00");
	assert_formats(150, 0, "150");
	assert_formats(0, 0, "0");
	assert_formats(1234, 3, "1.234");
	assert_formats(1, 3, "0.001");
	assert_formats(12345, 4, "1.2345");
	assert_formats(1, 4, "0.0001");
	assert_formats(INT64_C(1000000000000000), 2, "10000000000000.00");
}

static void
negative_and_extreme_amounts_are_shown(void **state)
{
	(void) state;
	assert_formats(-5, 2, "-0.05");
	assert_formats(-100, 2, "-1.00");
	assert_formats(-4999, 2, "-49.99");
	assert_formats(-1, 0, "-1");
	assert_formats(-150, 0, "-150");
	assert_formats(INT64_MAX, 2, "92233720368547758.07");
	assert_formats(INT64_MIN, 2, "-92233720368547758.08");
	assert_formats(INT64_MAX, 0, "9223372036854775807");
	assert_formats(INT64_MIN, 0, "-9223372036854775808");
	assert_formats(INT64_MIN, 4, "-922337203685477.5808");
	assert_formats(INT64_MIN, 18, "-9.223372036854775808");
}

static void
assert_decimal(const char *text, int64_t mantissa, int scale)
{
	PbDecimal	decimal = {-1, -1};

	assert_int_equal(pb_decimal_parse(pb_slice(text), &decimal), PB_OK);
	assert_true(decimal.mantissa == mantissa);
	assert_int_equal(decimal.scale, scale);
}

static void
decimals_lose_trailing_zeros_of_the_fraction(void **state)
{
	(void) state;
	assert_decimal("5.125", 5125, 3);
	assert_decimal("5.1250", 5125, 3);
	assert_decimal("5", 5, 0);
	assert_decimal("500", 500, 0);
	assert_decimal("5.000", 5, 0);
	assert_decimal("0", 0, 0);
	assert_decimal("0.0", 0, 0);
	assert_decimal("0.05", 5, 2);
	assert_decimal("007.50", 75, 1);
	assert_decimal("1.0850000000000000000000", 1085, 3);
}

static void
decimals_hold_eighteen_digits(void **state)
{
	PbDecimal	decimal;

	(void) state;
	assert_decimal("999999999999999999", INT64_C(999999999999999999), 0);
	assert_decimal("123456789.987654321", INT64_C(123456789987654321), 9);
	assert_decimal("0.000000000000000001", 1, 18);
	assert_decimal("0.999999999999999999", INT64_C(999999999999999999), 18);
	assert_int_equal(pb_decimal_parse(PB_LITERAL("1000000000000000000"), &decimal), PB_BAD_VALUE);
	assert_int_equal(pb_decimal_parse(PB_LITERAL("9223372036854775807"), &decimal), PB_BAD_VALUE);
	assert_int_equal(pb_decimal_parse(PB_LITERAL("1234567890.987654321"), &decimal), PB_BAD_VALUE);
	assert_int_equal(pb_decimal_parse(PB_LITERAL("1.000000000000000001"), &decimal), PB_BAD_VALUE);
	assert_int_equal(pb_decimal_parse(PB_LITERAL("0.0000000000000000001"), &decimal), PB_BAD_VALUE);
}

static void
other_decimals_are_bad(void **state)
{
	static const char *const bad[] = {
		"", ".", ".5", "5.", "1.2.3", "-1", "+1", "1,5", "1e3", " 1", "1 ", "a", "1.a", "%", "5%", "NaN"
	};
	PbDecimal	decimal;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (pb_decimal_parse(pb_slice(bad[i]), &decimal) != PB_BAD_VALUE)
			fail_msg("\"%s\" was accepted", bad[i]);
	}
}

static void
assert_converts(int64_t value, int from, const char *rate, int to, int64_t expected)
{
	PbDecimal	decimal;
	int64_t		result = 424242;

	assert_int_equal(pb_decimal_parse(pb_slice(rate), &decimal), PB_OK);
	assert_int_equal(pb_money_convert(value, from, decimal, to, &result), PB_OK);
	assert_true(result == expected);
}

static void
assert_converts_not(int64_t value, int from, const char *rate, int to)
{
	PbDecimal	decimal;
	int64_t		result;

	assert_int_equal(pb_decimal_parse(pb_slice(rate), &decimal), PB_OK);
	assert_int_equal(pb_money_convert(value, from, decimal, to, &result), PB_BAD_VALUE);
}

static void
conversion_heeds_both_exponents(void **state)
{
	(void) state;
	assert_converts(1000, 2, "1.085", 2, 1085); /* 10.00 -> 10.85 */
	assert_converts(4999, 2, "161.5", 0, 8073); /* 49.99 EUR = 8073.385 JPY */
	assert_converts(150, 0, "0.0062", 2, 93);	/* 150 JPY = 0.93 EUR */
	assert_converts(1234, 3, "3.25", 2, 401);	/* 1.234 KWD = 4.0105 USD */
	assert_converts(401, 2, "0.3077", 3, 1234); /* 4.01 USD = 1.233877 KWD */
	assert_converts(5, 0, "2", 4, 100000);
	assert_converts(10000, 4, "2", 0, 2);
	assert_converts(4999, 2, "1", 2, 4999);
	assert_converts(0, 2, "1.5", 0, 0);
	assert_converts(4999, 2, "0", 2, 0);
}

static void
conversion_rounds_halves_away_from_zero(void **state)
{
	(void) state;
	assert_converts(1, 2, "0.5", 2, 1);
	assert_converts(-1, 2, "0.5", 2, -1);
	assert_converts(3, 2, "0.5", 2, 2);
	assert_converts(5, 2, "0.5", 2, 3);
	assert_converts(-5, 2, "0.5", 2, -3);
	assert_converts(1, 2, "0.499999999999999999", 2, 0);
	assert_converts(1, 2, "0.500000000000000001", 2, 1);
	assert_converts(50, 2, "1", 0, 1);	/* 0.50 -> 0 digits */
	assert_converts(49, 2, "1", 0, 0);
	assert_converts(150, 2, "1", 0, 2);
	assert_converts(250, 2, "1", 0, 3);
	/* once: 0.0449 by way of 0.045 and 0.05 would become 0.1 */
	assert_converts(449, 4, "1", 2, 4);
	assert_converts(445, 4, "0.1", 2, 0);
}

static void
conversion_beyond_64_bits_fails(void **state)
{
	(void) state;
	assert_converts(INT64_MAX, 2, "1", 2, INT64_MAX);
	assert_converts(INT64_MIN, 2, "1", 2, INT64_MIN);
	/* 9223372036854775797.776... */
	assert_converts(INT64_MAX, 2, "0.999999999999999999", 2, INT64_C(9223372036854775798));
	assert_converts(INT64_C(1000000000000000), 4, "0.000000000000000001", 0, 0);
	assert_converts_not(INT64_MAX, 2, "1.1", 2);
	assert_converts_not(INT64_MIN, 2, "1.1", 2);
	assert_converts_not(INT64_MAX, 0, "1", 4);
	assert_converts_not(INT64_MIN, 0, "1", 4);
	assert_converts_not(INT64_C(1000000000000000), 2, "999999999999999999", 2);
	assert_converts_not(INT64_MAX, 0, "999999999999999999", 4);
	assert_converts_not(INT64_MIN, 0, "999999999999999999", 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(halves_are_rounded_away_from_zero),
		cmocka_unit_test(other_fractions_are_rounded_to_the_nearest),
		cmocka_unit_test(products_beyond_64_bits_are_exact),
		cmocka_unit_test(results_beyond_64_bits_fail),
		cmocka_unit_test(divisors_below_one_fail),
		cmocka_unit_test(quotients_of_128_bits_are_rounded_without_overflow),
		cmocka_unit_test(values_in_minor_units_are_digits),
		cmocka_unit_test(other_values_in_minor_units_are_bad),
		cmocka_unit_test(values_in_full_units_take_the_currencys_digits),
		cmocka_unit_test(further_fraction_digits_must_be_zeros),
		cmocka_unit_test(values_in_full_units_end_at_ten_to_the_fifteenth_minor_ones),
		cmocka_unit_test(other_values_in_full_units_are_bad),
		cmocka_unit_test(amounts_are_shown_in_full_units),
		cmocka_unit_test(negative_and_extreme_amounts_are_shown),
		cmocka_unit_test(decimals_lose_trailing_zeros_of_the_fraction),
		cmocka_unit_test(decimals_hold_eighteen_digits),
		cmocka_unit_test(other_decimals_are_bad),
		cmocka_unit_test(conversion_heeds_both_exponents),
		cmocka_unit_test(conversion_rounds_halves_away_from_zero),
		cmocka_unit_test(conversion_beyond_64_bits_fails),
	};

	return cmocka_run_group_tests_name("money", tests, NULL, NULL);
}
