/*
 * decide.c: what a batch does to its orders: their conversions are loaded and locked, the items are decided in memory one
 * after another by the core's state table, then everything is written at once.
 *
 * Orders are independent of each other.  If somebody else creates an order between our look and our insert, that order alone is
 * decided again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "receive.h"

/* Advisory locks of class LOCK_CLASS: who creates an order shares one of these, who parks a follow-up has it alone. */
#define LOCK_CLASS 0x70b0
#define LOCK_BUCKETS 1024

#define PARKED_PER_ORDER 8
/* An order is loaded, locked and compared with all its goals. */
#define GOALS_PER_ORDER 100
#define PARKED_FOR (INT64CONST(24) * USECS_PER_HOUR)
#define ROUNDS 8

/* A conversion as the batch has it. */
typedef struct Live
{
	const Conversion *now;
	bool		stored;			/* it was there before the batch */
	bool		dirty;			/* stored and changed */
	const Terms *terms;			/* it is priced by; NULL: none, or not needed */
	TimestampTz reopened_hold;	/* of a reversed test order, were it reopened now */
} Live;

/* A follow-up that waits. */
typedef struct Parked
{
	PbUlid		id;
	bool		stored;
	bool		gone;			/* applied or dropped */
	bool		for_ever;		/* waits for a price of the conversion with that goal */
	bool		changed;		/* stored, and for_ever only now */
	PbSlice		goal;			/* data NULL: any */
	PbSent		sent;
	PbSlice		value;			/* as sent, minor units; data NULL: not sent */
	PbSlice		amount;			/* as sent, full units */
	PbSlice		currency;
	PbSlice		reason;
	PbSlice		notice;
	PbUlid		receipt_id;
} Parked;

/* All items of one order of one brand, in their order in the batch. */
typedef struct Order
{
	PbUlid		brand_id;
	PbSlice		ref;
	Call	  **items;
	int			item_count;
	Live	   *lives;
	int			live_count;
	Parked	   *parked;
	int			parked_count;
	Change	   *changes;
	int			change_count;
	bool		again;			/* somebody else created it meanwhile */
	const char *actor;			/* for history */
} Order;

/* Room for one more element of a growing array, whose capacity is always the next power of two, at least 4. */
static void *
room_for_one(void *array, int count, size_t size)
{
	if (array == NULL)
		return palloc(size * 4);
	if (count >= 4 && (count & (count - 1)) == 0)
		return repalloc(array, size * count * 2);
	return array;
}

static Live *
live_add(Order *order, const Conversion *conversion, bool stored, const Terms *terms)
{
	order->lives = room_for_one(order->lives, order->live_count, sizeof(Live));
	order->lives[order->live_count] = (Live) {conversion, stored, false, terms, 0};
	return &order->lives[order->live_count++];
}

static void
change_add(Order *order, const Conversion *before, const Conversion *after, const PbUlid *receipt_id)
{
	order->changes = room_for_one(order->changes, order->change_count, sizeof(Change));
	order->changes[order->change_count++] = (Change) {
		.before = before, .after = after, .actor = order->actor, .receipt_id = receipt_id
	};
}

static int
order_compare(const PbUlid *brand_a, PbSlice ref_a, const PbUlid *brand_b, PbSlice ref_b)
{
	int			order = memcmp(brand_a, brand_b, sizeof(PbUlid));

	return order != 0 ? order : pb_slice_compare(ref_a, ref_b);
}

static int
item_compare(const void *left, const void *right)
{
	const Call *a = *(Call *const *) left;
	const Call *b = *(Call *const *) right;
	int			order = order_compare(&a->token->brand_id, a->p[PB_P_ORDER], &b->token->brand_id, b->p[PB_P_ORDER]);

	return order != 0 ? order : a->position - b->position;
}

/* Events by their key; those without an order have none. */
static int
event_compare(const void *left, const void *right)
{
	const Call *a = *(Call *const *) left;
	const Call *b = *(Call *const *) right;
	int			order = order_compare(&a->token->brand_id, a->p[PB_P_ORDER], &b->token->brand_id, b->p[PB_P_ORDER]);

	if (order == 0 && a->p[PB_P_ORDER].data != NULL)
		order = names_compare(a->p[PB_P_EVENT], b->p[PB_P_EVENT]);
	return order != 0 ? order : a->position - b->position;
}

/* The orders of all items that are not refused yet, sorted by key. */
static Order *
orders_group(Batch *batch, int *order_count)
{
	Call	  **items = palloc(sizeof(Call *) * Max(batch->count, 1));
	Order	   *orders = palloc0(sizeof(Order) * Max(batch->count, 1));
	int			count = 0;

	*order_count = 0;
	for (int i = 0; i < batch->count; i++)
		if (batch->items[i].code == PB_OK && !batch->items[i].is_event)
			items[count++] = &batch->items[i];
	qsort(items, count, sizeof(Call *), item_compare);
	for (int i = 0; i < count; i++)
	{
		Order	   *order = &orders[*order_count - 1];

		if (i == 0 || order_compare(&order->brand_id, order->ref, &items[i]->token->brand_id,
									items[i]->p[PB_P_ORDER]) != 0)
		{
			order = &orders[(*order_count)++];
			order->brand_id = items[i]->token->brand_id;
			order->ref = items[i]->p[PB_P_ORDER];
			order->items = &items[i];
			order->actor = "receipt";
		}
		order->item_count++;
	}
	return orders;
}

