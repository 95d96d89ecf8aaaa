/*
 * shim_test_transfer.c: requests when something beside the network goes wrong (shim/transfer.c).
 *
 * The server is in the same loop. What servers answer is tested over the whole sender (tests/t/041_answers.pl).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "log.h"
#include "transfer.h"

#define HOSTS 16

/* The next descriptor that somebody wants watched cannot be. */
static bool fail_next_add;

int
epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
	if (operation == EPOLL_CTL_ADD && fail_next_add)
	{
		fail_next_add = false;
		errno = ENOSPC;
		return -1;
	}
	return (int) syscall(SYS_epoll_ctl, epoll_fd, operation, fd, event);
}

/* What the next socket() fails with, if not 0. */
static int	fail_next_socket;

int
socket(int domain, int type, int protocol)
{
	int			error = fail_next_socket;

	fail_next_socket = 0;
	if (error == 0)
		return (int) syscall(SYS_socket, domain, type, protocol);
	errno = error;
	return -1;
}

/* For how long the host was suspended: CLOCK_MONOTONIC, by which libcurl goes, stood still meanwhile. */
static int	suspended_s;

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_BOOTTIME)
		now->tv_sec += suspended_s;
	return result;
}

typedef struct Setup
{
	Loop	   *loop;
	PbCidr		range;
	Guard	   *guard;
	Transfers  *transfers;
	PbAddress	address;
	PbUrl		url;
	char		text[64];

	/* the server */
	LoopIo		listener;
	LoopIo		connections[2 * HOSTS];
	int			accepted;
	int			requests;
	bool		closing;		/* each answer is its connection's last */
	bool		silent;			/* it does not answer */

	LoopHook	hook;
	int			turns;			/* of the loop */

	int			ended;
	TransferEnd ends[4 * HOSTS];
} Setup;

static void
on_request(void *context, unsigned ready)
{
	Setup	   *setup = context;
	const char *answer = setup->closing ? "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" :
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	char		bytes[4096];

	(void) ready;
	for (int i = 0; i < setup->accepted; i++)
	{
		ssize_t		length = recv(setup->connections[i].fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (length == 0)
			loop_io_stop(setup->loop, &setup->connections[i]);
		if (length > 0)
		{
			setup->requests++;
			if (setup->silent)
				continue;
			assert_int_equal(send(setup->connections[i].fd, answer, strlen(answer), 0), strlen(answer));
		}
	}
}

static void
on_accept(void *context, unsigned ready)
{
	Setup	   *setup = context;
	int			fd = accept(setup->listener.fd, NULL, NULL);

	(void) ready;
	assert_true(fd >= 0 && setup->accepted < 2 * HOSTS);
	assert_true(loop_io_start(setup->loop, &setup->connections[setup->accepted++], fd, LOOP_READ, on_request, setup));
}

static void
set_up(Setup *setup)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	socklen_t	length = sizeof(at);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	GuardRules	rules = {.ranges = &setup->range, .range_count = 1};

	*setup = (Setup) {0};
	log_set_level(LOG_LEVEL_ERROR);
	setup->loop = loop_new();
	assert_non_null(setup->loop);
	assert_int_equal(bind(fd, (struct sockaddr *) &at, length), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &at, &length), 0);
	assert_true(loop_io_start(setup->loop, &setup->listener, fd, LOOP_READ, on_accept, setup));

	assert_true(pb_cidr_parse(PB_LITERAL("127.0.0.0/8"), &setup->range));
	assert_true(pb_address_parse(PB_LITERAL("127.0.0.1"), &setup->address));
	setup->guard = guard_create(&rules);
	setup->transfers = transfers_new(setup->loop, setup->guard, 16 * HOSTS, "test");
	assert_non_null(setup->transfers);
	snprintf(setup->text, sizeof(setup->text), "http://127.0.0.1:%d/", ntohs(at.sin_port));
	assert_int_equal(pb_url_split(pb_slice(setup->text), &setup->url), PB_URL_OK);
}

static void
tear_down(Setup *setup)
{
	transfers_free(setup->transfers);
	guard_destroy(setup->guard);
	for (int i = 0; i < setup->accepted; i++)
	{
		loop_io_stop(setup->loop, &setup->connections[i]);
		close(setup->connections[i].fd);
	}
	loop_io_stop(setup->loop, &setup->listener);
	close(setup->listener.fd);
	loop_free(setup->loop);
}

static void
on_end(void *context, const TransferResult *result)
{
	Setup	   *setup = context;

	assert_true(setup->ended < 4 * HOSTS);
	setup->ends[setup->ended++] = result->end;
	loop_stop(setup->loop, 0);
}

static void
start(Setup *setup, int timeout_ms)
{
	TransferRequest request = {
		.url = &setup->url,
		.target = PB_LITERAL("/"),
		.addresses = &setup->address,
		.address_count = 1,
		.timeout_ms = timeout_ms,
	};

	assert_true(transfer_start(setup->transfers, &request, on_end, setup));
}

static void
on_too_long(void *context)
{
	Setup	   *setup = context;

	loop_stop(setup->loop, 1);
}

