/*
 * test_url.c: URLs taken apart as RFC 3986 has it, and what is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "url.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEN "abcdefghij"
#define SIXTY TEN TEN TEN TEN TEN TEN

/* query and fragment: NULL if the URL has none. */
typedef struct Expected
{
	const char *text;
	bool		https;
	const char *host;
	bool		v6;
	uint16_t	port;
	const char *authority;
	const char *path;
	const char *query;
	const char *fragment;
} Expected;

static void
assert_slice(const char *url, const char *what, PbSlice got, const char *expected)
{
	if (!pb_slice_equal(got, pb_slice(expected)))
		fail_msg("%s: %s is \"%.*s\", not \"%s\"", url, what, (int) got.len, got.data, expected);
}

static void
urls_are_taken_apart(void **state)
{
	static const Expected good[] =
	{
		{"http://a.b", false, "a.b", false, 80, "a.b", "", NULL, NULL},
		{"https://a.b/", true, "a.b", false, 443, "a.b", "/", NULL, NULL},
		{"HTTPS://Track.Example/p?a=1&b=2#top", true, "Track.Example", false, 443, "Track.Example", "/p", "a=1&b=2", "top"},
		{"https://a.b:8443/x/y", true, "a.b", false, 8443, "a.b:8443", "/x/y", NULL, NULL},
		{"http://a.b:1", false, "a.b", false, 1, "a.b:1", "", NULL, NULL},
		{"http://a.b:65535/", false, "a.b", false, 65535, "a.b:65535", "/", NULL, NULL},
		{"https://a.b?", true, "a.b", false, 443, "a.b", "", "", NULL},
		{"https://a.b?x=/y?z", true, "a.b", false, 443, "a.b", "", "x=/y?z", NULL},
		{"https://a.b#", true, "a.b", false, 443, "a.b", "", NULL, ""},
		{"https://a.b/#x?y#z", true, "a.b", false, 443, "a.b", "/", NULL, "x?y#z"},
		{"https://a.b/@:/[x]", true, "a.b", false, 443, "a.b", "/@:/[x]", NULL, NULL},
		{"https://a.b./x", true, "a.b", false, 443, "a.b.", "/x", NULL, NULL},
		{"https://a.b.:444/x", true, "a.b", false, 444, "a.b.:444", "/x", NULL, NULL},
		{"https://under_score.a-b.c", true, "under_score.a-b.c", false, 443, "under_score.a-b.c", "", NULL, NULL},
		{"http://192.0.2.1/x", false, "192.0.2.1", false, 80, "192.0.2.1", "/x", NULL, NULL},
		{"http://[2001:db8::1]/x", false, "2001:db8::1", true, 80, "[2001:db8::1]", "/x", NULL, NULL},
		{"http://[::ffff:1.2.3.4]:81/", false, "::ffff:1.2.3.4", true, 81, "[::ffff:1.2.3.4]:81", "/", NULL, NULL},
	};

	(void) state;
	for (size_t i = 0; i < COUNT(good); i++)
	{
		const Expected *e = &good[i];
		PbUrl		url;
		PbUrlError	error = pb_url_split(pb_slice(e->text), &url);

		if (error != PB_URL_OK)
			fail_msg("%s: refused with %d", e->text, error);
		assert_true(pb_slice_equal_nocase(url.scheme, pb_slice(e->https ? "https" : "http")));
		assert_int_equal(url.https, e->https);
		assert_slice(e->text, "host", url.host, e->host);
		assert_int_equal(url.host_is_v6, e->v6);
		assert_int_equal(url.port, e->port);
		assert_slice(e->text, "authority", url.authority, e->authority);
		assert_slice(e->text, "path", url.path, e->path);
		assert_int_equal(url.has_query, e->query != NULL);
		assert_slice(e->text, "query", url.query, e->query != NULL ? e->query : "");
		assert_int_equal(url.has_fragment, e->fragment != NULL);
		assert_slice(e->text, "fragment", url.fragment, e->fragment != NULL ? e->fragment : "");
	}
}

