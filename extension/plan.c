/*
 * plan.c: the table of SQL statements, their kept plans, and rows in and out of them.
 *
 * Look-ups go through LATERAL sub-selects with LIMIT, so that every row of the arrays is one index probe whatever the
 * statistics say, and a partitioned table is pruned to the one partition of each id.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parser/parse_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "insert.h"
#include "core/version.h"
#include "plan.h"

#define MAX_COLUMNS 32

/* Either SQL, or an insertion of rows, which insert.c does. */
typedef struct StatementText
{
	const char *types;			/* of the arguments, separated by spaces; u stands for postback.ulid[] */
	const char *sql;
	const char *table;
	const char *columns;		/* separated by spaces, in the table's order */
} StatementText;

/* What token_take and callback_read read. */
#define TOKEN_COLUMNS \
	"b.key, t.secret_hash, t.id, b.id, t.param_map, t.status_map, t.reply_style, t.allow_ips, t.hmac_secret," \
	" t.test, coalesce(t.expires_at <= pg_catalog.now(), false) OR t.revoked_at IS NOT NULL, t.rate_limit"
#define CALLBACK_COLUMNS \
	"c.id, c.enabled, c.type, c.brand_id, c.offer_id, c.publisher_id, c.goal, c.statuses, c.reasons, c.delay, c.method," \
	" c.url, c.params, c.headers, c.include_test, c.on_adjust"

/*
 * ST_LAST_CLICKS: the span of a batch, which chooses the partitions that are opened; that of a call, widest of its brand's offers;
 * and what it asks of a click x within that.
 */
#define IN_SPAN(x) x ".id >= ($11)[1] AND " x ".id < ($12)[1]"
#define IN_WINDOW(x) x ".id >= k.oldest AND " x ".id < k.newest AND " IN_SPAN(x)
#define OLDEST_OF_OFFER "postback.ulid_floor(k.at - o.attribution_window)"
#define NEWEST_OF_OFFER "postback.ulid_floor(k.at - o.min_click_age + interval '1 ms')"
#define VALID_CLICK \
	" x.id >= coalesce((SELECT " OLDEST_OF_OFFER " FROM postback.offer o WHERE o.id = x.offer_id), k.brand_oldest)" \
	" AND x.id < coalesce((SELECT " NEWEST_OF_OFFER " FROM postback.offer o WHERE o.id = x.offer_id), k.brand_newest)" \
	" AND (k.offer_id IS NULL OR x.offer_id = k.offer_id)" \
	" AND (k.publisher_id IS NULL OR x.publisher_id = k.publisher_id)"
#define NEWEST_OF_BRAND \
	" FROM postback.click x" \
	"    WHERE k.address_hash IS NULL" \
	"      AND (x.brand_id, x.id) >= (k.brand_id, k.oldest) AND (x.brand_id, x.id) < (k.brand_id, k.newest)" \
	"      AND " IN_WINDOW("x") \
	"    ORDER BY x.brand_id DESC, x.id DESC"

