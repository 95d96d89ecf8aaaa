/*
 * parameter.c: the table of inbound parameters: every name of each, its longest value, and what the manual says of it.
 *
 * A new parameter is a line in the enum of parameter.h and a row here.
 */
#include "parameter.h"

#define NAMES_MAX 6
#define NAME(text) {text, sizeof(text) - 1}

static const struct
{
	PbSlice		names[NAMES_MAX + 1];	/* the canonical one, its aliases, an empty slice */
	size_t		limit;			/* bytes */
	const char *meaning;		/* for the manual, in Markdown */
}			parameters[PB_PARAMETER_COUNT + 1] =
{
	[PB_P_ORDER] = {{NAME("order"), NAME("order_id"), NAME("transaction_id"), NAME("txid"), NAME("txn_id"),
			NAME("action_id")}, 255,
	"the brand's reference; with the goal it is the idempotency key, for ever"},
	[PB_P_VALUE] = {{NAME("value")}, 32,
	"order value in the smallest unit: `4999` = 49.99 EUR. Digits only, at most 10^15"},
	[PB_P_AMOUNT] = {{NAME("amount"), NAME("sale_amount")}, 32,
	"order value in full units: `49.99`. Beside `value` it must agree"},
	[PB_P_VALUE_FORMAT] = {{NAME("value_format")}, 32,
	"`currency`: `value` is in full units too"},
	[PB_P_CLICK_ID] = {{NAME("click_id"), NAME("clickid")}, 64,
	"the click, with or without `clk_`, any case"},
	[PB_P_STATUS] = {{NAME("status"), NAME("conversion_status")}, 32,
	"see below; default `new`"},
	[PB_P_CURRENCY] = {{NAME("currency")}, 16,
	"ISO 4217, any case; default the brand's, on a follow-up the conversion's"},
	[PB_P_GOAL] = {{NAME("goal"), NAME("goal_id"), NAME("goal_name")}, 64,
	"the goal's name, not the id that `create_goal` returns; without case; default the offer's default goal"},
	[PB_P_EVENT] = {{NAME("event"), NAME("event_name")}, 64,
	"records an event (no money, no status) instead of a conversion"},
	[PB_P_SUB_ID] = {{NAME("sub_id"), NAME("subid"), NAME("aff_sub")}, 1024,
	"publisher's tracking value, if the click carried none"},
	[PB_P_REASON] = {{NAME("reason"), NAME("rejection_reason")}, 128,
	"why it is reversed"},
	[PB_P_NOTICE] = {{NAME("notice"), NAME("comment")}, 1024,
	"free text for reports"},
	[PB_P_PROMO_CODE] = {{NAME("promo_code"), NAME("coupon"), NAME("voucher")}, 128,
	"attribution by code"},
	[PB_P_OFFER_ID] = {{NAME("offer_id")}, 64,
	"narrow the search for the last click"},
	[PB_P_PUBLISHER_ID] = {{NAME("publisher_id")}, 64,
	"narrow the search for the last click"},
	[PB_P_IP] = {{NAME("ip")}, 64,
	"narrow the search for the last click"},
	[PB_P_TEST] = {{NAME("test")}, 16,
	"`1` or `true` marks a test order; so do an order beginning with `TEST-` and a test token"},
	[PB_P_SIG] = {{NAME("sig")}, 128,
	"signature, for tokens with an HMAC secret; others do not look at it"},
	[PB_P_UNKNOWN] = {{NAME("")}, 0, ""},
};

PbParameter
pb_parameter_find(PbSlice name)
{
	if (name.len == 0)
		return PB_P_UNKNOWN;
	for (int p = 0; p < PB_PARAMETER_COUNT; p++)
	{
		for (const PbSlice *known = parameters[p].names; known->len > 0; known++)
		{
			if (pb_slice_equal_nocase(name, *known))
				return (PbParameter) p;
		}
	}
	return PB_P_UNKNOWN;
}

const char *
pb_parameter_name(PbParameter p)
{
	return parameters[p].names[0].data;
}

size_t
pb_parameter_limit(PbParameter p)
{
	return parameters[p].limit;
}

const char *
pb_parameter_meaning(PbParameter p)
{
	return parameters[p].meaning;
}

const char *
pb_parameter_alias(PbParameter p, int i)
{
	if (i < 0 || i > NAMES_MAX || parameters[p].names[i].len == 0)
		return NULL;
	return parameters[p].names[i].data;
}
