/*
 * ulid_type.c: the SQL type ulid around core/ulid: input and output, comparison, casts, time, generation.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "postback.h"

#define POSTGRES_EPOCH_MS \
	(((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * SECS_PER_DAY * INT64CONST(1000))

/* Random bytes are drawn for this many ids at once. */
#define RANDOM_POOL 64

/* The source and the pool of random bytes are the backend's only state here. */
static PbUlidSource source;

/* The next id of this backend.  Ids ascend, so that rows written one after another sort so. */
PbUlid
ulid_next(void)
{
	static uint8 pool[RANDOM_POOL][10];
	static int	left = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (left == 0)
	{
		postback_random(pool, sizeof(pool));
		left = RANDOM_POOL;
	}
	left--;
	return pb_ulid_next(&source, now / 1000 + POSTGRES_EPOCH_MS, pool[left]);
}

/* Lets the next ones come after an id that another backend may have made in the same millisecond. */
void
ulid_follow(const PbUlid *id)
{
	if (memcmp(&source.last, id, sizeof(PbUlid)) < 0)
		source.last = *id;
}

TimestampTz
ulid_timestamp(const PbUlid *ulid)
{
	return (pb_ulid_ms(ulid) - POSTGRES_EPOCH_MS) * 1000;
}

PbUlid
ulid_floor_of(TimestampTz at)
{
	int64		ms;

	if (TIMESTAMP_IS_NOBEGIN(at))
		return pb_ulid_floor(0);
	if (TIMESTAMP_IS_NOEND(at))
		return pb_ulid_floor(PG_INT64_MAX);
	ms = at / 1000;
	if (at % 1000 < 0)
		ms--;
	return pb_ulid_floor(ms + POSTGRES_EPOCH_MS);
}

char *
ulid_cstring(const PbUlid *ulid)
{
	char	   *result = palloc(PB_ULID_TEXT_LEN + 1);

	pb_ulid_format(ulid, result);
	result[PB_ULID_TEXT_LEN] = '\0';
	return result;
}

static PbUlid *
ulid_copy(PbUlid ulid)
{
	PbUlid	   *result = palloc(sizeof(PbUlid));

	*result = ulid;
	return result;
}

static PbUlid *
ulid_parse_or_raise(PbSlice input)
{
	PbUlid		ulid;

	if (!pb_ulid_parse(input, &ulid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type ulid: \"%.*s\"",
						(int) pb_utf8_cut(input, 64), input.data),
				 errhint("A ulid is 26 characters of 0-9 and A-Z without I, L, O and U, optionally after clk_.")));
	return ulid_copy(ulid);
}

PG_FUNCTION_INFO_V1(ulid_in);
Datum
ulid_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_ULID_P(ulid_parse_or_raise(pb_slice(PG_GETARG_CSTRING(0))));
}

PG_FUNCTION_INFO_V1(ulid_out);
Datum
ulid_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(ulid_cstring(PG_GETARG_ULID_P(0)));
}

PG_FUNCTION_INFO_V1(ulid_recv);
Datum
ulid_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	PbUlid	   *ulid = palloc(sizeof(PbUlid));

	memcpy(ulid->bytes, pq_getmsgbytes(buffer, sizeof(ulid->bytes)), sizeof(ulid->bytes));
	PG_RETURN_ULID_P(ulid);
}

PG_FUNCTION_INFO_V1(ulid_send);
Datum
ulid_send(PG_FUNCTION_ARGS)
{
	PbUlid	   *ulid = PG_GETARG_ULID_P(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbytes(&buffer, (char *) ulid->bytes, sizeof(ulid->bytes));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

PG_FUNCTION_INFO_V1(ulid_from_text);
Datum
ulid_from_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_ULID_P(ulid_parse_or_raise(text_slice(PG_GETARG_TEXT_PP(0))));
}

PG_FUNCTION_INFO_V1(ulid_to_text);
Datum
ulid_to_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(ulid_cstring(PG_GETARG_ULID_P(0))));
}

PG_FUNCTION_INFO_V1(ulid_to_uuid);
Datum
ulid_to_uuid(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, PG_GETARG_ULID_P(0)->bytes, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}

PG_FUNCTION_INFO_V1(ulid_from_uuid);
Datum
ulid_from_uuid(PG_FUNCTION_ARGS)
{
	PbUlid	   *ulid = palloc(sizeof(PbUlid));

	memcpy(ulid->bytes, PG_GETARG_UUID_P(0)->data, UUID_LEN);
	PG_RETURN_ULID_P(ulid);
}

static int
compare_args(FunctionCallInfo fcinfo)
{
	return memcmp(PG_GETARG_ULID_P(0), PG_GETARG_ULID_P(1), sizeof(PbUlid));
}

#define ULID_COMPARISON(name, op) \
	PG_FUNCTION_INFO_V1(name); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_BOOL(compare_args(fcinfo) op 0); \
	}

ULID_COMPARISON(ulid_eq, ==)
ULID_COMPARISON(ulid_ne, !=)
ULID_COMPARISON(ulid_lt, <)
ULID_COMPARISON(ulid_le, <=)
ULID_COMPARISON(ulid_gt, >)
ULID_COMPARISON(ulid_ge, >=)

PG_FUNCTION_INFO_V1(ulid_cmp);
Datum
ulid_cmp(PG_FUNCTION_ARGS)
{
	int			order = compare_args(fcinfo);

	PG_RETURN_INT32((order > 0) - (order < 0));
}

PG_FUNCTION_INFO_V1(ulid_smaller);
Datum
ulid_smaller(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(compare_args(fcinfo) <= 0 ? 0 : 1));
}

PG_FUNCTION_INFO_V1(ulid_larger);
Datum
ulid_larger(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(compare_args(fcinfo) >= 0 ? 0 : 1));
}

PG_FUNCTION_INFO_V1(ulid_hash);
Datum
ulid_hash(PG_FUNCTION_ARGS)
{
	return hash_any(PG_GETARG_ULID_P(0)->bytes, sizeof(PbUlid));
}

PG_FUNCTION_INFO_V1(ulid_hash_extended);
Datum
ulid_hash_extended(PG_FUNCTION_ARGS)
{
	return hash_any_extended(PG_GETARG_ULID_P(0)->bytes, sizeof(PbUlid), PG_GETARG_INT64(1));
}

PG_FUNCTION_INFO_V1(ulid_new);
Datum
ulid_new(PG_FUNCTION_ARGS)
{
	PG_RETURN_ULID_P(ulid_copy(ulid_next()));
}

PG_FUNCTION_INFO_V1(ulid_time);
Datum
ulid_time(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(ulid_timestamp(PG_GETARG_ULID_P(0)));
}

PG_FUNCTION_INFO_V1(ulid_floor);
Datum
ulid_floor(PG_FUNCTION_ARGS)
{
	PG_RETURN_ULID_P(ulid_copy(ulid_floor_of(PG_GETARG_TIMESTAMPTZ(0))));
}
