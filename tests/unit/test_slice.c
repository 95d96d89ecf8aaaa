/*
 * test_slice.c: slices, UTF-8 and bounded output (extension/core/slice.c).
 *
 * UTF-8: the well-formed sequences of the Unicode standard, table 3-7, from both sides of each boundary.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "slice.h"

static const PbSlice empty = {NULL, 0};

static void
assert_slice(PbSlice s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_true(s.len == 0 || memcmp(s.data, expected, s.len) == 0);
}

static void
equality_is_of_length_and_bytes(void **state)
{
	(void) state;
	assert_int_equal(pb_slice("order").len, 5);
	assert_int_equal(pb_slice("").len, 0);
	assert_true(pb_slice_equal(PB_LITERAL("order"), pb_slice("order")));
	assert_false(pb_slice_equal(PB_LITERAL("order"), PB_LITERAL("Order")));
	assert_false(pb_slice_equal(PB_LITERAL("order"), PB_LITERAL("orde")));
	assert_true(pb_slice_equal(empty, PB_LITERAL("")));
	assert_true(pb_slice_equal(PB_LITERAL("a\0b"), PB_LITERAL("a\0b")));
	assert_false(pb_slice_equal(PB_LITERAL("a\0b"), PB_LITERAL("a\0c")));
}

static void
case_is_folded_for_ascii_letters_only(void **state)
{
	(void) state;
	assert_true(pb_slice_equal_nocase(PB_LITERAL("AZaz"), PB_LITERAL("azAZ")));
	assert_true(pb_slice_equal_nocase(empty, PB_LITERAL("")));
	assert_false(pb_slice_equal_nocase(PB_LITERAL("ab"), PB_LITERAL("abc")));
	/* neighbours of the letters, 32 apart: '@' and '`', '[' and '{' */
	assert_false(pb_slice_equal_nocase(PB_LITERAL("@"), PB_LITERAL("`")));
	assert_false(pb_slice_equal_nocase(PB_LITERAL("["), PB_LITERAL("{")));
	/* U+00C4 and U+00E4 */
	assert_false(pb_slice_equal_nocase(PB_LITERAL("\xC3\x84"), PB_LITERAL("\xC3\xA4")));
}

static void
order_is_that_of_unsigned_bytes_then_of_length(void **state)
{
	(void) state;
	assert_true(pb_slice_compare(PB_LITERAL("a"), PB_LITERAL("b")) < 0);
	assert_true(pb_slice_compare(PB_LITERAL("b"), PB_LITERAL("a")) > 0);
	assert_true(pb_slice_compare(PB_LITERAL("ab"), PB_LITERAL("ab")) == 0);
	assert_true(pb_slice_compare(PB_LITERAL("a"), PB_LITERAL("ab")) < 0);
	assert_true(pb_slice_compare(PB_LITERAL("ab"), PB_LITERAL("a")) > 0);
	assert_true(pb_slice_compare(PB_LITERAL("b"), PB_LITERAL("ab")) > 0);
	assert_true(pb_slice_compare(PB_LITERAL("\x7F"), PB_LITERAL("\x80")) < 0);
	assert_true(pb_slice_compare(empty, PB_LITERAL("")) == 0);
	assert_true(pb_slice_compare(empty, PB_LITERAL("a")) < 0);
}

static void
trim_takes_ascii_spaces_off_both_ends(void **state)
{
	(void) state;
	assert_slice(pb_slice_trim(PB_LITERAL("  a b  ")), "a b");
	assert_slice(pb_slice_trim(PB_LITERAL("a")), "a");
	assert_slice(pb_slice_trim(PB_LITERAL("   ")), "");
	assert_slice(pb_slice_trim(PB_LITERAL("")), "");
	assert_slice(pb_slice_trim(empty), "");
	assert_slice(pb_slice_trim(PB_LITERAL("\ta\n")), "\ta\n");
	assert_slice(pb_slice_trim(PB_LITERAL("\xC2\xA0" "a")), "\xC2\xA0" "a");
}

static void
find_begins_at_the_given_offset(void **state)
{
	(void) state;
	assert_int_equal(pb_slice_find(PB_LITERAL("a=b=c"), '=', 0), 1);
	assert_int_equal(pb_slice_find(PB_LITERAL("a=b=c"), '=', 1), 1);
	assert_int_equal(pb_slice_find(PB_LITERAL("a=b=c"), '=', 2), 3);
	assert_int_equal(pb_slice_find(PB_LITERAL("a=b=c"), '=', 4), 5);
	assert_int_equal(pb_slice_find(PB_LITERAL("a=b=c"), '=', 5), 5);
	assert_int_equal(pb_slice_find(PB_LITERAL("a=b=c"), '=', 99), 5);
	assert_int_equal(pb_slice_find(PB_LITERAL("a\0="), '=', 0), 2);
	assert_int_equal(pb_slice_find(empty, '=', 0), 0);
}

