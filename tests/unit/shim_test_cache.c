/*
 * shim_test_cache.c: the bounded table: what is kept, and what goes first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cache.h"

static PbSlice
key_number(char *buffer, int number)
{
	sprintf(buffer, "key-%d", number);
	return pb_slice(buffer);
}

static void
put(Cache *cache, const char *key, const char *value)
{
	char	   *room = cache_put(cache, pb_slice(key), strlen(value) + 1);

	assert_non_null(room);
	strcpy(room, value);
}

static void
keeps_and_replaces(void **state)
{
	Cache	   *cache = cache_new(10, 1000);

	(void) state;
	assert_null(cache_find(cache, PB_LITERAL("a")));
	put(cache, "a", "first");
	put(cache, "b", "other");
	put(cache, "a", "the second, longer one");
	assert_string_equal(cache_find(cache, PB_LITERAL("a")), "the second, longer one");
	assert_string_equal(cache_find(cache, PB_LITERAL("b")), "other");
	assert_int_equal(cache_count(cache), 2);
	cache_remove(cache, PB_LITERAL("a"));
	cache_remove(cache, PB_LITERAL("nobody"));
	assert_null(cache_find(cache, PB_LITERAL("a")));
	assert_int_equal(cache_count(cache), 1);
	cache_free(cache);
}

static void
forgets_what_was_not_used_for_longest(void **state)
{
	Cache	   *cache = cache_new(3, 1000);

	(void) state;
	put(cache, "a", "1");
	put(cache, "b", "2");
	put(cache, "c", "3");
	assert_non_null(cache_find(cache, PB_LITERAL("a")));
	put(cache, "d", "4");
	assert_null(cache_find(cache, PB_LITERAL("b")));
	assert_non_null(cache_find(cache, PB_LITERAL("a")));
	assert_int_equal(cache_count(cache), 3);
	cache_free(cache);
}

static void
is_bounded_in_bytes(void **state)
{
	Cache	   *cache = cache_new(100, 20);

	(void) state;
	assert_non_null(cache_put(cache, PB_LITERAL("aa"), 8));
	assert_non_null(cache_put(cache, PB_LITERAL("bb"), 8));
	assert_int_equal(cache_count(cache), 2);
	assert_non_null(cache_put(cache, PB_LITERAL("cc"), 8));
	assert_int_equal(cache_count(cache), 2);
	assert_null(cache_find(cache, PB_LITERAL("aa")));
	assert_null(cache_put(cache, PB_LITERAL("dd"), 19));
	assert_int_equal(cache_count(cache), 2);
	assert_non_null(cache_put(cache, PB_LITERAL("dd"), 18));
	assert_int_equal(cache_count(cache), 1);
	cache_free(cache);
}

static void
holds_many(void **state)
{
	Cache	   *cache = cache_new(1000, 1000000);
	char		buffer[32];

	(void) state;
	for (int i = 0; i < 50000; i++)
		*(int *) cache_put(cache, key_number(buffer, i), sizeof(int)) = i;
	assert_int_equal(cache_count(cache), 1000);
	for (int i = 0; i < 50000; i++)
	{
		int		   *value = cache_find(cache, key_number(buffer, i));

		if (i < 49000)
			assert_null(value);
		else
			assert_int_equal(*value, i);
	}
	cache_free(cache);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_and_replaces),
		cmocka_unit_test(forgets_what_was_not_used_for_longest),
		cmocka_unit_test(is_bounded_in_bytes),
		cmocka_unit_test(holds_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
