/*
 * test_multipart.c: multipart/form-data by RFC 7578 and RFC 2046.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "multipart.h"

static void
assert_slice(PbSlice s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.data, expected, s.len);
}

static void
two_fields(void **state)
{
	PbSlice rest = PB_LITERAL("--AaB03x\r\n"
							  "Content-Disposition: form-data; name=\"order\"\r\n\r\n"
							  "ORDER-1\r\n"
							  "--AaB03x\r\n"
							  "content-type: text/plain\r\n"
							  "CONTENT-DISPOSITION: form-data; filename=\"a.txt\"; name=value\r\n\r\n"
							  "line\r\n--other\r\n"
							  "--AaB03x--\r\n");
	PbSlice boundary = PB_LITERAL("AaB03x");
	PbSlice name;
	PbSlice value;

	(void) state;
	assert_int_equal(pb_multipart_next(&rest, boundary, &name, &value), PB_MULTIPART_PART);
	assert_slice(name, "order");
	assert_slice(value, "ORDER-1");
	assert_int_equal(pb_multipart_next(&rest, boundary, &name, &value), PB_MULTIPART_PART);
	assert_slice(name, "value");
	assert_slice(value, "line\r\n--other");
	assert_int_equal(pb_multipart_next(&rest, boundary, &name, &value), PB_MULTIPART_END);
}

static void
empty_value(void **state)
{
	PbSlice rest = PB_LITERAL("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--b--");
	PbSlice name;
	PbSlice value;

	(void) state;
	assert_int_equal(pb_multipart_next(&rest, PB_LITERAL("b"), &name, &value), PB_MULTIPART_PART);
	assert_slice(value, "");
	assert_int_equal(pb_multipart_next(&rest, PB_LITERAL("b"), &name, &value), PB_MULTIPART_END);
}

/* RFC 2046, 5.1.1: a preamble, blanks behind a boundary, an epilogue. */
static void
what_is_nobodys(void **state)
{
	PbSlice rest = PB_LITERAL("\r\nThis is a message in MIME.\r\n--c\r\n"
							  "--b \t\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--\r\nThe end.\r\n--b\r\n");
	PbSlice name;
	PbSlice value;

	(void) state;
	assert_int_equal(pb_multipart_next(&rest, PB_LITERAL("b"), &name, &value), PB_MULTIPART_PART);
	assert_slice(name, "a");
	assert_slice(value, "x");
	assert_int_equal(pb_multipart_next(&rest, PB_LITERAL("b"), &name, &value), PB_MULTIPART_END);
}

static void
malformed_bodies(void **state)
{
	static const char *const bodies[] = {
		"",
		"--",
		"--b",
		"--b\r",
		"--c\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--c--",
		"--b\r\n\r\nx\r\n--b--",
		"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
		"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx",
		"--b\r\nContent-Disposition: form-data; name=\"a\"\r\nx\r\n--b--",
		"--bContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b--",
		"x--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\n--b--",
		"x\r\n--b",
		"--b ",
		"--b  \r",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
	{
		PbSlice rest = pb_slice(bodies[i]);
		PbSlice name;
		PbSlice value;

		assert_int_equal(pb_multipart_next(&rest, PB_LITERAL("b"), &name, &value), PB_MULTIPART_BAD);
	}
}

static void
boundary_of_a_content_type(void **state)
{
	PbSlice value;

	(void) state;
	assert_true(pb_header_parameter(PB_LITERAL("multipart/form-data; charset=utf-8; Boundary=\"x y\""),
		PB_LITERAL("boundary"), &value));
	assert_slice(value, "x y");
	assert_true(pb_header_parameter(PB_LITERAL("multipart/form-data;boundary=----WebKit7"), PB_LITERAL("boundary"), &value));
	assert_slice(value, "----WebKit7");
	assert_false(pb_header_parameter(PB_LITERAL("multipart/form-data; boundary"), PB_LITERAL("boundary"), &value));
	assert_false(pb_header_parameter(PB_LITERAL("multipart/form-data"), PB_LITERAL("boundary"), &value));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_fields),
		cmocka_unit_test(empty_value),
		cmocka_unit_test(what_is_nobodys),
		cmocka_unit_test(malformed_bodies),
		cmocka_unit_test(boundary_of_a_content_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
