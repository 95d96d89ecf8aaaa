/*
 * test_ulid.c: reading, showing and generating ulids (extension/core/ulid.c).
 *
 * Ids, times and the monotonic series are the examples of the specification (github.com/ulid/spec); aliases
 * are those of Crockford's base 32.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ulid.h"

#define MS_MAX INT64_C(281474976710655)

/* 01ARZ3NDEKTSV4RRFFQ69G5FAV */
static const uint8_t example[16] = {
	0x01, 0x56, 0x3E, 0x3A, 0xB5, 0xD3, 0xD6, 0x76, 0x4C, 0x61, 0xEF, 0xB9, 0x93, 0x02, 0xBD, 0x5B
};

static const uint8_t no_random[10] = {0};

static void
assert_parses(const char *text, const uint8_t *expected)
{
	PbUlid		ulid;

	memset(&ulid, 0x55, sizeof(ulid));
	if (!pb_ulid_parse(pb_slice(text), &ulid))
		fail_msg("\"%s\" was refused", text);
	assert_memory_equal(ulid.bytes, expected, 16);
}

static void
assert_shows(const PbUlid *ulid, const char *expected)
{
	char		text[PB_ULID_TEXT_LEN + 1];

	text[PB_ULID_TEXT_LEN] = '#';
	pb_ulid_format(ulid, text);
	assert_memory_equal(text, expected, PB_ULID_TEXT_LEN);
	assert_int_equal(text[PB_ULID_TEXT_LEN], '#');
}

static PbUlid
ulid(const char *text)
{
	PbUlid		result;

	assert_true(pb_ulid_parse(pb_slice(text), &result));
	return result;
}

static void
text_is_read_in_any_case_with_or_without_prefix(void **state)
{
	(void) state;
	assert_parses("01ARZ3NDEKTSV4RRFFQ69G5FAV", example);
	assert_parses("01arz3ndektsv4rrffq69g5fav", example);
	assert_parses("01aRz3NdEkTsV4rRfFq69g5FaV", example);
	assert_parses("clk_01ARZ3NDEKTSV4RRFFQ69G5FAV", example);
	assert_parses("CLK_01ARZ3NDEKTSV4RRFFQ69G5FAV", example);
	assert_parses("Clk_01arz3ndektsv4rrffq69g5fav", example);
}

static void
crockfords_aliases_are_read(void **state)
{
	/* 26 times 00001, less the two leading zeros that have no room */
	static const uint8_t ones[16] = {
		0x21, 0x08, 0x42, 0x10, 0x84, 0x21, 0x08, 0x42, 0x10, 0x84, 0x21, 0x08, 0x42, 0x10, 0x84, 0x21
	};
	static const uint8_t zeros[16] = {0};

	(void) state;
	assert_parses("00000000000000000000000000", zeros);
	assert_parses("OOOOOOOOOOOOOoooooooooooOO", zeros);
	assert_parses("11111111111111111111111111", ones);
	assert_parses("IIIIIIIILLLLLLLLiiiillll11", ones);
	assert_parses("OIARZ3NDEKTSV4RRFFQ69G5FAV", example);
	assert_parses("olarz3ndektsv4rrffq69g5fav", example);
}

static void
other_texts_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"clk_",
		"01ARZ3NDEKTSV4RRFFQ69G5FA",	/* 25 */
		"01ARZ3NDEKTSV4RRFFQ69G5FAV0",	/* 27 */
		"01ARZ3NDEKTSV4RRFFQ69G5FAU",	/* U is no digit */
		"01ARZ3NDEKTSV4RRFFQ69G5FAu",
		"01ARZ3NDEKTSV4RRFFQ69G5FA-",
		"01ARZ3NDEKTSV4RRFFQ69G5FA ",
		" 01ARZ3NDEKTSV4RRFFQ69G5FA",
		"01ARZ3NDEKTSV4RRFFQ69G5FA@",
		"01ARZ3NDEKTSV4RRFFQ69G5FA[",
		"01ARZ3NDEKTSV4RRFFQ69G5FA/",
		"01ARZ3NDEKTSV4RRFFQ69G5FA:",
		"01ARZ3NDEKTSV4RRFFQ69G5F\xC3\xBC",
		"clk-01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"clx_01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"cnv_01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"clk01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"clk_clk_01ARZ3NDEKTSV4RRFFQ69G5FAV",
		"clk_01ARZ3NDEKTSV4RRFFQ69G5FA",
		"clk_01ARZ3NDEKTSV4RRFFQ69G5FAV0",
		"clk_01ARZ3NDEKTSV4RRFFQ69G",	/* 26 with the prefix */
		"01563e3a-b5d3-d676-4c61-efb99302bd5b",
	};
	PbUlid		result;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (pb_ulid_parse(pb_slice(bad[i]), &result))
			fail_msg("\"%s\" was read", bad[i]);
	}
	assert_false(pb_ulid_parse((PbSlice) {NULL, 0}, &result));
	assert_false(pb_ulid_parse(PB_LITERAL("01ARZ3NDEKTSV4RRFFQ69G5FA\0"), &result));
}

