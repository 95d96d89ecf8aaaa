/*
 * conversion.h: a conversion as the C code holds it, its price, and what a change of it causes.
 */
#ifndef POSTBACK_CONVERSION_H
#define POSTBACK_CONVERSION_H

#include "postback.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/array.h"

#include "core/money.h"
#include "core/state.h"
#include "core/terms.h"
#include "plan.h"

/* How the publisher was found. The names stand in attribution_name(). */
typedef enum Attribution
{
	ATTRIBUTION_NONE,
	ATTRIBUTION_CLICK,
	ATTRIBUTION_PROMO_CODE,
	ATTRIBUTION_LAST_CLICK
} Attribution;

/* Texts are slices with data NULL for null; amounts are minor units. */
typedef struct Conversion
{
	PbUlid		id;
	PbUlid		brand_id;
	PbSlice		order_ref;
	PbSlice		goal;
	bool		goal_given;
	PbState		status;
	bool		test;
	Attribution attribution;
	PbUlid		offer_id;		/* this and publisher_id: zero unless attributed */
	PbUlid		publisher_id;
	bool		has_click;
	PbUlid		click_id;
	int64		value;
	PbSlice		currency;
	bool		has_sale_value;
	int64		sale_value;		/* value in the brand's currency */
	bool		priced;
	int64		commission;		/* 0 unless priced */
	int64		fee;
	PbSlice		commission_currency;
	bool		has_terms;
	PbUlid		terms_id;
	Datum		fee_percent;	/* numeric */
	PbSlice		fee_of;
	bool		has_rate;
	Datum		fx_rate;		/* numeric */
	bool		has_hold;
	TimestampTz hold_until;
	PbSlice		external_transaction_id;
	PbSlice		sub_id;
	ArrayType  *subs;			/* NULL: none */
	PbSlice		promo_code;
	PbSlice		reason;
	PbSlice		notice;
	TimestampTz created_at;
	TimestampTz updated_at;
} Conversion;

/* A row of postback.terms, ready for the core. */
typedef struct Terms
{
	PbUlid		id;
	PbTerms		rule;
} Terms;

/* What callbacks tell of; the first is the default of a Change. */
typedef enum Cause
{
	CAUSE_CONVERSION,
	CAUSE_EVENT,
	CAUSE_CLICK
} Cause;

/*
 * One step of a conversion's life; before is NULL when it was created.  Or, for callbacks alone, an event or a click, whose id
 * and whatever else it has in common with a conversion (parties, click, tracking values, order) stand in after.
 */
typedef struct Change
{
	const Conversion *before;
	const Conversion *after;
	const char *actor;			/* receipt, cron, staff or sql */
	const PbUlid *receipt_id;	/* NULL: none */
	Cause		cause;
	PbSlice		event;			/* name of the event */
} Change;

/* conversion.c */
extern const char *attribution_name(Attribution attribution);
extern void conversion_read(Record record, Conversion *conversion);
extern Conversion *conversion_copy(const Conversion *conversion);
extern bool terms_take(Record *record, Terms *terms);	/* id .. brackets; false: null */
extern PbCode conversion_price(Conversion *conversion, const Terms *terms);
extern void holds_load(const Conversion *const *conversions, int count, TimestampTz *hold_until);
extern int	currency_exponent(PbSlice currency);
extern char *array_cstring(ArrayType *array);
extern int	names_compare(PbSlice a, PbSlice b);
extern bool names_equal(PbSlice a, PbSlice b);

/* effect.c */
extern void effects_write(const Change *changes, int count);

/* outbound.c */
extern void deliveries_write(const Change *changes, int count);

/* transition.c */
extern void conversions_update(Conversion *const *conversions, int count);

#endif							/* POSTBACK_CONVERSION_H */
