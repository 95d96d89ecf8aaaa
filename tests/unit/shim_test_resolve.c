/*
 * shim_test_resolve.c: look-ups when it is ourselves who are short of something (shim/resolve.c).
 *
 * What name servers answer is tested over the whole sender (tests/t/090_egress.pl).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "resolve.h"

/* What every socket() fails with, if not 0. */
static int	socket_error;

int
socket(int domain, int type, int protocol)
{
	if (socket_error == 0)
		return (int) syscall(SYS_socket, domain, type, protocol);
	errno = socket_error;
	return -1;
}

typedef struct Setup
{
	Loop	   *loop;
	int			name_server;	/* does not answer */
	char		servers[64];
	Resolver   *resolver;
	ResolveWaiter waiters[RESOLVE_CACHE_LIMIT + 1];
	int			failed;
	int			short_of;		/* of these, for want of ours */
} Setup;

static Setup setup;

static int
set_up(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(at);

	(void) state;
	setup = (Setup) {0};
	socket_error = 0;
	setup.loop = loop_new();
	setup.name_server = socket(AF_INET, SOCK_DGRAM, 0);
	if (setup.loop == NULL || bind(setup.name_server, (struct sockaddr *) &at, length) != 0 ||
		getsockname(setup.name_server, (struct sockaddr *) &at, &length) != 0)
		return -1;
	snprintf(setup.servers, sizeof(setup.servers), "127.0.0.1:%d", ntohs(at.sin_port));
	setup.resolver = resolver_new(setup.loop, setup.servers);
	return setup.resolver == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	(void) state;
	resolver_free(setup.resolver);
	loop_free(setup.loop);
	close(setup.name_server);
	return 0;
}

static void
on_resolved(void *context, const ResolveAnswer *answer)
{
	(void) context;
	assert_non_null(answer->error);
	setup.failed++;
	setup.short_of += answer->shortage;
	loop_stop(setup.loop, 0);
}

static void
look_up(int number)
{
	char		host[32];

	snprintf(host, sizeof(host), "shop-%d.example", number);
	resolver_lookup(setup.resolver, pb_slice(host), &setup.waiters[number], on_resolved, NULL);
}

static void
too_many_names(void **state)
{
	(void) state;
	for (int i = 0; i < RESOLVE_CACHE_LIMIT; i++)
		look_up(i);
	assert_int_equal(setup.failed, 0);
	look_up(RESOLVE_CACHE_LIMIT);
	assert_int_equal(setup.failed, 1);
	assert_int_equal(setup.short_of, 1);
}

static void
no_socket_to_ask_by(void **state)
{
	static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		socket_error = errors[i];
		look_up(i);
		assert_int_equal(setup.failed, i + 1);
		assert_int_equal(setup.short_of, i + 1);
	}
}

static void
silence_is_no_want_of_ours(void **state)
{
	(void) state;
	socket_error = EMFILE;
	look_up(0);
	socket_error = 0;
	look_up(1);
	while (setup.failed < 2)
		loop_run(setup.loop);
	assert_int_equal(setup.short_of, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(too_many_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_socket_to_ask_by, set_up, tear_down),
		cmocka_unit_test_setup_teardown(silence_is_no_want_of_ours, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