static Order *
order_find(Order **orders, int count, const PbUlid *brand_id, PbSlice ref)
{
	int			low = 0;
	int			high = count - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			order = order_compare(&orders[middle]->brand_id, orders[middle]->ref, brand_id, ref);

		if (order == 0)
			return orders[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

static void
put_order_keys(Rows *rows, Order *const *orders, int count)
{
	for (int i = 0; i < count; i++)
	{
		rows_next(rows);
		put_ulid(rows, &orders[i]->brand_id);
		put_slice(rows, orders[i]->ref);
	}
}

/* Loads what there is of the orders, by ST_CONVERSIONS or, to lock it, by ST_CONVERSIONS_LOCKED. */
static void
conversions_load(Statement statement, Order **orders, int count)
{
	Rows	   *rows = rows_begin(statement, count);
	uint64		found;

	for (int i = 0; i < count; i++)
		orders[i]->live_count = 0;
	put_order_keys(rows, orders, count);
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Conversion *conversion = palloc(sizeof(Conversion));

		conversion_read(record_read(r), conversion);
		live_add(order_find(orders, count, &conversion->brand_id, conversion->order_ref), conversion, true, NULL);
	}
}

static bool
has_value(const Call *item)
{
	return item->p[PB_P_VALUE].data != NULL || item->p[PB_P_AMOUNT].data != NULL;
}

/* May the item create a conversion, if there is none that it means? */
static bool
may_create(const Call *item)
{
	return item->sent == PB_SENT_NEW || (item->sent == PB_SENT_APPROVED && has_value(item));
}

/*
 * The conversion that an item means; NULL if there is none (yet), or if *ambiguous. A follow-up without a goal means the
 * order's only one; a new one without a goal means the one made without, else the offer's default.
 */
static Live *
live_find(Order *order, const Call *item, bool *ambiguous)
{
	PbSlice		goal = item->p[PB_P_GOAL];

	*ambiguous = false;
	if (goal.data == NULL && item->sent != PB_SENT_NEW)
	{
		*ambiguous = order->live_count > 1;
		return order->live_count == 1 ? &order->lives[0] : NULL;
	}
	if (goal.data == NULL)
	{
		for (int i = 0; i < order->live_count; i++)
			if (!order->lives[i].now->goal_given)
				return &order->lives[i];
		if (!item->wants_source)
			return NULL;
		goal = item->source.goal;
	}
	for (int i = 0; i < order->live_count; i++)
		if (names_equal(order->lives[i].now->goal, goal))
			return &order->lives[i];
	return NULL;
}

/* May two items that may create mean two conversions? */
static bool
goals_differ(const Call *a, const Call *b)
{
	return !pb_slice_equal(a->p[PB_P_GOAL], b->p[PB_P_GOAL]);
}

/*
 * What an order locks before it is decided: 0 nothing, 1 shared (may be created), 2 exclusive (may park, or get a further goal).
 * Who adds a goal holds the rows of the others, and is not to wait for somebody who adds the same; likewise who creates several.
 * One that goes round again has its lock.
 */
static int
order_lock_wanted(Order *order)
{
	const Call *creator = NULL;
	int			wanted = 0;

	for (int i = 0; i < order->item_count; i++)
	{
		Call	   *item = order->items[i];
		bool		ambiguous;
		bool		only_one;

		CHECK_FOR_INTERRUPTS();
		item->wants_source = false;
		if (live_find(order, item, &ambiguous) != NULL || ambiguous)
			continue;
		item->wants_source = may_create(item);
		if (creator == NULL)
			creator = item;
		only_one = item->wants_source && !goals_differ(creator, item) && (order->live_count == 0 || order->again);
		wanted = Max(wanted, only_one ? 1 : 2);
	}
	return wanted;
}

typedef struct BucketLock
{
	int			bucket;
	int			mode;
} BucketLock;

static int
bucket_compare(const void *left, const void *right)
{
	const BucketLock *a = left;
	const BucketLock *b = right;

	return a->bucket != b->bucket ? a->bucket - b->bucket : b->mode - a->mode;
}

/*
 * Keeps a follow-up from being parked by one transaction while another creates its order: without this each could miss the
 * other. Taken in one order by all and before any row is locked, at most LOCK_BUCKETS per transaction. Returns how many of the
 * orders have to be looked at again, which then stand in held: those that are known, and those that nobody else creates now.
 */
static int
orders_lock(Order **orders, int count, Order **held)
{
	BucketLock *locks = palloc(sizeof(BucketLock) * Max(count, 1));
	int			lock_count = 0;
	int			held_count = 0;

	for (int i = 0; i < count; i++)
	{
		int			mode = order_lock_wanted(orders[i]);
		uint32		hash = hash_combine(hash_bytes(orders[i]->brand_id.bytes, sizeof(PbUlid)),
										hash_bytes((const unsigned char *) orders[i]->ref.data, (int) orders[i]->ref.len));

		if (orders[i]->live_count > 0 || mode == 2)
			held[held_count++] = orders[i];
		if (mode == 0)
			continue;
		locks[lock_count++] = (BucketLock) {hash % LOCK_BUCKETS, mode};
	}
	qsort(locks, lock_count, sizeof(BucketLock), bucket_compare);
	for (int i = 0; i < lock_count; i++)
	{
		if (i > 0 && locks[i].bucket == locks[i - 1].bucket)
			continue;
		DirectFunctionCall2(locks[i].mode == 2 ? pg_advisory_xact_lock_int4 : pg_advisory_xact_lock_shared_int4,
							Int32GetDatum(LOCK_CLASS), Int32GetDatum(locks[i].bucket));
	}
	return held_count;
}

/*
 * A transaction that sees one moment only would park a follow-up whose order has come since, or create an order without what
 * has been parked for it since: either would wait for ever.
 */
static void
check_nothing_came(Order *const *orders, int count)
{
	Rows	   *rows;

	if (!IsolationUsesXactSnapshot())
		return;
	rows = rows_begin(ST_ORDER_ROWS, count);
	put_order_keys(rows, orders, count);
	rows_check_current(rows);
}

/* What waits for the orders, which are locked. */
static void
parked_load(Order **orders, int count)
{
	Rows	   *rows = rows_begin(ST_PARKED, count);
	uint64		found;

	check_nothing_came(orders, count);
	put_order_keys(rows, orders, count);
	found = rows_execute(rows);
	for (int i = 0; i < count; i++)
		orders[i]->parked_count = 0;
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Parked		parked;
		PbUlid		brand_id;
		PbSlice		ref;
		Order	   *order;
		int64		value;
		TimestampTz expires_at;

		memset(&parked, 0, sizeof(parked));
		take_ulid(&record, &parked.id);
		take_ulid(&record, &brand_id);
		ref = take_slice(&record);
		parked.goal = take_slice(&record);
		pb_status_word(take_slice(&record), &parked.sent);
		if (take_bigint(&record, &value))
			parked.value = pb_slice(psprintf(INT64_FORMAT, value));
		parked.amount = take_slice(&record);
		parked.currency = take_slice(&record);
		parked.reason = take_slice(&record);
		parked.notice = take_slice(&record);
		take_ulid(&record, &parked.receipt_id);
		take_timestamp(&record, &expires_at);
		parked.for_ever = TIMESTAMP_IS_NOEND(expires_at);
		parked.stored = true;
		order = order_find(orders, count, &brand_id, ref);
		order->parked = room_for_one(order->parked, order->parked_count, sizeof(Parked));
		order->parked[order->parked_count++] = parked;
	}
}

