/*
 * postback.c: the module itself: magic, settings, randomness, and small functions of the install script.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "core/currency.h"
#include "postback.h"

PG_MODULE_MAGIC;

/* Of libpq/libpq.h, which wants headers of GSSAPI. */
extern bool pq_check_connection(void);

/* Where visitors of an unknown link go when not even its brand is known.  A network sets it to its own site. */
char	   *postback_fallback_url = NULL;

/*
 * Who history names as the actor of changes made by plain UPDATE in this transaction.  approve_due sets it to cron, so
 * that a reader of history can tell the end of a hold from a person; it is a label and grants nothing.
 */
char	   *postback_actor = NULL;

void		_PG_init(void);

void
_PG_init(void)
{
	DefineCustomStringVariable("postback.fallback_url",
							   "Where clicks on links of no known brand are redirected.",
							   "Empty: they are answered 404.",
							   &postback_fallback_url, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("postback.actor",
							   "What history calls the maker of changes by plain UPDATE: sql or cron.",
							   NULL, &postback_actor, "sql", PGC_USERSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	MarkGUCPrefixReserved("postback");
}

/* Fills buffer from the strong generator, or raises. */
void
postback_random(void *buffer, size_t length)
{
	if (!pg_strong_random(buffer, length))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("no random bytes could be had"),
				 errhint("The operating system's random generator failed; see the server log.")));
}

/*
 * A batch whose caller has hung up must not be committed: a daemon that waited in vain (a frozen server, a backend
 * that hung) has long told its senders that nothing was recorded.  To be called when all else is done.
 */
void
require_client(void)
{
	if (MyProcPort != NULL && !pq_check_connection())
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the caller has gone"),
				 errdetail("Its batch is rolled back, since nobody would learn that it was recorded.")));
}

/* The columns of the rows that a trigger is given are known only on the table that it was written for. */
void
trigger_table_check(const TriggerData *trigger, const char *function, const char *table)
{
	const char *schema = get_namespace_name(RelationGetNamespace(trigger->tg_relation));

	if (schema == NULL || strcmp(schema, "postback") != 0 ||
		strcmp(RelationGetRelationName(trigger->tg_relation), table) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s belongs on table postback.%s only", function, table)));
}

PG_FUNCTION_INFO_V1(postback_version);
Datum
postback_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(POSTBACK_VERSION));
}

PG_FUNCTION_INFO_V1(random_bytes);
Datum
random_bytes(PG_FUNCTION_ARGS)
{
	int32		length = PG_GETARG_INT32(0);
	bytea	   *result;

	if (length < 1 || length > 1024)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length %d is out of range", length),
				 errhint("Ask for 1 to 1024 bytes.")));
	result = palloc(VARHDRSZ + length);
	SET_VARSIZE(result, VARHDRSZ + length);
	postback_random(VARDATA(result), length);
	PG_RETURN_BYTEA_P(result);
}

PG_FUNCTION_INFO_V1(random_key);
Datum
random_key(PG_FUNCTION_ARGS)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	int32		length = PG_GETARG_INT32(0);
	uint8		bits[256];
	char		key[256];

	if (length < 1 || length > (int32) sizeof(key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length %d is out of range", length),
				 errhint("Ask for 1 to 256 characters.")));
	postback_random(bits, length);
	for (int i = 0; i < length; i++)
		key[i] = alphabet[bits[i] & 31];
	PG_RETURN_TEXT_P(cstring_to_text_with_len(key, length));
}

PG_FUNCTION_INFO_V1(currency_list);
Datum
currency_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < pb_currency_count; i++)
	{
		Datum		values[2] = {CStringGetTextDatum(pb_currencies[i].code),
		Int16GetDatum(pb_currencies[i].exponent)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(is_currency);
Datum
is_currency(PG_FUNCTION_ARGS)
{
	PbSlice		code = text_slice(PG_GETARG_TEXT_PP(0));
	const PbCurrency *found = pb_currency_find(code);

	PG_RETURN_BOOL(found != NULL && pb_slice_equal(code, pb_slice(found->code)));
}
