/*
 * token.c: who calls: tokens by their secret's hash, revocation, address lists, signatures, the words that their maps may have.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "receive.h"

#define KEY_LENGTH 8
#define WORD_SHOWN 64				/* bytes of a word in a message */

/* Equality whose time does not tell where the difference is. */
static bool
equal_in_constant_time(const uint8 *a, const uint8 *b, size_t length)
{
	uint8		difference = 0;

	for (size_t i = 0; i < length; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

/* The pairs of a map of names; values that are no strings are passed over. */
static Renaming *
renamings_read(Jsonb *map, int *count)
{
	Renaming   *renamings = palloc(sizeof(Renaming) * Max(JB_ROOT_COUNT(map), 1));
	JsonbIterator *iterator = JsonbIteratorInit(&map->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	*count = 0;
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvString)
			continue;
		renamings[*count].theirs = (PbSlice) {key.val.string.val, key.val.string.len};
		renamings[*count].ours = (PbSlice) {value.val.string.val, value.val.string.len};
		(*count)++;
	}
	return renamings;
}

static void
token_take(Record *r, Token *token)
{
	Datum		datum;

	memset(token, 0, sizeof(*token));
	token->key = take_slice(r);
	token->secret_hash = take_slice(r);
	take_ulid(r, &token->id);
	take_ulid(r, &token->brand_id);
	if (take_datum(r, &datum))
		token->params = renamings_read(DatumGetJsonbP(datum), &token->param_count);
	if (take_datum(r, &datum))
		token->statuses = renamings_read(DatumGetJsonbP(datum), &token->status_count);
	token->reply_style = take_slice(r);
	token->allow_ips = take_datum(r, &datum) ? DatumGetArrayTypeP(datum) : NULL;
	token->hmac_secret = take_slice(r);
	token->test = take_bool(r);
	token->dead = take_bool(r);
	token->rate_limit = take_int(r);
}

/* "KEY_SECRET" taken apart; false if it is none such. */
static bool
token_split(PbSlice text, PbSlice *key, PbSlice *secret)
{
	if (text.len < KEY_LENGTH + 2 || text.len > 256 || text.data[KEY_LENGTH] != '_')
		return false;
	*key = (PbSlice) {text.data, KEY_LENGTH};
	*secret = (PbSlice) {text.data + KEY_LENGTH + 1, text.len - KEY_LENGTH - 1};
	return true;
}

static void
sha256(PbSlice text, uint8 *digest)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) text.data, text.len) < 0 ||
		pg_cryptohash_final(context, digest, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256");
	pg_cryptohash_free(context);
}

static Token *
tokens_read(uint64 found)
{
	Token	   *tokens = palloc(sizeof(Token) * Max(found, 1));

	for (uint64 i = 0; i < found; i++)
	{
		Record		record = record_read(i);

		token_take(&record, &tokens[i]);
	}
	return tokens;
}

/* All tokens of the brands whose keys the batch names: one statement. */
static Token *
tokens_load(Batch *batch, int *count)
{
	Rows	   *rows = rows_begin(ST_TOKENS, batch->count);
	PbSlice		last = {NULL, 0};
	uint64		found;

	for (int i = 0; i < batch->count; i++)
	{
		PbSlice		key;
		PbSlice		secret;

		if (!token_split(batch->items[i].token_text, &key, &secret) || pb_slice_equal(key, last))
			continue;
		last = key;
		rows_next(rows);
		put_slice(rows, key);
	}
	found = rows_execute(rows);
	*count = (int) found;
	return tokens_read(found);
}