static bool
order_may_create(const Order *order)
{
	for (int i = 0; i < order->item_count; i++)
		if (order->items[i]->wants_source)
			return true;
	return false;
}

/*
 * Several may create goals of one order at once: what waits for any of them is applied by the first that comes, and gone for
 * the others.
 */
static void
parked_lock(Order **orders, int count)
{
	Rows	   *rows = rows_begin(ST_LOCK_PARKED, 8);
	uint64		found;

	for (int i = 0; i < count; i++)
		for (int j = 0; order_may_create(orders[i]) && j < orders[i]->parked_count; j++)
		{
			/* That waits for a price of a conversion which is there, and goes when this one changes. */
			if (orders[i]->parked[j].for_ever)
				continue;
			rows_next(rows);
			put_ulid(rows, &orders[i]->parked[j].id);
			orders[i]->parked[j].gone = true;
		}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		PbUlid		id;

		take_ulid(&record, &id);
		for (int i = 0; i < count; i++)
			for (int j = 0; j < orders[i]->parked_count; j++)
				if (ulid_equal(&orders[i]->parked[j].id, &id))
					orders[i]->parked[j].gone = false;
	}
}

/* Joins stored conversions with their frozen terms, where an item may recalculate them. */
static void
frozen_terms_load(Order **orders, int count)
{
	Conversion **conversions;
	Live	  **lives;
	const Terms **terms;
	int			wanted = 0;

	for (int i = 0; i < count; i++)
		wanted += orders[i]->live_count;
	conversions = palloc(sizeof(Conversion *) * Max(wanted, 1));
	lives = palloc(sizeof(Live *) * Max(wanted, 1));
	terms = palloc(sizeof(Terms *) * Max(wanted, 1));
	wanted = 0;
	for (int i = 0; i < count; i++)
	{
		bool		recalculates = false;

		for (int j = 0; j < orders[i]->item_count; j++)
			recalculates |= orders[i]->items[j]->sent == PB_SENT_PARTIAL || orders[i]->items[j]->sent == PB_SENT_NEW;
		for (int j = 0; recalculates && j < orders[i]->live_count; j++)
		{
			lives[wanted] = &orders[i]->lives[j];
			conversions[wanted++] = unconstify(Conversion *, orders[i]->lives[j].now);
		}
	}
	terms_load(conversions, wanted, terms);
	for (int i = 0; i < wanted; i++)
		lives[i]->terms = terms[i];
}

/* New holds for reversed test orders, which a new postback opens again. */
static void
reopened_holds_load(Order **orders, int count)
{
	const Conversion **conversions;
	Live	  **lives;
	TimestampTz *hold_until;
	int			wanted = 0;

	for (int i = 0; i < count; i++)
		wanted += orders[i]->live_count;
	conversions = palloc(sizeof(Conversion *) * Max(wanted, 1));
	lives = palloc(sizeof(Live *) * Max(wanted, 1));
	hold_until = palloc(sizeof(TimestampTz) * Max(wanted, 1));
	wanted = 0;
	for (int i = 0; i < count; i++)
		for (int j = 0; j < orders[i]->live_count; j++)
			if (orders[i]->lives[j].now->test)
			{
				lives[wanted] = &orders[i]->lives[j];
				conversions[wanted++] = orders[i]->lives[j].now;
			}
	holds_load(conversions, wanted, hold_until);
	for (int i = 0; i < wanted; i++)
		lives[i]->reopened_hold = hold_until[i];
}

static TimestampTz
hold_from(TimestampTz now, const Brand *brand, const Offer *offer)
{
	Datum		hold = offer != NULL && offer->has_hold ? offer->hold : brand->hold;

	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), hold));
}

/* The conversion that an item would create; NULL and the item refused if it cannot be. */
static Conversion *
conversion_build(Call *item, TimestampTz now)
{
	Conversion *c = palloc0(sizeof(Conversion));
	const Brand *brand = item->token->brand;
	const Source *source = &item->source;
	bool		valued;

	c->id = ulid_next();
	c->brand_id = item->token->brand_id;
	c->order_ref = item->p[PB_P_ORDER];
	c->goal = source->goal;
	c->goal_given = item->p[PB_P_GOAL].data != NULL;
	c->status = PB_PENDING;
	c->test = item->test;
	c->attribution = source->how;
	c->offer_id = source->offer_id;
	c->publisher_id = source->publisher_id;
	c->has_click = source->has_click;
	c->click_id = source->click_id;
	c->currency = item->currency.data != NULL ? item->currency : brand->currency;
	c->commission_currency = brand->currency;
	c->fee_percent = brand->fee_percent;
	c->fee_of = brand->fee_of;
	c->has_rate = source->has_rate;
	c->fx_rate = source->fx_rate;
	c->has_hold = true;
	c->hold_until = hold_from(now, brand, source->offer);
	c->external_transaction_id = source->external_transaction_id;
	c->sub_id = source->sub_id.data != NULL ? source->sub_id : item->p[PB_P_SUB_ID];
	c->subs = source->subs;
	c->promo_code = source->promo_code.data != NULL ? source->promo_code : item->p[PB_P_PROMO_CODE];
	c->notice = item->p[PB_P_NOTICE];
	c->created_at = now;
	c->updated_at = now;
	if (item_value(item, currency_exponent(c->currency), &valued, &c->value) != PB_OK || conversion_price(c, source->terms) != PB_OK)
	{
		item_refuse(item, PB_BAD_VALUE, item->p[PB_P_VALUE].data != NULL ? "value" : "amount",
					"the value is too large for its commission to be computed; check its unit");
		return NULL;
	}
	return c;
}

