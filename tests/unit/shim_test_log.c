/*
 * shim_test_log.c: what a line of the log shows of secrets, wherever they stand in a value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/* A secret of nothing but Q, which stands nowhere else in the line. */
#define SECRET "QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"

/* The line that one event with this value makes. */
static void
logged(char *line, size_t size, const char *value)
{
	int			ends[2];
	int			former = dup(STDERR_FILENO);
	ssize_t		length;

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	log_error("event", LOG_TEXT("value", value));
	dup2(former, STDERR_FILENO);
	close(former);
	close(ends[1]);
	length = read(ends[0], line, size - 1);
	close(ends[0]);
	assert_true(length > 0);
	line[length] = '\0';
}

static void
a_secret_is_masked(void **state)
{
	static const struct
	{
		const char *value;
		const char *shown;
	}			cases[] = {
		{"abcd2345_" SECRET, "value=abcd2345_***\n"},
		{"/p/abcd2345_" SECRET "?order=1", "value=\"/p/abcd2345_***?order=1\"\n"},
		{"whsec_" SECRET "=", "value=whsec_***\n"},
		{"abcd2345_short", "value=abcd2345_short\n"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		line[4096];

		logged(line, sizeof(line), cases[i].value);
		assert_non_null(strstr(line, cases[i].shown));
	}
}

/* Where a value is cut, what is left of a secret may be too short to look like one. */
static void
a_secret_at_the_cut_is_masked(void **state)
{
	(void) state;
	for (int before = LOG_VALUE_LIMIT - 64; before <= LOG_VALUE_LIMIT + 8; before++)
	{
		char		value[LOG_VALUE_LIMIT + 128];
		char		line[4096];

		memset(value, 'x', (size_t) before);
		strcpy(value + before, " abcd2345_" SECRET " and on");
		logged(line, sizeof(line), value);
		assert_null(strchr(line, 'Q'));
	}
}

/* A value is shown up to the limit, as it is. */
static void
a_long_value_is_cut(void **state)
{
	char		value[LOG_VALUE_LIMIT + 128];
	char		line[4096];
	const char *shown;

	(void) state;
	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	logged(line, sizeof(line), value);
	shown = strstr(line, "value=");
	assert_non_null(shown);
	assert_int_equal(strspn(shown + 6, "x"), LOG_VALUE_LIMIT);
	assert_string_equal(shown + 6 + LOG_VALUE_LIMIT, "\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_secret_is_masked),
		cmocka_unit_test(a_secret_at_the_cut_is_masked),
		cmocka_unit_test(a_long_value_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
