/*
 * shim_test_sign.c: Standard Webhooks signatures (shim/sign.c).
 *
 * The first expected value is the test vector that the specification's own libraries carry; the second is the worked
 * example of Svix's manual; the others were computed with Python's hmac and base64 modules.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "sign.h"

static void
check(const char *const *secrets, size_t count, const char *id, int64_t timestamp, const char *content,
	  const char *expected)
{
	Signer	   *signer = signer_create();
	PbSlice		slices[4];
	char		room[4 * SIGN_ROOM];
	PbOut		out = pb_out(room, sizeof(room));
	SignMessage message = {pb_slice(id), timestamp, pb_slice(content)};

	assert_non_null(signer);
	for (size_t i = 0; i < count; i++)
		slices[i] = pb_slice(secrets[i]);
	assert_int_equal(sign_webhook(signer, slices, count, &message, &out), SIGN_OK);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(room, expected, out.len);
	signer_destroy(signer);
}

static SignResult
sign_with(const char *secret, size_t room_len)
{
	Signer	   *signer = signer_create();
	PbSlice		slice = pb_slice(secret);
	char		room[4 * SIGN_ROOM];
	PbOut		out = pb_out(room, room_len);
	SignMessage message = {PB_LITERAL("id"), 1, PB_LITERAL("body")};
	SignResult	result;

	assert_non_null(signer);
	result = sign_webhook(signer, &slice, 1, &message, &out);
	signer_destroy(signer);
	return result;
}

static void
the_specifications_vector(void **state)
{
	static const char *const secret[] = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};

	(void) state;
	check(secret, 1, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}",
		  "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void
the_manuals_example(void **state)
{
	static const char *const secret[] = {"whsec_plJ3nmyCDGBKInavdOK15jsl"};

	(void) state;
	check(secret, 1, "msg_loFOjxBNrRLzqYUf", 1731705121,
		  "{\"event_type\":\"ping\",\"data\":{\"success\":true}}",
		  "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
}

static void
two_live_secrets_give_two_signatures(void **state)
{
	static const char *const secrets[] = {
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"whsec_plJ3nmyCDGBKInavdOK15jsl",
	};

	(void) state;
	check(secrets, 2, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}",
		  "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= "
		  "v1,3Q7B9pz3SlC1/gG4UJ269Qj4TLRRQk5tdhkvlUuj234=");
}

static void
a_get_signs_its_request_target(void **state)
{
	static const char *const secret[] = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};

	(void) state;
	check(secret, 1, "01JD0000000000000000000000", 1764000000, "/postback?clickid=abc%20d&status=approved",
		  "v1,GMS252rdWs8LVfXij8VmLttnWDukvm77al505vHb8VI=");
}

static void
padding_of_a_secret_is_read_and_may_be_missing(void **state)
{
	static const char *const padded[] = {"whsec_c2VjcmV0LW9mLWEtY2FsbGJhY2s="};
	static const char *const bare[] = {"whsec_c2VjcmV0LW9mLWEtY2FsbGJhY2s"};

	(void) state;
	check(padded, 1, "id", 1, "body", "v1,pzk62Nh8wY7gwthi9L3orr5NxR5qapx0W3mUivxbJb8=");
	check(bare, 1, "id", 1, "body", "v1,pzk62Nh8wY7gwthi9L3orr5NxR5qapx0W3mUivxbJb8=");
}

static void
malformed_secrets_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "whsec", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", "whsec_MfKQ9", "whsec_MfK=9r8G", "whsec_====", "whsec_A",
		"whsec_MfKQ 9r8G", "whsec_MfKQ-_8G",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sign_with(bad[i], SIGN_ROOM), SIGN_BAD_SECRET);
}

static void
a_secret_beyond_the_limit_is_refused(void **state)
{
	char		secret[6 + 172 + 1] = "whsec_";

	(void) state;
	/* 172 digits are 129 bytes, 170 are 127. */
	memset(secret + 6, 'A', 172);
	secret[6 + 172] = '\0';
	assert_int_equal(sign_with(secret, SIGN_ROOM), SIGN_BAD_SECRET);
	secret[6 + 170] = '\0';
	assert_int_equal(sign_with(secret, SIGN_ROOM), SIGN_OK);
}

static void
a_signature_that_does_not_fit_is_said_so(void **state)
{
	(void) state;
	assert_int_equal(sign_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 47), SIGN_OK);
	assert_int_equal(sign_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 46), SIGN_NO_ROOM);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_specifications_vector),
		cmocka_unit_test(the_manuals_example),
		cmocka_unit_test(two_live_secrets_give_two_signatures),
		cmocka_unit_test(a_get_signs_its_request_target),
		cmocka_unit_test(padding_of_a_secret_is_read_and_may_be_missing),
		cmocka_unit_test(malformed_secrets_are_refused),
		cmocka_unit_test(a_secret_beyond_the_limit_is_refused),
		cmocka_unit_test(a_signature_that_does_not_fit_is_said_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
