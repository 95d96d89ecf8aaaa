/*
 * form.c: the application/x-www-form-urlencoded parser of the WHATWG URL standard, section 5.1.
 *
 * Works in place on the caller's bytes; every input is accepted.
 */
#include "form.h"

bool
pb_form_next(PbSlice *rest, PbSlice *name, PbSlice *value)
{
	while (rest->len > 0)
	{
		size_t		end = pb_slice_find(*rest, '&', 0);
		PbSlice		pair = {rest->data, end};
		size_t		equals = pb_slice_find(pair, '=', 0);
		size_t		taken = end < rest->len ? end + 1 : end;

		rest->data += taken;
		rest->len -= taken;
		if (pair.len == 0)
			continue;
		*name = (PbSlice) {pair.data, equals};
		if (equals < pair.len)
			equals++;
		*value = (PbSlice) {pair.data + equals, pair.len - equals};
		return true;
	}
	return false;
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

size_t
pb_form_decode(PbSlice raw, char *out)
{
	size_t		length = 0;

	for (size_t i = 0; i < raw.len; i++)
	{
		char		c = raw.data[i];

		if (c == '+')
			c = ' ';
		else if (c == '%' && raw.len - i > 2)
		{
			int			high = hex_digit(raw.data[i + 1]);
			int			low = hex_digit(raw.data[i + 2]);

			if (high >= 0 && low >= 0)
			{
				c = (char) (high * 16 + low);
				i += 2;
			}
		}
		out[length++] = c;
	}
	return length;
}
