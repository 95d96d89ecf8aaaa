/*
 * fuzz_text.c: UTF-8, trimming, comparing and the escaping writers (extension/core/slice.c, header.c).
 *
 * UTF-8 is held against decoding to code points and encoding them again; JSON strings are read back.
 */
#include "fuzz.h"

#include "header.h"

/* The encoding of a code point (RFC 3629, section 3). */
static size_t
encode(uint32_t point, uint8_t *out)
{
	if (point < 0x80)
		return out[0] = (uint8_t) point, 1;
	if (point < 0x800)
		return out[0] = (uint8_t) (0xC0 | point >> 6), out[1] = (uint8_t) (0x80 | (point & 63)), 2;
	if (point < 0x10000)
		return out[0] = (uint8_t) (0xE0 | point >> 12), out[1] = (uint8_t) (0x80 | (point >> 6 & 63)),
			out[2] = (uint8_t) (0x80 | (point & 63)), 3;
	return out[0] = (uint8_t) (0xF0 | point >> 18), out[1] = (uint8_t) (0x80 | (point >> 12 & 63)),
		out[2] = (uint8_t) (0x80 | (point >> 6 & 63)), out[3] = (uint8_t) (0x80 | (point & 63)), 4;
}

/* Takes as many bits as the first byte announces, and asks whether that character would be written so. */
static bool
is_utf8(PbSlice s)
{
	for (size_t i = 0; i < s.len;)
	{
		uint8_t		first = (uint8_t) s.data[i];
		size_t		length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
		uint32_t	point = length == 1 ? first : first & (0xFF >> (length + 1));
		uint8_t		again[4];

		if (length > s.len - i)
			return false;
		for (size_t k = 1; k < length; k++)
			point = point << 6 | ((uint8_t) s.data[i + k] & 63);
		if (point == 0 || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
			return false;
		if (encode(point, again) != length || memcmp(again, s.data + i, length) != 0)
			return false;
		i += length;
	}
	return true;
}

static void
check_utf8(PbSlice s, size_t limit)
{
	bool		valid = is_utf8(s);
	size_t		cut = pb_utf8_cut(s, limit);

	HOLDS(pb_utf8_valid(s) == valid);
	HOLDS(cut <= s.len && cut <= limit);
	HOLDS(s.len > limit || cut == s.len);
	HOLDS(s.len <= limit || limit - cut <= 3);
	if (!valid)
		return;
	HOLDS(pb_utf8_valid((PbSlice) {s.data, cut}));
	for (size_t longer = cut + 1; longer <= limit && longer <= s.len; longer++)
		HOLDS(!is_utf8((PbSlice) {s.data, longer}));
}

/* The inside of a JSON string, read back (RFC 8259, section 7). */
static void
check_json(PbSlice s)
{
	PbSlice		json = WRITTEN(out, pb_out_json(&out, s));
	size_t		length = 0;

	for (size_t i = 0; i < json.len; i++)
	{
		static const char escapes[] = "\"\\/bfnrt";
		static const char meanings[] = "\"\\/\b\f\n\r\t";
		unsigned	c = (uint8_t) json.data[i];

		HOLDS(c >= 0x20 && c != '"');
		if (c == '\\')
		{
			HOLDS(++i < json.len);
			if (json.data[i] == 'u')
			{
				char		digits[5] = {0};

				HOLDS(i + 4 < json.len);
				memcpy(digits, json.data + i + 1, 4);
				HOLDS(strspn(digits, "0123456789abcdef") == 4);
				c = (unsigned) strtoul(digits, NULL, 16);
				i += 4;
			}
			else
			{
				HOLDS(json.data[i] != '\0' && strchr(escapes, json.data[i]) != NULL);
				c = (uint8_t) meanings[strchr(escapes, json.data[i]) - escapes];
			}
		}
		HOLDS(length < s.len && c == (uint8_t) s.data[length]);
		length++;
	}
	HOLDS(length == s.len);
}

static void
check_header(PbSlice s)
{
	PbSlice		header = WRITTEN(out, pb_out_header(&out, s));
	size_t		at = 0;

	for (size_t i = 0; i < s.len; i++)
	{
		if (((uint8_t) s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7F)
			continue;
		HOLDS(at < header.len && header.data[at] == s.data[i]);
		at++;
	}
	HOLDS(at == header.len);
}

static void
check_slices(PbSlice a, PbSlice b)
{
	PbSlice		trimmed = pb_slice_trim(a);
	size_t		common = a.len < b.len ? a.len : b.len;
	bool		same_start = common == 0 || memcmp(a.data, b.data, common) == 0;
	int			order = pb_slice_compare(a, b);

	HOLDS(trimmed.len == 0 || (trimmed.data[0] != ' ' && trimmed.data[trimmed.len - 1] != ' '));
	if (trimmed.len > 0)
	{
		HOLDS(trimmed.data >= a.data && trimmed.data + trimmed.len <= a.data + a.len);
		for (const char *p = a.data; p < a.data + a.len; p++)
			HOLDS(*p == ' ' || (p >= trimmed.data && p < trimmed.data + trimmed.len));
	}
	HOLDS(pb_slice_equal(a, b) == (same_start && a.len == b.len));
	HOLDS((order == 0) == pb_slice_equal(a, b));
	HOLDS((order < 0) == (pb_slice_compare(b, a) > 0));
	HOLDS(!same_start || a.len == b.len || (order < 0) == (a.len < b.len));
	HOLDS(!pb_slice_equal(a, b) || pb_slice_equal_nocase(a, b));
	if (a.len > 0)
	{
		size_t		at = pb_slice_find(a, a.data[a.len - 1], 0);

		HOLDS(at < a.len && a.data[at] == a.data[a.len - 1]);
		HOLDS(memchr(a.data, a.data[at], a.len) == a.data + at);
		HOLDS(pb_slice_find(a, a.data[at], at) == at);
		HOLDS(pb_slice_find(a, a.data[at], a.len) == a.len);
	}
}

static void
check_numbers(int64_t n)
{
	PbSlice		digits = WRITTEN(out, pb_out_int(&out, n));
	char		expected[32];

	snprintf(expected, sizeof(expected), "%lld", (long long) n);
	HOLDS(pb_slice_equal(digits, pb_slice(expected)));
}

static void
check_properties(Input *in)
{
	size_t		limit = take_number(in, 1);
	PbSlice		other = take_text(in);
	PbSlice		s;

	check_numbers(take_int64(in));
	s = take_rest(in);
	check_utf8(s, limit);
	check_json(s);
	check_header(s);
	check_slices(s, other);
	check_slices(other, other);
}
