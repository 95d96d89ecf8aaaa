/*
 * macro.h: outbound templates: {name}, {name|default}, {name:raw}, {payout:minor},
 * {status:pending=hold,approved=sale}; in this order: {name:modifier:modifier|default}.
 *
 * A template is compiled once into parts (linted on the way), and rendered any number of times.  The place of a
 * macro (path, query, or a value that the caller escapes) decides how its value is escaped, so that no value can
 * change the structure of the request.
 */
#ifndef PB_MACRO_H
#define PB_MACRO_H

#include "slice.h"

/* X(symbol, canonical name, value: a phrase for the manual in Markdown); aliases are in macro.c */
#define PB_MACROS(X) \
	X(PB_M_TRANSACTION_ID, "transaction_id", "`clk_…`, empty without a click") \
	X(PB_M_EXTERNAL_TRANSACTION_ID, "external_transaction_id", "the publisher's own click id") \
	X(PB_M_CONVERSION_ID, "conversion_id", "26 characters") \
	X(PB_M_ORDER_ID, "order_id", "the brand's own reference") \
	X(PB_M_OFFER_ID, "offer_id", "of the offer that it counts for") \
	X(PB_M_OFFER_NAME, "offer_name", "of the offer that it counts for") \
	X(PB_M_PUBLISHER_ID, "publisher_id", "who is told") \
	X(PB_M_BRAND_ID, "brand_id", "whose order it is") \
	X(PB_M_GOAL, "goal", "its name, empty if none") \
	X(PB_M_SUB_ID, "sub_id", "the publisher's tracking values") \
	X(PB_M_SUB1, "sub1", "the publisher's tracking values") \
	X(PB_M_SUB2, "sub2", "the publisher's tracking values") \
	X(PB_M_SUB3, "sub3", "the publisher's tracking values") \
	X(PB_M_SUB4, "sub4", "the publisher's tracking values") \
	X(PB_M_SUB5, "sub5", "the publisher's tracking values") \
	X(PB_M_SUB6, "sub6", "the publisher's tracking values") \
	X(PB_M_SUB7, "sub7", "the publisher's tracking values") \
	X(PB_M_SUB8, "sub8", "the publisher's tracking values") \
	X(PB_M_SUB9, "sub9", "the publisher's tracking values") \
	X(PB_M_SUB10, "sub10", "the publisher's tracking values") \
	X(PB_M_PAYOUT, "payout", "commission, full units; in `{currency}`") \
	X(PB_M_REVENUE, "revenue", "commission and fee; in `{currency}`") \
	X(PB_M_SALE_AMOUNT, "sale_amount", "order value as sent") \
	X(PB_M_SALE_CURRENCY, "sale_currency", "order value as sent") \
	X(PB_M_CURRENCY, "currency", "of payout and revenue") \
	X(PB_M_STATUS, "status", "`pending`, `approved`, `rejected`") \
	X(PB_M_REJECTION_REASON, "rejection_reason", "only of rejected ones") \
	X(PB_M_NOTICE, "notice", "the last one given: that of a staff function replaces the brand's") \
	X(PB_M_PROMO_CODE, "promo_code", "as the brand sent it") \
	X(PB_M_DELTA_PAYOUT, "delta_payout", "the change of payout that caused the delivery; may be negative") \
	X(PB_M_SEQ, "seq", "1, 2, 3 per callback and conversion") \
	X(PB_M_DELIVERY_ID, "delivery_id", "of the delivery: the same on retries") \
	X(PB_M_DATE, "date", "UTC, of the change: `2026-11-21`") \
	X(PB_M_TIME, "time", "UTC, of the change: `02:04:35`") \
	X(PB_M_TIMESTAMP, "timestamp", "of the change, unix seconds") \
	X(PB_M_CLICK_DATE, "click_date", "UTC: `2026-11-21`") \
	X(PB_M_CLICK_TIMESTAMP, "click_timestamp", "unix seconds") \
	X(PB_M_IP, "ip", "of the click, where `keep_click_details` is on") \
	X(PB_M_USER_AGENT, "user_agent", "of the click, where `keep_click_details` is on") \
	X(PB_M_COUNTRY, "country", "of the click, where `keep_click_details` is on") \
	X(PB_M_REFERRER, "referrer", "of the click, where `keep_click_details` is on") \
	X(PB_M_RAND, "rand", "a UUID per delivery, the same on retries") \
	X(PB_M_EVENT, "event", "name of the event, empty for others") \
	X(PB_M_TEST, "test", "1 or 0")

typedef enum PbMacro
{
#define X(symbol, name, value) symbol,
	PB_MACROS(X)
#undef X
	PB_MACRO_COUNT,
	PB_M_UNKNOWN = PB_MACRO_COUNT
} PbMacro;

extern PbMacro pb_macro_find(PbSlice name);		/* canonical name or alias, without case */
extern const char *pb_macro_name(PbMacro m);	/* NULL for PB_M_UNKNOWN */
extern const char *pb_macro_meaning(PbMacro m); /* what its value is: for documentation */
extern const char *pb_macro_alias(PbMacro m, int i);	/* i-th further name, NULL past the last */
extern bool pb_macro_is_money(PbMacro m);		/* takes :minor */

