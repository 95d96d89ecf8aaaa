/*
 * test_form.c: reading application/x-www-form-urlencoded (extension/core/form.c).
 *
 * Expectations follow the parser of the WHATWG URL standard, section 5.1, and its percent-decode,
 * section 1.3.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "form.h"

static void
assert_slice(PbSlice s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_true(s.len == 0 || memcmp(s.data, expected, s.len) == 0);
}

/* The form must consist of exactly these raw names and values, in this order; NULL ends the list. */
static void
assert_pairs(PbSlice form, const char *const *expected)
{
	PbSlice		name;
	PbSlice		value;

	for (; expected[0] != NULL; expected += 2)
	{
		assert_true(pb_form_next(&form, &name, &value));
		assert_slice(name, expected[0]);
		assert_slice(value, expected[1]);
	}
	assert_false(pb_form_next(&form, &name, &value));
	assert_false(pb_form_next(&form, &name, &value));
}

#define ASSERT_PAIRS(form, ...) \
	assert_pairs(PB_LITERAL(form), (const char *const[]) {__VA_ARGS__})

static void
assert_decodes(PbSlice raw, PbSlice expected)
{
	char		out[64];

	memset(out, '#', sizeof(out));
	assert_int_equal(pb_form_decode(raw, out), expected.len);
	assert_memory_equal(out, expected.data, expected.len);
	for (size_t i = raw.len; i < sizeof(out); i++)
		assert_int_equal(out[i], '#');
}

#define ASSERT_DECODES(raw, expected) assert_decodes(PB_LITERAL(raw), PB_LITERAL(expected))

static void
pairs_are_split_at_ampersand_and_first_equals(void **state)
{
	(void) state;
	ASSERT_PAIRS("order=A-1&value=4999", "order", "A-1", "value", "4999", NULL);
	ASSERT_PAIRS("order=A-1", "order", "A-1", NULL);
	ASSERT_PAIRS("a=b=c", "a", "b=c", NULL);
	ASSERT_PAIRS("a==", "a", "=", NULL);
	ASSERT_PAIRS("a=1&a=2", "a", "1", "a", "2", NULL);
	/* a semicolon separates nothing */
	ASSERT_PAIRS("a=1;b=2", "a", "1;b=2", NULL);
	/* what is encoded splits nothing, and stays encoded */
	ASSERT_PAIRS("a%3Db=1%262&c+d=%3D", "a%3Db", "1%262", "c+d", "%3D", NULL);
}

static void
empty_pairs_are_skipped_but_empty_names_and_values_are_not(void **state)
{
	(void) state;
	assert_pairs((PbSlice) {NULL, 0}, (const char *const[]) {NULL});
	ASSERT_PAIRS("", NULL);
	ASSERT_PAIRS("&", NULL);
	ASSERT_PAIRS("&&&", NULL);
	ASSERT_PAIRS("&&a=1&&b=2&&", "a", "1", "b", "2", NULL);
	ASSERT_PAIRS("a", "a", "", NULL);
	ASSERT_PAIRS("a&b", "a", "", "b", "", NULL);
	ASSERT_PAIRS("a=", "a", "", NULL);
	ASSERT_PAIRS("a=&b=", "a", "", "b", "", NULL);
	ASSERT_PAIRS("=x", "", "x", NULL);
	ASSERT_PAIRS("=", "", "", NULL);
	ASSERT_PAIRS("=&=x", "", "", "", "x", NULL);
}

static void
escapes_and_plus_are_decoded(void **state)
{
	(void) state;
	ASSERT_DECODES("", "");
	ASSERT_DECODES("plain", "plain");
	ASSERT_DECODES("a+b", "a b");
	ASSERT_DECODES("+", " ");
	ASSERT_DECODES("++", "  ");
	ASSERT_DECODES("%2B", "+");
	ASSERT_DECODES("%20", " ");
	ASSERT_DECODES("%41%5a%5A", "AZZ");
	ASSERT_DECODES("%c3%BC", "\xC3\xBC");
	ASSERT_DECODES("%00", "\0");
	ASSERT_DECODES("a%00b", "a\0b");
	ASSERT_DECODES("%ff%FF%fF", "\xFF\xFF\xFF");
	ASSERT_DECODES("%09%0d%0A", "\t\r\n");
	/* bytes outside ASCII pass */
	ASSERT_DECODES("\xC3\xBC", "\xC3\xBC");
}

static void
bad_escapes_stay_literal(void **state)
{
	(void) state;
	ASSERT_DECODES("%", "%");
	ASSERT_DECODES("%4", "%4");
	ASSERT_DECODES("a%", "a%");
	ASSERT_DECODES("%zz", "%zz");
	ASSERT_DECODES("%4z", "%4z");
	ASSERT_DECODES("%z4", "%z4");
	ASSERT_DECODES("%4g%G4", "%4g%G4");
	ASSERT_DECODES("%/0%:0%@0%`0", "%/0%:0%@0%`0");	/* neighbours of the digits and letters */
	ASSERT_DECODES("100%", "100%");
	ASSERT_DECODES("100% sure", "100% sure");
	ASSERT_DECODES("% 41", "% 41");
	ASSERT_DECODES("%+1", "% 1");
	ASSERT_DECODES("%u0041", "%u0041");
	/* the next escape is read even so */
	ASSERT_DECODES("%%41", "%A");
	ASSERT_DECODES("%4%41", "%4A");
	ASSERT_DECODES("%%%", "%%%");
	/* decoded once */
	ASSERT_DECODES("%2541", "%41");
	ASSERT_DECODES("%252B", "%2B");
}

/* The digit behind the slice would complete the escape. */
static void
decoding_ends_with_the_slice(void **state)
{
	(void) state;
	assert_decodes((PbSlice) {"%41", 2}, PB_LITERAL("%4"));
	assert_decodes((PbSlice) {"%41", 1}, PB_LITERAL("%"));
}

static void
decoding_may_be_done_in_place(void **state)
{
	char		text[] = "a%20b+%zz%41";

	(void) state;
	assert_int_equal(pb_form_decode((PbSlice) {text, sizeof(text) - 1}, text), 8);
	assert_memory_equal(text, "a b %zzA", 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_split_at_ampersand_and_first_equals),
		cmocka_unit_test(empty_pairs_are_skipped_but_empty_names_and_values_are_not),
		cmocka_unit_test(escapes_and_plus_are_decoded),
		cmocka_unit_test(bad_escapes_stay_literal),
		cmocka_unit_test(decoding_ends_with_the_slice),
		cmocka_unit_test(decoding_may_be_done_in_place),
	};

	return cmocka_run_group_tests_name("form", tests, NULL, NULL);
}
