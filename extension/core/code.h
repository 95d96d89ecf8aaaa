/*
 * code.h: what a postback can be answered: results, warnings and error codes, each in one table.
 *
 * The names are what a caller sees in "result", "warning" and "code"; http is the status of the answer; meaning is a
 * phrase for the manual, which is made from these tables (make docs), in Markdown. Texts for the caller, with what was
 * wrong and the next step, are where the call is refused; nothing here depends on who asks.
 */
#ifndef PB_CODE_H
#define PB_CODE_H

#include "slice.h"

/* X(symbol, name, HTTP status, meaning) */
#define PB_CODES(X) \
	X(PB_OK, "ok", 200, "") \
	X(PB_MISSING_PARAMETER, "missing_parameter", 400, "no order, or no value where one is needed") \
	X(PB_BAD_VALUE, "bad_value", 400, "not of the form above; or too large for its commission to be computed") \
	X(PB_BAD_CURRENCY, "bad_currency", 400, "not of the form above") \
	X(PB_BAD_STATUS, "bad_status", 400, "not of the form above") \
	X(PB_BAD_VALUE_FORMAT, "bad_value_format", 400, "not of the form above") \
	X(PB_BAD_ENCODING, "bad_encoding", 400, "not UTF-8, or a NUL, in a known parameter; a broken multipart body") \
	X(PB_TOO_LONG, "too_long", 400, "longer than the table of parameters says") \
	X(PB_AMBIGUOUS_PARAMETER, "ambiguous_parameter", 400, "one parameter with two different values") \
	X(PB_BAD_JSON, "bad_json", 400, "the body is no flat JSON object") \
	X(PB_BAD_REQUEST, "bad_request", 400, "not well-formed HTTP; the connection is closed") \
	X(PB_BAD_SIGNATURE, "bad_signature", 401, "no `sig`, or not the one of what was sent") \
	X(PB_IP_NOT_ALLOWED, "ip_not_allowed", 403, "the sender's address is not in `allow_ips`") \
	X(PB_TOKEN_REVOKED, "token_revoked", 403, "revoked or expired") \
	X(PB_UNKNOWN_TOKEN, "unknown_token", 404, "no token of any brand") \
	X(PB_UNKNOWN_ORDER, "unknown_order", 404, "a follow-up before its order: kept for 24 hours, applied if the order arrives") \
	X(PB_UNKNOWN_LINK, "unknown_link", 404, "of a click, where there is no fallback URL either") \
	X(PB_NOT_FOUND, "not_found", 404, "no such address; of staff functions: no such conversion, click or receipt") \
	X(PB_METHOD_NOT_ALLOWED, "method_not_allowed", 405, "`Allow` says which methods are") \
	X(PB_LOCKED, "locked", 409, "approved or reversed; only the network can change it") \
	X(PB_AMBIGUOUS_ORDER, "ambiguous_order", 409, "the order has several goals; name one") \
	X(PB_UNPRICED, "unpriced", 409, "the approval is kept and applied when there is a price") \
	X(PB_PAYLOAD_TOO_LARGE, "payload_too_large", 413, "a body of more than 64 KB") \
	X(PB_URI_TOO_LONG, "uri_too_long", 414, "a request target of more than 8 KB, a click's of more than 13 KB") \
	X(PB_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", 415, "a body that is no form, multipart form or JSON") \
	X(PB_VALUE_ABOVE_CURRENT, "value_above_current", 422, "a partial can only lower the value") \
	X(PB_VALUE_MISMATCH, "value_mismatch", 422, "an approval must carry the current value or none") \
	X(PB_CURRENCY_MISMATCH, "currency_mismatch", 422, "a follow-up in another currency than its conversion") \
	X(PB_RATE_LIMITED, "rate_limited", 429, "more calls per second than the token's `rate_limit`; nothing was recorded (`Retry-After: 1`)") \
	X(PB_HEADERS_TOO_LARGE, "headers_too_large", 431, "more than 14 KB or 64 fields") \
	X(PB_UNAVAILABLE, "unavailable", 503, "nothing was recorded, unless a commit was under way just as the database broke off; send it again, nothing doubles (`Retry-After: 1`)")

typedef enum PbCode
{
#define X(symbol, name, http, meaning) symbol,
	PB_CODES(X)
#undef X
	PB_CODE_COUNT
} PbCode;

/* What was done. X(symbol, name, meaning) */
#define PB_RESULTS(X) \
	X(PB_RESULT_NONE, "", "a call that was refused") \
	X(PB_RESULT_CREATED, "created", "a new conversion, pending") \
	X(PB_RESULT_APPROVED, "approved", "done") \
	X(PB_RESULT_REVERSED, "reversed", "done") \
	X(PB_RESULT_ADJUSTED, "adjusted", "done") \
	X(PB_RESULT_DUPLICATE, "duplicate", "nothing was to be done; the answer shows what is") \
	X(PB_RESULT_REOPENED, "reopened", "a reversed test order, sent again as new") \
	X(PB_RESULT_EVENT, "event", "an event was recorded; with an order once per event and order, then `duplicate` with the `event_id` of the first")

typedef enum PbResult
{
#define X(symbol, name, meaning) symbol,
	PB_RESULTS(X)
#undef X
	PB_RESULT_COUNT
} PbResult;

/* What is odd but no reason to lose a sale. X(symbol, name, meaning) */
#define PB_WARNINGS(X) \
	X(PB_WARNING_NONE, "", "nothing is odd") \
	X(PB_WARNING_VALUE_DIFFERS, "value_differs", "a duplicate with another value or currency") \
	X(PB_WARNING_BAD_CLICK_ID, "bad_click_id", "the click id is malformed: unattributed, no guess") \
	X(PB_WARNING_UNKNOWN_CLICK_ID, "unknown_click_id", "it is none of this brand: unattributed, no guess") \
	X(PB_WARNING_OUTSIDE_WINDOW, "outside_window", "the click is too old or too young: unattributed, no guess") \
	X(PB_WARNING_UNKNOWN_GOAL, "unknown_goal", "the offer does not define the goal; kept and priced by the offer's own terms") \
	X(PB_WARNING_UNPRICED, "unpriced", "no terms, or no rate from this currency yet; priced when `set_terms` or `set_fx_rate` brings them")

typedef enum PbWarning
{
#define X(symbol, name, meaning) symbol,
	PB_WARNINGS(X)
#undef X
	PB_WARNING_COUNT
} PbWarning;

extern const char *pb_code_name(PbCode code);
extern int	pb_code_http(PbCode code);
extern const char *pb_code_meaning(PbCode code);
extern const char *pb_result_name(PbResult result);
extern const char *pb_result_meaning(PbResult result);
extern const char *pb_warning_name(PbWarning warning);
extern const char *pb_warning_meaning(PbWarning warning);

#endif							/* PB_CODE_H */
