/*
 * effect.c: what every change of a conversion writes, whoever made it: history, ledger, balances, deliveries.
 *
 * The ledger's lines follow from where a conversion's money stands before and after: held while pending, payable and
 * fees once approved, nowhere else.  Test orders, unattributed and unpriced ones have none.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "miscadmin.h"

#include "conversion.h"

/* Where the money of a conversion stands. */
typedef struct Position
{
	int64		held_commission;
	int64		held_fee;
	int64		payable;
	int64		fees;
} Position;

static Position
position_of(const Conversion *c)
{
	Position	position = {0};

	if (c == NULL || c->test || !c->priced)
		return position;
	if (c->status == PB_PENDING)
	{
		position.held_commission = c->commission;
		position.held_fee = c->fee;
	}
	else if (c->status == PB_APPROVED)
	{
		position.payable = c->commission;
		position.fees = c->fee;
	}
	return position;
}

/* One account's change, to be summed into a balance row. */
typedef struct Posting
{
	PbUlid		brand_id;
	PbUlid		publisher_id;	/* zero unless payable */
	const char *account;
	PbSlice		currency;
	int64		amount;
} Posting;

/* The transfers of a batch and what they post, while they are gathered. */
typedef struct Journal
{
	Rows	   *ledger;
	Posting    *postings;
	int			count;
	int			capacity;
} Journal;

static void
post(Journal *journal, const Conversion *c, const char *account, int64 amount)
{
	Posting    *posting;

	if (journal->count == journal->capacity)
	{
		journal->capacity *= 2;
		journal->postings = repalloc(journal->postings, sizeof(Posting) * journal->capacity);
	}
	posting = &journal->postings[journal->count++];
	memset(posting, 0, sizeof(*posting));
	posting->brand_id = c->brand_id;
	if (strcmp(account, "payable") == 0)
		posting->publisher_id = c->publisher_id;
	posting->account = account;
	posting->currency = c->commission_currency;
	posting->amount = amount;
}

/* Moves amount (nothing if 0) from one account to the other. */
static void
transfer(Journal *journal, const Conversion *c, const char *kind, const char *from, const char *to, int64 amount)
{
	PbUlid	   *id;
	bool		payable = strcmp(from, "payable") == 0 || strcmp(to, "payable") == 0;

	if (amount == 0)
		return;
	Assert(amount > 0);
	id = palloc(sizeof(PbUlid));
	*id = ulid_next();
	rows_next(journal->ledger);
	put_ulid(journal->ledger, id);
	put_ulid(journal->ledger, &c->brand_id);
	put_ulid(journal->ledger, payable ? &c->publisher_id : NULL);
	put_cstring(journal->ledger, from);
	put_cstring(journal->ledger, to);
	put_bigint(journal->ledger, amount);
	put_slice(journal->ledger, c->commission_currency);
	put_cstring(journal->ledger, kind);
	put_ulid(journal->ledger, &c->id);
	post(journal, c, from, -amount);
	post(journal, c, to, amount);
}

/* One component (commission or fee): what is held now and then, what is final (payable, fees) now and then. */
static void
transfer_component(Journal *journal, const Conversion *c, bool commission,
				   int64 held_before, int64 held_after, int64 final_before, int64 final_after)
{
	const char *final = commission ? "payable" : "fees";

	/* claw-back */
	if (final_before > final_after)
		transfer(journal, c, commission ? "commission_clawback" : "fee_clawback", final, "available",
				 final_before - final_after);
	/* raised, or first held; what goes on to be final is taken through held */
	if (held_after + final_after > held_before + Min(final_before, final_after))
		transfer(journal, c, commission ? "commission_held" : "fee_held", "available", "held",
				 held_after + final_after - held_before - Min(final_before, final_after));
	/* lowered or refunded */
	if (held_before + Min(final_before, final_after) > held_after + final_after)
		transfer(journal, c, commission ? "commission_released" : "fee_released", "held", "available",
				 held_before + Min(final_before, final_after) - held_after - final_after);
	/* approved */
	if (final_after > final_before)
		transfer(journal, c, commission ? "commission_approved" : "fee_approved", "held", final,
				 final_after - final_before);
}

static void
transfers_of(Journal *journal, const Change *change)
{
	Position	before = position_of(change->before);
	Position	after = position_of(change->after);

	transfer_component(journal, change->after, true,
					   before.held_commission, after.held_commission, before.payable, after.payable);
	transfer_component(journal, change->after, false,
					   before.held_fee, after.held_fee, before.fees, after.fees);
}

static int
posting_compare(const void *left, const void *right)
{
	const Posting *a = left;
	const Posting *b = right;
	int			order = memcmp(&a->brand_id, &b->brand_id, sizeof(PbUlid));

	if (order == 0)
		order = strcmp(a->account, b->account);
	if (order == 0)
		order = memcmp(&a->publisher_id, &b->publisher_id, sizeof(PbUlid));
	if (order == 0)
		order = pb_slice_compare(a->currency, b->currency);
	return order;
}

/* Sums the postings per account; returns how many are left. */
static int
postings_fold(Posting *postings, int count)
{
	int			kept = 0;

	qsort(postings, count, sizeof(Posting), posting_compare);
	for (int i = 0; i < count; i++)
	{
		if (kept > 0 && posting_compare(&postings[kept - 1], &postings[i]) == 0)
		{
			if (pg_add_s64_overflow(postings[kept - 1].amount, postings[i].amount, &postings[kept - 1].amount))
				ereport(ERROR,
						(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						 errmsg("the sum of a batch on account \"%s\" is too large", postings[i].account)));
		}
		else
			postings[kept++] = postings[i];
	}
	return kept;
}

