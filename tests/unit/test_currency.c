/*
 * test_currency.c: the table of currencies against ISO 4217 (extension/core/currency.c).
 *
 * The lists by exponent are those of ISO 4217's list one, written down independently of the table.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "currency.h"

static const char *const no_digits[] = {
	"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV",
	"XAF", "XOF", "XPF", NULL
};

static const char *const three_digits[] = {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", NULL};

static const char *const four_digits[] = {"CLF", "UYW", NULL};

static const char *const two_digits[] = {
	"AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BMD",
	"BND", "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW",
	"CNY", "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR",
	"FJD", "FKP", "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR",
	"ILS", "INR", "IRR", "JMD", "KES", "KGS", "KHR", "KPW", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD",
	"LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV",
	"MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN",
	"QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD",
	"SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH",
	"USD", "USN", "UYU", "UZS", "VED", "VES", "WST", "XAD", "XCD", "XCG", "YER", "ZAR", "ZMW", "ZWG",
	NULL
};

/* Returns how many there are. */
static size_t
assert_exponent(const char *const *codes, int exponent)
{
	size_t		count = 0;

	for (; codes[count] != NULL; count++)
	{
		const PbCurrency *currency = pb_currency_find(pb_slice(codes[count]));

		if (currency == NULL)
			fail_msg("%s is missing", codes[count]);
		assert_string_equal(currency->code, codes[count]);
		if (currency->exponent != exponent)
			fail_msg("%s has %d digits, not %d", codes[count], currency->exponent, exponent);
	}
	return count;
}

static void
every_currency_has_its_exponent_and_there_are_no_others(void **state)
{
	size_t		count = assert_exponent(no_digits, 0);

	(void) state;
	count += assert_exponent(two_digits, 2);
	count += assert_exponent(three_digits, 3);
	count += assert_exponent(four_digits, 4);
	assert_int_equal(pb_currency_count, count);
	assert_int_equal(PB_EXPONENT_MAX, 4);
}

static void
table_is_sorted_and_without_repeats(void **state)
{
	(void) state;
	for (size_t i = 1; i < pb_currency_count; i++)
		assert_true(strcmp(pb_currencies[i - 1].code, pb_currencies[i].code) < 0);
}

static void
codes_are_found_in_any_case(void **state)
{
	(void) state;
	assert_string_equal(pb_currency_find(PB_LITERAL("eur"))->code, "EUR");
	assert_string_equal(pb_currency_find(PB_LITERAL("uSd"))->code, "USD");
	assert_string_equal(pb_currency_find(PB_LITERAL("aed"))->code, "AED");	/* first */
	assert_string_equal(pb_currency_find(PB_LITERAL("Zwg"))->code, "ZWG");	/* last */
}

static void
withdrawn_currencies_are_unknown(void **state)
{
	static const char *const codes[] = {
		"HRK", "SLL", "ANG", "CUC", "ZWL", "LTL", "LVL", "EEK", "DEM", "BYR", "MRO", "STD", "VEF", "ZMK", "TRL",
		"GHC", "RUR"
	};

	(void) state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_null(pb_currency_find(pb_slice(codes[i])));
}

static void
codes_without_a_minor_unit_are_unknown(void **state)
{
	static const char *const codes[] = {
		"XAG", "XAU", "XPD", "XPT", "XBA", "XBB", "XBC", "XBD", "XDR", "XSU", "XTS", "XUA", "XXX"
	};

	(void) state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_null(pb_currency_find(pb_slice(codes[i])));
}

static void
what_is_no_code_is_unknown(void **state)
{
	static const char *const texts[] = {
		"", "E", "EU", "EURO", " EUR", "EUR ", "AAA", "ZZZ", "978", "$", "\xE2\x82\xAC", "BTC", "EU\xD2"
	};

	(void) state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_null(pb_currency_find(pb_slice(texts[i])));
	assert_null(pb_currency_find((PbSlice) {NULL, 0}));
	assert_null(pb_currency_find(PB_LITERAL("EU\0")));
	assert_null(pb_currency_find(PB_LITERAL("EUR\0")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_currency_has_its_exponent_and_there_are_no_others),
		cmocka_unit_test(table_is_sorted_and_without_repeats),
		cmocka_unit_test(codes_are_found_in_any_case),
		cmocka_unit_test(withdrawn_currencies_are_unknown),
		cmocka_unit_test(codes_without_a_minor_unit_are_unknown),
		cmocka_unit_test(what_is_no_code_is_unknown),
	};

	return cmocka_run_group_tests_name("currency", tests, NULL, NULL);
}
