/*
 * reprice.c: conversions that came before their terms or rate are priced when these arrive.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "receive.h"

#define CHUNK 1000

/* The next conversions of a brand that have no price, after an id, as calls; returns how many. */
static int
unpriced_load(const Token *token, PbUlid *after, Call *calls)
{
	Rows	   *rows = rows_begin(ST_UNPRICED, 1);
	int			found;

	rows_next(rows);
	put_ulid(rows, &token->brand_id);
	put_ulid(rows, after);
	put_int(rows, CHUNK);
	found = (int) rows_execute(rows);
	for (int i = 0; i < found; i++)
	{
		Conversion *c = palloc(sizeof(Conversion));
		Call	   *call = &calls[i];

		conversion_read(record_read(i), c);
		memset(call, 0, sizeof(*call));
		call->token = token;
		call->conversion = c;
		call->any_age = true;
		call->goal_kept = true;
		call->currency = c->currency;
		if (c->goal.len > 0)
			call->p[PB_P_GOAL] = c->goal;
		call->source.how = c->attribution;
		call->source.offer_id = c->offer_id;
		call->source.publisher_id = c->publisher_id;
		call->source.has_click = c->has_click;
		call->source.click_id = c->click_id;
	}
	if (found > 0)
		*after = calls[found - 1].conversion->id;
	return found;
}

/* One chunk, in an SPI connection of its own; returns how many were looked at. */
static int
reprice_chunk(const PbUlid *brand_id, PbUlid *after, int64 *priced)
{
	int			level;
	Call	   *calls;
	Call	  **items;
	Token		token;
	int			brands;
	int			found;

	level = statements_begin();
	memset(&token, 0, sizeof(token));
	token.brand_id = *brand_id;
	token.brand = brands_load(brand_id, 1, &brands);
	calls = palloc(sizeof(Call) * CHUNK);
	items = palloc(sizeof(Call *) * CHUNK);
	found = brands == 1 ? unpriced_load(&token, after, calls) : 0;
	for (int i = 0; i < found; i++)
		items[i] = &calls[i];
	if (found > 0)
	{
		batch_price(items, found, GetCurrentTransactionStartTimestamp());
		*priced += conversions_price(calls, found);
	}
	statements_end(level);
	return found;
}

PG_FUNCTION_INFO_V1(postback_reprice_brand);
Datum
postback_reprice_brand(PG_FUNCTION_ARGS)
{
	PbUlid		brand_id = *PG_GETARG_ULID_P(0);
	PbUlid		after = pb_ulid_floor(0);
	int64		priced = 0;

	while (reprice_chunk(&brand_id, &after, &priced) == CHUNK)
		CHECK_FOR_INTERRUPTS();
	PG_RETURN_INT64(priced);
}