const Brand *
brands_load(const PbUlid *ids, int count, int *found)
{
	Rows	   *rows = rows_begin(ST_BRANDS, count);
	Brand	   *brands;

	for (int i = 0; i < count; i++)
	{
		rows_next(rows);
		put_ulid(rows, &ids[i]);
	}
	*found = (int) rows_execute(rows);
	brands = palloc0(sizeof(Brand) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
	{
		Record		record = record_read(i);

		take_ulid(&record, &brands[i].id);
		brands[i].currency = take_slice(&record);
		take_datum(&record, &brands[i].hold);
		take_datum(&record, &brands[i].attribution_window);
		take_datum(&record, &brands[i].min_click_age);
		take_datum(&record, &brands[i].fee_percent);
		brands[i].fee_of = take_slice(&record);
		brands[i].address_key = take_slice(&record);
		take_datum(&record, &brands[i].longest_window);
		take_datum(&record, &brands[i].youngest_age);
	}
	return brands;
}

static void
tokens_join_brands(Token *tokens, int count)
{
	PbUlid	   *ids = palloc(sizeof(PbUlid) * Max(count, 1));
	const Brand *brands;
	int			found;

	for (int i = 0; i < count; i++)
		ids[i] = tokens[i].brand_id;
	brands = brands_load(ids, count, &found);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < found && tokens[i].brand == NULL; j++)
			if (ulid_equal(&tokens[i].brand_id, &brands[j].id))
				tokens[i].brand = &brands[j];
}

/* The token with its brand, for a call that was let in before; NULL if it is gone. */
const Token *
token_load(const PbUlid *id)
{
	Rows	   *rows = rows_begin(ST_TOKEN, 1);
	Token	   *token;

	rows_next(rows);
	put_ulid(rows, id);
	if (rows_execute(rows) == 0)
		return NULL;
	token = tokens_read(1);
	tokens_join_brands(token, 1);
	return token;
}

static const Token *
token_find(const Token *tokens, int count, PbSlice text)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	const Token *match = NULL;
	PbSlice		key;
	PbSlice		secret;

	if (!token_split(text, &key, &secret))
		return NULL;
	sha256(secret, digest);
	for (int i = 0; i < count; i++)
		if (pb_slice_equal(tokens[i].key, key) && tokens[i].secret_hash.len == sizeof(digest) &&
			equal_in_constant_time((const uint8 *) tokens[i].secret_hash.data, digest, sizeof(digest)))
			match = &tokens[i];
	return match;
}

static bool
address_allowed(const Call *item)
{
	Datum	   *ranges;
	bool	   *nulls;
	int			count;

	if (item->token->allow_ips == NULL)
		return true;
	if (!item->has_remote)
		return false;
	deconstruct_array(item->token->allow_ips, CIDROID, -1, false, TYPALIGN_INT, &ranges, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i] && DatumGetBool(DirectFunctionCall2(network_subeq, item->remote, ranges[i])))
			return true;
	return false;
}

static void
refuse_address(Call *item)
{
	PbSlice		address = item->has_remote ? address_text(item->remote) : PB_LITERAL("an unknown address");

	item_refuse(item, PB_IP_NOT_ALLOWED, NULL,
				"this token may not be used from %.*s; call from another server, or have this one added to its allow_ips",
				(int) address.len, address.data);
}

/* What is signed and the signature: the query before its last parameter sig, or the body. */
static bool
signature_parts(const Call *item, PbSlice *content, PbSlice *signature)
{
	PbSlice		query = item->query.data != NULL ? item->query : PB_LITERAL("");
	size_t		at = query.len;

	if (pb_slice_equal((PbSlice) {query.data, Min(query.len, 4)}, PB_LITERAL("sig=")))
		at = 0;
	for (size_t i = 0; i + 5 <= query.len; i++)
		if (memcmp(query.data + i, "&sig=", 5) == 0)
			at = i;
	*signature = item->signature;
	*content = query;
	if (at < query.len)
	{
		size_t		start = at + (query.data[at] == '&' ? 5 : 4);

		*signature = (PbSlice) {query.data + start, query.len - start};
		*content = (PbSlice) {query.data, at};
	}
	if (item->body.data != NULL && item->body.len > 0)
	{
		if (content->len != 0)
			return false;
		*content = item->body;
	}
	return signature->data != NULL && signature->len == 2 * PG_SHA256_DIGEST_LENGTH;
}

