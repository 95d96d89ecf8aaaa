/*
 * shim_test_endpoint.c: whose delivery is sent next (shim/endpoint.c): caps, breaker, fair share.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "endpoint.h"

#define CONCURRENCY 16
#define PER_ENDPOINT 4
#define POOL 4096

static Delivery pool[POOL];
static int	pool_used;

static int
set_up(void **state)
{
	memset(pool, 0, sizeof(pool));
	pool_used = 0;
	*state = endpoints_new(CONCURRENCY, PER_ENDPOINT);
	return *state == NULL;
}

static int
tear_down(void **state)
{
	endpoints_free(*state);
	return 0;
}

static Endpoint *
push(Endpoints *endpoints, const char *name, int count, int64_t now)
{
	Endpoint   *endpoint = endpoints_get(endpoints, pb_slice(name));

	assert_non_null(endpoint);
	while (count-- > 0)
	{
		assert_true(pool_used < POOL);
		endpoint_push(endpoints, endpoint, &pool[pool_used++], now);
	}
	return endpoint;
}

/* Starts all that may start; returns how many. */
static int
start_all(Endpoints *endpoints, int64_t now)
{
	int			count = 0;

	while (endpoints_next(endpoints, now) != NULL)
		count++;
	return count;
}

static void
end_all(Endpoints *endpoints, Endpoint *endpoint, EndpointNews news, int64_t now)
{
	while (endpoint->in_flight > 0)
		endpoint_ended(endpoints, endpoint, news, 1, now);
}

static void
count_one(void *context, Delivery *delivery)
{
	(void) delivery;
	++*(int *) context;
}

static int
sweep(Endpoints *endpoints, int64_t now)
{
	int			released = 0;

	endpoints_sweep(endpoints, now, count_one, &released);
	return released;
}

static void
note_name(void *context, const char *name)
{
	char	   *list = context;

	strcat(list, name);
	strcat(list, " ");
}

static const char *
full_names(Endpoints *endpoints, int64_t now)
{
	static char list[1024];

	list[0] = '\0';
	endpoints_name_full(endpoints, now, note_name, list);
	return list;
}

/* Answers until the endpoint may use its whole window. */
static Endpoint *
prove(Endpoints *endpoints, const char *name, int64_t now)
{
	Endpoint   *endpoint = NULL;

	for (int i = 0; i < 4; i++)
	{
		endpoint = push(endpoints, name, PER_ENDPOINT, now);
		while (start_all(endpoints, now) > 0)
			end_all(endpoints, endpoint, ENDPOINT_ANSWERED, now);
	}
	return endpoint;
}

/* Three failures on end, as the breaker wants them. */
static Endpoint *
trip(Endpoints *endpoints, const char *name, int64_t now)
{
	Endpoint   *endpoint = push(endpoints, name, ENDPOINT_TRIP, now);

	for (int i = 0; i < ENDPOINT_TRIP; i++)
	{
		assert_int_equal(start_all(endpoints, now), 1);
		endpoint_ended(endpoints, endpoint, ENDPOINT_UNREACHED, 0, now);
	}
	assert_int_equal(endpoints_tripped(endpoints), 1);
	return endpoint;
}

static void
a_new_endpoint_gets_one_at_a_time_until_it_answers(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = push(endpoints, "a:80", 10, 0);

	assert_int_equal(start_all(endpoints, 0), 1);
	end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 0);
	assert_int_equal(start_all(endpoints, 0), 2);
	end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 0);
	assert_int_equal(start_all(endpoints, 0), PER_ENDPOINT);
	end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 0);
	assert_int_equal(start_all(endpoints, 0), 3);
	assert_int_equal(endpoints_queued(endpoints), 0);
}

static void
all_slots_are_used_and_no_more(void **state)
{
	Endpoints  *endpoints = *state;
	char		name[32];

	for (int i = 0; i < 8; i++)
	{
		snprintf(name, sizeof(name), "h%d:80", i);
		prove(endpoints, name, 0);
	}
	for (int i = 0; i < 8; i++)
	{
		snprintf(name, sizeof(name), "h%d:80", i);
		push(endpoints, name, 10, 0);
	}
	assert_int_equal(start_all(endpoints, 0), CONCURRENCY);
	assert_int_equal(endpoints_in_flight(endpoints), CONCURRENCY);
}