static void
what_is_no_http_url_is_refused(void **state)
{
	static const struct
	{
		const char *text;
		PbUrlError	error;
	}			bad[] =
	{
		{"", PB_URL_BAD_SCHEME},
		{"a.b/c", PB_URL_BAD_SCHEME},
		{"//a.b/c", PB_URL_BAD_SCHEME},
		{"://a.b", PB_URL_BAD_SCHEME},
		{"ftp://a.b/", PB_URL_BAD_SCHEME},
		{"file:///etc/passwd", PB_URL_BAD_SCHEME},
		{"gopher://a.b/", PB_URL_BAD_SCHEME},
		{"httpss://a.b/", PB_URL_BAD_SCHEME},
		{"javascript:alert(1)", PB_URL_BAD_SCHEME},
		{"localhost:80/x", PB_URL_BAD_SCHEME},
		{"http:", PB_URL_BAD_HOST},
		{"http:a.b", PB_URL_BAD_HOST},
		{"http:/a.b", PB_URL_BAD_HOST},
		{"http://", PB_URL_BAD_HOST},
		{"http:///x", PB_URL_BAD_HOST},
		{"http://?x", PB_URL_BAD_HOST},
		{"http://#x", PB_URL_BAD_HOST},
		{"http://:80/", PB_URL_BAD_HOST},
		{"http://./", PB_URL_BAD_HOST},
		{"http://a..b/", PB_URL_BAD_HOST},
		{"http://.a/", PB_URL_BAD_HOST},
		{"http://a../", PB_URL_BAD_HOST},
		{"http://a%2eb/", PB_URL_BAD_HOST},
		{"http://a,b/", PB_URL_BAD_HOST},
		{"http://{a}/", PB_URL_BAD_HOST},
		{"http://a&b/", PB_URL_BAD_HOST},
		{"http://[]/", PB_URL_BAD_HOST},
		{"http://[::1/", PB_URL_BAD_HOST},
		{"http://::1]/", PB_URL_BAD_HOST},
		{"http://[::1]x/", PB_URL_BAD_HOST},
		{"http://[1.2.3.4]/", PB_URL_BAD_HOST},
		{"http://[fe80::1%25eth0]/", PB_URL_BAD_HOST},
		{"http://[v1.x]/", PB_URL_BAD_HOST},
		{"http://a.b:/", PB_URL_BAD_PORT},
		{"http://a.b:0/", PB_URL_BAD_PORT},
		{"http://a.b:080/", PB_URL_BAD_PORT},
		{"http://a.b:65536/", PB_URL_BAD_PORT},
		{"http://a.b:99999/", PB_URL_BAD_PORT},
		{"http://a.b:4294967376/", PB_URL_BAD_PORT},
		{"http://a.b:+80/", PB_URL_BAD_PORT},
		{"http://a.b:80:80/", PB_URL_BAD_PORT},
		{"http://a.b:8x/", PB_URL_BAD_PORT},
		{"http://[::1]:/", PB_URL_BAD_PORT},
		{"http://u@a.b/", PB_URL_USERINFO},
		{"http://u:p@a.b/", PB_URL_USERINFO},
		{"http://@a.b/", PB_URL_USERINFO},
		{"http://a.b@127.0.0.1/", PB_URL_USERINFO},
		{"http://[::1]@a.b/", PB_URL_USERINFO},
		{"http://a.b/x y", PB_URL_BAD_BYTE},
		{" http://a.b/", PB_URL_BAD_BYTE},
		{"http://a.b/\r\nX: y", PB_URL_BAD_BYTE},
		{"http://a.b/\tx", PB_URL_BAD_BYTE},
		{"http://a.b/\x7f", PB_URL_BAD_BYTE},
		{"http://a.b/\"", PB_URL_BAD_BYTE},
		{"http://a.b\\@c.d/", PB_URL_BAD_BYTE},
		{"http://b\xC3\xBC" "cher.de/", PB_URL_BAD_BYTE},
		{"http://a.b/?q=\xC2\xA4", PB_URL_BAD_BYTE},
		{"http://a.b/#\xFF", PB_URL_BAD_BYTE},
	};

	(void) state;
	for (size_t i = 0; i < COUNT(bad); i++)
	{
		PbUrl		url;
		PbUrlError	error = pb_url_split(pb_slice(bad[i].text), &url);

		if (error != bad[i].error)
			fail_msg("\"%s\": %d, not %d", bad[i].text, error, bad[i].error);
	}
	assert_int_equal(pb_url_split((PbSlice) {"http://a.b/\0", 12}, &(PbUrl) {0}), PB_URL_BAD_BYTE);
	assert_int_equal(pb_url_split((PbSlice) {NULL, 0}, &(PbUrl) {0}), PB_URL_BAD_SCHEME);
}

static void
host_lengths_are_those_of_dns(void **state)
{
	PbUrl		url;

	(void) state;
	/* a label of 63 and one of 64 */
	assert_int_equal(pb_url_split(pb_slice("http://" SIXTY "abc.de/"), &url), PB_URL_OK);
	assert_int_equal(pb_url_split(pb_slice("http://" SIXTY "abcd.de/"), &url), PB_URL_BAD_HOST);
	/* four labels of 60 and three dots are 243; 253 in all, 253 and a trailing dot, 254 */
	assert_int_equal(pb_url_split(pb_slice("http://" SIXTY "." SIXTY "." SIXTY "." SIXTY ".abcdefghi/"), &url),
					 PB_URL_OK);
	assert_int_equal(url.host.len, 253);
	assert_int_equal(pb_url_split(pb_slice("http://" SIXTY "." SIXTY "." SIXTY "." SIXTY ".abcdefghi./"), &url),
					 PB_URL_OK);
	assert_int_equal(pb_url_split(pb_slice("http://" SIXTY "." SIXTY "." SIXTY "." SIXTY ".abcdefghij/"), &url),
					 PB_URL_BAD_HOST);
}

/* Controls, space, '"', backslash, DEL and everything beyond ASCII. */
static void
bytes_that_no_url_may_have_are_those_of_the_list(void **state)
{
	(void) state;
	for (int c = 0; c < 256; c++)
	{
		bool		allowed = c >= 0x21 && c <= 0x7E && c != 0x22 && c != 0x5C;
		char		text[] = "http://a.b/x";
		PbUrl		url;

		text[11] = (char) c;
		assert_int_equal(pb_url_byte_ok((char) c), allowed);
		assert_int_equal(pb_url_split((PbSlice) {text, 12}, &url), allowed ? PB_URL_OK : PB_URL_BAD_BYTE);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(what_is_no_http_url_is_refused),
		cmocka_unit_test(host_lengths_are_those_of_dns),
		cmocka_unit_test(bytes_that_no_url_may_have_are_those_of_the_list),
	};

	return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
