/*
 * ulid.h: 48 bits of unix milliseconds and 80 random ones, shown as 26 Crockford base-32 characters.
 */
#ifndef PB_ULID_H
#define PB_ULID_H

#include "slice.h"

#define PB_ULID_TEXT_LEN 26

typedef struct PbUlid
{
	uint8_t		bytes[16];		/* big-endian: memcmp order is time order */
} PbUlid;

/*
 * Text -> ulid: 26 characters in any case, with or without a leading "clk_" in any case; I and L read as 1,
 * O as 0 (Crockford); false for anything else, also above 7ZZZ...
 */
extern bool pb_ulid_parse(PbSlice text, PbUlid *ulid);

/* Writes exactly PB_ULID_TEXT_LEN upper-case characters, no NUL. */
extern void pb_ulid_format(const PbUlid *ulid, char *out);

/* Unix milliseconds of the id. */
extern int64_t pb_ulid_ms(const PbUlid *ulid);

/* The smallest ulid of a millisecond; ms is held to 0 .. 2^48-1. */
extern PbUlid pb_ulid_floor(int64_t ms);

/* Remembers the last id given, so that ids of one source always ascend. */
typedef struct PbUlidSource
{
	PbUlid		last;
} PbUlidSource;

/*
 * The next id: at a later millisecond than the last one's, ms and the ten random bytes; within the same (or
 * an earlier) one, the last id plus 1 + a 32-bit number taken from random, so that ids ascend and still cannot
 * be guessed from a neighbour.  The largest id of all is followed by itself.
 */
extern PbUlid pb_ulid_next(PbUlidSource *source, int64_t ms, const uint8_t random[10]);

#endif							/* PB_ULID_H */
