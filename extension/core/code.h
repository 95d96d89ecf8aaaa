/*
 * code.h: one table of result codes, for every error that the product can answer.
 *
 * The name is what a caller sees in "code"; http is the status of the answer.
 * Texts for people (message, detail, hint) and SQLSTATEs live in
 * extension/error.c; nothing here depends on who asks.
 */
#ifndef PB_CODE_H
#define PB_CODE_H

#include "slice.h"

/* X(symbol, name, HTTP status) */
#define PB_CODES(X) \
	X(PB_OK, "ok", 200) \
	X(PB_MISSING_PARAMETER, "missing_parameter", 400) \
	X(PB_BAD_VALUE, "bad_value", 400) \
	X(PB_BAD_CURRENCY, "bad_currency", 400) \
	X(PB_BAD_STATUS, "bad_status", 400) \
	X(PB_BAD_VALUE_FORMAT, "bad_value_format", 400) \
	X(PB_BAD_ENCODING, "bad_encoding", 400) \
	X(PB_TOO_LONG, "too_long", 400) \
	X(PB_AMBIGUOUS_PARAMETER, "ambiguous_parameter", 400) \
	X(PB_BAD_JSON, "bad_json", 400) \
	X(PB_BAD_REQUEST, "bad_request", 400) \
	X(PB_BAD_SIGNATURE, "bad_signature", 401) \
	X(PB_IP_NOT_ALLOWED, "ip_not_allowed", 403) \
	X(PB_TOKEN_REVOKED, "token_revoked", 403) \
	X(PB_UNKNOWN_TOKEN, "unknown_token", 404) \
	X(PB_UNKNOWN_ORDER, "unknown_order", 404) \
	X(PB_UNKNOWN_LINK, "unknown_link", 404) \
	X(PB_NOT_FOUND, "not_found", 404) \
	X(PB_METHOD_NOT_ALLOWED, "method_not_allowed", 405) \
	X(PB_LOCKED, "locked", 409) \
	X(PB_AMBIGUOUS_ORDER, "ambiguous_order", 409) \
	X(PB_UNPRICED, "unpriced", 409) \
	X(PB_PAYLOAD_TOO_LARGE, "payload_too_large", 413) \
	X(PB_URI_TOO_LONG, "uri_too_long", 414) \
	X(PB_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415) \
	X(PB_VALUE_ABOVE_CURRENT, "value_above_current", 422) \
	X(PB_VALUE_MISMATCH, "value_mismatch", 422) \
	X(PB_CURRENCY_MISMATCH, "currency_mismatch", 422) \
	X(PB_RATE_LIMITED, "rate_limited", 429) \
	X(PB_HEADERS_TOO_LARGE, "headers_too_large", 431) \
	X(PB_UNAVAILABLE, "unavailable", 503)

typedef enum PbCode
{
#define X(symbol, name, http) symbol,
	PB_CODES(X)
#undef X
	PB_CODE_COUNT
} PbCode;

extern const char *pb_code_name(PbCode code);
extern int	pb_code_http(PbCode code);

#endif							/* PB_CODE_H */
