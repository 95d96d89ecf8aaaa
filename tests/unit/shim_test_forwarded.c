/*
 * shim_test_forwarded.c: who is believed to have sent a request that came through proxies (shim/forwarded.c).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "forwarded.h"

static const struct
{
	const char *peer;
	const char *forwarded_for;	/* NULL: no such field */
	const char *sender;
}			cases[] =
{
	{"10.0.0.1", NULL, "10.0.0.1"},
	{"10.0.0.1", "", "10.0.0.1"},
	{"198.51.100.1", "192.0.2.1", "198.51.100.1"},	/* not a proxy of ours */
	{"10.0.0.1", "192.0.2.1", "192.0.2.1"},
	{"10.0.0.1", "203.0.113.9, 192.0.2.1", "192.0.2.1"},	/* what the client wrote is not believed */
	{"10.0.0.1", "192.0.2.1,\t10.0.0.2 ", "192.0.2.1"},
	{"10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"},
	{"10.0.0.1", "192.0.2.1, x", "10.0.0.1"},
	{"10.0.0.1", "192.0.2.1,", "10.0.0.1"},
	{"10.0.0.1", "192.0.2.1:4711", "192.0.2.1"},
	{"10.0.0.1", "2001:db8::1", "2001:db8::1"},
	{"10.0.0.1", "[2001:db8::1]", "2001:db8::1"},
	{"10.0.0.1", "[2001:db8::1]:65535", "2001:db8::1"},
	/* IPv4-mapped, as a proxy on an IPv6 socket writes what came by IPv4: token lists and --trust-proxy say it as IPv4. */
	{"10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"},
	{"10.0.0.1", "::FFFF:c000:207", "192.0.2.7"},
	{"10.0.0.1", "[::ffff:192.0.2.7]", "192.0.2.7"},
	{"10.0.0.1", "[::ffff:192.0.2.7]:4711", "192.0.2.7"},
	{"10.0.0.1", "203.0.113.9, 192.0.2.7, ::ffff:10.0.0.2", "192.0.2.7"},
	{"10.0.0.1", "::192.0.2.7", "::192.0.2.7"},	/* not mapped */
	{"10.0.0.1", "64:ff9b::192.0.2.7", "64:ff9b::192.0.2.7"},
	/* Found by fuzzing: whatever stood behind an address counted as its port. */
	{"10.0.0.1", "192.0.2.1:", "10.0.0.1"},
	{"10.0.0.1", "192.0.2.1:80x", "10.0.0.1"},
	{"10.0.0.1", "192.0.2.1:123456", "10.0.0.1"},
	{"10.0.0.1", "[2001:db8::1]x", "10.0.0.1"},
	{"10.0.0.1", "[2001:db8::1]:", "10.0.0.1"},
	{"10.0.0.1", "[2001:db8::1]80", "10.0.0.1"},
	{"10.0.0.1", "[192.0.2.1]", "10.0.0.1"},
	{"10.0.0.1", "[2001:db8::1", "10.0.0.1"},
};

static void
test_sender(void **state)
{
	CidrList	trusted = {.count = 1};

	(void) state;
	assert_true(pb_cidr_parse(pb_slice("10.0.0.0/8"), &trusted.items[0]));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		HttpRequest request = {0};
		PbAddress	expected;
		PbAddress	sender;

		assert_true(pb_address_parse(pb_slice(cases[i].peer), &request.peer));
		assert_true(pb_address_parse(pb_slice(cases[i].sender), &expected));
		if (cases[i].forwarded_for != NULL)
			request.field[HTTP_FORWARDED_FOR] = pb_slice(cases[i].forwarded_for);
		sender = forwarded_sender(&trusted, &request);
		if (memcmp(&sender, &expected, sizeof(sender)) != 0)
			print_error("case %zu: %s\n", i, cases[i].forwarded_for);
		assert_memory_equal(&sender, &expected, sizeof(sender));
	}
}

static void
test_tls(void **state)
{
	CidrList	trusted = {.count = 1};
	HttpRequest request = {0};

	(void) state;
	assert_true(pb_cidr_parse(pb_slice("10.0.0.0/8"), &trusted.items[0]));
	assert_true(pb_address_parse(pb_slice("10.0.0.1"), &request.peer));
	assert_false(forwarded_is_tls(&trusted, &request));
	request.field[HTTP_FORWARDED_PROTO] = PB_LITERAL("http");
	assert_false(forwarded_is_tls(&trusted, &request));
	request.field[HTTP_FORWARDED_PROTO] = PB_LITERAL(" HTTPS , http");
	assert_true(forwarded_is_tls(&trusted, &request));
	assert_true(pb_address_parse(pb_slice("192.0.2.1"), &request.peer));
	assert_false(forwarded_is_tls(&trusted, &request));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sender),
		cmocka_unit_test(test_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
