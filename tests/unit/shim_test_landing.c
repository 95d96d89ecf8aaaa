/*
 * shim_test_landing.c: what is remembered of links for when the database is away: what it has said in the last ten minutes of its
 * being there, and no more than so many.
 *
 * The clock is the test's own: clock_gettime is defined here, the loop reads it when it is made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "landing.h"

#define LIFE_MS (10 * 60 * 1000)

static int64_t clock_ms = 1000000;

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	(void) clock;
	now->tv_sec = clock_ms / 1000;
	now->tv_nsec = clock_ms % 1000 * 1000000;
	return 0;
}

typedef struct Fixture
{
	Loop	   *loop;
	Metrics    *metrics;
	Landings   *landings;
} Fixture;

/* The loop's time moves when it runs: here, not a turn. */
static void
later(Fixture *f, int64_t ms)
{
	clock_ms += ms;
	loop_stop(f->loop, 0);
	assert_int_equal(loop_run(f->loop), 0);
}

static int
set_up(void **state)
{
	Fixture    *f = calloc(1, sizeof(*f));

	f->loop = loop_new();
	f->metrics = metrics_new();
	f->landings = landings_new(f->loop, f->metrics, LIFE_MS);
	assert_non_null(f->landings);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	Fixture    *f = *state;

	landings_free(f->landings);
	metrics_free(f->metrics);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void
is_what_was_said_in_the_last_ten_minutes(void **state)
{
	Fixture    *f = *state;
	PbSlice		link = PB_LITERAL("aaaaaaaa-link");
	PbSlice		other = PB_LITERAL("aaaaaaaa-other");

	assert_null(landings_find(f->landings, link));
	landings_learn(f->landings, link, PB_LITERAL("https://shop.example/"));
	later(f, LIFE_MS);
	landings_learn(f->landings, other, PB_LITERAL("https://shop.example/"));
	assert_string_equal(landings_find(f->landings, link), "https://shop.example/");
	later(f, 1);
	landings_learn(f->landings, other, PB_LITERAL("https://shop.example/"));
	assert_null(landings_find(f->landings, link));
	assert_non_null(landings_find(f->landings, other));

	/* Being followed meanwhile does not make it any newer; being answered by the database does. */
	landings_learn(f->landings, link, PB_LITERAL("https://shop.example/"));
	for (int i = 0; i < 10; i++)
	{
		later(f, LIFE_MS / 10);
		landings_learn(f->landings, other, PB_LITERAL("https://shop.example/"));
		assert_non_null(landings_find(f->landings, link));
	}
	later(f, 1);
	landings_learn(f->landings, other, (PbSlice) {0});
	assert_null(landings_find(f->landings, link));
	landings_learn(f->landings, link, PB_LITERAL("https://shop.example/"));
	assert_non_null(landings_find(f->landings, link));

	/* While the database is away, however long, nothing changes. */
	later(f, 100 * (int64_t) LIFE_MS);
	assert_non_null(landings_find(f->landings, link));
}

static void
is_what_the_database_said_last(void **state)
{
	Fixture    *f = *state;
	PbSlice		link = PB_LITERAL("aaaaaaaa-link");

	landings_learn(f->landings, link, PB_LITERAL("https://shop.example/"));
	landings_learn(f->landings, link, PB_LITERAL("https://elsewhere.example/paused"));
	assert_string_equal(landings_find(f->landings, link), "https://elsewhere.example/paused");
	landings_learn(f->landings, link, PB_LITERAL("https://e.example/"));
	assert_string_equal(landings_find(f->landings, link), "https://e.example/");
	landings_learn(f->landings, link, (PbSlice) {0});
	assert_null(landings_find(f->landings, link));
}

/* Ten thousand links, and one more for each that is forgotten: the one that was not used for longest. */
static void
is_bounded(void **state)
{
	Fixture    *f = *state;
	char		link[32];
	size_t		length;
	char	   *metrics;

	for (int i = 0; i < 30000; i++)
	{
		snprintf(link, sizeof(link), "aaaaaaaa-%d", i);
		landings_learn(f->landings, pb_slice(link), PB_LITERAL("https://shop.example/"));
		assert_non_null(landings_find(f->landings, PB_LITERAL("aaaaaaaa-0")));
	}
	metrics = metrics_render(f->metrics, &length);
	assert_non_null(strstr(metrics, "\npostbackd_landings 10000\n"));
	free(metrics);
	assert_null(landings_find(f->landings, PB_LITERAL("aaaaaaaa-1")));
	assert_null(landings_find(f->landings, PB_LITERAL("aaaaaaaa-20000")));
	assert_non_null(landings_find(f->landings, PB_LITERAL("aaaaaaaa-20001")));
	assert_non_null(landings_find(f->landings, PB_LITERAL("aaaaaaaa-29999")));
}

/* Long addresses count by their bytes. */
static void
is_bounded_in_bytes(void **state)
{
	Fixture    *f = *state;
	static char address[4096];
	char		link[32];
	int			kept = 0;

	memset(address, 'x', sizeof(address));
	for (int i = 0; i < 5000; i++)
	{
		snprintf(link, sizeof(link), "aaaaaaaa-%d", i);
		landings_learn(f->landings, pb_slice(link), (PbSlice) {address, sizeof(address)});
	}
	for (int i = 0; i < 5000; i++)
	{
		snprintf(link, sizeof(link), "aaaaaaaa-%d", i);
		kept += landings_find(f->landings, pb_slice(link)) != NULL;
	}
	assert_in_range(kept, 1900, 2048);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_what_was_said_in_the_last_ten_minutes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(is_what_the_database_said_last, set_up, tear_down),
		cmocka_unit_test_setup_teardown(is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(is_bounded_in_bytes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