/* Makes a change of a conversion; the caller sets fields of what is returned. */
static Conversion *
live_change(Order *order, Live *live, const PbUlid *receipt_id)
{
	Conversion *after = conversion_copy(live->now);

	change_add(order, live->now, after, receipt_id);
	live->now = after;
	live->dirty = live->stored;
	return after;
}

/* Sets value and what follows from it; false (and nothing changed) if it cannot be computed. */
static bool
live_revalue(Order *order, Live *live, int64 value, const PbUlid *receipt_id)
{
	Conversion	trial = *live->now;
	Conversion *after;

	trial.value = value;
	if (conversion_price(&trial, live->terms) != PB_OK)
		return false;
	after = live_change(order, live, receipt_id);
	*after = trial;
	return true;
}

/* An approval that waits for a price goes with the conversion's reversal: what opens it again begins anew. */
static void
parked_forget(Order *order, const Conversion *c)
{
	for (int i = 0; i < order->parked_count; i++)
		if (order->parked[i].for_ever && names_equal(order->parked[i].goal, c->goal))
			order->parked[i].gone = true;
}

/* Applies a decided change to a conversion; returns PB_RESULT_NONE if nothing was done. */
static PbResult
action_apply(Order *order, Live *live, PbAction action, int64 value, PbSlice reason, PbSlice notice,
			 const PbUlid *receipt_id)
{
	Conversion *after;
	PbResult	result;

	switch (action)
	{
		case PB_DO_APPROVE:
			after = live_change(order, live, receipt_id);
			after->status = PB_APPROVED;
			result = PB_RESULT_APPROVED;
			break;
		case PB_DO_REVERSE:
			after = live_change(order, live, receipt_id);
			after->status = PB_REVERSED;
			if (reason.data != NULL)
				after->reason = reason;
			parked_forget(order, after);
			result = PB_RESULT_REVERSED;
			break;
		case PB_DO_ADJUST:
			if (!live_revalue(order, live, value, receipt_id))
				return PB_RESULT_NONE;
			result = PB_RESULT_ADJUSTED;
			break;
		case PB_DO_REOPEN:
			if (!live_revalue(order, live, value, receipt_id))
				return PB_RESULT_NONE;
			after = unconstify(Conversion *, live->now);
			after->status = PB_PENDING;
			after->reason = (PbSlice) {NULL, 0};
			result = PB_RESULT_REOPENED;
			break;
		default:
			return PB_RESULT_NONE;
	}
	if (notice.data != NULL)
		unconstify(Conversion *, live->now)->notice = notice;
	return result;
}

/* Applies what was parked for a conversion that has just been created, in its order of arrival. */
static void
parked_apply(Order *order, Live *live, Call *item)
{
	for (int i = 0; i < order->parked_count; i++)
	{
		Parked	   *parked = &order->parked[i];
		PbFacts		facts = {.now = live->now->status,.sent = parked->sent,.current = live->now->value};
		PbDecision	decision;
		PbResult	result = PB_RESULT_NONE;

		if (parked->gone || (parked->goal.data != NULL && !names_equal(parked->goal, live->now->goal)))
			continue;
		facts.test = live->now->test;
		facts.unpriced = !live->now->priced;
		/* What waits for a price was compared when it came; that the value was lowered since is no reason to drop it. */
		if (parked->for_ever ||
			((parked->currency.data == NULL || pb_slice_equal(parked->currency, live->now->currency)) &&
			 amount_read(parked->value, parked->amount, currency_exponent(live->now->currency),
						 &facts.has_value, &facts.value) == PB_OK))
		{
			decision = pb_decide(&facts);
			if (decision.action == PB_DO_PARK)
			{
				parked->changed = parked->stored && !parked->for_ever;
				parked->for_ever = true;
				parked->goal = live->now->goal;
				continue;
			}
			result = action_apply(order, live, decision.action, facts.value, parked->reason, parked->notice,
								  &parked->receipt_id);
		}
		parked->gone = true;
		if (result != PB_RESULT_NONE && item->applied_count < (int) lengthof(item->applied))
			item->applied[item->applied_count++] = result;
	}
}

static bool
parked_alike(const Parked *a, const Parked *b)
{
	return a->sent == b->sent && a->for_ever == b->for_ever && pb_slice_equal(a->goal, b->goal) &&
		pb_slice_equal(a->value, b->value) && pb_slice_equal(a->amount, b->amount) &&
		pb_slice_equal(a->currency, b->currency) && pb_slice_equal(a->reason, b->reason) &&
		pb_slice_equal(a->notice, b->notice);
}

/*
 * Makes room for one more among as many as may be kept: of two alike, one behind the other, the first goes. So whoever repeats
 * what was refused until the order comes does not use up the places of what he has to say later. False if all differ.
 */
static bool
parked_make_room(Order *order, const Parked *next)
{
	Parked	   *last = NULL;

	for (int i = 0; i <= order->parked_count; i++)
	{
		const Parked *parked = i < order->parked_count ? &order->parked[i] : next;

		if (parked->gone || parked->for_ever)
			continue;
		if (last != NULL && parked_alike(last, parked))
		{
			last->gone = true;
			return true;
		}
		last = unconstify(Parked *, parked);
	}
	return false;
}

/*
 * Keeps a follow-up, until its order arrives, or false if enough are kept already; or an approval of a conversion (unpriced, else
 * NULL), until that has a price, unless one is kept already.
 */
