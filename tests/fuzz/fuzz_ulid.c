/*
 * fuzz_ulid.c: ulids (extension/core/ulid.c) against one 128-bit number, and the order of generated ones.
 */
#include "fuzz.h"

#include "ulid.h"

__extension__ typedef unsigned __int128 Number;

static Number
number_of(const PbUlid *ulid)
{
	Number		n = 0;

	for (size_t i = 0; i < sizeof(ulid->bytes); i++)
		n = n * 256 + ulid->bytes[i];
	return n;
}

/* Crockford's base 32: excludes I L O U; when decoding, i and l are 1, o is 0. */
static int
digit(char c)
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	static const char also[] = "ilo";
	static const int meaning[] = {1, 1, 0};
	char		small = c >= 'A' && c <= 'Z' ? (char) (c + 32) : c;
	const char *at;

	if (small == '\0')
		return -1;
	at = strchr(also, small);
	if (at != NULL)
		return meaning[at - also];
	at = strchr(digits, small);
	return at == NULL ? -1 : (int) (at - digits);
}

/* 26 digits of at most 128 bits. */
static bool
reference_parse(PbSlice text, Number *n)
{
	*n = 0;
	if (text.len == 30 && (text.data[0] | 32) == 'c' && (text.data[1] | 32) == 'l' && (text.data[2] | 32) == 'k' && text.data[3] == '_')
		text = (PbSlice) {text.data + 4, 26};
	if (text.len != 26)
		return false;
	for (size_t i = 0; i < 26; i++)
	{
		int			d = digit(text.data[i]);

		if (d < 0 || *n >> 123 != 0)
			return false;
		*n = *n * 32 + (Number) d;
	}
	return true;
}

static void
check_text(PbSlice text)
{
	PbUlid		ulid = {{0}};
	Number		expected;
	bool		good = reference_parse(text, &expected);

	HOLDS(pb_ulid_parse(text, &ulid) == good);
	HOLDS(!good || number_of(&ulid) == expected);
}

static void
check_formatting(const PbUlid *ulid)
{
	char	   *text = room(PB_ULID_TEXT_LEN);
	PbUlid		again;
	Number		n = number_of(ulid);

	pb_ulid_format(ulid, text);
	for (int i = PB_ULID_TEXT_LEN - 1; i >= 0; i--, n /= 32)
		HOLDS(text[i] == "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[n % 32]);
	HOLDS(pb_ulid_parse((PbSlice) {text, PB_ULID_TEXT_LEN}, &again));
	HOLDS(memcmp(&again, ulid, sizeof(again)) == 0);
	HOLDS(pb_ulid_ms(ulid) == (int64_t) (number_of(ulid) >> 80));
}

/* A time is held to what 48 bits have. */
static Number
held(int64_t ms)
{
	return ms < 0 ? 0 : ms >= INT64_C(1) << 48 ? ((Number) 1 << 48) - 1 : (Number) ms;
}

static void
check_floor(int64_t ms)
{
	PbUlid		floor = pb_ulid_floor(ms);

	HOLDS(number_of(&floor) == held(ms) << 80);
}

/* Ids of one source ascend, whatever the clock does, up to the largest. */
static void
check_generation(Input *in)
{
	PbUlidSource source = {{{0}}};
	const Number largest = ~(Number) 0;
	PbSlice		start = take_bytes(in, 16);

	if (start.len > 0)
		memcpy(source.last.bytes, start.data, start.len);
	for (int i = 0; i < 8 && in->len > 0; i++)
	{
		Number		before = number_of(&source.last);
		int64_t		ms = take_choice(in, 2) == 0 ? pb_ulid_ms(&source.last) + take_choice(in, 3) - 1 : take_int64(in);
		uint8_t		random[10] = {0};
		PbSlice		bytes = take_bytes(in, sizeof(random));
		PbUlid		next;

		if (bytes.len > 0)
			memcpy(random, bytes.data, bytes.len);
		next = pb_ulid_next(&source, ms, random);
		HOLDS(memcmp(&next, &source.last, sizeof(next)) == 0);
		HOLDS(number_of(&next) > before || (number_of(&next) == largest && before > largest - ((Number) 1 << 33)));
		/* A later millisecond is the id's own; otherwise the next is one of the 2^32 that follow. */
		if (held(ms) > before >> 80)
			HOLDS((Number) pb_ulid_ms(&next) == held(ms) && memcmp(next.bytes + 6, random, 10) == 0);
		else
			HOLDS(number_of(&next) - before <= (Number) 1 << 32);
	}
}

static void
check_properties(Input *in)
{
	PbUlid		ulid = {{0}};
	PbSlice		bytes;

	switch (take_choice(in, 3))
	{
		case 0:
			check_text(take_rest(in));
			break;
		case 1:
			check_floor(take_int64(in));
			bytes = take_bytes(in, 16);
			if (bytes.len > 0)
				memcpy(ulid.bytes, bytes.data, bytes.len);
			check_formatting(&ulid);
			break;
		default:
			check_generation(in);
	}
}
