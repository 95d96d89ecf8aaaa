/*
 * fuzz_form.c: forms and percent-encoding (extension/core/form.c, pb_out_percent) against the steps of the WHATWG URL
 * standard, sections 1.3 and 5.1, followed one by one.
 */
#include "fuzz.h"

#include "form.h"

static int
hex(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int) ((at - digits) % 16);
}

/* "Replace any 0x2B (+) with 0x20 (SP)", then percent-decode. */
static size_t
decode(PbSlice s, char *out)
{
	size_t		length = 0;

	for (size_t i = 0; i < s.len;)
	{
		char		byte = s.data[i] == '+' ? ' ' : s.data[i];

		if (byte == '%' && i + 2 < s.len && hex(s.data[i + 1]) >= 0 && hex(s.data[i + 2]) >= 0)
		{
			out[length++] = (char) (hex(s.data[i + 1]) << 4 | hex(s.data[i + 2]));
			i += 3;
		}
		else
		{
			out[length++] = byte;
			i++;
		}
	}
	return length;
}

static void
check_decoding(PbSlice raw)
{
	char	   *expected = room(raw.len);
	size_t		length = decode(raw, expected);
	char	   *decoded = room(raw.len);
	char	   *in_place = room(raw.len);

	HOLDS(pb_form_decode(raw, decoded) == length);
	HOLDS(length == 0 || memcmp(decoded, expected, length) == 0);
	if (raw.len > 0)
		memcpy(in_place, raw.data, raw.len);
	HOLDS(pb_form_decode((PbSlice) {in_place, raw.len}, in_place) == length);
	HOLDS(length == 0 || memcmp(in_place, expected, length) == 0);
}

/* "Split input on 0x26 (&)"; of each not empty, the name is before the first "=", the value behind it. */
static void
check_pairs(PbSlice form)
{
	PbSlice		rest = form;
	PbSlice		name;
	PbSlice		value;
	size_t		start = 0;

	for (size_t i = 0; i <= form.len; i++)
	{
		size_t		equals = start;

		if (i < form.len && form.data[i] != '&')
			continue;
		while (equals < i && form.data[equals] != '=')
			equals++;
		if (i > start)
		{
			size_t		value_at = equals < i ? equals + 1 : i;

			HOLDS(pb_form_next(&rest, &name, &value));
			HOLDS(name.len == equals - start && name.data == form.data + start);
			HOLDS(value.len == i - value_at && (value.len == 0 || value.data == form.data + value_at));
		}
		start = i + 1;
	}
	HOLDS(!pb_form_next(&rest, &name, &value));
}

static void
check_encoding(PbSlice plain)
{
	PbSlice		encoded = WRITTEN(out, pb_out_percent(&out, plain));
	char	   *back = room(encoded.len);

	HOLDS(pb_form_decode(encoded, back) == plain.len);
	HOLDS(plain.len == 0 || memcmp(back, plain.data, plain.len) == 0);
	for (size_t i = 0; i < encoded.len; i++)
	{
		char		c = encoded.data[i];

		HOLDS((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '-' || c == '.' || c == '_' || c == '~' || c == '%');
		if (c == '%')
		{
			HOLDS(i + 2 < encoded.len && hex(encoded.data[i + 1]) >= 0 && hex(encoded.data[i + 2]) >= 0);
			HOLDS(encoded.data[i + 1] < 'a' && encoded.data[i + 2] < 'a');
		}
	}
}

static void
check_properties(Input *in)
{
	PbSlice		s = take_rest(in);

	check_decoding(s);
	check_pairs(s);
	check_encoding(s);
}