static bool
item_park(Order *order, const Call *item, const Conversion *unpriced)
{
	Parked		parked;
	int			waiting = 0;

	for (int i = 0; i < order->parked_count; i++)
	{
		if (order->parked[i].gone)
			continue;
		if (!order->parked[i].for_ever)
			waiting++;
		else if (unpriced != NULL && names_equal(order->parked[i].goal, unpriced->goal))
			return true;
	}
	memset(&parked, 0, sizeof(parked));
	/* The order of ids is the order of arrival. */
	if (order->parked_count > 0)
		ulid_follow(&order->parked[order->parked_count - 1].id);
	parked.id = ulid_next();
	parked.for_ever = unpriced != NULL;
	parked.goal = unpriced != NULL ? unpriced->goal : item->p[PB_P_GOAL];
	parked.sent = item->sent;
	parked.value = item->full_units ? (PbSlice) {NULL, 0} : item->p[PB_P_VALUE];
	parked.amount = item->full_units ? item->p[PB_P_VALUE] : item->p[PB_P_AMOUNT];
	parked.currency = item->currency;
	parked.reason = item->p[PB_P_REASON];
	parked.notice = item->p[PB_P_NOTICE];
	parked.receipt_id = item->receipt_id;
	if (unpriced == NULL && waiting >= PARKED_PER_ORDER && !parked_make_room(order, &parked))
		return false;
	order->parked = room_for_one(order->parked, order->parked_count, sizeof(Parked));
	order->parked[order->parked_count++] = parked;
	return true;
}

/* A follow-up that comes too early; kept: it was parked; other_goals: the order is known, only not with this goal. */
static void
refuse_unknown(Call *item, bool kept, bool other_goals)
{
	PbSlice		ref = item->p[PB_P_ORDER];
	PbSlice		goal = item->p[PB_P_GOAL];
	const char *what = psprintf("order \"%.*s\"", (int) ref.len, ref.data);

	if (other_goals)
		what = psprintf("%s with goal \"%.*s\"", what, (int) goal.len, goal.data);
	item_refuse(item, PB_UNKNOWN_ORDER, "order",
				kept ? "%s is not known yet; kept for 24 hours and applied if it arrives: send the order as new"
				: "%s is not known yet, and enough is kept for it: send the order as new, then this again", what);
}

/* Says why, and what to do. */
static void
refuse_by_decision(Call *item, PbDecision decision, const Conversion *c)
{
	PbSlice		ref = item->p[PB_P_ORDER];

	switch (decision.code)
	{
		case PB_LOCKED:
			item_refuse(item, PB_LOCKED, "status", "order \"%.*s\" is %s and its status locked; only the network can change it: ask there",
						(int) ref.len, ref.data, pb_state_name(c->status));
			break;
		case PB_VALUE_ABOVE_CURRENT:
			item_refuse(item, PB_VALUE_ABOVE_CURRENT, "value", "a partial can only lower the value, which is " INT64_FORMAT "; ask the network to raise it", c->value);
			break;
		case PB_VALUE_MISMATCH:
			item_refuse(item, PB_VALUE_MISMATCH, "value",
						"an approval must carry the current value, " INT64_FORMAT ", or none; to lower it send status=partial first",
						c->value);
			break;
		case PB_UNPRICED:
			item_refuse(item, PB_UNPRICED, NULL,
						"order \"%.*s\" has no commission yet; the approval is kept and applied when it has: nothing more to send",
						(int) ref.len, ref.data);
			break;
		default:
			item_refuse(item, decision.code, "value", "value is missing: send the order value in the smallest unit");
	}
}

/* An item whose conversion does not exist. */
static void
decide_unknown(Order *order, Call *item, TimestampTz now)
{
	PbFacts		facts = {.now = PB_NONE,.sent = item->sent,.has_value = has_value(item)};
	Conversion *created = NULL;
	PbDecision	decision;
	Live	   *live;

	if (may_create(item))
	{
		if (order->live_count >= GOALS_PER_ORDER)
		{
			item_refuse(item, PB_BAD_VALUE, "goal", "order \"%.*s\" has %d goals already, as many as one may have; send what is new as an order of its own",
						(int) order->ref.len, order->ref.data, order->live_count);
			return;
		}
		created = conversion_build(item, now);
		if (created == NULL)
			return;
		facts.value = created->value;
		facts.test = created->test;
		facts.unpriced = !created->priced;
	}
	decision = pb_decide(&facts);
	if (decision.action == PB_DO_PARK)
	{
		refuse_unknown(item, item_park(order, item, NULL), order->live_count > 0);
		return;
	}
	if (decision.action == PB_DO_REFUSE || created == NULL)
	{
		refuse_by_decision(item, decision, NULL);
		return;
	}
	item_warn(item, item->source.warning);
	if (item->source.goal_unknown)
		item_warn(item, PB_WARNING_UNKNOWN_GOAL);
	if (!created->priced)
		item_warn(item, PB_WARNING_UNPRICED);
	change_add(order, NULL, created, &item->receipt_id);
	live = live_add(order, created, false, item->source.terms);
	live->reopened_hold = created->hold_until;
	item->created = true;
	item->result = PB_RESULT_CREATED;
	parked_apply(order, live, item);
	/* What was parked arrived before: a reversal stands, and the approval finds nothing to approve. */
	if (decision.action == PB_DO_CREATE_APPROVE && live->now->status == PB_PENDING)
		action_apply(order, live, PB_DO_APPROVE, 0, item->p[PB_P_REASON], item->p[PB_P_NOTICE], &item->receipt_id);
	if (decision.action == PB_DO_CREATE_APPROVE && live->now->status == PB_APPROVED)
		item->result = PB_RESULT_APPROVED;
	if (decision.code == PB_UNPRICED)
		item_park(order, item, live->now);
	item->conversion = live->now;
}

static bool
currency_differs(const Call *item, const Conversion *c)
{
	if (item->currency.data == NULL)
		return item->sent == PB_SENT_NEW && !pb_slice_equal(item->token->brand->currency, c->currency);
	return !pb_slice_equal(item->currency, c->currency);
}

