/*
 * test_parameter.c: the names of the inbound parameters and their limits (extension/core/parameter.c).
 *
 * The rows are the manual's table of parameters, spelled out again.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "parameter.h"

static const struct
{
	PbParameter parameter;
	const char *names[7];
	size_t		limit;
}			expected[] =
{
	{PB_P_ORDER, {"order", "order_id", "transaction_id", "txid", "txn_id", "action_id"}, 255},
	{PB_P_VALUE, {"value"}, 32},
	{PB_P_AMOUNT, {"amount", "sale_amount"}, 32},
	{PB_P_VALUE_FORMAT, {"value_format"}, 32},
	{PB_P_CLICK_ID, {"click_id", "clickid"}, 64},
	{PB_P_STATUS, {"status", "conversion_status"}, 32},
	{PB_P_CURRENCY, {"currency"}, 16},
	{PB_P_GOAL, {"goal", "goal_id", "goal_name"}, 64},
	{PB_P_EVENT, {"event", "event_name"}, 64},
	{PB_P_SUB_ID, {"sub_id", "subid", "aff_sub"}, 1024},
	{PB_P_REASON, {"reason", "rejection_reason"}, 128},
	{PB_P_NOTICE, {"notice", "comment"}, 1024},
	{PB_P_PROMO_CODE, {"promo_code", "coupon", "voucher"}, 128},
	{PB_P_OFFER_ID, {"offer_id"}, 64},
	{PB_P_PUBLISHER_ID, {"publisher_id"}, 64},
	{PB_P_IP, {"ip"}, 64},
	{PB_P_TEST, {"test"}, 16},
	{PB_P_SIG, {"sig"}, 128},
};

#define EXPECTED_COUNT (sizeof(expected) / sizeof(expected[0]))

static void
every_name_means_its_parameter(void **state)
{
	(void) state;
	assert_int_equal(EXPECTED_COUNT, PB_PARAMETER_COUNT);
	for (size_t i = 0; i < EXPECTED_COUNT; i++)
	{
		for (int k = 0; expected[i].names[k] != NULL; k++)
			assert_int_equal(pb_parameter_find(pb_slice(expected[i].names[k])), expected[i].parameter);
	}
}

static void
names_are_listed_canonical_first(void **state)
{
	(void) state;
	for (size_t i = 0; i < EXPECTED_COUNT; i++)
	{
		PbParameter p = expected[i].parameter;
		int			k;

		assert_string_equal(pb_parameter_name(p), expected[i].names[0]);
		for (k = 0; expected[i].names[k] != NULL; k++)
			assert_string_equal(pb_parameter_alias(p, k), expected[i].names[k]);
		assert_null(pb_parameter_alias(p, k));
		assert_null(pb_parameter_alias(p, k + 1));
		assert_null(pb_parameter_alias(p, 1000));
		assert_null(pb_parameter_alias(p, -1));
	}
}

static void
every_parameter_has_its_limit(void **state)
{
	(void) state;
	for (size_t i = 0; i < EXPECTED_COUNT; i++)
		assert_int_equal(pb_parameter_limit(expected[i].parameter), expected[i].limit);
}

static void
names_are_found_without_case(void **state)
{
	(void) state;
	assert_int_equal(pb_parameter_find(PB_LITERAL("ORDER_ID")), PB_P_ORDER);
	assert_int_equal(pb_parameter_find(PB_LITERAL("ClickId")), PB_P_CLICK_ID);
	assert_int_equal(pb_parameter_find(PB_LITERAL("tXiD")), PB_P_ORDER);
}

static void
other_names_are_unknown(void **state)
{
	static const char *const others[] = {
		"", " ", "orde", "orders", "order ", " order", "order-id", "orderid", "txnid", "utm_source", "payout",
		"affiliate_id", "token", "gclid", "o", "sub1", "signature"
	};

	(void) state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(pb_parameter_find(pb_slice(others[i])), PB_P_UNKNOWN);
	assert_int_equal(pb_parameter_find((PbSlice) {NULL, 0}), PB_P_UNKNOWN);
	assert_int_equal(pb_parameter_find(PB_LITERAL("order\0")), PB_P_UNKNOWN);
	assert_string_equal(pb_parameter_name(PB_P_UNKNOWN), "");
	assert_null(pb_parameter_alias(PB_P_UNKNOWN, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_name_means_its_parameter),
		cmocka_unit_test(names_are_listed_canonical_first),
		cmocka_unit_test(every_parameter_has_its_limit),
		cmocka_unit_test(names_are_found_without_case),
		cmocka_unit_test(other_names_are_unknown),
	};

	return cmocka_run_group_tests_name("parameter", tests, NULL, NULL);
}
