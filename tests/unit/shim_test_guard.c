/*
 * shim_test_guard.c: where deliveries may go (shim/guard.c).
 *
 * The rows of the table of special-purpose ranges are tested with the core; here it is what an operator's flags open,
 * and which spellings never get as far as an address.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "guard.h"

typedef struct Setup
{
	PbCidr		range;
	int			port;
	GuardRules	rules;
	Guard	   *guard;
	char		why[400];
} Setup;

/* range or NULL, port or 0. */
static void
set_up(Setup *setup, const char *range, int port)
{
	*setup = (Setup) {.port = port};
	if (range != NULL)
		assert_true(pb_cidr_parse(pb_slice(range), &setup->range));
	setup->rules = (GuardRules) {
		.ranges = &setup->range,
		.range_count = range != NULL ? 1 : 0,
		.ports = &setup->port,
		.port_count = port != 0 ? 1 : 0,
	};
	setup->guard = guard_create(&setup->rules);
	assert_non_null(setup->guard);
}

/* May the URL be sent to if its host has these addresses (NULL-terminated; none for a literal)? */
static bool
allowed(Setup *setup, const char *url, const char *const *texts)
{
	PbOut		why = pb_out(setup->why, sizeof(setup->why) - 1);
	PbAddress	addresses[8];
	size_t		count = 0;
	GuardTarget target;
	bool		result;

	memset(setup->why, 0, sizeof(setup->why));
	if (!guard_url(setup->guard, pb_slice(url), &target, &why))
		return false;
	if (target.literal)
		addresses[count++] = target.address;
	for (; texts != NULL && texts[count] != NULL; count++)
		assert_true(pb_address_parse(pb_slice(texts[count]), &addresses[count]));
	assert_true(count > 0);
	result = guard_addresses(setup->guard, &target.url, addresses, count, &why);
	for (size_t i = 0; result && i < count; i++)
		assert_true(guard_address(setup->guard, &addresses[i], target.url.port));
	return result;
}

static void
check(const char *range, int port, const char *url, const char *const *addresses, const char *expected_why)
{
	Setup		setup;
	bool		result;

	set_up(&setup, range, port);
	result = allowed(&setup, url, addresses);
	assert_string_equal(setup.why, expected_why);
	assert_int_equal(result, expected_why[0] == '\0');
	guard_destroy(setup.guard);
}

#define HOSTS(...) ((const char *const[]) {__VA_ARGS__, NULL})

static void
public_addresses_are_allowed_on_the_ports_of_the_web(void **state)
{
	(void) state;
	check(NULL, 0, "http://example.com/p?x=1", HOSTS("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"), "");
	check(NULL, 0, "https://example.com/", HOSTS("93.184.215.14"), "");
	check(NULL, 0, "https://8.8.8.8/", NULL, "");
	check(NULL, 0, "http://example.com:443/", HOSTS("93.184.215.14"), "");
	check(NULL, 0, "https://[2606:4700::1111]/", NULL, "");
}

static void
other_ports_must_be_opened(void **state)
{
	(void) state;
	check(NULL, 0, "http://example.com:8080/", HOSTS("93.184.215.14"),
		  "port 8080 is not open (80 and 443 are, and those of --allow-port)");
	check(NULL, 8080, "http://example.com:8080/", HOSTS("93.184.215.14"), "");
	check(NULL, 8080, "http://127.0.0.1:8080/", NULL, "address 127.0.0.1 is in 127.0.0.0/8 (loopback, RFC 1122)");
	check("127.0.0.0/8", 0, "http://example.com:8080/", HOSTS("93.184.215.14"),
		  "port 8080 is not open (80 and 443 are, and those of --allow-port)");
}

static void
special_addresses_are_blocked(void **state)
{
	(void) state;
	check(NULL, 0, "http://169.254.169.254/latest/meta-data", NULL,
		  "address 169.254.169.254 is in 169.254.0.0/16 (link local, RFC 3927)");
	check(NULL, 0, "http://intern.example/", HOSTS("10.1.2.3"),
		  "host intern.example has the address 10.1.2.3, which is in 10.0.0.0/8 (private use, RFC 1918)");
	check(NULL, 0, "http://[::ffff:10.0.0.1]/", NULL,
		  "address ::ffff:10.0.0.1 is in 10.0.0.0/8 (private use, RFC 1918)");
}