static void
endpoints_take_turns(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *a = prove(endpoints, "a:80", 0);
	Endpoint   *b = prove(endpoints, "b:80", 0);

	push(endpoints, "a:80", 3, 0);
	push(endpoints, "b:80", 3, 0);
	for (int i = 0; i < 3; i++)
	{
		assert_ptr_equal(endpoints_next(endpoints, 0)->endpoint, a);
		assert_ptr_equal(endpoints_next(endpoints, 0)->endpoint, b);
	}
	assert_null(endpoints_next(endpoints, 0));
}

static void
new_endpoints_together_get_half_of_the_slots(void **state)
{
	Endpoints  *endpoints = *state;
	char		name[32];

	for (int i = 0; i < 3 * CONCURRENCY; i++)
	{
		snprintf(name, sizeof(name), "h%d:80", i);
		push(endpoints, name, 2, 0);
	}
	assert_int_equal(start_all(endpoints, 0), CONCURRENCY / 2);
	assert_int_equal(endpoints_in_flight_of(endpoints, ENDPOINT_NEW), CONCURRENCY / 2);
}

static void
who_is_silent_for_a_second_gives_its_queue_back(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = push(endpoints, "hung:80", 20, 0);

	assert_int_equal(start_all(endpoints, 0), 1);
	assert_int_equal(sweep(endpoints, ENDPOINT_SLOW_MS - 1), 0);
	assert_int_equal(sweep(endpoints, ENDPOINT_SLOW_MS), 19);
	assert_int_equal(endpoints_in_flight_of(endpoints, ENDPOINT_SLOW), 1);
	assert_string_equal(full_names(endpoints, ENDPOINT_SLOW_MS), "hung:80 ");
	endpoint_ended(endpoints, endpoint, ENDPOINT_ANSWERED, 1, 1500);
	assert_string_equal(full_names(endpoints, 1500), "");
	assert_int_equal(endpoints_in_flight(endpoints), 0);
}

static void
slow_endpoints_together_get_a_quarter_of_the_slots(void **state)
{
	Endpoints  *endpoints = *state;
	char		name[32];

	for (int i = 0; i < CONCURRENCY; i++)
	{
		snprintf(name, sizeof(name), "slow%d:80", i);
		push(endpoints, name, 1, 0);
		assert_int_equal(start_all(endpoints, 0), 1);
		endpoint_ended(endpoints, endpoints_get(endpoints, pb_slice(name)), ENDPOINT_ANSWERED, 5000, 0);
	}
	for (int i = 0; i < CONCURRENCY; i++)
	{
		snprintf(name, sizeof(name), "slow%d:80", i);
		push(endpoints, name, 2, 0);
	}
	assert_int_equal(start_all(endpoints, 0), CONCURRENCY / 4);
	prove(endpoints, "quick:80", 0);
	push(endpoints, "quick:80", 1, 0);
	assert_string_equal(endpoints_next(endpoints, 0)->endpoint->name, "quick:80");
}

static void
a_tripped_endpoint_gets_one_probe_after_a_pause(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = trip(endpoints, "dead:80", 0);

	assert_string_equal(full_names(endpoints, ENDPOINT_PAUSE_MIN_MS - 1), "dead:80 ");
	assert_string_equal(full_names(endpoints, ENDPOINT_PAUSE_MIN_MS), "");
	push(endpoints, "dead:80", 10, ENDPOINT_PAUSE_MIN_MS);
	assert_int_equal(start_all(endpoints, ENDPOINT_PAUSE_MIN_MS), 1);
	assert_int_equal(sweep(endpoints, ENDPOINT_PAUSE_MIN_MS), 9);
	assert_string_equal(full_names(endpoints, ENDPOINT_PAUSE_MIN_MS), "dead:80 ");

	/* It fails again: the pause doubles. */
	endpoint_ended(endpoints, endpoint, ENDPOINT_UNREACHED, 0, 2000);
	assert_string_equal(full_names(endpoints, 2000 + 2 * ENDPOINT_PAUSE_MIN_MS - 1), "dead:80 ");
	assert_string_equal(full_names(endpoints, 2000 + 2 * ENDPOINT_PAUSE_MIN_MS), "");
}

