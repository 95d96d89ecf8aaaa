/*
 * test_code.c: every result code's public name and HTTP status (extension/core/code.c).
 *
 * The rows are those of the manual's table of errors, spelled out again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "code.h"

static const struct
{
	PbCode		code;
	const char *name;
	int			http;
}			expected[] =
{
	{PB_OK, "ok", 200},
	{PB_MISSING_PARAMETER, "missing_parameter", 400},
	{PB_BAD_VALUE, "bad_value", 400},
	{PB_BAD_CURRENCY, "bad_currency", 400},
	{PB_BAD_STATUS, "bad_status", 400},
	{PB_BAD_VALUE_FORMAT, "bad_value_format", 400},
	{PB_BAD_ENCODING, "bad_encoding", 400},
	{PB_TOO_LONG, "too_long", 400},
	{PB_AMBIGUOUS_PARAMETER, "ambiguous_parameter", 400},
	{PB_BAD_JSON, "bad_json", 400},
	{PB_BAD_REQUEST, "bad_request", 400},
	{PB_BAD_SIGNATURE, "bad_signature", 401},
	{PB_IP_NOT_ALLOWED, "ip_not_allowed", 403},
	{PB_TOKEN_REVOKED, "token_revoked", 403},
	{PB_UNKNOWN_TOKEN, "unknown_token", 404},
	{PB_UNKNOWN_ORDER, "unknown_order", 404},
	{PB_UNKNOWN_LINK, "unknown_link", 404},
	{PB_NOT_FOUND, "not_found", 404},
	{PB_METHOD_NOT_ALLOWED, "method_not_allowed", 405},
	{PB_LOCKED, "locked", 409},
	{PB_AMBIGUOUS_ORDER, "ambiguous_order", 409},
	{PB_UNPRICED, "unpriced", 409},
	{PB_PAYLOAD_TOO_LARGE, "payload_too_large", 413},
	{PB_URI_TOO_LONG, "uri_too_long", 414},
	{PB_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415},
	{PB_VALUE_ABOVE_CURRENT, "value_above_current", 422},
	{PB_VALUE_MISMATCH, "value_mismatch", 422},
	{PB_CURRENCY_MISMATCH, "currency_mismatch", 422},
	{PB_RATE_LIMITED, "rate_limited", 429},
	{PB_HEADERS_TOO_LARGE, "headers_too_large", 431},
	{PB_UNAVAILABLE, "unavailable", 503},
};

static void
every_code_has_its_name_and_status(void **state)
{
	(void) state;
	assert_int_equal(sizeof(expected) / sizeof(expected[0]), PB_CODE_COUNT);
	for (size_t i = 0; i < PB_CODE_COUNT; i++)
	{
		assert_int_equal(expected[i].code, i);
		assert_string_equal(pb_code_name(expected[i].code), expected[i].name);
		assert_int_equal(pb_code_http(expected[i].code), expected[i].http);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_its_name_and_status),
	};

	return cmocka_run_group_tests_name("code", tests, NULL, NULL);
}
