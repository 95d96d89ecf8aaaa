/*
 * test_version.c: which versions go together (extension/core/version.c).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "version.h"

static void
together(const char *a, const char *b, bool expected)
{
	assert_int_equal(pb_same_minor(a, b), expected);
	assert_int_equal(pb_same_minor(b, a), expected);
}

static void
test_same_minor(void **state)
{
	(void) state;
	together("1.2.3", "1.2.3", true);
	together("1.2.3", "1.2.4", true);
	together("1.2.3", "1.2.33", true);
	together("1.2", "1.2.4", true);
	together("1.2", "1.2", true);
	together("1.2.3", "1.3.3", false);
	together("1.2.3", "1.20.3", false);
	together("1.2.3", "11.2.3", false);
	together("1.2.3", "2.2.3", false);
	together("1.2", "1.20", false);
	together("1.2.3", "1", false);
	together("1.2.3", "", false);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_minor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