static void
ids_end_at_128_bits(void **state)
{
	uint8_t		largest[16];
	PbUlid		result;

	(void) state;
	memset(largest, 0xFF, sizeof(largest));
	assert_parses("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", largest);
	assert_parses("7zzzzzzzzzzzzzzzzzzzzzzzzz", largest);
	assert_false(pb_ulid_parse(PB_LITERAL("80000000000000000000000000"), &result));
	assert_false(pb_ulid_parse(PB_LITERAL("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"), &result));
	assert_false(pb_ulid_parse(PB_LITERAL("ZZZZZZZZZZZZZZZZZZZZZZZZZZ"), &result));
	assert_false(pb_ulid_parse(PB_LITERAL("clk_80000000000000000000000000"), &result));
}

static void
ids_are_shown_as_26_capitals(void **state)
{
	PbUlid		id;

	(void) state;
	memcpy(id.bytes, example, 16);
	assert_shows(&id, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
	memset(id.bytes, 0, 16);
	assert_shows(&id, "00000000000000000000000000");
	memset(id.bytes, 0xFF, 16);
	assert_shows(&id, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
}

static void
every_digit_is_shown_as_it_is_read(void **state)
{
	PbUlid		first = ulid("0123456789ABCDEFGHJKMNPQRS");
	PbUlid		second = ulid("7TVWXYZ0123456789ABCDEFGHJ");

	(void) state;
	assert_shows(&first, "0123456789ABCDEFGHJKMNPQRS");
	assert_shows(&second, "7TVWXYZ0123456789ABCDEFGHJ");
}

static void
ids_carry_their_time(void **state)
{
	PbUlid		id = ulid("01ARYZ6S41TSV4RRFFQ69G5FAV");

	(void) state;
	assert_true(pb_ulid_ms(&id) == INT64_C(1469918176385));
	id = ulid("00000000000000000000000000");
	assert_true(pb_ulid_ms(&id) == 0);
	id = ulid("0000000000ZZZZZZZZZZZZZZZZ");
	assert_true(pb_ulid_ms(&id) == 0);
	id = ulid("7ZZZZZZZZZ0000000000000000");
	assert_true(pb_ulid_ms(&id) == MS_MAX);
}

static void
floor_is_the_smallest_of_its_millisecond(void **state)
{
	PbUlid		id = pb_ulid_floor(INT64_C(1469918176385));

	(void) state;
	assert_shows(&id, "01ARYZ6S410000000000000000");
	id = pb_ulid_floor(0);
	assert_shows(&id, "00000000000000000000000000");
	id = pb_ulid_floor(-1);
	assert_shows(&id, "00000000000000000000000000");
	id = pb_ulid_floor(INT64_MIN);
	assert_shows(&id, "00000000000000000000000000");
	id = pb_ulid_floor(MS_MAX);
	assert_shows(&id, "7ZZZZZZZZZ0000000000000000");
	id = pb_ulid_floor(MS_MAX + 1);
	assert_shows(&id, "7ZZZZZZZZZ0000000000000000");
	id = pb_ulid_floor(INT64_MAX);
	assert_shows(&id, "7ZZZZZZZZZ0000000000000000");
}

static void
a_later_millisecond_begins_anew_with_random_bytes(void **state)
{
	static const uint8_t random[10] = {0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9};
	static const uint8_t expected[16] = {
		0x01, 0x56, 0x3D, 0xF3, 0x64, 0x81, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9
	};
	PbUlidSource source = {.last = ulid("01ARYZ6S40ZZZZZZZZZZZZZZZZ")};
	PbUlid		id = pb_ulid_next(&source, INT64_C(1469918176385), random);	/* 01ARYZ6S41 */

	(void) state;
	assert_memory_equal(id.bytes, expected, 16);
	assert_memory_equal(source.last.bytes, expected, 16);
}

/* The specification's monotonic series, with a step of 1. */
static void
the_same_millisecond_counts_on(void **state)
{
	PbUlidSource source = {.last = ulid("01BX5ZZKBKACTAV9WEVGEMMVRY")};
	int64_t		ms = pb_ulid_ms(&source.last);
	PbUlid		id = pb_ulid_next(&source, ms, no_random);

	(void) state;
	assert_shows(&id, "01BX5ZZKBKACTAV9WEVGEMMVRZ");
	id = pb_ulid_next(&source, ms, no_random);
	assert_shows(&id, "01BX5ZZKBKACTAV9WEVGEMMVS0");
	id = pb_ulid_next(&source, ms, no_random);
	assert_shows(&id, "01BX5ZZKBKACTAV9WEVGEMMVS1");
}

static void
a_clock_that_goes_back_counts_on_too(void **state)
{
	PbUlidSource source = {.last = ulid("01BX5ZZKBKACTAV9WEVGEMMVRZ")};
	PbUlid		id = pb_ulid_next(&source, pb_ulid_ms(&source.last) - 5000, no_random);

	(void) state;
	assert_shows(&id, "01BX5ZZKBKACTAV9WEVGEMMVS0");
	id = pb_ulid_next(&source, -1, no_random);
	assert_shows(&id, "01BX5ZZKBKACTAV9WEVGEMMVS1");
}

static void
a_step_is_one_to_two_to_the_32nd(void **state)
{
	static const uint8_t all_ones[10] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
	static const uint8_t expected[16] = {
		0x01, 0x56, 0x3E, 0x3A, 0xB5, 0xD3, 0xD6, 0x76, 0x4C, 0x61, 0xEF, 0xBA, 0x93, 0x02, 0xBD, 0x5B
	};
	PbUlidSource source;
	PbUlid		id;

	(void) state;
	memcpy(source.last.bytes, example, 16);
	id = pb_ulid_next(&source, 0, all_ones);
	assert_memory_equal(id.bytes, expected, 16);
}

static void
a_carry_goes_through_the_random_part_into_the_time(void **state)
{
	static const uint8_t low_half_full[16] = {
		0x01, 0x56, 0x3E, 0x3A, 0xB5, 0xD3, 0xD6, 0x76, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF
	};
	static const uint8_t carried[16] = {
		0x01, 0x56, 0x3E, 0x3A, 0xB5, 0xD3, 0xD6, 0x77, 0, 0, 0, 0, 0, 0, 0, 0
	};
	PbUlidSource source;
	PbUlid		id;

	(void) state;
	memcpy(source.last.bytes, low_half_full, 16);
	id = pb_ulid_next(&source, 0, no_random);
	assert_memory_equal(id.bytes, carried, 16);

	source.last = ulid("01BX5ZZKBKZZZZZZZZZZZZZZZZ");
	id = pb_ulid_next(&source, pb_ulid_ms(&source.last), no_random);
	assert_shows(&id, "01BX5ZZKBM0000000000000000");
	/* and goes on ascending when the clock gets there */
	id = pb_ulid_next(&source, pb_ulid_ms(&id), no_random);
	assert_shows(&id, "01BX5ZZKBM0000000000000001");
}

static void
ids_ascend_whatever_the_clock_does(void **state)
{
	static const int64_t clock[] = {
		0, 1, 1, 0, -7, 1000, 1000, 999, 1001, INT64_C(1469918176385), INT64_C(1469918176385), 5,
		INT64_C(1469918176386)
	};
	PbUlidSource source = {.last = pb_ulid_floor(0)};
	PbUlid		previous = source.last;
	uint8_t		random[10] = {0x80, 0, 0, 0, 0, 0, 0xF0, 0, 0, 0};

	(void) state;
	for (size_t i = 0; i < sizeof(clock) / sizeof(clock[0]); i++)
	{
		PbUlid		id;

		random[9] = (uint8_t) (i * 37);
		random[0] = (uint8_t) (255 - i);
		id = pb_ulid_next(&source, clock[i], random);
		assert_true(memcmp(previous.bytes, id.bytes, 16) < 0);
		previous = id;
	}
}

/* Nothing can come after the largest id; at least nothing smaller does. */
static void
the_largest_id_stays(void **state)
{
	PbUlidSource source = {.last = ulid("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")};
	PbUlid		id = pb_ulid_next(&source, INT64_MAX, no_random);

	(void) state;
	assert_shows(&id, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
	id = pb_ulid_next(&source, 0, no_random);
	assert_shows(&id, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_read_in_any_case_with_or_without_prefix),
		cmocka_unit_test(crockfords_aliases_are_read),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(ids_end_at_128_bits),
		cmocka_unit_test(ids_are_shown_as_26_capitals),
		cmocka_unit_test(every_digit_is_shown_as_it_is_read),
		cmocka_unit_test(ids_carry_their_time),
		cmocka_unit_test(floor_is_the_smallest_of_its_millisecond),
		cmocka_unit_test(a_later_millisecond_begins_anew_with_random_bytes),
		cmocka_unit_test(the_same_millisecond_counts_on),
		cmocka_unit_test(a_clock_that_goes_back_counts_on_too),
		cmocka_unit_test(a_step_is_one_to_two_to_the_32nd),
		cmocka_unit_test(a_carry_goes_through_the_random_part_into_the_time),
		cmocka_unit_test(ids_ascend_whatever_the_clock_does),
		cmocka_unit_test(the_largest_id_stays),
	};

	return cmocka_run_group_tests_name("ulid", tests, NULL, NULL);
}
