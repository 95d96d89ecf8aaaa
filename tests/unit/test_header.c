/*
 * test_header.c: header fields that a callback may set.
 *
 * Expectations come from RFC 9110 (5.1, 5.5, 5.6.2) and the daemon's documentation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "header.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
names_are_tokens(void **state)
{
	/* tchar of RFC 9110 */
	static const char token[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

	(void) state;
	for (int c = 0; c < 256; c++)
	{
		char		name[3] = {'X', (char) c, 'y'};

		assert_int_equal(pb_header_name_ok((PbSlice) {name, 3}), c != 0 && strchr(token, c) != NULL);
	}
	assert_false(pb_header_name_ok(pb_slice("")));
	assert_true(pb_header_name_ok(pb_slice("X")));
}

static void
what_belongs_to_the_connection_is_reserved(void **state)
{
	static const char *const ours[] =
	{
		"Host", "CONTENT-LENGTH", "transfer-encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
		"Proxy-Authorization", "Proxy-Connection", "Webhook-Id", "webhook-timestamp", "webhook-signature"
	};
	static const char *const theirs[] =
	{
		"", "Hos", "Hosts", "Authorization", "Content-Type", "User-Agent", "Accept", "X-Host", "Webhook", "Cookie"
	};

	(void) state;
	for (size_t i = 0; i < COUNT(ours); i++)
		if (!pb_header_reserved(pb_slice(ours[i])))
			fail_msg("not reserved: %s", ours[i]);
	for (size_t i = 0; i < COUNT(theirs); i++)
		if (pb_header_reserved(pb_slice(theirs[i])))
			fail_msg("reserved: %s", theirs[i]);
}

/* Controls would end the line, or be refused by the receiver; everything else, also beyond ASCII, is a value's own. */
static void
a_value_loses_its_controls_and_nothing_else(void **state)
{
	char		every[256];
	char		expected[256];
	char		room[256];
	size_t		count = 0;
	PbOut		out = pb_out(room, sizeof(room));

	(void) state;
	for (int c = 0; c < 256; c++)
	{
		every[c] = (char) c;
		if (c == '\t' || (c >= 0x20 && c != 0x7F))
			expected[count++] = (char) c;
	}
	pb_out_header(&out, (PbSlice) {every, 256});
	assert_int_equal(out.len, count);
	assert_memory_equal(room, expected, count);

	out = pb_out(room, sizeof(room));
	pb_out_header(&out, PB_LITERAL("a\r\nX-Evil: 1\0\n\tz"));
	assert_int_equal(out.len, strlen("aX-Evil: 1\tz"));
	assert_memory_equal(room, "aX-Evil: 1\tz", out.len);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_tokens),
		cmocka_unit_test(what_belongs_to_the_connection_is_reserved),
		cmocka_unit_test(a_value_loses_its_controls_and_nothing_else),
	};

	return cmocka_run_group_tests_name("header", tests, NULL, NULL);
}
