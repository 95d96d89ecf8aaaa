/*
 * shim_test_framing.c: the strict reader of HTTP framing (shim/framing.c): the same verdict however the input is cut.
 *
 * tests/t/030_hostile_http.pl shows the same over sockets, with many more malformed requests.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "framing.h"

#define LONGEST 1024

/* So many bytes: the limits of a target are 100, and 200 of a click's. */
#define C(n) C##n
#define C97 C90 "aaaaaaa"
#define C100 C90 "aaaaaaaaaa"
#define C90 C30 C30 C30
#define C30 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const FramingLimits limits = {.target = 100, .click_target = 200, .head = 400, .fields = 8, .body = 64};

static const struct
{
	const char *bytes;
	int			status;			/* 0: accepted */
	int			requests;		/* whole ones before that */
}			cases[] = {
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0, 1},
	{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n", 0, 2},
	{"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"POST /?a HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost:\tb \t\r\n\r\n", 0, 2},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", 0, 1},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 64\r\n\r\n", 0, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\r\n", 413, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n", 0, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n", 413, 0},
	{"GET / HTTP/1.1\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 400, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunke\r\n\r\n", 400, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedd\r\n\r\n", 400, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\n", 400, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n", 400, 0},
	{"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\nGET HTTPS://[::1]:80?a HTTP/1.1\r\nHost: b\r\n\r\n", 0, 2},
	{"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET http\032//a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET httpss://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET http://a\001/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, 0},
	{"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\001 HTTP/1.1\r\nHost: a\r\n\r\n", 400, 1},
	{"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n"
	"Host: a\r\n\r\n", 0, 1},
	{"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n",
	414, 0},
	{"GET /c/" C(97) " HTTP/1.1\r\nHost: a\r\n\r\nGET /c/" C(97) C(100) " HTTP/1.1\r\nHost: a\r\n\r\n", 0, 2},
	{"GET /c/" C(97) C(100) "a HTTP/1.1\r\n", 414, 0},
	{"GET /a/" C(97) "a HTTP/1.1\r\n", 414, 0},
	{"GET /c?" C(97) "a HTTP/1.1\r\n", 414, 0},
	{"GET /c/ HTTP/1.1\r\nHost: a\r\n\r\nGET /" C(97) "aaa HTTP/1.1\r\n", 414, 1},
	{"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", 0, 1},
	{"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n", 431, 0},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* Reads the bytes in pieces that end at the two cuts; what was passed on is in copy, its length is returned. */
static size_t
read_cut(Framing *framing, char *copy, const char *bytes, size_t first_cut, size_t second_cut)
{
	size_t		length = strlen(bytes);
	size_t		ends[3] = {first_cut, second_cut, length};
	size_t		at = 0;

	memcpy(copy, bytes, length);
	for (int i = 0; i < 3; i++)
	{
		size_t		piece = ends[i] - at;
		size_t		passed = framing_read(framing, &limits, copy + at, piece);

		at += passed;
		if (passed < piece)
			break;
	}
	return at;
}

static void
test_verdict_does_not_depend_on_cuts(void **state)
{
	(void) state;
	for (size_t i = 0; i < CASES; i++)
	{
		size_t		length = strlen(cases[i].bytes);
		char		whole[LONGEST];
		char		copy[LONGEST];
		Framing		at_once = {0};
		size_t		passed = read_cut(&at_once, whole, cases[i].bytes, length, length);

		if (at_once.status != cases[i].status)
			print_error("case %zu: %s\n", i, cases[i].bytes);
		assert_int_equal(at_once.status, cases[i].status);
		assert_int_equal(at_once.requests, cases[i].requests);
		assert_int_equal(passed == length, cases[i].status == 0);
		for (size_t first = 0; first <= length; first++)
		{
			for (size_t second = first; second <= length; second++)
			{
				Framing		framing = {0};

				assert_int_equal(read_cut(&framing, copy, cases[i].bytes, first, second), passed);
				assert_int_equal(framing.status, cases[i].status);
				assert_int_equal(framing.requests, cases[i].requests);
				assert_memory_equal(copy, whole, passed);
			}
		}
	}
}

static void
test_marks(void **state)
{
	char		bytes[] = "GET /a?b?c HTTP/1.1\r\nHost: a\r\nCookie: a?b\r\nCookies: c\r\n\r\nGET /?x HTTP/1.0\r\n\r\n";
	const char	expected[] =
		"GET /a\001b?c HTTP/1.1\r\nHost: a\r\nCooki\001: a?b\r\nCooki\001s: c\r\n\r\nGET /\001x HTTP/1.0\r\n\r\n";
	Framing		framing = {0};

	(void) state;
	assert_int_equal(framing_read(&framing, &limits, bytes, strlen(bytes)), strlen(bytes));
	assert_string_equal(bytes, expected);
}

static void
test_nothing_is_read_after_a_refusal(void **state)
{
	char		bad[] = "GET /\001";
	char		good[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	Framing		framing = {0};

	(void) state;
	assert_int_equal(framing_read(&framing, &limits, bad, strlen(bad)), 5);
	assert_int_equal(framing_read(&framing, &limits, good, strlen(good)), 0);
	assert_int_equal(framing.requests, 0);
}

static void
test_every_control_byte_is_refused(void **state)
{
	(void) state;
	for (int c = 0; c < 256; c++)
	{
		char		target[] = "GET /* HTTP/1.1\r\nHost: a\r\n\r\n";
		char		value[] = "GET / HTTP/1.1\r\nHost: a\r\nA: *b\r\n\r\n";
		Framing		framing = {0};
		bool		control = c < 0x20 || c == 0x7F;

		*strchr(target, '*') = (char) c;
		framing_read(&framing, &limits, target, sizeof(target) - 1);
		assert_int_equal(framing.status, control || c == ' ' ? 400 : 0);
		memset(&framing, 0, sizeof(framing));
		*strchr(value, '*') = (char) c;
		framing_read(&framing, &limits, value, sizeof(value) - 1);
		assert_int_equal(framing.status, control && c != '\t' ? 400 : 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdict_does_not_depend_on_cuts),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_nothing_is_read_after_a_refusal),
		cmocka_unit_test(test_every_control_byte_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
