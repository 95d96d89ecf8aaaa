/*
 * receive.h: one inbound postback on its way through the batch: decode, authorise, attribute, decide, write, answer.
 */
#ifndef POSTBACK_RECEIVE_H
#define POSTBACK_RECEIVE_H

#include "postback.h"

#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "conversion.h"
#include "core/parameter.h"

/* What the batch needs of a brand. */
typedef struct Brand
{
	PbUlid		id;
	PbSlice		currency;
	Datum		hold;			/* interval */
	Datum		attribution_window;
	Datum		min_click_age;
	Datum		fee_percent;	/* numeric */
	PbSlice		fee_of;
	PbSlice		address_key;
	Datum		longest_window; /* of the brand and its offers */
	Datum		youngest_age;	/* likewise, of the minimum click ages */
} Brand;

/* A name that the brand uses, and ours. */
typedef struct Renaming
{
	PbSlice		theirs;
	PbSlice		ours;
} Renaming;

typedef struct Token
{
	PbSlice		key;
	PbSlice		secret_hash;
	PbUlid		id;
	PbUlid		brand_id;
	const Brand *brand;
	Renaming   *params;
	int			param_count;
	Renaming   *statuses;
	int			status_count;
	PbSlice		reply_style;
	ArrayType  *allow_ips;		/* NULL: any */
	PbSlice		hmac_secret;	/* data NULL: none */
	bool		test;
	bool		dead;			/* revoked or expired */
	int			rate_limit;		/* calls per second; 0: any number */
} Token;

/* What the batch needs of an offer. */
typedef struct Offer
{
	PbUlid		id;
	PbUlid		brand_id;
	bool		has_hold;
	Datum		hold;
	bool		has_window;
	Datum		attribution_window;
	bool		has_min_age;
	Datum		min_click_age;
	bool		goals_enabled;
	PbSlice		default_goal;	/* data NULL: none */
} Offer;

/* Who earns an order, found by attribute.c. */
typedef struct Source
{
	Attribution how;
	const Offer *offer;
	PbUlid		offer_id;
	PbUlid		publisher_id;
	bool		has_click;
	PbUlid		click_id;
	PbSlice		external_transaction_id;
	PbSlice		sub_id;
	ArrayType  *subs;
	PbSlice		promo_code;
	PbSlice		goal;			/* as it will be kept; "" none */
	bool		goal_unknown;	/* named, but the offer does not define it */
	const Terms *terms;			/* NULL: none */
	bool		has_rate;
	Datum		fx_rate;
	PbWarning	warning;		/* why a click id that was sent did not count */
} Source;

/* A pair of name and value that was read, for explain. */
typedef struct Pair
{
	PbSlice		as_sent;		/* data NULL: name and value are */
	PbSlice		name;
	PbSlice		value;
	PbParameter parameter;
	bool		refused;		/* for this pair the call was refused */
	bool		skipped;		/* not taken: the call was refused before */
} Pair;

/* One call of the batch.  Slices point into the call's arrays or memory of the batch. */
typedef struct Call
{
	int			number;			/* the caller's */
	int			position;		/* in the batch */

	PbSlice		token_text;
	PbSlice		method;
	PbSlice		query;			/* data NULL: none; likewise below */
	PbSlice		body;
	PbSlice		content_type;
	Datum		remote;			/* inet */
	bool		has_remote;
	PbSlice		signature;
	PbSlice		cookie;

	const Token *token;

	bool		replays;		/* a receipt's call is made again: its token is known, its sender was judged then */
	PbUlid		replay_of;
	TimestampTz received;		/* if so, when it first came */
	bool		traced;			/* pairs are noted */
	List	   *pairs;			/* of Pair */

	PbSlice		p[PB_PARAMETER_COUNT];	/* decoded, trimmed; data NULL: absent */
	PbSent		sent;
	bool		is_event;
	bool		full_units;		/* value is in full units (value_format=currency) */
	bool		test;
	PbSlice		currency;		/* in capitals; data NULL: not sent */
	bool		click_malformed;
	bool		has_click;
	PbUlid		click_id;
	bool		has_offer;
	PbUlid		offer_id;
	bool		has_publisher;
	PbUlid		publisher_id;

	bool		wants_source;	/* may create: attribution is looked up */
	bool		any_age;		/* staff: a click counts whatever its age */
	bool		goal_kept;		/* priced by the goal it has, the offer's default of today does not count */
	Source		source;

	PbUlid		receipt_id;
	bool		has_receipt;

	/* the answer */
	PbCode		code;			/* PB_OK unless refused */
	const char *parameter;
	const char *message;
	PbResult	result;			/* PB_RESULT_NONE: refused */
	bool		created;
	PbResult	applied[16];
	int			applied_count;
	PbWarning	warnings[4];
	int			warning_count;
	const Conversion *conversion;	/* final state, NULL: none */
	bool		has_event;
	PbUlid		event_id;
} Call;

typedef struct Batch
{
	Call	   *items;
	int			count;
	TimestampTz now;			/* of the transaction: what every rule is judged by */
	TimestampTz started;		/* by the clock */
} Batch;

/* receive.c */
extern void item_refuse(Call *item, PbCode code, const char *parameter, const char *format,...) pg_attribute_printf(4, 5);
extern void item_warn(Call *item, PbWarning warning);
extern void batch_run(Batch *batch);
extern PbSlice readable(PbSlice bytes);

/* token.c */
extern void batch_authorise(Batch *batch);
extern const Token *token_load(const PbUlid *id);
extern const Brand *brands_load(const PbUlid *ids, int count, int *found);

/* decode.c */
extern void item_decode(Call *item);
extern PbCode item_value(const Call *item, int exponent, bool *has_value, int64 *value);
extern PbCode amount_read(PbSlice minor, PbSlice full, int exponent, bool *has_value, int64 *value);

/* attribute.c */
extern void batch_attribute(Call **items, int count, TimestampTz now);
extern void batch_price(Call **items, int count, TimestampTz now);
extern void terms_load(Conversion *const *conversions, int count, const Terms **terms);
extern int64 address_hash(PbSlice key, PbSlice text);
extern PbSlice address_text(Datum remote);
extern PbSlice visitor_text(Datum remote);
extern bool narrowing_address(const Call *item, int64 *hash);

/* decide.c */
extern void batch_decide(Batch *batch);
extern void events_write(Batch *batch);
extern int	conversions_price(Call *calls, int count);

/* reply.c */
extern void reply_values(const Call *item, Datum *values, bool *nulls);
extern int	reply_status(const Call *item);
extern char *warnings_text(const Call *item);

#define REPLY_COLUMNS 29
#define COOKIE_MAX 64			/* bytes of a cookie that may be a click id */

#endif							/* POSTBACK_RECEIVE_H */
