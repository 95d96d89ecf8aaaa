/*
 * ulid.c: text form, time part and monotonic generation of ulids (github.com/ulid/spec).
 *
 * An id is worked on as two 64-bit halves.
 */
#include "ulid.h"

#define PREFIX PB_LITERAL("clk_")
#define MS_MAX ((INT64_C(1) << 48) - 1)

typedef struct Halves
{
	uint64_t	high;
	uint64_t	low;
} Halves;

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static uint64_t
read_big_endian(const uint8_t *bytes, int count)
{
	uint64_t	n = 0;

	for (int i = 0; i < count; i++)
		n = n << 8 | bytes[i];
	return n;
}

static Halves
halves_of(const PbUlid *ulid)
{
	return (Halves) {read_big_endian(ulid->bytes, 8), read_big_endian(ulid->bytes + 8, 8)};
}

static PbUlid
ulid_of(Halves n)
{
	PbUlid		ulid;

	for (int i = 7; i >= 0; i--)
	{
		ulid.bytes[i] = (uint8_t) n.high;
		ulid.bytes[8 + i] = (uint8_t) n.low;
		n.high >>= 8;
		n.low >>= 8;
	}
	return ulid;
}

/* The value of a Crockford base-32 character, with its aliases, in any case; -1 if it is none. */
static int
base32_digit(char c)
{
	if (c >= 'a' && c <= 'z')
		c = (char) (c - 'a' + 'A');
	if (c == 'I' || c == 'L')
		return 1;
	if (c == 'O')
		return 0;
	for (int i = 0; i < 32; i++)
	{
		if (alphabet[i] == c)
			return i;
	}
	return -1;
}

bool
pb_ulid_parse(PbSlice text, PbUlid *ulid)
{
	PbSlice		start = {text.data, PREFIX.len};
	Halves		n = {0, 0};

	if (text.len == PREFIX.len + PB_ULID_TEXT_LEN && pb_slice_equal_nocase(start, PREFIX))
		text = (PbSlice) {text.data + PREFIX.len, PB_ULID_TEXT_LEN};
	if (text.len != PB_ULID_TEXT_LEN)
		return false;
	for (int i = 0; i < PB_ULID_TEXT_LEN; i++)
	{
		int			digit = base32_digit(text.data[i]);

		/* 26 characters hold 130 bits: two more than there are */
		if (digit < 0 || (i == 0 && digit > 7))
			return false;
		n.high = n.high << 5 | n.low >> 59;
		n.low = n.low << 5 | (uint64_t) digit;
	}
	*ulid = ulid_of(n);
	return true;
}

void
pb_ulid_format(const PbUlid *ulid, char *out)
{
	Halves		n = halves_of(ulid);

	for (int i = PB_ULID_TEXT_LEN - 1; i >= 0; i--)
	{
		out[i] = alphabet[n.low & 31];
		n.low = n.low >> 5 | n.high << 59;
		n.high >>= 5;
	}
}

int64_t
pb_ulid_ms(const PbUlid *ulid)
{
	return (int64_t) read_big_endian(ulid->bytes, 6);
}

static uint64_t
held_ms(int64_t ms)
{
	if (ms < 0)
		return 0;
	return (uint64_t) (ms > MS_MAX ? MS_MAX : ms);
}

PbUlid
pb_ulid_floor(int64_t ms)
{
	return ulid_of((Halves) {held_ms(ms) << 16, 0});
}

PbUlid
pb_ulid_next(PbUlidSource *source, int64_t ms, const uint8_t random[10])
{
	uint64_t	now = held_ms(ms);
	Halves		n;

	if (now > (uint64_t) pb_ulid_ms(&source->last))
		n = (Halves) {now << 16 | read_big_endian(random, 2), read_big_endian(random + 2, 8)};
	else
	{
		uint64_t	step = 1 + read_big_endian(random + 6, 4);

		n = halves_of(&source->last);
		n.low += step;
		if (n.low < step && ++n.high == 0)
			n = (Halves) {UINT64_MAX, UINT64_MAX};
	}
	source->last = ulid_of(n);
	return source->last;
}
