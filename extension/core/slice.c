/*
 * slice.c: bytes read (slices) and bytes written (bounded outputs).
 *
 * Knows ASCII and UTF-8, and nothing of what the bytes mean.
 */
#include "slice.h"

#include <string.h>

/*
 * The well-formed UTF-8 sequences of more than one byte (Unicode, table 3-7):
 * the range of the first byte decides the length and the range of the second;
 * all further bytes are 80..BF.
 */
static const struct
{
	uint8_t		first_low;
	uint8_t		first_high;
	uint8_t		second_low;
	uint8_t		second_high;
	uint8_t		length;
}			utf8_sequences[] =
{
	{0xC2, 0xDF, 0x80, 0xBF, 2},
	{0xE0, 0xE0, 0xA0, 0xBF, 3},	/* below A0: overlong */
	{0xE1, 0xEC, 0x80, 0xBF, 3},
	{0xED, 0xED, 0x80, 0x9F, 3},	/* above 9F: surrogates */
	{0xEE, 0xEF, 0x80, 0xBF, 3},
	{0xF0, 0xF0, 0x90, 0xBF, 4},	/* below 90: overlong */
	{0xF1, 0xF3, 0x80, 0xBF, 4},
	{0xF4, 0xF4, 0x80, 0x8F, 4},	/* above 8F: beyond U+10FFFF */
};

#define UTF8_SEQUENCE_COUNT (sizeof(utf8_sequences) / sizeof(utf8_sequences[0]))

static char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

PbSlice
pb_slice(const char *text)
{
	return (PbSlice) {text, strlen(text)};
}

bool
pb_slice_equal(PbSlice a, PbSlice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool
pb_slice_equal_nocase(PbSlice a, PbSlice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
	{
		if (ascii_lower(a.data[i]) != ascii_lower(b.data[i]))
			return false;
	}
	return true;
}

int
pb_slice_compare(PbSlice a, PbSlice b)
{
	size_t		common = a.len < b.len ? a.len : b.len;
	int			order = common == 0 ? 0 : memcmp(a.data, b.data, common);

	if (order != 0)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

PbSlice
pb_slice_trim(PbSlice s)
{
	while (s.len > 0 && s.data[s.len - 1] == ' ')
		s.len--;
	while (s.len > 0 && s.data[0] == ' ')
	{
		s.data++;
		s.len--;
	}
	return s;
}

size_t
pb_slice_find(PbSlice s, char c, size_t from)
{
	const char *found;

	if (from >= s.len)
		return s.len;
	found = memchr(s.data + from, c, s.len - from);
	return found == NULL ? s.len : (size_t) (found - s.data);
}

/* Length of the well-formed character other than NUL that the slice (not empty) begins with, or 0. */
static size_t
utf8_character(PbSlice s)
{
	const uint8_t *byte = (const uint8_t *) s.data;

	if (byte[0] < 0x80)
		return byte[0] == 0 ? 0 : 1;
	for (size_t i = 0; i < UTF8_SEQUENCE_COUNT; i++)
	{
		if (byte[0] < utf8_sequences[i].first_low || byte[0] > utf8_sequences[i].first_high)
			continue;
		if (s.len < utf8_sequences[i].length)
			return 0;
		if (byte[1] < utf8_sequences[i].second_low || byte[1] > utf8_sequences[i].second_high)
			return 0;
		for (size_t k = 2; k < utf8_sequences[i].length; k++)
		{
			if (byte[k] < 0x80 || byte[k] > 0xBF)
				return 0;
		}
		return utf8_sequences[i].length;
	}
	return 0;
}

bool
pb_utf8_valid(PbSlice s)
{
	while (s.len > 0)
	{
		size_t		length = utf8_character(s);

		if (length == 0)
			return false;
		s.data += length;
		s.len -= length;
	}
	return true;
}

/* What is no UTF-8 has no characters to spare and is cut at the limit. */
size_t
pb_utf8_cut(PbSlice s, size_t limit)
{
	size_t		start = limit;

	if (s.len <= limit)
		return s.len;
	while (start > 0 && limit - start < 3 && ((uint8_t) s.data[start] & 0xC0) == 0x80)
		start--;
	return ((uint8_t) s.data[start] & 0xC0) == 0x80 ? limit : start;
}

PbOut
pb_out(char *data, size_t cap)
{
	return (PbOut) {data, cap, 0};
}

bool
pb_out_fits(const PbOut *out)
{
	return out->len <= out->cap;
}

void
pb_out_char(PbOut *out, char c)
{
	if (out->len < out->cap)
		out->data[out->len] = c;
	out->len++;
}

/* What fits of data is written, even if all of it does not. */
void
pb_out_bytes(PbOut *out, const char *data, size_t len)
{
	size_t		room = out->len < out->cap ? out->cap - out->len : 0;
	size_t		written = len < room ? len : room;

	if (written > 0)
		memcpy(out->data + out->len, data, written);
	out->len += len;
}

void
pb_out_slice(PbOut *out, PbSlice s)
{
	pb_out_bytes(out, s.data, s.len);
}

void
pb_out_int(PbOut *out, int64_t n)
{
	char		digits[20];		/* "-9223372036854775808" */
	size_t		start = sizeof(digits);
	uint64_t	magnitude = n < 0 ? 0 - (uint64_t) n : (uint64_t) n;

	do
	{
		digits[--start] = (char) ('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude > 0);
	if (n < 0)
		digits[--start] = '-';
	pb_out_bytes(out, digits + start, sizeof(digits) - start);
}

static bool
is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

void
pb_out_percent(PbOut *out, PbSlice s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.len; i++)
	{
		uint8_t		byte = (uint8_t) s.data[i];

		if (is_unreserved(s.data[i]))
			pb_out_char(out, s.data[i]);
		else
		{
			pb_out_char(out, '%');
			pb_out_char(out, hex[byte >> 4]);
			pb_out_char(out, hex[byte & 15]);
		}
	}
}

/* The escape of one byte in a JSON string, after the backslash, or 0 if it has no short one. */
static char
json_short_escape(char c)
{
	switch (c)
	{
		case '"':
		case '\\':
			return c;
		case '\b':
			return 'b';
		case '\f':
			return 'f';
		case '\n':
			return 'n';
		case '\r':
			return 'r';
		case '\t':
			return 't';
		default:
			return 0;
	}
}

void
pb_out_json(PbOut *out, PbSlice s)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < s.len; i++)
	{
		uint8_t		byte = (uint8_t) s.data[i];
		char		escape = json_short_escape(s.data[i]);

		if (escape != 0)
		{
			pb_out_char(out, '\\');
			pb_out_char(out, escape);
		}
		else if (byte < 0x20)
		{
			pb_out_slice(out, PB_LITERAL("\\u00"));
			pb_out_char(out, hex[byte >> 4]);
			pb_out_char(out, hex[byte & 15]);
		}
		else
			pb_out_char(out, s.data[i]);
	}
}