static const StatementText statements[STATEMENT_COUNT] = {
	[ST_TOKENS] = {
		"text[]",
		"SELECT " TOKEN_COLUMNS
		"  FROM postback.brand b JOIN postback.token t ON t.brand_id = b.id"
		" WHERE b.key = ANY ($1)"
	},
	[ST_TOKEN] = {
		"u",
		"SELECT " TOKEN_COLUMNS
		"  FROM postback.token t JOIN postback.brand b ON b.id = t.brand_id"
		" WHERE t.id = ANY ($1)"
	},
	/* A receipt, and the first one that it goes back to if it is a replay. */
	[ST_RECEIPT] = {
		"u",
		"WITH RECURSIVE back AS ("
		"   SELECT r.id, r.replay_of FROM postback.receipt r WHERE r.id = ($1)[1]"
		"   UNION ALL"
		"   SELECT r.id, r.replay_of FROM back b JOIN postback.receipt r ON r.id = b.replay_of)"
		" SELECT r.token_id, r.method, r.query, r.body, r.content_type, r.remote, r.cookie,"
		"        (SELECT pg_catalog.min(coalesce(b.replay_of, b.id)) FROM back b)"
		"   FROM postback.receipt r WHERE r.id = ($1)[1]"
	},
	[ST_BRANDS] = {
		"u",
		"SELECT b.id, b.currency, b.hold, b.attribution_window, b.min_click_age, b.fee_percent, b.fee_of,"
		"       b.address_key, greatest(b.attribution_window, o.longest), least(b.min_click_age, o.youngest)"
		"  FROM postback.brand b"
		" CROSS JOIN LATERAL (SELECT pg_catalog.max(x.attribution_window) AS longest,"
		"                            pg_catalog.min(x.min_click_age) AS youngest"
		"                       FROM postback.offer x WHERE x.brand_id = b.id) o"
		" WHERE b.id = ANY ($1)"
	},
	[ST_CONVERSIONS] = {
		"u text[]",
		"SELECT c.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (brand_id, order_ref)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.conversion o"
		"   WHERE o.brand_id = k.brand_id AND o.order_ref = k.order_ref"
		"   ORDER BY o.brand_id, o.order_ref, o.goal LIMIT 1000) c"
	},
	/* In key order, so that batches that share orders lock them in the same order. */
	[ST_CONVERSIONS_LOCKED] = {
		"u text[]",
		"SELECT c.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (brand_id, order_ref)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.conversion o"
		"   WHERE o.brand_id = k.brand_id AND o.order_ref = k.order_ref"
		"   ORDER BY o.brand_id, o.order_ref, o.goal LIMIT 1000 FOR NO KEY UPDATE) c"
	},
	/* Each id once. An ORDER BY would have all of an index read for it. */
	[ST_CONVERSIONS_BY_ID] = {
		"u",
		"SELECT c.* FROM pg_catalog.unnest($1) AS k (id)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.conversion x WHERE x.id = k.id LIMIT 1 FOR NO KEY UPDATE) c"
	},
	/*
	 * The next unpriced ones after an id that there may be a price for by now: those without a rate or terms are not locked, and
	 * there may be many of them. Locked by somebody: left for the next call.
	 */
	[ST_UNPRICED] = {
		"u u int[]",
		"SELECT c.* FROM postback.conversion c"
		" WHERE c.commission IS NULL AND c.status = 'pending'"
		"   AND c.brand_id = ($1)[1] AND c.id > ($2)[1]"
		"   AND (c.fx_rate IS NOT NULL OR c.currency = c.commission_currency"
		"        OR EXISTS (SELECT FROM postback.fx_rate x WHERE x.base = c.currency AND x.quote = c.commission_currency"
		"                      AND x.valid_from <= pg_catalog.now()))"
		"   AND EXISTS (SELECT FROM postback.terms t WHERE t.offer_id = c.offer_id"
		"                  AND t.valid_from <= pg_catalog.now() AND t.valid_to > pg_catalog.now())"
		" ORDER BY c.id LIMIT ($3)[1] FOR NO KEY UPDATE OF c SKIP LOCKED"
	},
	/* $3 and $4: the least and the greatest id, so that only partitions between them are opened. */
	[ST_CLICKS] = {
		"int[] u u u",
		"SELECT k.n, c.id, c.brand_id, c.offer_id, c.publisher_id, c.external_transaction_id, c.sub_id, c.subs"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (n, id)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.click x"
		"   WHERE x.id = k.id AND x.id >= ($3)[1] AND x.id <= ($4)[1] LIMIT 1) c"
	},
	[ST_PROMO_CODES] = {
		"int[] u text[]",
		"SELECT k.n, c.offer_id, c.publisher_id, c.code"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS k (n, brand_id, code)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.promo_code p"
		"   WHERE p.brand_id = k.brand_id AND p.code = k.code COLLATE postback.nocase"
		"     AND p.valid_from <= pg_catalog.now() AND p.valid_to > pg_catalog.now()"
		"   ORDER BY p.id DESC LIMIT 1) c"
	},
	/*
	 * The newest click of the brand that is valid by its offer's window and minimum age, else by the brand's; oldest and
	 * newest bound the scan for any of them. Narrowed by what is given. No call reads more clicks than are named here:
	 *
	 * first the brand's newest 256, going backward by index and stopping at the first valid one. Offers are looked up per click,
	 * not joined, so that it stops there. Bounds and order are of (brand_id, id) as one, which leaves the planner no other
	 * index: by the key alone it would read the clicks of all brands;
	 *
	 * if none of those is it, and there are more, the newest valid one of each of the brand's links that it is narrowed to, by the
	 * index of an offer's clicks by publisher: one row for a link;
	 *
	 * if an address is given, instead of both, all clicks from there (they have the upper half of visitor_hash in common), up to
	 * a thousand: one that has more is that of no one visitor. Their order leaves the planner no other index here either.
	 *
	 * Bounds of id alone choose the partitions that are looked into; $11 and $12, the batch's oldest and newest, those that are
	 * opened at all.
	 */
	[ST_LAST_CLICKS] = {
		"int[] u u u u u timestamptz[] u u bigint[] u u",
		"SELECT k.n, c.id, c.brand_id, c.offer_id, c.publisher_id, c.external_transaction_id, c.sub_id, c.subs"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		"                  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
		"                  pg_catalog.unnest($9), pg_catalog.unnest($10))"
		"       AS k (n, brand_id, oldest, newest, brand_oldest, brand_newest, at, offer_id, publisher_id, address_hash)"
		" CROSS JOIN LATERAL ("
		"  (SELECT x.* FROM (SELECT x.*" NEWEST_OF_BRAND " LIMIT 256) x"
		"    WHERE" VALID_CLICK
		"    ORDER BY x.brand_id DESC, x.id DESC LIMIT 1)"
		"  UNION ALL"
		"  (SELECT y.* FROM (SELECT pg_catalog.max(z.id) AS id FROM postback.offer o JOIN postback.link l ON l.offer_id = o.id"
		"    CROSS JOIN LATERAL (SELECT x.id FROM postback.click x"
		"      WHERE (x.offer_id, x.publisher_id, x.id) >= (l.offer_id, l.publisher_id, coalesce(" OLDEST_OF_OFFER ", k.brand_oldest))"
		"        AND (x.offer_id, x.publisher_id, x.id) < (l.offer_id, l.publisher_id, coalesce(" NEWEST_OF_OFFER ", k.brand_newest))"
		"        AND " IN_WINDOW("x")
		"      ORDER BY x.offer_id DESC, x.publisher_id DESC, x.id DESC LIMIT 1) z"
		"    WHERE EXISTS (SELECT" NEWEST_OF_BRAND " OFFSET 256 LIMIT 1)"
		"      AND o.brand_id = k.brand_id AND (k.offer_id IS NULL OR o.id = k.offer_id)"
		"      AND (k.publisher_id IS NULL OR l.publisher_id = k.publisher_id)) m"
		"   CROSS JOIN LATERAL (SELECT * FROM postback.click z WHERE z.id = m.id AND " IN_SPAN("z") " LIMIT 1) y)"
		"  UNION ALL"
		"  (SELECT y.* FROM (SELECT pg_catalog.max(CASE WHEN x.brand_id = k.brand_id AND" VALID_CLICK " THEN x.id END) AS id"
		"    FROM (SELECT x.id, x.brand_id, x.offer_id, x.publisher_id FROM postback.click x"
		"      WHERE x.visitor_hash >= k.address_hash & -4294967296 AND x.visitor_hash <= k.address_hash | 4294967295"
		"        AND x.address_hash = k.address_hash AND " IN_WINDOW("x")
		"      ORDER BY x.visitor_hash, x.is_unique, x.id LIMIT 1001) x"
		"    HAVING pg_catalog.count(*) <= 1000) m"
		"   CROSS JOIN LATERAL (SELECT * FROM postback.click z WHERE z.id = m.id AND " IN_SPAN("z") " LIMIT 1) y)"
		"  LIMIT 1) c"
	},
	[ST_OFFERS] = {
		"u",
		"SELECT o.id, o.brand_id, o.hold, o.attribution_window, o.min_click_age, o.goals_enabled,"
		"       (SELECT g.name FROM postback.goal g WHERE g.offer_id = o.id AND g.is_default)"
		"  FROM postback.offer o WHERE o.id = ANY ($1)"
	},
	/* The hold of an offer (null: none), else of its brand. */
	[ST_HOLDS] = {
		"int[] u u",
		"SELECT k.n, coalesce(o.hold, b.hold)"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS k (n, brand_id, offer_id)"
		"  JOIN postback.brand b ON b.id = k.brand_id"
		"  LEFT JOIN postback.offer o ON o.id = k.offer_id"
	},
	/* The terms of an offer, publisher and goal (empty: none); also how the offer spells the goal, null if it has no such. */
	[ST_TERMS] = {
		"int[] u u text[]",
		"SELECT k.n, g.name, t.id, t.percent, t.fixed, t.min, t.max, t.brackets"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4))"
		"       AS k (n, offer_id, publisher_id, goal)"
		"  LEFT JOIN LATERAL (SELECT x.id, x.name FROM postback.goal x"
		"   WHERE x.offer_id = k.offer_id AND x.name = k.goal COLLATE postback.nocase LIMIT 1) g ON true"
		"  LEFT JOIN LATERAL (SELECT * FROM postback.terms x"
		"   WHERE x.offer_id = k.offer_id"
		"     AND (x.publisher_id IS NULL OR x.publisher_id = k.publisher_id)"
		"     AND (x.goal_id IS NULL OR x.goal_id = g.id)"
		"     AND x.valid_from <= pg_catalog.now() AND x.valid_to > pg_catalog.now()"
		"   ORDER BY (x.publisher_id IS NOT NULL) DESC, (x.goal_id IS NOT NULL) DESC, x.id DESC LIMIT 1) t ON true"
	},
	[ST_TERMS_BY_ID] = {
		"u",
		"SELECT t.id, t.percent, t.fixed, t.min, t.max, t.brackets FROM postback.terms t WHERE t.id = ANY ($1)"
	},
	[ST_RATES] = {
		"text[] text[]",
		"SELECT k.base, k.quote, r.rate"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (base, quote)"
		" CROSS JOIN LATERAL (SELECT x.rate FROM postback.fx_rate x"
		"   WHERE x.base = k.base AND x.quote = k.quote AND x.valid_from <= pg_catalog.now()"
		"   ORDER BY x.valid_from DESC, x.id DESC LIMIT 1) r"
	},
	/* Ids of all that there is of the orders: conversions and what is parked. */
	[ST_ORDER_ROWS] = {
		"u text[]",
		"SELECT r.id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (brand_id, order_ref)"
		" CROSS JOIN LATERAL (SELECT c.id FROM postback.conversion c WHERE c.brand_id = k.brand_id AND c.order_ref = k.order_ref"
		"   UNION ALL SELECT p.id FROM postback.parked p WHERE p.brand_id = k.brand_id AND p.order_ref = k.order_ref) r"
		" ORDER BY r.id"
	},
	[ST_PARKED] = {
		"u text[]",
		"SELECT p.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (brand_id, order_ref)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.parked x"
		"   WHERE x.brand_id = k.brand_id AND x.order_ref = k.order_ref AND x.expires_at > pg_catalog.now()"
		"   ORDER BY x.id LIMIT 128) p"
	},
	[ST_LOCK_PARKED] = {
		"u",
		"SELECT p.id FROM postback.parked p WHERE p.id = ANY ($1) ORDER BY p.id FOR UPDATE"
	},
	[ST_PARK] = {
		.table = "parked",
		.columns =
		"id brand_id order_ref goal status value amount currency reason notice receipt_id expires_at"
	},
	[ST_UNPARK] = {
		"u",
		"DELETE FROM postback.parked WHERE id = ANY ($1)"
	},
	/* The order came, but has no price yet. */
	[ST_KEEP_PARKED] = {
		"u text[]",
		"UPDATE postback.parked p SET goal = k.goal, expires_at = 'infinity'"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (id, goal) WHERE p.id = k.id"
	},
	/* Approvals that wait for a price. */
	[ST_FORGET_PARKED] = {
		"u text[] text[]",
		"DELETE FROM postback.parked p"
		" USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS k (brand_id, order_ref, goal)"
		" WHERE p.brand_id = k.brand_id AND p.order_ref = k.order_ref AND p.goal = k.goal COLLATE postback.nocase"
		"   AND p.expires_at = 'infinity'"
	},
	[ST_EVENTS] = {
		.table = "event",
		.columns =
		"id brand_id name order_ref offer_id publisher_id click_id attribution sub_id notice test "
		"receipt_id"
	},
	[ST_EVENT_IDS] = {
		"int[] u text[] text[]",
		"SELECT k.n, e.id"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4))"
		"       AS k (n, brand_id, name, order_ref)"
		" CROSS JOIN LATERAL (SELECT x.id FROM postback.event x"
		"   WHERE x.brand_id = k.brand_id AND x.name = k.name COLLATE postback.nocase AND x.order_ref = k.order_ref LIMIT 1) e"
	},
	/* In key order: two batches that create the same orders wait for each other, never in a circle. */
	[ST_CREATE] = {
		.table = "conversion",
		.columns =
		"id brand_id order_ref goal goal_given status test offer_id publisher_id click_id attribution "
		"value currency sale_value commission fee commission_currency terms_id fee_percent fee_of "
		"fx_rate hold_until external_transaction_id sub_id subs promo_code reason notice"
	},
	/* Takes back what this transaction has just created for an order that somebody else created meanwhile. */
	[ST_UNCREATE] = {
		"u",
		"DELETE FROM postback.conversion WHERE id = ANY ($1)"
	},
	[ST_UPDATE] = {
		"u text[] u u u text[] bigint[] bigint[] bigint[] bigint[] u numeric[] timestamptz[] text[] text[] text[] text[] text[]",
		"UPDATE postback.conversion c"
		"   SET status = k.status, offer_id = k.offer_id, publisher_id = k.publisher_id, click_id = k.click_id,"
		"       attribution = k.attribution, value = k.value, sale_value = k.sale_value, commission = k.commission,"
		"       fee = k.fee, terms_id = k.terms_id, fx_rate = k.fx_rate, hold_until = k.hold_until,"
		"       external_transaction_id = k.external_transaction_id, sub_id = k.sub_id, subs = k.subs::text[],"
		"       reason = k.reason, notice = k.notice, updated_at = pg_catalog.now()"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		"   pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
		"   pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12),"
		"   pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16),"
		"   pg_catalog.unnest($17), pg_catalog.unnest($18))"
		"   AS k (id, status, offer_id, publisher_id, click_id, attribution, value, sale_value, commission, fee, terms_id,"
		"   fx_rate, hold_until, external_transaction_id, sub_id, subs, reason, notice)"
		" WHERE c.id = k.id"
	},
	/* The last change of any of these conversions since an id. */
	[ST_LAST_CHANGE] = {
		"u u",
		"SELECT h.id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (id, since)"
		" CROSS JOIN LATERAL (SELECT x.id FROM postback.history x"
		"   WHERE x.conversion_id = k.id AND x.id >= k.since ORDER BY x.id DESC LIMIT 1) h"
		" ORDER BY h.id DESC LIMIT 1"
	},
	[ST_HISTORY] = {
		.table = "history",
		.columns =
		"id brand_id conversion_id from_status to_status from_value to_value from_commission "
		"to_commission from_fee to_fee currency actor role receipt_id reason notice"
	},
	[ST_LEDGER] = {
		.table = "ledger",
		.columns =
		"id brand_id publisher_id from_account to_account amount currency kind conversion_id"
	},
	/* Transactions that move a prepaid brand's money go one after another, so that the limit is seen exactly. */
	[ST_LOCK_PREPAID] = {
		"u",
		"SELECT b.id FROM postback.brand b WHERE b.id = ANY ($1) AND b.prepaid ORDER BY b.id FOR NO KEY UPDATE"
	},
	[ST_BALANCE] = {
		.table = "balance",
		.columns =
		"id brand_id account publisher_id currency amount"
	},
	/* What ST_EXHAUST adds up. */
	[ST_AVAILABLE] = {
		"u",
		"SELECT m.id FROM postback.balance m WHERE m.brand_id = ANY ($1) AND m.account = 'available' ORDER BY m.id"
	},
	[ST_EXHAUST] = {
		"u",
		"UPDATE postback.brand b SET exhausted = NOT b.exhausted"
		" WHERE b.id = ANY ($1)"
		"   AND b.exhausted <> (coalesce((SELECT pg_catalog.sum(m.amount) FROM postback.balance m"
		"     WHERE m.brand_id = b.id AND m.account = 'available'), 0) <= - b.credit_limit)"
	},
	/* Those that may fire; match.c decides which do. */
	[ST_CALLBACKS] = {
		"text[] u u u",
		"SELECT " CALLBACK_COLUMNS " FROM postback.callback c"
		" WHERE c.enabled AND c.type = ($1)[1]"
		"   AND (c.brand_id IS NULL OR c.brand_id = ANY ($2))"
		"   AND (c.offer_id IS NULL OR c.offer_id = ANY ($3))"
		"   AND (c.publisher_id IS NULL OR c.publisher_id = ANY ($4))"
		" ORDER BY c.id"
	},
	[ST_CALLBACK] = {
		"u",
		"SELECT " CALLBACK_COLUMNS " FROM postback.callback c WHERE c.id = ANY ($1)"
	},
	[ST_CALLBACK_TEXTS] = {
		"",
		"SELECT c.id, c.type, c.statuses, c.reasons, c.url, c.params, c.headers, c.auth FROM postback.callback c ORDER BY c.id"
	},
	[ST_CONVERSION] = {
		"u",
		"SELECT * FROM postback.conversion WHERE id = ANY ($1)"
	},
	/* Those that nobody is changing at this moment, kept so until the transaction ends. */
	[ST_LOCK_CONVERSIONS] = {
		"u",
		"SELECT * FROM postback.conversion WHERE id = ANY ($1) FOR SHARE SKIP LOCKED"
	},
	/* In the order of ids from $1 until before $2, without what is out of the callback's scope. */
	[ST_CONVERSIONS_OF_TIME] = {
		"u u u u u int[]",
		"SELECT * FROM postback.conversion"
		" WHERE id >= ($1)[1] AND id < ($2)[1] AND attribution <> 'none'"
		"   AND (($3)[1] IS NULL OR brand_id = ($3)[1])"
		"   AND (($4)[1] IS NULL OR offer_id = ($4)[1])"
		"   AND (($5)[1] IS NULL OR publisher_id = ($5)[1])"
		" ORDER BY id LIMIT ($6)[1]"
	},
	/* Likewise, newest first, among so many that were created last. */
	[ST_NEWEST_CONVERSIONS] = {
		"u u u int[]",
		"SELECT * FROM (SELECT * FROM postback.conversion ORDER BY id DESC LIMIT ($4)[1]) c"
		" WHERE attribution <> 'none'"
		"   AND (($1)[1] IS NULL OR brand_id = ($1)[1])"
		"   AND (($2)[1] IS NULL OR offer_id = ($2)[1])"
		"   AND (($3)[1] IS NULL OR publisher_id = ($3)[1])"
		" ORDER BY id DESC"
	},
	[ST_NEWEST_EVENTS] = {
		"u u u int[]",
		"SELECT e.id, e.brand_id, e.offer_id, e.publisher_id, e.click_id, e.order_ref, e.notice, coalesce(e.sub_id, c.sub_id),"
		"       c.external_transaction_id, c.subs, e.name"
		"  FROM (SELECT * FROM postback.event ORDER BY id DESC LIMIT ($4)[1]) e"
		"  LEFT JOIN LATERAL (SELECT * FROM postback.click x WHERE x.id = e.click_id LIMIT 1) c ON true"
		" WHERE e.attribution <> 'none'"
		"   AND (($1)[1] IS NULL OR e.brand_id = ($1)[1])"
		"   AND (($2)[1] IS NULL OR e.offer_id = ($2)[1])"
		"   AND (($3)[1] IS NULL OR e.publisher_id = ($3)[1])"
		" ORDER BY e.id DESC"
	},
	[ST_NEWEST_CLICKS] = {
		"u u u int[]",
		"SELECT c.id, c.brand_id, c.offer_id, c.publisher_id, c.id, NULL::text, NULL::text, c.sub_id,"
		"       c.external_transaction_id, c.subs, NULL::text"
		"  FROM (SELECT * FROM postback.click ORDER BY id DESC LIMIT ($4)[1]) c"
		" WHERE (($1)[1] IS NULL OR c.brand_id = ($1)[1])"
		"   AND (($2)[1] IS NULL OR c.offer_id = ($2)[1])"
		"   AND (($3)[1] IS NULL OR c.publisher_id = ($3)[1])"
		" ORDER BY c.id DESC LIMIT 1"
	},
	/* A link in the callback's scope, the newest: whose parties stand in a sample. */
	[ST_SAMPLE_LINK] = {
		"u u u",
		"SELECT l.brand_id, l.offer_id, l.publisher_id, b.currency"
		"  FROM postback.link l JOIN postback.brand b ON b.id = l.brand_id"
		" WHERE (($1)[1] IS NULL OR l.brand_id = ($1)[1])"
		"   AND (($2)[1] IS NULL OR l.offer_id = ($2)[1])"
		"   AND (($3)[1] IS NULL OR l.publisher_id = ($3)[1])"
		" ORDER BY l.created_at DESC LIMIT 1"
	},
	/* Deliveries whose delay is over, and what those of events and clicks were told of. */
	[ST_WAITING] = {
		"u",
		"SELECT d.id, d.conversion_id, d.callback_id, CASE d.status WHEN 'rejected' THEN 'reversed' ELSE d.status END,"
		"       d.event_id, d.brand_id, d.offer_id, d.publisher_id, d.goal, d.test"
		"  FROM pg_catalog.unnest($1) AS k (id)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.delivery x WHERE x.id = k.id LIMIT 1) d"
	},
	/*
	 * A change of a conversion, its latest if none is named; whether it was given to a publisher then, and whether only later:
	 * nothing else that staff do leaves status and value as they are.
	 */
	[ST_CHANGE] = {
		"u u",
		"SELECT h.from_status, h.to_status, h.reason, h.from_commission, h.to_commission,"
		"       h.actor = 'staff' AND h.from_status = h.to_status AND h.from_value = h.to_value,"
		"       EXISTS (SELECT FROM postback.history x"
		"                WHERE x.conversion_id = h.conversion_id AND x.id > h.id"
		"                  AND x.actor = 'staff' AND x.from_status = x.to_status AND x.from_value = x.to_value)"
		"  FROM postback.history h"
		" WHERE h.conversion_id = ($1)[1] AND (($2)[1] IS NULL OR h.id = ($2)[1])"
		" ORDER BY h.id DESC LIMIT 1"
	},
	[ST_OFFER_NAMES] = {
		"u",
		"SELECT o.id, o.name, o.goals_enabled FROM postback.offer o WHERE o.id = ANY ($1)"
	},
	[ST_CLICK_DETAILS] = {
		"u",
		"SELECT d.id, pg_catalog.host(d.ip), d.user_agent, d.country, d.referrer"
		"  FROM pg_catalog.unnest($1) AS k (id)"
		" CROSS JOIN LATERAL (SELECT * FROM postback.click_detail x WHERE x.id = k.id LIMIT 1) d"
	},
	/*
	 * The last number of a callback and conversion, and whether it is that of a delivery.  An old conversion's deliveries may be
	 * dropped: then it is the number of its changes, of which each was told once at most.  A function counts them, so that the
	 * partitions of history are no part of this plan.
	 */
	[ST_SEQUENCES] = {
		"int[] u u",
		"SELECT k.n, coalesce(d.seq, c.seq), d.seq IS NOT NULL"
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
		"       AS k (n, conversion_id, callback_id)"
		" CROSS JOIN LATERAL (SELECT pg_catalog.max(x.seq) AS seq FROM postback.delivery x"
		"   WHERE x.conversion_id = k.conversion_id AND x.callback_id = k.callback_id"
		"     AND x.id > k.conversion_id) d"
		" CROSS JOIN LATERAL (SELECT CASE WHEN d.seq IS NULL AND postback.ulid_time(k.conversion_id) <"
		"     (SELECT pg_catalog.now() - p.retention FROM postback.partition_policy p"
		"       WHERE p.table_name = 'delivery' AND p.retention <= '1000 years')"
		"   THEN postback.change_count(k.conversion_id) END AS seq OFFSET 0) c"
		" WHERE d.seq IS NOT NULL OR c.seq IS NOT NULL"
	},
	[ST_DELIVER] = {
		.table = "delivery",
		.columns =
		"id brand_id callback_id conversion_id event_id click_id offer_id publisher_id goal status "
		"payout revenue currency notice seq test method url headers body due_at state error"
	},
	[ST_QUEUE] = {
		.table = "delivery_due",
		.columns =
		"waiting delivery_id callback_id conversion_id seq endpoint due_at"
	},
	[ST_RECEIPTS] = {
		.table = "receipt",
		.columns =
		"id brand_id token_id method query body content_type remote http_status result code parameter "
		"warning order_ref conversion_id event_id replay_of cookie milliseconds"
	},
	[ST_LINKS] = {
		"text[]",
		"SELECT l.code, l.brand_id, l.offer_id, l.publisher_id, o.landing_url,"
		"       b.paused OR b.exhausted OR o.paused OR p.paused, b.fallback_url, b.keep_click_details, b.address_key,"
		"       pg_catalog.extract('epoch', coalesce(o.attribution_window, b.attribution_window))::bigint,"
		"       CASE WHEN b.unique_window > '0' THEN postback.ulid_floor(pg_catalog.now() - b.unique_window) END"
		"  FROM pg_catalog.unnest($1) AS k (code)"
		"  JOIN postback.link l ON l.code = k.code"
		"  JOIN postback.brand b ON b.id = l.brand_id"
		"  JOIN postback.offer o ON o.id = l.offer_id"
		"  JOIN postback.publisher p ON p.id = l.publisher_id"
	},
	[ST_FALLBACKS] = {
		"text[]",
		"SELECT b.key, b.fallback_url FROM postback.brand b WHERE b.key = ANY ($1) AND b.fallback_url IS NOT NULL"
	},
	/*
	 * Visitors that have made a unique click since.  The bounds of the whole batch (its oldest and newest) choose the partitions
	 * once, at the start; those of each click, hidden from that, only judge the row or two that a visitor has there.
	 */
	[ST_REPEATS] = {
		"int[] bigint[] u u u",
		"SELECT k.n FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
		"       AS k (n, visitor_hash, oldest)"
		" CROSS JOIN LATERAL (SELECT FROM postback.click x"
		"   WHERE x.visitor_hash = k.visitor_hash AND x.is_unique AND x.id >= ($4)[1] AND x.id <= ($5)[1]"
		"     AND (x.id >= k.oldest) IS TRUE LIMIT 1) c"
	},
	[ST_INSERT_CLICKS] = {
		.table = "click",
		.columns =
		"id brand_id offer_id publisher_id link_code address_hash agent_hash visitor_hash is_unique "
		"external_transaction_id sub_id subs truncated"
	},
	[ST_INSERT_CLICK_DETAILS] = {
		.table = "click_detail",
		.columns =
		"id brand_id ip user_agent country referrer"
	},
};

