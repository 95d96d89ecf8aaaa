/*
 * shim_test_options.c: the command line (shim/options.c).
 *
 * What a role cannot work with is said at once, as wrong usage, and not by it when it is half started.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "options.h"

/* postbackd ROLE FLAG VALUE */
static OptionsResult
parse(const char *role, const char *flag, const char *value, Options *options)
{
	char	   *arguments[] = {"postbackd", (char *) role, (char *) flag, (char *) value, NULL};

	return options_parse(value != NULL ? 4 : 3, arguments, options);
}

static const struct
{
	const char *role;
	const char *flag;
	const char *value;
	OptionsResult result;
}			cases[] = {
	{"serve", "--listen", "127.0.0.1", OPTIONS_RUN},
	{"serve", "--listen", "::", OPTIONS_RUN},
	{"serve", "--listen", "localhost", OPTIONS_BAD},
	{"serve", "--listen", "999.1.1.1", OPTIONS_BAD},
	{"serve", "--listen", "", OPTIONS_BAD},
	{"serve", "--listen", NULL, OPTIONS_BAD},
	{"serve", "--metrics-listen", "", OPTIONS_RUN},
	{"serve", "--metrics-listen", "[::1]:9461", OPTIONS_RUN},
	{"serve", "--metrics-listen", "127.0.0.1:0", OPTIONS_RUN},
	{"serve", "--metrics-listen", "localhost:9461", OPTIONS_BAD},
	{"serve", "--metrics-listen", "::1:9461", OPTIONS_BAD},
	{"serve", "--metrics-listen", "127.0.0.1", OPTIONS_BAD},
	{"serve", "--metrics-listen", "127.0.0.1:65536", OPTIONS_BAD},
	{"serve", "--port", "65535", OPTIONS_RUN},
	{"serve", "--port", "65536", OPTIONS_BAD},
	{"serve", "--port", "8080x", OPTIONS_BAD},
	{"serve", "--port", "99999999999999999999", OPTIONS_BAD},
	{"serve", "--reuse-port", NULL, OPTIONS_RUN},
	{"serve", "--reuse-port=1", NULL, OPTIONS_BAD},
	{"serve", "--trust-proxy", "10.0.0.1/8", OPTIONS_BAD},
	{"serve", "--lease", "60", OPTIONS_BAD},
	{"serve", "--log-level", "loud", OPTIONS_BAD},
	{"send", "--lease", "20", OPTIONS_RUN},
	{"send", "--lease", "19", OPTIONS_BAD},
	{"send", "--dns-server", "127.0.0.1:53,[::1]:53", OPTIONS_RUN},
	{"send", "--dns-server", "127.0.0.1:53,", OPTIONS_BAD},
	{"send", "--dns-server", "127.0.0.1:0", OPTIONS_BAD},
	{"send", "--sender", "eins", OPTIONS_RUN},
	{"send", "--sender", "\xff", OPTIONS_BAD},
	{"send", "--sender=zwei", NULL, OPTIONS_RUN},
	{"sell", "--sender", "eins", OPTIONS_BAD},
};

static void
what_is_taken(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Options		options;

		if (parse(cases[i].role, cases[i].flag, cases[i].value, &options) != cases[i].result)
			fail_msg("%s %s %s", cases[i].role, cases[i].flag, cases[i].value != NULL ? cases[i].value : "");
	}
}

static void
the_last_of_several_counts(void **state)
{
	char	   *arguments[] = {"postbackd", "serve", "--port", "1", "--port=2", "--trust-proxy", "10.0.0.0/8", "--trust-proxy", "::1", NULL};
	Options		options;

	(void) state;
	assert_int_equal(options_parse(9, arguments, &options), OPTIONS_RUN);
	assert_int_equal(options.port, 2);
	assert_int_equal(options.trust_proxy.count, 2);
	assert_string_equal(options.listen, "127.0.0.1");
	assert_string_equal(options.metrics_listen, "127.0.0.1:9461");
}

/* One more than there is room for. */
static void
ranges_are_bounded(void **state)
{
	char	   *arguments[2 * OPTIONS_LIST_LIMIT + 5] = {"postbackd", "send"};
	Options		options;

	(void) state;
	for (int i = 0; i <= OPTIONS_LIST_LIMIT; i++)
	{
		arguments[2 + 2 * i] = "--allow-port";
		arguments[3 + 2 * i] = "81";
	}
	assert_int_equal(options_parse(2 * OPTIONS_LIST_LIMIT + 2, arguments, &options), OPTIONS_RUN);
	assert_int_equal(options.allow_port.count, OPTIONS_LIST_LIMIT);
	assert_int_equal(options_parse(2 * OPTIONS_LIST_LIMIT + 4, arguments, &options), OPTIONS_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_taken),
		cmocka_unit_test(the_last_of_several_counts),
		cmocka_unit_test(ranges_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