static void
well_formed_utf8_is_valid(void **state)
{
	(void) state;
	assert_true(pb_utf8_valid(empty));
	assert_true(pb_utf8_valid(PB_LITERAL("\x01 order \x7F")));
	assert_true(pb_utf8_valid(PB_LITERAL("\xC2\x80\xDF\xBF")));	/* U+0080, U+07FF */
	assert_true(pb_utf8_valid(PB_LITERAL("\xE0\xA0\x80")));	/* U+0800 */
	assert_true(pb_utf8_valid(PB_LITERAL("\xE1\x80\x80\xEC\xBF\xBF")));	/* U+1000, U+CFFF */
	assert_true(pb_utf8_valid(PB_LITERAL("\xED\x80\x80\xED\x9F\xBF")));	/* U+D000, U+D7FF */
	assert_true(pb_utf8_valid(PB_LITERAL("\xEE\x80\x80\xEF\xBF\xBF")));	/* U+E000, U+FFFF */
	assert_true(pb_utf8_valid(PB_LITERAL("\xF0\x90\x80\x80")));	/* U+10000 */
	assert_true(pb_utf8_valid(PB_LITERAL("\xF1\x80\x80\x80\xF3\xBF\xBF\xBF")));	/* U+40000, U+FFFFF */
	assert_true(pb_utf8_valid(PB_LITERAL("\xF4\x80\x80\x80\xF4\x8F\xBF\xBF")));	/* U+100000, U+10FFFF */
	assert_true(pb_utf8_valid(PB_LITERAL("z\xC3\xBCrich \xE2\x82\xAC \xF0\x9F\x98\x80!")));
}

static void
ill_formed_utf8_and_nul_are_not(void **state)
{
	static const PbSlice bad[] = {
		{"\0", 1}, {"a\0b", 3},
		{"\x80", 1}, {"a\xBF", 2},	/* lone continuation */
		{"\xC0\x80", 2}, {"\xC0\xAF", 2}, {"\xC1\xBF", 2},	/* overlong, two bytes */
		{"\xE0\x80\xAF", 3}, {"\xE0\x9F\xBF", 3},	/* overlong, three bytes */
		{"\xF0\x80\x80\xAF", 4}, {"\xF0\x8F\xBF\xBF", 4},	/* overlong, four bytes */
		{"\xED\xA0\x80", 3}, {"\xED\xBF\xBF", 3},	/* U+D800, U+DFFF */
		{"\xED\xA0\xBD\xED\xB8\x80", 6},	/* a surrogate pair (CESU-8) */
		{"\xF4\x90\x80\x80", 4}, {"\xF5\x80\x80\x80", 4}, {"\xF7\xBF\xBF\xBF", 4},	/* from U+110000 on */
		{"\xF8\x88\x80\x80\x80", 5}, {"\xFC\x84\x80\x80\x80\x80", 6}, {"\xFE", 1}, {"\xFF", 1},
		/* truncated, at the end and within */
		{"\xC3", 1}, {"\xE2", 1}, {"\xE2\x82", 2}, {"\xF0", 1}, {"\xF0\x9F", 2}, {"\xF0\x9F\x98", 3},
		{"\xC3" "a", 2}, {"\xC3\xC3", 2}, {"\xE2\x82" "a", 3}, {"\xE2" "a\xAC", 3},
		{"\xF0\x9F" "a\x80", 4}, {"\xF0\x9F\x98" "a", 4}, {"\xF0\x9F\x98\xC0", 4},
		{"\xE9t\xE9", 3},		/* Latin-1 */
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (pb_utf8_valid(bad[i]))
			fail_msg("row %zu was taken for UTF-8", i);
	}
}

/* What is beyond the slice could complete the character, but must not be looked at. */
static void
validity_ends_with_the_slice(void **state)
{
	char		exact[2] = {(char) 0xE2, (char) 0x82};	/* the sanitizer watches its end */

	(void) state;
	assert_false(pb_utf8_valid((PbSlice) {exact, 2}));
	assert_false(pb_utf8_valid((PbSlice) {"\xE2\x82\xAC", 2}));
	assert_false(pb_utf8_valid((PbSlice) {"\xE2\x82\xAC", 1}));
	assert_false(pb_utf8_valid((PbSlice) {"a\xC3\xBC", 2}));
	assert_true(pb_utf8_valid((PbSlice) {"a\xFF", 1}));
}

static void
cut_keeps_characters_whole(void **state)
{
	PbSlice		s = PB_LITERAL("a\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80z"); /* 1 + 2 + 3 + 4 + 1 bytes */
	static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};

	(void) state;
	for (size_t limit = 0; limit < sizeof(expected) / sizeof(expected[0]); limit++)
		assert_int_equal(pb_utf8_cut(s, limit), expected[limit]);
	assert_int_equal(pb_utf8_cut(empty, 0), 0);
	assert_int_equal(pb_utf8_cut(empty, 5), 0);
	/* no UTF-8: never more than the limit, and not shrunk away */
	assert_int_equal(pb_utf8_cut(PB_LITERAL("\x80\x80\x80\x80\x80\x80"), 5), 5);
}