/* Writes the balance rows, and pauses or resumes prepaid brands whose balance crossed their limit. */
static void
balances_write(Posting *postings, int count)
{
	Rows	   *brands;
	Rows	   *available;
	Rows	   *balance;
	uint64		prepaid;
	int			kept = postings_fold(postings, count);

	if (kept == 0)
		return;
	brands = rows_begin(ST_LOCK_PREPAID, 8);
	for (int i = 0; i < kept; i++)
		if (i == 0 || !ulid_equal(&postings[i].brand_id, &postings[i - 1].brand_id))
		{
			rows_next(brands);
			put_ulid(brands, &postings[i].brand_id);
		}
	prepaid = rows_execute(brands);
	brands = rows_begin(ST_EXHAUST, (int) prepaid);
	available = rows_begin(ST_AVAILABLE, (int) prepaid);
	for (uint64 i = 0; i < prepaid; i++)
	{
		PbUlid	   *id = palloc(sizeof(PbUlid));
		Record		record = record_read(i);

		take_ulid(&record, id);
		rows_next(brands);
		put_ulid(brands, id);
		rows_next(available);
		put_ulid(available, id);
	}
	/* A transaction that sees one moment only would not see the limit passed by what others have written since. */
	if (IsolationUsesXactSnapshot())
		rows_check_current(available);

	balance = rows_begin(ST_BALANCE, kept);
	for (int i = 0; i < kept; i++)
	{
		PbUlid	   *id = palloc(sizeof(PbUlid));

		if (postings[i].amount == 0)
			continue;
		*id = ulid_next();
		rows_next(balance);
		put_ulid(balance, id);
		put_ulid(balance, &postings[i].brand_id);
		put_cstring(balance, postings[i].account);
		put_ulid(balance, strcmp(postings[i].account, "payable") == 0 ? &postings[i].publisher_id : NULL);
		put_slice(balance, postings[i].currency);
		put_bigint(balance, postings[i].amount);
	}
	rows_execute(balance);
	rows_execute(brands);
}

/*
 * Lets the next ids come after those of earlier changes of the same conversions: others may have made some in this very
 * millisecond, and the order of ids is the order of changes. What was not changed for a minute is not looked up.
 */
static void
follow_history(const Change *changes, int count)
{
	Rows	   *rows = rows_begin(ST_LAST_CHANGE, 8);
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	PbUlid		since = ulid_floor_of(GetCurrentTimestamp());
	PbUlid		last;

	for (int i = 0; i < count; i++)
	{
		const Conversion *before = changes[i].before;

		if (before == NULL || before->updated_at == now || before->updated_at < now - USECS_PER_MINUTE)
			continue;
		rows_next(rows);
		put_ulid(rows, &before->id);
		put_ulid(rows, &since);
	}
	if (rows_execute(rows) > 0)
	{
		Record		record = record_read(0);

		take_ulid(&record, &last);
		ulid_follow(&last);
	}
}

static void
history_write(const Change *changes, int count)
{
	Rows	   *rows;
	const char *role = GetUserNameFromId(GetSessionUserId(), false);

	follow_history(changes, count);
	rows = rows_begin(ST_HISTORY, count);

	for (int i = 0; i < count; i++)
	{
		const Conversion *before = changes[i].before;
		const Conversion *after = changes[i].after;
		PbUlid	   *id = palloc(sizeof(PbUlid));

		*id = ulid_next();
		rows_next(rows);
		put_ulid(rows, id);
		put_ulid(rows, &after->brand_id);
		put_ulid(rows, &after->id);
		put_cstring(rows, before ? pb_state_name(before->status) : NULL);
		put_cstring(rows, pb_state_name(after->status));
		put_datum(rows, Int64GetDatum(before ? before->value : 0), before == NULL);
		put_bigint(rows, after->value);
		put_datum(rows, Int64GetDatum(before ? before->commission : 0), before == NULL || !before->priced);
		put_datum(rows, Int64GetDatum(after->commission), !after->priced);
		put_datum(rows, Int64GetDatum(before ? before->fee : 0), before == NULL || !before->priced);
		put_datum(rows, Int64GetDatum(after->fee), !after->priced);
		put_slice(rows, after->currency);
		put_cstring(rows, changes[i].actor);
		put_cstring(rows, role);
		put_ulid(rows, changes[i].receipt_id);
		put_slice(rows, after->reason);
		put_slice(rows, after->notice);
	}
	rows_execute(rows);
}

/* Approvals that wait for a price go with a reversal: what opens the conversion again begins anew. */
static void
forget_parked(const Change *changes, int count)
{
	Rows	   *rows = rows_begin(ST_FORGET_PARKED, 8);

	for (int i = 0; i < count; i++)
	{
		const Conversion *before = changes[i].before;

		if (before == NULL || before->priced || before->status != PB_PENDING || changes[i].after->status != PB_REVERSED)
			continue;
		rows_next(rows);
		put_ulid(rows, &before->brand_id);
		put_slice(rows, before->order_ref);
		put_slice(rows, before->goal);
	}
	rows_execute(rows);
}

/* Writes everything that the changes cause, in their order, within SPI. */
void
effects_write(const Change *changes, int count)
{
	Journal		journal;

	if (count == 0)
		return;
	journal.count = 0;
	journal.capacity = count * 8;
	journal.postings = palloc(sizeof(Posting) * journal.capacity);
	journal.ledger = rows_begin(ST_LEDGER, count * 2);
	for (int i = 0; i < count; i++)
		transfers_of(&journal, &changes[i]);
	history_write(changes, count);
	rows_execute(journal.ledger);
	balances_write(journal.postings, journal.count);
	forget_parked(changes, count);
	deliveries_write(changes, count);
}