static void
an_answered_probe_closes_the_breaker(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = trip(endpoints, "back:80", 0);

	push(endpoints, "back:80", 10, 1000);
	assert_int_equal(start_all(endpoints, 1000), 1);
	endpoint_ended(endpoints, endpoint, ENDPOINT_ANSWERED, 1, 1000);
	assert_int_equal(endpoints_tripped(endpoints), 0);
	assert_int_equal(start_all(endpoints, 1000), 2);
	assert_int_equal(sweep(endpoints, 1000), 0);
}

static void
resets_and_answers_do_not_trip(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = push(endpoints, "odd:80", 20, 0);

	for (int i = 0; i < 10; i++)
	{
		assert_int_equal(start_all(endpoints, 0), 1);
		endpoint_ended(endpoints, endpoint, ENDPOINT_FAILED, 0, 0);
	}
	assert_int_equal(endpoints_tripped(endpoints), 0);
}

/* Whether it refuses or says nothing: one at a time, and ever longer pauses between what two claims bring. */
static void
a_failing_endpoint_is_claimed_for_now_and_then(void **state)
{
	static const EndpointNews bad[] = {ENDPOINT_REFUSED, ENDPOINT_FAILED};
	Endpoints  *endpoints = *state;

	for (int kind = 0; kind < 2; kind++)
	{
		Endpoint   *endpoint = prove(endpoints, "bad:80", 0);

		push(endpoints, "bad:80", 7, 0);
		for (int i = 0; i < ENDPOINT_TRIP; i++)
		{
			start_all(endpoints, 0);
			assert_int_equal(endpoint->in_flight, PER_ENDPOINT);
			endpoint_ended(endpoints, endpoint, bad[kind], 1, 0);
		}
		assert_int_equal(endpoints_tripped(endpoints), 0);
		end_all(endpoints, endpoint, bad[kind], 0);
		assert_int_equal(start_all(endpoints, 0), 1);
		assert_string_equal(full_names(endpoints, ENDPOINT_PAUSE_MIN_MS), "bad:80 ");
		assert_int_equal(sweep(endpoints, 0), 0);
		end_all(endpoints, endpoint, bad[kind], 10);
		assert_int_equal(endpoint->queued, 0);
		assert_string_equal(full_names(endpoints, 10 + ENDPOINT_PAUSE_MIN_MS - 1), "bad:80 ");
		assert_string_equal(full_names(endpoints, 10 + ENDPOINT_PAUSE_MIN_MS), "");

		/* Of a claim's worth none is accepted: the pause doubles, once. */
		push(endpoints, "bad:80", 2, 1500);
		for (int i = 0; i < 2; i++)
		{
			assert_int_equal(start_all(endpoints, 1500), 1);
			end_all(endpoints, endpoint, bad[kind], 1500);
		}
		assert_string_equal(full_names(endpoints, 1500 + 2 * ENDPOINT_PAUSE_MIN_MS - 1), "bad:80 ");
		assert_string_equal(full_names(endpoints, 1500 + 2 * ENDPOINT_PAUSE_MIN_MS), "");

		/* One that is accepted ends it, and the next pause is a short one again. */
		push(endpoints, "bad:80", 8, 4000);
		assert_int_equal(start_all(endpoints, 4000), 1);
		end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 4000);
		assert_int_equal(endpoint->pause_ms, 0);
		assert_int_equal(start_all(endpoints, 4000), 2);
		end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 4000);
		assert_string_equal(full_names(endpoints, 4000), "");
		while (start_all(endpoints, 4000) > 0)
			end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 4000);
	}
}

/* Some callbacks of a host that refuses others are as quick as ever. */
static void
two_refusals_on_end_are_nothing(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = prove(endpoints, "mixed:80", 0);

	for (int i = 0; i < 10; i++)
	{
		push(endpoints, "mixed:80", PER_ENDPOINT, 0);
		assert_int_equal(start_all(endpoints, 0), PER_ENDPOINT);
		endpoint_ended(endpoints, endpoint, ENDPOINT_REFUSED, 1, 0);
		endpoint_ended(endpoints, endpoint, ENDPOINT_REFUSED, 1, 0);
		end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 0);
		assert_string_equal(full_names(endpoints, 0), "");
	}
}

