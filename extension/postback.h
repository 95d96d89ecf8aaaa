/*
 * postback.h: what the backend files share: settings, ids, and the conversions between the core's
 * types and Postgres' own.
 */
#ifndef POSTBACK_H
#define POSTBACK_H

#include "fmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "core/slice.h"
#include "core/ulid.h"

/* Settings, defined in postback.c. */
extern char *postback_fallback_url;
extern char *postback_actor;

/* postback.c */
extern void postback_random(void *buffer, size_t length);
extern void require_client(void);
struct TriggerData;
extern void trigger_table_check(const struct TriggerData *trigger, const char *function, const char *table);

/* ulid_type.c */
#define DatumGetUlidP(d) ((PbUlid *) DatumGetPointer(d))
#define UlidPGetDatum(u) PointerGetDatum(u)
#define PG_GETARG_ULID_P(n) DatumGetUlidP(PG_GETARG_DATUM(n))
#define PG_RETURN_ULID_P(u) return UlidPGetDatum(u)

extern PbUlid ulid_next(void);
extern void ulid_follow(const PbUlid *id);
extern TimestampTz ulid_timestamp(const PbUlid *ulid);
extern PbUlid ulid_floor_of(TimestampTz at);
extern char *ulid_cstring(const PbUlid *ulid);

static inline bool
ulid_equal(const PbUlid *a, const PbUlid *b)
{
	return memcmp(a, b, sizeof(PbUlid)) == 0;
}

/* The bytes of a text datum, which must outlive the slice. */
static inline PbSlice
text_slice(const text *t)
{
	return (PbSlice) {VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
}

#endif							/* POSTBACK_H */