/* An item whose conversion exists. */
static void
decide_known(Order *order, Call *item, Live *live)
{
	PbFacts		facts = {.now = live->now->status,.sent = item->sent,.current = live->now->value};
	bool		other_currency = currency_differs(item, live->now);
	PbSlice		currency = item->currency.data != NULL ? item->currency :
	other_currency ? item->token->brand->currency : live->now->currency;
	PbDecision	decision;

	item->conversion = live->now;
	switch (item_value(item, currency_exponent(currency), &facts.has_value, &facts.value))
	{
		case PB_OK:
			break;
		case PB_AMBIGUOUS_PARAMETER:
			item_refuse(item, PB_AMBIGUOUS_PARAMETER, "amount", "amount and value disagree in the conversion's currency %.*s; send one of them",
						(int) currency.len, currency.data);
			return;
		default:
			item_refuse(item, PB_BAD_VALUE, item->p[PB_P_VALUE].data != NULL ? "value" : "amount",
						"%s does not fit the conversion's currency %.*s, which has %d decimals",
						item->p[PB_P_VALUE].data != NULL ? "value" : "amount", (int) currency.len, currency.data,
						currency_exponent(currency));
			return;
	}
	facts.test = live->now->test;
	facts.unpriced = !live->now->priced;
	decision = pb_decide(&facts);
	/* A partial's value in another currency is never equal. */
	if (decision.action == PB_DO_DUPLICATE && !(other_currency && item->sent == PB_SENT_PARTIAL))
	{
		item->result = PB_RESULT_DUPLICATE;
		if (other_currency || (facts.has_value && facts.value != live->now->value))
			item_warn(item, PB_WARNING_VALUE_DIFFERS);
		return;
	}
	if (other_currency && decision.code != PB_LOCKED)
	{
		item_refuse(item, PB_CURRENCY_MISMATCH, "currency", "the conversion's currency is %.*s; send that, or none",
					(int) live->now->currency.len, live->now->currency.data);
		return;
	}
	if (decision.action == PB_DO_REFUSE || decision.action == PB_DO_PARK)
	{
		if (decision.action == PB_DO_PARK)
			item_park(order, item, live->now);
		refuse_by_decision(item, decision, live->now);
		return;
	}
	item->result = action_apply(order, live, decision.action, facts.has_value ? facts.value : live->now->value,
								item->p[PB_P_REASON], item->p[PB_P_NOTICE], &item->receipt_id);
	item->conversion = live->now;
	if (item->result == PB_RESULT_NONE)
		item_refuse(item, PB_BAD_VALUE, "value", "the value is too large for its commission to be computed; check its unit");
	else if (decision.action == PB_DO_REOPEN)
		unconstify(Conversion *, live->now)->hold_until = live->reopened_hold;
}

static void
decide_order(Order *order, TimestampTz now)
{
	order->change_count = 0;
	for (int i = 0; i < order->item_count; i++)
	{
		Call	   *item = order->items[i];
		bool		ambiguous;
		Live	   *live;

		CHECK_FOR_INTERRUPTS();
		item->code = PB_OK;
		item->parameter = item->message = NULL;
		item->result = PB_RESULT_NONE;
		item->created = false;
		item->applied_count = item->warning_count = 0;
		item->conversion = NULL;
		live = live_find(order, item, &ambiguous);
		if (ambiguous)
			item_refuse(item, PB_AMBIGUOUS_ORDER, "goal", "the order has several goals; name one in goal");
		else if (live != NULL)
			decide_known(order, item, live);
		else
			decide_unknown(order, item, now);
	}
}

/* A conversion to be inserted, and its order. */
typedef struct Creation
{
	const Conversion *conversion;
	Order	   *order;
} Creation;

static int
creation_compare(const void *left, const void *right)
{
	const Conversion *a = ((const Creation *) left)->conversion;
	const Conversion *b = ((const Creation *) right)->conversion;
	int			order = order_compare(&a->brand_id, a->order_ref, &b->brand_id, b->order_ref);

	return order != 0 ? order : pb_slice_compare(a->goal, b->goal);
}

static void
put_creation(Rows *rows, const Conversion *c)
{
	bool		attributed = c->attribution != ATTRIBUTION_NONE;

	rows_next(rows);
	put_ulid(rows, &c->id);
	put_ulid(rows, &c->brand_id);
	put_slice(rows, c->order_ref);
	put_slice(rows, c->goal);
	put_bool(rows, c->goal_given);
	put_cstring(rows, pb_state_name(c->status));
	put_bool(rows, c->test);
	put_ulid(rows, attributed ? &c->offer_id : NULL);
	put_ulid(rows, attributed ? &c->publisher_id : NULL);
	put_ulid(rows, c->has_click ? &c->click_id : NULL);
	put_cstring(rows, attribution_name(c->attribution));
	put_bigint(rows, c->value);
	put_slice(rows, c->currency);
	put_datum(rows, Int64GetDatum(c->sale_value), !c->has_sale_value);
	put_datum(rows, Int64GetDatum(c->commission), !c->priced);
	put_datum(rows, Int64GetDatum(c->fee), !c->priced);
	put_slice(rows, c->commission_currency);
	put_ulid(rows, c->has_terms ? &c->terms_id : NULL);
	put_datum(rows, c->fee_percent, false);
	put_slice(rows, c->fee_of);
	put_datum(rows, c->fx_rate, !c->has_rate);
	put_timestamp(rows, c->hold_until);
	put_slice(rows, c->external_transaction_id);
	put_slice(rows, c->sub_id);
	put_datum(rows, PointerGetDatum(c->subs), c->subs == NULL);
	put_slice(rows, c->promo_code);
	put_slice(rows, c->reason);
	put_slice(rows, c->notice);
}

static Creation *
creations_gather(Order **orders, int count, int *creation_count)
{
	int			capacity = 0;
	Creation   *creations;

	*creation_count = 0;
	for (int i = 0; i < count; i++)
		capacity += orders[i]->live_count;
	creations = palloc(sizeof(Creation) * Max(capacity, 1));
	for (int i = 0; i < count; i++)
		for (int j = 0; j < orders[i]->live_count; j++)
			if (!orders[i]->lives[j].stored)
				creations[(*creation_count)++] = (Creation) {orders[i]->lives[j].now, orders[i]};
	qsort(creations, *creation_count, sizeof(Creation), creation_compare);
	return creations;
}

/* Inserts what the orders create; orders that somebody else created meanwhile are marked and taken back. */
static void
creations_write(Order **orders, int count)
{
	int			creation_count;
	Creation   *creations = creations_gather(orders, count, &creation_count);
	Rows	   *rows = rows_begin(ST_CREATE, creation_count);
	Rows	   *undo = rows_begin(ST_UNCREATE, 8);
	bool	   *inserted = palloc(sizeof(bool) * Max(creation_count, 1));

	for (int i = 0; i < creation_count; i++)
		put_creation(rows, creations[i].conversion);
	if (rows_insert_new(rows, inserted) == (uint64) creation_count)
		return;
	for (int i = 0; i < creation_count; i++)
		if (!inserted[i])
			creations[i].order->again = true;
	for (int i = 0; i < creation_count; i++)
		if (inserted[i] && creations[i].order->again)
		{
			rows_next(undo);
			put_ulid(undo, &creations[i].conversion->id);
		}
	rows_execute(undo);
}