/* What the whole template is for. */
typedef enum PbTemplateKind
{
	/*
	 * At most 4096 bytes.  Path and query are told apart while compiling; a fragment is checked, but never rendered.
	 * A literal brace must be written %7B or %7D; literal bytes beyond ASCII are rendered percent-encoded.
	 */
	PB_TEMPLATE_URL,

	/*
	 * The value of one parameter or header; the caller escapes the result.  A '{' is literal unless a name
	 * ([A-Za-z_][A-Za-z0-9_]*) and then '}', '|' or ':' follow.
	 */
	PB_TEMPLATE_VALUE
} PbTemplateKind;

/* Where a part stands, hence how a value is escaped there. */
typedef enum PbPlace
{
	PB_PLACE_PATH,				/* percent-encoded; a segment with a macro that would render as "." or ".." is
								 * kept from meaning it: its dots become %2E */
	PB_PLACE_QUERY,				/* percent-encoded */
	PB_PLACE_PLAIN				/* as it is */
} PbPlace;

/* One piece of a compiled template; slices point into the template's text. */
typedef struct PbPart
{
	bool		is_macro;
	PbSlice		literal;		/* if not a macro */
	PbMacro		macro;
	PbPlace		place;
	bool		raw;			/* :raw - percent-encoded are only '#', what may not stand in a URL at all (controls,
								 * space, '"', backslash, bytes over 0x7E), in a query '&', in a path '/' and '?' */
	bool		minor;			/* :minor - money in minor units */
	PbSlice		fallback;		/* after '|': anything but '}', stands for an empty value and is escaped like one;
								 * not mapped */
	PbSlice		map;			/* "pending=hold,approved=sale" or empty; names are compared without case, a value
								 * not named in it stays itself */
} PbPart;

#define PB_TEMPLATE_PARTS_MAX 256

typedef enum PbLint
{
	PB_LINT_OK,
	/* refused */
	PB_LINT_UNKNOWN_MACRO,		/* detail: the nearest known name */
	PB_LINT_UNCLOSED_MACRO,		/* '{' without '}' */
	PB_LINT_BAD_MODIFIER,		/* :minor on what is no money, a malformed map, an unknown modifier */
	PB_LINT_MACRO_IN_HOST,
	PB_LINT_MACRO_IN_SCHEME,
	PB_LINT_BAD_SCHEME,			/* neither http nor https */
	PB_LINT_BAD_URL,			/* also a brace or another byte that may not stand in a URL, or over 4096 bytes */
	PB_LINT_TOO_MANY_PARTS,
	/* doubtful */
	PB_LINT_FOREIGN_SYNTAX,		/* #s2#, !!!x!!! and other products' macros, also %7Bname%7D, ${name}, [name] of a
								 * known macro name */
	PB_LINT_HTML_LEAVINGS,		/* U+00A4 where &curren(cy) was, U+00A9 where &copy was, &amp; */
	PB_LINT_DOUBLE_ENCODING,	/* %25XX */
	PB_LINT_PLAIN_HTTP,
	PB_LINT_SPECIAL_ADDRESS		/* the host is an address literal in a special-purpose range, a number that hides
								 * one, or a name such as localhost */
} PbLint;

extern bool pb_lint_is_error(PbLint lint);
extern const char *pb_lint_name(PbLint lint);	/* snake_case of the symbol without PB_LINT_ */

typedef struct PbFinding
{
	PbLint		lint;
	size_t		position;		/* byte offset in the template */
	PbSlice		what;			/* the piece of the template that it is about */
	const char *nearest;		/* for PB_LINT_UNKNOWN_MACRO: the nearest known name, else NULL */
} PbFinding;

typedef struct PbTemplate
{
	PbPart		parts[PB_TEMPLATE_PARTS_MAX];
	size_t		part_count;
} PbTemplate;

/*
 * Compiles text.  PB_LINT_OK, or the first error, described in *finding (may be NULL).  text must outlive the
 * template.
 */
extern PbLint pb_template_compile(PbSlice text, PbTemplateKind kind, PbTemplate *template, PbFinding *finding);

/*
 * All that is wrong or doubtful with text, what is wrong first, at most cap findings; returns how many were written.
 */
extern size_t pb_template_lint(PbSlice text, PbTemplateKind kind, PbFinding *findings, size_t cap);

/* The values of one rendering.  Money macros have both forms; others only text. */
typedef struct PbMacroValues
{
	PbSlice		text[PB_MACRO_COUNT];
	PbSlice		minor[PB_MACRO_COUNT];
} PbMacroValues;

/* Appends the rendered template. */
extern void pb_template_render(const PbTemplate *template, const PbMacroValues *values, PbOut *out);

/* Does the template use the macro? */
extern bool pb_template_uses(const PbTemplate *template, PbMacro macro);

#endif							/* PB_MACRO_H */