static bool
signature_valid(const Call *item)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint8		sent[PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *context;
	PbSlice		content;
	PbSlice		signature;
	PbSlice		secret = item->token->hmac_secret;

	if (secret.data == NULL)
		return true;
	if (!signature_parts(item, &content, &signature))
		return false;
	for (size_t i = 0; i < signature.len; i++)
		if (strchr("0123456789abcdefABCDEF", signature.data[i]) == NULL || signature.data[i] == '\0')
			return false;
	hex_decode(signature.data, signature.len, (char *) sent);
	context = pg_hmac_create(PG_SHA256);
	if (context == NULL || pg_hmac_init(context, (const uint8 *) secret.data, secret.len) < 0 ||
		pg_hmac_update(context, (const uint8 *) content.data, content.len) < 0 ||
		pg_hmac_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute HMAC");
	pg_hmac_free(context);
	return equal_in_constant_time(digest, sent, sizeof(digest));
}

/* Finds each item's token and refuses whom it does not let in. */
void
batch_authorise(Batch *batch)
{
	int			count;
	Token	   *tokens = tokens_load(batch, &count);
	Call	   *previous = NULL;

	tokens_join_brands(tokens, count);
	for (int i = 0; i < batch->count; i++)
	{
		Call	   *item = &batch->items[i];

		/* A batch is mostly one brand's: the same text need not be hashed again. */
		if (item->replays)
			;
		else if (previous != NULL && pb_slice_equal(previous->token_text, item->token_text))
			item->token = previous->token;
		else
			item->token = token_find(tokens, count, item->token_text);
		previous = item;
		if (item->token == NULL)
		{
			item_refuse(item, PB_UNKNOWN_TOKEN, NULL, "no such token; check the postback URL");
			continue;
		}
		item->has_receipt = true;
		item->receipt_id = ulid_next();
		if (item->token->dead)
			item_refuse(item, PB_TOKEN_REVOKED, NULL, "this token was revoked or has expired; ask for a new one");
		else if (item->replays)
			continue;
		else if (!address_allowed(item))
			refuse_address(item);
		else if (!signature_valid(item))
			item_refuse(item, PB_BAD_SIGNATURE, "sig", item->body.len > 0 ?
						"sig must be the hex HMAC-SHA256 of the body; send it alone in the query, or in X-Postback-Signature" :
						"sig must be the last parameter: hex HMAC-SHA256 of everything before it, as it is sent");
	}
}

/* "order, value, amount ...": what a map may lead to; of parameters not sig, which no map is asked about. */
static char *
words_of_ours(bool statuses)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (statuses ? (int) PB_SENT_COUNT : (int) PB_PARAMETER_COUNT); i++)
		if (statuses || i != PB_P_SIG)
			appendStringInfo(&text, i > 0 ? ", %s" : "%s", statuses ? pb_sent_name(i) : pb_parameter_name(i));
	return text.data;
}

static void
map_word_check(const char *map, bool statuses, PbSlice theirs, PbSlice ours)
{
	PbSent		sent;

	/* A name that is mapped to nothing is left out. */
	if (statuses ? pb_status_word(ours, &sent) : ours.len == 0 || pb_parameter_find(ours) != PB_P_UNKNOWN)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s: %s \"%.*s\" is unknown", map, statuses ? "status" : "parameter",
					(int) pb_utf8_cut(ours, WORD_SHOWN), ours.data),
			 errdetail("Parameter %s says which word of ours the brand's \"%.*s\" stands for.", map,
					   (int) pb_utf8_cut(theirs, WORD_SHOWN), theirs.data),
			 statuses ? errhint("Use one of %s, or a word that means the same.", words_of_ours(statuses)) :
			 errhint("Use one of %s, or an alias; \"\" leaves it out.", words_of_ours(statuses))));
}

/* check_map(parameter, map): raises unless every call could be read by it. */
PG_FUNCTION_INFO_V1(postback_check_map);
Datum
postback_check_map(PG_FUNCTION_ARGS)
{
	char	   *parameter = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		statuses = strcmp(parameter, "status_map") == 0;
	Jsonb	   *map = PG_GETARG_JSONB_P(1);
	bool		flat = JB_ROOT_IS_OBJECT(map);
	Renaming   *renamings = NULL;
	int			count = 0;

	if (flat)
		renamings = renamings_read(map, &count);
	if (!flat || count < (int) JB_ROOT_COUNT(map))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a map of names", parameter),
				 errdetail("Parameter %s must be a JSON object whose values are strings.", parameter),
				 errhint("From the brand's word to ours, for example %s.",
						 statuses ? "{\"ok\": \"approved\"}" : "{\"transaction_id\": \"click_id\"}")));
	for (int i = 0; i < count; i++)
		map_word_check(parameter, statuses, renamings[i].theirs, renamings[i].ours);
	PG_RETURN_VOID();
}