/* Loads, locks, attributes, decides and inserts; what is marked again has to go round once more. */
static void
orders_decide(Order **orders, int count, TimestampTz now)
{
	Order	  **held = palloc(sizeof(Order *) * Max(count, 1));
	int			held_count;
	Call	  **items;
	int			item_count = 0;

	conversions_load(ST_CONVERSIONS, orders, count);
	held_count = orders_lock(orders, count, held);
	if (held_count > 0)
	{
		/* What arrived while we waited is seen now. */
		conversions_load(ST_CONVERSIONS_LOCKED, held, held_count);
		for (int i = 0; i < held_count; i++)
			order_lock_wanted(held[i]);
	}
	for (int i = 0; i < count; i++)
		item_count += orders[i]->item_count;
	items = palloc(sizeof(Call *) * Max(item_count, 1));
	item_count = 0;
	for (int i = 0; i < count; i++)
		for (int j = 0; j < orders[i]->item_count; j++)
			if (orders[i]->items[j]->wants_source)
				items[item_count++] = orders[i]->items[j];
	batch_attribute(items, item_count, now);
	frozen_terms_load(orders, count);
	reopened_holds_load(orders, count);
	parked_load(orders, count);
	parked_lock(orders, count);
	for (int i = 0; i < count; i++)
	{
		orders[i]->again = false;
		decide_order(orders[i], now);
	}
	creations_write(orders, count);
}

static void
put_parked(Rows *rows, const Order *order, const Parked *parked, TimestampTz now)
{
	int64		value = 0;
	bool		valued = parked->value.data != NULL && pb_money_parse_minor(parked->value, &value) == PB_OK;

	rows_next(rows);
	put_ulid(rows, &parked->id);
	put_ulid(rows, &order->brand_id);
	put_slice(rows, order->ref);
	put_slice(rows, parked->goal);
	put_cstring(rows, pb_sent_name(parked->sent));
	put_datum(rows, Int64GetDatum(value), !valued);
	put_slice(rows, parked->amount);
	put_slice(rows, parked->currency);
	put_slice(rows, parked->reason);
	put_slice(rows, parked->notice);
	put_ulid(rows, &parked->receipt_id);
	put_timestamp(rows, parked->for_ever ? DT_NOEND : now + PARKED_FOR);
}

static void
parked_write(Order *orders, int count, TimestampTz now)
{
	Rows	   *park = rows_begin(ST_PARK, 8);
	Rows	   *unpark = rows_begin(ST_UNPARK, 8);
	Rows	   *keep = rows_begin(ST_KEEP_PARKED, 8);

	for (int i = 0; i < count; i++)
		for (int j = 0; j < orders[i].parked_count; j++)
		{
			Parked	   *parked = &orders[i].parked[j];

			if (!parked->stored && !parked->gone)
				put_parked(park, &orders[i], parked, now);
			else if (parked->stored && parked->gone)
			{
				rows_next(unpark);
				put_ulid(unpark, &parked->id);
			}
			else if (parked->changed && !parked->gone)
			{
				rows_next(keep);
				put_ulid(keep, &parked->id);
				put_slice(keep, parked->goal);
			}
		}
	rows_execute(park);
	rows_execute(unpark);
	rows_execute(keep);
}

/* Updates and effects of all orders, in the order of their keys. */
static void
orders_write(Order *orders, int count, TimestampTz now)
{
	Conversion **dirty;
	Change	   *changes;
	int			dirty_count = 0;
	int			change_count = 0;

	for (int i = 0; i < count; i++)
	{
		dirty_count += orders[i].live_count;
		change_count += orders[i].change_count;
	}
	dirty = palloc(sizeof(Conversion *) * Max(dirty_count, 1));
	changes = palloc(sizeof(Change) * Max(change_count, 1));
	dirty_count = change_count = 0;
	for (int i = 0; i < count; i++)
	{
		for (int j = 0; j < orders[i].live_count; j++)
			if (orders[i].lives[j].dirty)
				dirty[dirty_count++] = unconstify(Conversion *, orders[i].lives[j].now);
		for (int j = 0; j < orders[i].change_count; j++)
			changes[change_count++] = orders[i].changes[j];
	}
	conversions_update(dirty, dirty_count);
	effects_write(changes, change_count);
	parked_write(orders, count, now);
}

/* Decides and writes all items of the batch that are not refused yet and are no events. */
void
batch_decide(Batch *batch)
{
	int			order_count;
	Order	   *orders = orders_group(batch, &order_count);
	Order	  **open = palloc(sizeof(Order *) * Max(order_count, 1));
	int			open_count = order_count;

	if (order_count == 0)
		return;
	for (int i = 0; i < order_count; i++)
		open[i] = &orders[i];
	for (int round = 0; open_count > 0; round++)
	{
		int			still = 0;

		if (round == ROUNDS)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("orders of this batch are being created by others again and again"),
					 errhint("Send the batch again.")));
		orders_decide(open, open_count, batch->now);
		for (int i = 0; i < open_count; i++)
			if (open[i]->again)
				open[still++] = open[i];
		open_count = still;
	}
	orders_write(orders, order_count, batch->now);
}

static int
call_conversion_compare(const void *left, const void *right)
{
	const Conversion *a = ((const Call *) left)->conversion;
	const Conversion *b = ((const Call *) right)->conversion;

	return order_compare(&a->brand_id, a->order_ref, &b->brand_id, b->order_ref);
}

/*
 * Prices unpriced conversions, each in a call whose source has been completed, and applies the approvals that waited for
 * that. Returns how many were priced.
 */
