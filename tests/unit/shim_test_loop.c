/*
 * shim_test_loop.c: the loop's clock, also while the host is suspended (shim/loop.c), which no lease waits for (shim/attempt.c).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "attempt.h"
#include "loop.h"

/* For how long the host was suspended: CLOCK_MONOTONIC stood still meanwhile, CLOCK_BOOTTIME went on. */
static int	suspended_s;

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_BOOTTIME)
		now->tv_sec += suspended_s;
	return result;
}

static void
on_hour(void *context)
{
	loop_stop(context, 1);
}

static void
on_moment(void *context)
{
	loop_stop(context, 2);
}

/* Due by the time that has passed, not by the time that the host was awake. */
static void
test_timers(void **state)
{
	Loop	   *loop = loop_new();
	LoopTimer	hour = {0};
	LoopTimer	moment = {0};
	int64_t		before = loop_now_us();

	(void) state;
	assert_non_null(loop);
	loop_timer_set(loop, &hour, 3600 * 1000, on_hour, loop);
	suspended_s += 3601;
	assert_in_range(loop_now_us() - before, INT64_C(3601) * 1000000, INT64_C(3660) * 1000000);
	loop_timer_set(loop, &moment, 2000, on_moment, loop);
	assert_int_equal(loop_run(loop), 1);	/* one turn runs both, this one last; were it not due yet, there would be only 2 */
	loop_timer_stop(loop, &moment);
	loop_free(loop);
}

static DeliveryOutcome outcome;

static void
on_attempt(void *context, Delivery *delivery, EndpointNews news)
{
	(void) context;
	assert_int_equal(news, ENDPOINT_NO_NEWS);
	outcome = delivery->outcome;
}

/* The URL may not be sent to, so that an attempt that is begun ends there. */
static DeliveryOutcome
attempt(Attempts *attempts, int64_t lease_end_ms)
{
	Delivery	delivery = {
		.url = PB_LITERAL("http://192.168.0.1/"),
		.timeout_ms = 10000,
		.lease_end_ms = lease_end_ms
	};

	outcome = DELIVERY_OUTCOMES;
	attempt_start(attempts, &delivery);
	delivery_free_text(&delivery);
	return outcome;
}

static void
test_lease(void **state)
{
	AttemptTools tools = {.guard = guard_create(&(GuardRules) {0})};
	Attempts   *attempts = attempts_new(&tools, on_attempt, NULL);
	int64_t		lease_end_ms = loop_now_us() / 1000 + 60000;

	(void) state;
	assert_non_null(attempts);
	assert_int_equal(attempt(attempts, lease_end_ms), DELIVERY_BLOCKED);
	suspended_s += 55;
	assert_int_equal(attempt(attempts, lease_end_ms), DELIVERY_RELEASED);
	attempts_free(attempts);
	guard_destroy(tools.guard);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
