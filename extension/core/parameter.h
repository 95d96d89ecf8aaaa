/*
 * parameter.h: the inbound postback's parameters and every name they go by.
 *
 * One table (parameter.c): canonical name, aliases, longest value in bytes
 * (a longer one is too_long), meaning.  A new parameter is a new row.
 */
#ifndef PB_PARAMETER_H
#define PB_PARAMETER_H

#include "slice.h"

typedef enum PbParameter
{
	PB_P_ORDER,
	PB_P_VALUE,
	PB_P_AMOUNT,
	PB_P_VALUE_FORMAT,
	PB_P_CLICK_ID,
	PB_P_STATUS,
	PB_P_CURRENCY,
	PB_P_GOAL,
	PB_P_EVENT,
	PB_P_SUB_ID,
	PB_P_REASON,
	PB_P_NOTICE,
	PB_P_PROMO_CODE,
	PB_P_OFFER_ID,
	PB_P_PUBLISHER_ID,
	PB_P_IP,
	PB_P_TEST,
	PB_P_SIG,
	PB_PARAMETER_COUNT,
	PB_P_UNKNOWN = PB_PARAMETER_COUNT
} PbParameter;

/* The parameter that a decoded name means, without case; PB_P_UNKNOWN if none. */
extern PbParameter pb_parameter_find(PbSlice name);

/* Canonical name, NUL-terminated; "" for PB_P_UNKNOWN. */
extern const char *pb_parameter_name(PbParameter p);

/*
 * Longest value in bytes.  order 255, goal 64, event 64, click_id 64, currency 16, status 32,
 * value_format 32, value and amount 32, test 16, ip 64, offer_id and publisher_id 64, promo_code 128,
 * reason 128, sub_id 1024, notice 1024, sig 128.
 */
extern size_t pb_parameter_limit(PbParameter p);

/* What the parameter is, a phrase in Markdown: for documentation. */
extern const char *pb_parameter_meaning(PbParameter p);

/* The i-th name (0 is the canonical one) of p, or NULL past the last: for documentation. */
extern const char *pb_parameter_alias(PbParameter p, int i);

#endif							/* PB_PARAMETER_H */