static void
output_stops_at_its_room_and_counts_on(void **state)
{
	char		room[8] = "#######";
	PbOut		out = pb_out(room, 4);

	(void) state;
	pb_out_char(&out, 'a');
	pb_out_bytes(&out, "bc", 2);
	pb_out_slice(&out, PB_LITERAL("d"));
	assert_int_equal(out.len, 4);
	assert_true(pb_out_fits(&out));
	pb_out_char(&out, 'e');
	assert_int_equal(out.len, 5);
	assert_false(pb_out_fits(&out));
	pb_out_slice(&out, PB_LITERAL("fgh"));
	assert_int_equal(out.len, 8);
	assert_memory_equal(room, "abcd###", 8);
}

static void
output_that_does_not_fit_is_written_in_part(void **state)
{
	char		room[8] = "#######";
	PbOut		out = pb_out(room, 4);

	(void) state;
	pb_out_bytes(&out, "abcdef", 6);
	assert_int_equal(out.len, 6);
	assert_memory_equal(room, "abcd###", 8);
}

static void
output_without_room_only_counts(void **state)
{
	PbOut		out = pb_out(NULL, 0);

	(void) state;
	assert_true(pb_out_fits(&out));
	pb_out_slice(&out, empty);
	assert_true(pb_out_fits(&out));
	pb_out_slice(&out, PB_LITERAL("abc"));
	pb_out_int(&out, -12);
	pb_out_percent(&out, PB_LITERAL("/"));
	pb_out_json(&out, PB_LITERAL("\n"));
	assert_int_equal(out.len, 3 + 3 + 3 + 2);
	assert_false(pb_out_fits(&out));
}

static void
integers_of_every_size_are_written(void **state)
{
	char		room[128];
	PbOut		out = pb_out(room, sizeof(room));

	(void) state;
	pb_out_int(&out, 0);
	pb_out_char(&out, ' ');
	pb_out_int(&out, 10);
	pb_out_char(&out, ' ');
	pb_out_int(&out, -7);
	pb_out_char(&out, ' ');
	pb_out_int(&out, INT64_MAX);
	pb_out_char(&out, ' ');
	pb_out_int(&out, INT64_MIN);
	assert_slice((PbSlice) {room, out.len}, "0 10 -7 9223372036854775807 -9223372036854775808");
}

static void
percent_encoding_spares_the_unreserved_of_rfc_3986(void **state)
{
	char		room[1024];
	PbOut		out = pb_out(room, sizeof(room));

	(void) state;
	pb_out_percent(&out, PB_LITERAL("azAZ09-._~"));
	pb_out_percent(&out, PB_LITERAL(" !\"#$%&'()*+,/:;<=>?@[\\]^`{|}"));
	pb_out_percent(&out, PB_LITERAL("\0\n\x7F\xC3\xBC\xFF"));
	assert_slice((PbSlice) {room, out.len},
				 "azAZ09-._~"
				 "%20%21%22%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E%60%7B%7C%7D"
				 "%00%0A%7F%C3%BC%FF");
}

static void
json_escapes_what_rfc_8259_demands(void **state)
{
	char		room[256];
	PbOut		out = pb_out(room, sizeof(room));

	(void) state;
	pb_out_json(&out, PB_LITERAL("a\"b\\c/\b\f\n\r\t\x01\x1F\0 \x7F\xC3\xBC"));
	assert_slice((PbSlice) {room, out.len},
				 "a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000 \x7F\xC3\xBC");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equality_is_of_length_and_bytes),
		cmocka_unit_test(case_is_folded_for_ascii_letters_only),
		cmocka_unit_test(order_is_that_of_unsigned_bytes_then_of_length),
		cmocka_unit_test(trim_takes_ascii_spaces_off_both_ends),
		cmocka_unit_test(find_begins_at_the_given_offset),
		cmocka_unit_test(well_formed_utf8_is_valid),
		cmocka_unit_test(ill_formed_utf8_and_nul_are_not),
		cmocka_unit_test(validity_ends_with_the_slice),
		cmocka_unit_test(cut_keeps_characters_whole),
		cmocka_unit_test(output_stops_at_its_room_and_counts_on),
		cmocka_unit_test(output_that_does_not_fit_is_written_in_part),
		cmocka_unit_test(output_without_room_only_counts),
		cmocka_unit_test(integers_of_every_size_are_written),
		cmocka_unit_test(percent_encoding_spares_the_unreserved_of_rfc_3986),
		cmocka_unit_test(json_escapes_what_rfc_8259_demands),
	};

	return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