/* A prepared statement; valid only once plan is set, which is the last step of preparing it. */
typedef struct KeptPlan
{
	SPIPlanPtr	plan;
	int			column_count;
	Oid			element[MAX_COLUMNS];
	int16		length[MAX_COLUMNS];
	bool		by_value[MAX_COLUMNS];
	char		align[MAX_COLUMNS];
} KeptPlan;

static KeptPlan plans[STATEMENT_COUNT];
static Oid	plans_schema = InvalidOid;

struct Rows
{
	Statement	statement;
	int			column_count;
	int			capacity;
	int			count;
	int			column;			/* next to be put */
	Datum	   *values;			/* column-major: values[column * capacity + row] */
	bool	   *nulls;
};

/* Forgets all plans if the extension was dropped and created again: types and tables have other oids then. */
static void
check_schema(void)
{
	Oid			schema = get_namespace_oid("postback", false);

	if (schema == plans_schema)
		return;
	for (int i = 0; i < STATEMENT_COUNT; i++)
	{
		if (plans[i].plan != NULL)
			SPI_freeplan(plans[i].plan);
		plans[i].plan = NULL;
	}
	plans_schema = schema;
}

static const KeptPlan *
plan_of(Statement statement)
{
	KeptPlan   *kept = &plans[statement];
	const char *types = statements[statement].types;
	Oid			argument[MAX_COLUMNS];
	SPIPlanPtr	plan;
	int			count = 0;

	check_schema();
	if (kept->plan != NULL)
		return kept;

	while (*types != '\0')
	{
		size_t		length = strcspn(types, " ");
		char	   *name = length == 1 && *types == 'u' ? pstrdup("postback.ulid[]") : pnstrdup(types, length);
		int32		typmod;

		parseTypeString(name, &argument[count], &typmod, false);
		kept->element[count] = get_element_type(argument[count]);
		get_typlenbyvalalign(kept->element[count], &kept->length[count], &kept->by_value[count], &kept->align[count]);
		count++;
		types += length;
		types += strspn(types, " ");
	}
	kept->column_count = count;
	/* One plan for arrays of any length: every batch is alike, and planning again would cost more than it could win. */
	plan = SPI_prepare_cursor(statements[statement].sql, count, argument, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare statement %d: %s", (int) statement, SPI_result_code_string(SPI_result));
	kept->plan = plan;
	return kept;
}

/* Ways of planning that are right for reports, not for a batch of index probes. */
static const char *const planner_settings_off[] = {
	"enable_seqscan", "enable_sort", "enable_hashjoin", "enable_mergejoin", "enable_material", "jit"
};

/* Tables and signatures are those of this library's own SQL: after "make install" the extension is to be updated too. */
static void
check_version(void)
{
	static Oid	checked = InvalidOid;
	Oid			schema = get_namespace_oid("postback", false);
	const char *version;

	if (checked == schema)
		return;
	if (SPI_execute("SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'postback'", true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not find the extension postback");
	version = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (!pb_same_minor(version, POSTBACK_VERSION))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension postback is of version %s, its library of version %s", version, POSTBACK_VERSION),
				 errdetail("Nothing is done until both are of one version."),
				 errhint("ALTER EXTENSION postback UPDATE;")));
	checked = schema;
}

int
statements_begin(void)
{
	int			level;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	level = NewGUCNestLevel();
	/* Most callers have it set; the trigger of an UPDATE has its caller's. */
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	check_version();
	for (size_t i = 0; i < lengthof(planner_settings_off); i++)
		(void) set_config_option(planner_settings_off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	return level;
}

void
statements_end(int level)
{
	AtEOXact_GUC(false, level);
	SPI_finish();
}

static int
word_count(const char *text)
{
	int			count = 0;

	while (*text != '\0')
	{
		text += strcspn(text, " ");
		text += strspn(text, " ");
		count++;
	}
	return count;
}

Rows *
rows_begin(Statement statement, int capacity)
{
	Rows	   *rows = palloc(sizeof(Rows));

	rows->statement = statement;
	rows->column_count = word_count(statements[statement].table != NULL ? statements[statement].columns : statements[statement].types);
	rows->capacity = Max(capacity, 1);
	rows->count = 0;
	rows->column = rows->column_count;
	rows->values = palloc(sizeof(Datum) * rows->capacity * rows->column_count);
	rows->nulls = palloc(sizeof(bool) * rows->capacity * rows->column_count);
	return rows;
}

/* Doubles the room; columns move apart. */
static void
rows_grow(Rows *rows)
{
	int			capacity = rows->capacity * 2;
	Datum	   *values = palloc(sizeof(Datum) * capacity * rows->column_count);
	bool	   *nulls = palloc(sizeof(bool) * capacity * rows->column_count);

	for (int c = 0; c < rows->column_count; c++)
	{
		memcpy(values + c * capacity, rows->values + c * rows->capacity, sizeof(Datum) * rows->count);
		memcpy(nulls + c * capacity, rows->nulls + c * rows->capacity, sizeof(bool) * rows->count);
	}
	pfree(rows->values);
	pfree(rows->nulls);
	rows->values = values;
	rows->nulls = nulls;
	rows->capacity = capacity;
}

void
rows_next(Rows *rows)
{
	Assert(rows->column == rows->column_count);
	if (rows->count == rows->capacity)
		rows_grow(rows);
	rows->count++;
	rows->column = 0;
}

void
put_datum(Rows *rows, Datum value, bool is_null)
{
	int			at = rows->column * rows->capacity + rows->count - 1;

	Assert(rows->column < rows->column_count);
	rows->values[at] = value;
	rows->nulls[at] = is_null;
	rows->column++;
}

static void
put_null(Rows *rows)
{
	put_datum(rows, (Datum) 0, true);
}

void
put_ulid(Rows *rows, const PbUlid *value)
{
	put_datum(rows, UlidPGetDatum(value), value == NULL);
}

void
put_slice(Rows *rows, PbSlice value)
{
	if (value.data == NULL)
		put_null(rows);
	else
		put_datum(rows, PointerGetDatum(cstring_to_text_with_len(value.data, value.len)), false);
}

void
put_cstring(Rows *rows, const char *value)
{
	put_slice(rows, value != NULL ? pb_slice(value) : (PbSlice){NULL, 0});
}

void
put_int(Rows *rows, int32 value)
{
	put_datum(rows, Int32GetDatum(value), false);
}

void
put_bigint(Rows *rows, int64 value)
{
	put_datum(rows, Int64GetDatum(value), false);
}

void
put_bool(Rows *rows, bool value)
{
	put_datum(rows, BoolGetDatum(value), false);
}

void
put_timestamp(Rows *rows, TimestampTz value)
{
	put_datum(rows, TimestampTzGetDatum(value), false);
}

/* The rows of an insertion. */
static InsertRows
insert_rows_of(const Rows *rows)
{
	Assert(rows->column == rows->column_count);
	Assert(statements[rows->statement].table != NULL);
	return (InsertRows) {rows->column_count, rows->count, rows->capacity, rows->values, rows->nulls};
}

uint64
rows_insert_new(Rows *rows, bool *inserted)
{
	const StatementText *text = &statements[rows->statement];
	InsertRows	values = insert_rows_of(rows);

	return rows->count == 0 ? 0 : insert_rows_unless_exist(text->table, text->columns, &values, inserted);
}

static uint64
rows_insert(Rows *rows)
{
	const StatementText *text = &statements[rows->statement];
	InsertRows	values = insert_rows_of(rows);

	insert_rows(text->table, text->columns, &values);
	return rows->count;
}

/* Runs a statement's plan; snapshot: what it sees, InvalidSnapshot for what the transaction does. */
static uint64
rows_run(Rows *rows, Snapshot snapshot)
{
	const KeptPlan *plan = plan_of(rows->statement);
	Datum		arguments[MAX_COLUMNS];
	int			lower = 1;
	int			result;

	Assert(rows->column == plan->column_count);
	for (int c = 0; c < plan->column_count; c++)
		arguments[c] = PointerGetDatum(construct_md_array(rows->values + c * rows->capacity,
														  rows->nulls + c * rows->capacity,
														  1, &rows->count, &lower, plan->element[c],
														  plan->length[c], plan->by_value[c], plan->align[c]));
	result = SPI_execute_snapshot(plan->plan, arguments, NULL, snapshot, InvalidSnapshot, snapshot != InvalidSnapshot, true, 0);
	if (result < 0)
		elog(ERROR, "statement %d failed: %s", (int) rows->statement, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
rows_execute(Rows *rows)
{
	if (rows->count == 0)
		return 0;
	if (statements[rows->statement].table != NULL)
		return rows_insert(rows);
	return rows_run(rows, InvalidSnapshot);
}

/* The ids that were found. */
static PbUlid *
ids_read(uint64 found)
{
	PbUlid	   *ids = palloc(sizeof(PbUlid) * Max(found, 1));

	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);

		take_ulid(&record, &ids[r]);
	}
	return ids;
}

void
rows_check_current(Rows *rows)
{
	uint64		seen_count;
	uint64		there_count;
	PbUlid	   *seen;
	PbUlid	   *there;

	if (rows->count == 0)
		return;
	seen_count = rows_run(rows, InvalidSnapshot);
	seen = ids_read(seen_count);
	there_count = rows_run(rows, GetLatestSnapshot());
	there = ids_read(there_count);
	if (seen_count != there_count || memcmp(seen, there, sizeof(PbUlid) * seen_count) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
}

Record
record_of_tuple(HeapTuple tuple, TupleDesc desc)
{
	Record		record;

	record.count = desc->natts;
	record.next = 0;
	record.values = palloc(sizeof(Datum) * desc->natts);
	record.nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(tuple, desc, record.values, record.nulls);
	return record;
}

Record
record_read(uint64 row)
{
	return record_of_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc);
}

bool
take_datum(Record *record, Datum *value)
{
	int			at = record->next++;

	Assert(at < record->count);
	*value = record->values[at];
	return !record->nulls[at];
}

bool
take_ulid(Record *record, PbUlid *value)
{
	Datum		datum;

	if (!take_datum(record, &datum))
	{
		memset(value, 0, sizeof(PbUlid));
		return false;
	}
	*value = *DatumGetUlidP(datum);
	return true;
}

PbSlice
take_slice(Record *record)
{
	Datum		datum;

	if (!take_datum(record, &datum))
		return (PbSlice) {NULL, 0};
	return text_slice(DatumGetTextPP(datum));
}

int32
take_int(Record *record)
{
	Datum		datum;

	return take_datum(record, &datum) ? DatumGetInt32(datum) : 0;
}

bool
take_bigint(Record *record, int64 *value)
{
	Datum		datum;
	bool		found = take_datum(record, &datum);

	*value = found ? DatumGetInt64(datum) : 0;
	return found;
}

bool
take_bool(Record *record)
{
	Datum		datum;

	return take_datum(record, &datum) && DatumGetBool(datum);
}

bool
take_timestamp(Record *record, TimestampTz *value)
{
	Datum		datum;
	bool		found = take_datum(record, &datum);

	*value = found ? DatumGetTimestampTz(datum) : 0;
	return found;
}