int
conversions_price(Call *calls, int count)
{
	Order	   *orders = palloc0(sizeof(Order) * Max(count, 1));
	Order	  **open = palloc(sizeof(Order *) * Max(count, 1));
	int			order_count = 0;
	int			priced = 0;

	qsort(calls, count, sizeof(Call), call_conversion_compare);
	for (int i = 0; i < count; i++)
	{
		const Conversion *c = calls[i].conversion;
		Order	   *order = order_count > 0 ? &orders[order_count - 1] : NULL;

		if (order == NULL || order_compare(&order->brand_id, order->ref, &c->brand_id, c->order_ref) != 0)
		{
			order = &orders[order_count];
			open[order_count++] = order;
			order->brand_id = c->brand_id;
			order->ref = c->order_ref;
			order->actor = strcmp(postback_actor, "cron") == 0 ? "cron" : "staff";
		}
		live_add(order, c, true, calls[i].source.terms);
	}
	parked_load(open, order_count);
	for (int i = 0; i < count; i++)
	{
		Order	   *order = order_find(open, order_count, &calls[i].conversion->brand_id, calls[i].conversion->order_ref);
		Conversion	trial = *calls[i].conversion;

		if (!trial.has_rate)
		{
			trial.has_rate = calls[i].source.has_rate;
			trial.fx_rate = calls[i].source.fx_rate;
		}
		if (conversion_price(&trial, calls[i].source.terms) != PB_OK || !trial.priced)
			continue;
		priced++;
		for (int j = 0; j < order->live_count; j++)
			if (ulid_equal(&order->lives[j].now->id, &trial.id))
			{
				*live_change(order, &order->lives[j], NULL) = trial;
				parked_apply(order, &order->lives[j], &calls[i]);
			}
	}
	orders_write(orders, order_count, GetCurrentTransactionStartTimestamp());
	return priced;
}

/* What callbacks need of a recorded event. */
static Conversion *
event_subject(const Call *item)
{
	Conversion *c = palloc0(sizeof(Conversion));
	const Source *source = &item->source;

	c->id = item->event_id;
	c->brand_id = item->token->brand_id;
	c->order_ref = item->p[PB_P_ORDER];
	c->test = item->test;
	c->attribution = source->how;
	c->offer_id = source->offer_id;
	c->publisher_id = source->publisher_id;
	c->has_click = source->has_click;
	c->click_id = source->click_id;
	c->external_transaction_id = source->external_transaction_id;
	c->sub_id = source->sub_id.data != NULL ? source->sub_id : item->p[PB_P_SUB_ID];
	c->subs = source->subs;
	c->promo_code = source->promo_code.data != NULL ? source->promo_code : item->p[PB_P_PROMO_CODE];
	c->notice = item->p[PB_P_NOTICE];
	return c;
}

/* Answers the repeats of an event and order with the id under which it is recorded. */
static void
events_find_recorded(Call **items, int count)
{
	Rows	   *rows = rows_begin(ST_EVENT_IDS, 8);
	uint64		found;

	for (int i = 0; i < count; i++)
	{
		if (items[i]->has_event)
			continue;
		rows_next(rows);
		put_int(rows, i);
		put_ulid(rows, &items[i]->token->brand_id);
		put_slice(rows, items[i]->p[PB_P_EVENT]);
		put_slice(rows, items[i]->p[PB_P_ORDER]);
	}
	found = rows_execute(rows);
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		Call	   *item = items[take_int(&record)];

		item->has_event = take_ulid(&record, &item->event_id);
	}
}

/* Tells callbacks of the events that were recorded and have a publisher. */
static void
events_deliver(Call *const *items, int count)
{
	Change	   *changes = palloc0(sizeof(Change) * Max(count, 1));
	int			change_count = 0;

	for (int i = 0; i < count; i++)
	{
		Change	   *change = &changes[change_count];

		if (items[i]->result != PB_RESULT_EVENT || items[i]->source.how == ATTRIBUTION_NONE)
			continue;
		change->after = event_subject(items[i]);
		change->receipt_id = &items[i]->receipt_id;
		change->cause = CAUSE_EVENT;
		change->event = items[i]->p[PB_P_EVENT];
		change_count++;
	}
	deliveries_write(changes, change_count);
}

/* Records the events of the batch: one per event name and order, without money. */
void
events_write(Batch *batch)
{
	Call	  **items = palloc(sizeof(Call *) * Max(batch->count, 1));
	int			count = 0;
	Rows	   *rows;
	bool	   *inserted;

	for (int i = 0; i < batch->count; i++)
		if (batch->items[i].code == PB_OK && batch->items[i].is_event)
			items[count++] = &batch->items[i];
	if (count == 0)
		return;
	batch_attribute(items, count, batch->now);
	/* In the order of their keys two batches with the same events wait for each other, never in a circle. */
	qsort(items, count, sizeof(Call *), event_compare);
	rows = rows_begin(ST_EVENTS, count);
	for (int i = 0; i < count; i++)
	{
		Call	   *item = items[i];
		Source	   *source = &item->source;
		bool		attributed = source->how != ATTRIBUTION_NONE;

		item->event_id = ulid_next();
		item->result = PB_RESULT_DUPLICATE;
		item_warn(item, source->warning);
		rows_next(rows);
		put_ulid(rows, &item->event_id);
		put_ulid(rows, &item->token->brand_id);
		put_slice(rows, item->p[PB_P_EVENT]);
		put_slice(rows, item->p[PB_P_ORDER]);
		put_ulid(rows, attributed ? &source->offer_id : NULL);
		put_ulid(rows, attributed ? &source->publisher_id : NULL);
		put_ulid(rows, source->has_click ? &source->click_id : NULL);
		put_cstring(rows, attribution_name(source->how));
		put_slice(rows, source->sub_id.data != NULL ? source->sub_id : item->p[PB_P_SUB_ID]);
		put_slice(rows, item->p[PB_P_NOTICE]);
		put_bool(rows, item->test);
		put_ulid(rows, &item->receipt_id);
	}
	inserted = palloc(sizeof(bool) * count);
	rows_insert_new(rows, inserted);
	for (int i = 0; i < count; i++)
		if (inserted[i])
		{
			items[i]->result = PB_RESULT_EVENT;
			items[i]->has_event = true;
		}
	events_find_recorded(items, count);
	events_deliver(items, count);
}