static void
one_forbidden_address_forbids_them_all(void **state)
{
	(void) state;
	check(NULL, 0, "http://example.com/", HOSTS("93.184.215.14", "fd00::1", "8.8.8.8"),
		  "host example.com has the address fd00::1, which is in fc00::/7 (unique local, RFC 4193)");
}

static void
an_opened_range_is_open_on_every_port_and_no_wider(void **state)
{
	(void) state;
	check("127.0.0.0/8", 0, "http://127.0.0.1:9999/", NULL, "");
	check("127.0.0.0/8", 0, "http://localhost:9999/", HOSTS("127.0.0.1"), "");
	check("127.0.0.0/8", 0, "http://localhost/", HOSTS("127.0.0.1", "::1"),
		  "host localhost has the address ::1, which is in ::1/128 (loopback, RFC 4291)");
	check("127.0.0.0/8", 0, "http://[::ffff:127.0.0.1]/", NULL,
		  "address ::ffff:127.0.0.1 is in 127.0.0.0/8 (loopback, RFC 1122)");
	check("10.0.0.0/8", 0, "http://127.0.0.1/", NULL, "address 127.0.0.1 is in 127.0.0.0/8 (loopback, RFC 1122)");
}

static void
irregular_spellings_of_addresses_are_blocked(void **state)
{
	static const char *const urls[] = {
		"http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://0x7f.0.0.1/",
		"http://127.0.0.01/", "http://1.2.3.4.5/", "http://127.0.0.256/",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		Setup		setup;

		set_up(&setup, "0.0.0.0/0", 0);
		assert_false(allowed(&setup, urls[i], HOSTS("93.184.215.14")));
		assert_non_null(strstr(setup.why, "is an address in an irregular spelling"));
		guard_destroy(setup.guard);
	}
}

static void
what_is_no_plain_http_url_is_blocked(void **state)
{
	(void) state;
	check("0.0.0.0/0", 0, "ftp://8.8.8.8/", NULL, "the URL's scheme is not http or https");
	check("0.0.0.0/0", 0, "file:///etc/passwd", NULL, "the URL's scheme is not http or https");
	check("0.0.0.0/0", 0, "gopher://8.8.8.8/", NULL, "the URL's scheme is not http or https");
	check("0.0.0.0/0", 0, "http://user:secret@8.8.8.8/", NULL, "the URL has a user name or password in it");
	check("0.0.0.0/0", 0, "http://8.8.8.8\\@127.0.0.1/", NULL,
		  "the URL has a byte in it that must be percent-encoded");
	check("0.0.0.0/0", 0, "http://8.8.8.8/\r\nHost: x", NULL, "the URL has a byte in it that must be percent-encoded");
	check("0.0.0.0/0", 0, "http:///x", NULL, "the URL's host is malformed");
	check("0.0.0.0/0", 0, "http://8.8.8.8:0/", NULL, "the URL's port is not one of 1 to 65535");
}

/* The memo of ranges must not mix up addresses that fall on one slot, nor families. */
static void
many_addresses_in_turn_are_each_judged_for_themselves(void **state)
{
	Setup		setup;

	(void) state;
	set_up(&setup, NULL, 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 4096; i++)
		{
			PbAddress	private_one = {.family = 4, .bytes = {10, 0, (uint8_t) (i >> 8), (uint8_t) i}};
			PbAddress	public_one = {.family = 4, .bytes = {8, 8, (uint8_t) (i >> 8), (uint8_t) i}};
			PbAddress	sixth = {.family = 6, .bytes = {0x26, 0, (uint8_t) (i >> 8), (uint8_t) i}};

			assert_false(guard_address(setup.guard, &private_one, 80));
			assert_true(guard_address(setup.guard, &public_one, 80));
			assert_true(guard_address(setup.guard, &sixth, 80));
		}
	guard_destroy(setup.guard);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(public_addresses_are_allowed_on_the_ports_of_the_web),
		cmocka_unit_test(other_ports_must_be_opened),
		cmocka_unit_test(special_addresses_are_blocked),
		cmocka_unit_test(one_forbidden_address_forbids_them_all),
		cmocka_unit_test(an_opened_range_is_open_on_every_port_and_no_wider),
		cmocka_unit_test(irregular_spellings_of_addresses_are_blocked),
		cmocka_unit_test(what_is_no_plain_http_url_is_blocked),
		cmocka_unit_test(many_addresses_in_turn_are_each_judged_for_themselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