static void
wait_for_end(Setup *setup)
{
	LoopTimer	limit = {0};

	loop_timer_set(setup->loop, &limit, 10000, on_too_long, setup);
	assert_int_equal(loop_run(setup->loop), 0);
	loop_timer_stop(setup->loop, &limit);
}

/* That request may fail by its time limit, but only that one: once it ended all of them, for good. */
static void
connection_that_cannot_be_watched(void **state)
{
	Setup		setup;

	(void) state;
	set_up(&setup);
	fail_next_add = true;
	start(&setup, 500);
	wait_for_end(&setup);
	assert_false(fail_next_add);
	for (int i = 1; i < 3; i++)
	{
		start(&setup, 5000);
		wait_for_end(&setup);
		assert_int_equal(setup.ends[i], TRANSFER_ANSWERED);
	}
	tear_down(&setup);
}

/* Our own want of descriptors or memory says nothing of the server. */
static void
no_socket_for_it(void **state)
{
	static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
	Setup		setup;

	(void) state;
	set_up(&setup);
	for (int i = 0; i < 4; i++)
	{
		fail_next_socket = errors[i];
		start(&setup, 5000);
		wait_for_end(&setup);
		assert_int_equal(setup.ends[i], TRANSFER_UNSENT);
	}
	fail_next_socket = EACCES;
	start(&setup, 5000);
	wait_for_end(&setup);
	assert_int_equal(setup.ends[4], TRANSFER_UNREACHED);
	start(&setup, 5000);
	wait_for_end(&setup);
	assert_int_equal(setup.ends[5], TRANSFER_ANSWERED);
	assert_int_equal(setup.requests, 1);
	tear_down(&setup);
}

/* The loop was held up after a request was begun: libcurl's own clock starts only now, but nothing may be sent. */
static void
time_is_up_before_it_is_sent(void **state)
{
	Setup		setup;

	(void) state;
	set_up(&setup);
	start(&setup, 50);
	usleep(100 * 1000);
	wait_for_end(&setup);
	assert_int_equal(setup.ends[0], TRANSFER_UNREACHED);
	assert_int_equal(setup.requests, 0);

	/* On a connection that was kept, too. */
	start(&setup, 5000);
	wait_for_end(&setup);
	assert_int_equal(setup.ends[1], TRANSFER_ANSWERED);
	start(&setup, 50);
	usleep(100 * 1000);
	wait_for_end(&setup);
	assert_int_equal(setup.ends[2], TRANSFER_UNREACHED);
	assert_int_equal(setup.requests, 1);
	tear_down(&setup);
}

static void
count_turn(void *context)
{
	++*(int *) context;
}

static void
on_suspend(void *context)
{
	(void) context;
	suspended_s += 2;
}

/* Its time limit comes later by libcurl's clock than by ours, but it comes. */
static void
suspended_while_it_waits(void **state)
{
	Setup		setup;
	LoopTimer	moment = {0};

	(void) state;
	set_up(&setup);
	loop_hook_add(setup.loop, &setup.hook, count_turn, &setup.turns);
	setup.silent = true;
	start(&setup, 1000);
	loop_timer_set(setup.loop, &moment, 100, on_suspend, NULL);
	wait_for_end(&setup);
	assert_int_equal(setup.ends[0], TRANSFER_UNREACHED);
	assert_int_equal(setup.requests, 1);
	assert_in_range(setup.turns, 1, 50);
	loop_hook_remove(setup.loop, &setup.hook);
	tear_down(&setup);
}

/* A request to 127.0.0.HOST, which is answered. */
static void
ask_host(Setup *setup, int host)
{
	snprintf(setup->text, sizeof(setup->text), "http://127.0.0.%d:%d/", host, setup->url.port);
	assert_int_equal(pb_url_split(pb_slice(setup->text), &setup->url), PB_URL_OK);
	assert_true(pb_address_parse(setup->url.host, &setup->address));
	start(setup, 5000);
	wait_for_end(setup);
	assert_int_equal(setup->ends[setup->ended - 1], TRANSFER_ANSWERED);
}

/* Hosts are shared out among libcurl's handles: each keeps its connection, and a descriptor goes from one to another. */
static void
each_host_keeps_its_connection(void **state)
{
	Setup		setup;

	(void) state;
	set_up(&setup);
	loop_hook_add(setup.loop, &setup.hook, count_turn, &setup.turns);
	for (int i = 0; i < 2 * HOSTS; i++)
		ask_host(&setup, 1 + i % HOSTS);
	assert_int_equal(setup.accepted, HOSTS);
	setup.closing = true;
	for (int i = 0; i < 2 * HOSTS; i++)
		ask_host(&setup, HOSTS - i % HOSTS);
	assert_int_equal(setup.accepted, 2 * HOSTS);
	assert_int_equal(setup.requests, 4 * HOSTS);
	assert_in_range(setup.turns, 1, 20 * setup.requests);	/* what is ready goes to whom it concerns, or the loop would spin */
	loop_hook_remove(setup.loop, &setup.hook);
	tear_down(&setup);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_that_cannot_be_watched),
		cmocka_unit_test(no_socket_for_it),
		cmocka_unit_test(time_is_up_before_it_is_sent),
		cmocka_unit_test(suspended_while_it_waits),
		cmocka_unit_test(each_host_keeps_its_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