static void
failures_under_way_when_it_trips_count_as_one_pause(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = prove(endpoints, "gone:80", 0);

	push(endpoints, "gone:80", PER_ENDPOINT, 0);
	assert_int_equal(start_all(endpoints, 0), PER_ENDPOINT);
	end_all(endpoints, endpoint, ENDPOINT_UNREACHED, 0);
	assert_int_equal(endpoints_tripped(endpoints), 1);
	assert_string_equal(full_names(endpoints, ENDPOINT_PAUSE_MIN_MS), "");
}

static void
an_endpoint_with_room_again_wants_another_claim(void **state)
{
	Endpoints  *endpoints = *state;
	Endpoint   *endpoint = prove(endpoints, "busy:80", 0);

	assert_string_equal(full_names(endpoints, 0), "");
	push(endpoints, "busy:80", 30, 0);
	endpoints_claim_read(endpoints, 30, 0);
	assert_false(endpoints_want_more(endpoints));
	for (int i = 0; i < 10 && !endpoints_want_more(endpoints); i++)
	{
		start_all(endpoints, 0);
		end_all(endpoints, endpoint, ENDPOINT_ANSWERED, 0);
	}
	assert_true(endpoints_want_more(endpoints));
	assert_true(endpoints_queued(endpoints) > 0);
	assert_string_equal(full_names(endpoints, 0), "");
	assert_false(endpoints_want_more(endpoints));
}

static void
everything_queued_can_be_given_back(void **state)
{
	Endpoints  *endpoints = *state;
	int			released = 0;

	push(endpoints, "a:80", 5, 0);
	push(endpoints, "b:80", 5, 0);
	assert_int_equal(start_all(endpoints, 0), 2);
	endpoints_release_all(endpoints, count_one, &released);
	assert_int_equal(released, 8);
	assert_int_equal(endpoints_queued(endpoints), 0);
	assert_int_equal(start_all(endpoints, 0), 0);
	assert_int_equal(endpoints_in_flight(endpoints), 2);
}

static void
idle_endpoints_are_remembered_up_to_a_limit(void **state)
{
	Endpoints  *endpoints = *state;
	char		name[32];

	for (int i = 0; i < ENDPOINT_KEEP_LIMIT + 100; i++)
	{
		Endpoint   *endpoint;

		snprintf(name, sizeof(name), "h%d:80", i);
		pool_used = 0;
		endpoint = push(endpoints, name, 1, 0);
		assert_int_equal(start_all(endpoints, 0), 1);
		endpoint_ended(endpoints, endpoint, ENDPOINT_ANSWERED, 1, 0);
	}
	sweep(endpoints, 0);
	sweep(endpoints, 0);
	assert_int_equal(endpoints_active(endpoints), 0);
	assert_false(endpoints_get(endpoints, pb_slice("h0:80"))->answered);
	assert_true(endpoints_get(endpoints, pb_slice(name))->answered);
}

#define BEHAVIOUR(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		BEHAVIOUR(a_new_endpoint_gets_one_at_a_time_until_it_answers),
		BEHAVIOUR(all_slots_are_used_and_no_more),
		BEHAVIOUR(endpoints_take_turns),
		BEHAVIOUR(new_endpoints_together_get_half_of_the_slots),
		BEHAVIOUR(who_is_silent_for_a_second_gives_its_queue_back),
		BEHAVIOUR(slow_endpoints_together_get_a_quarter_of_the_slots),
		BEHAVIOUR(a_tripped_endpoint_gets_one_probe_after_a_pause),
		BEHAVIOUR(an_answered_probe_closes_the_breaker),
		BEHAVIOUR(resets_and_answers_do_not_trip),
		BEHAVIOUR(a_failing_endpoint_is_claimed_for_now_and_then),
		BEHAVIOUR(two_refusals_on_end_are_nothing),
		BEHAVIOUR(failures_under_way_when_it_trips_count_as_one_pause),
		BEHAVIOUR(an_endpoint_with_room_again_wants_another_claim),
		BEHAVIOUR(everything_queued_can_be_given_back),
		BEHAVIOUR(idle_endpoints_are_remembered_up_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
