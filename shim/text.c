/*
 * text.c: percent-encoding and replacing what is not UTF-8.
 */
#include "text.h"

#include "http.h"

static bool
is_ascii(char c)
{
	return (unsigned char) c < 0x80;
}

void
text_add_encoded(DbArguments *arguments, int index, PbSlice part)
{
	char		encoded[3 * HTTP_CLICK_LIMIT];
	PbOut		out = pb_out(encoded, sizeof(encoded));

	if (pb_utf8_valid(part))
	{
		db_add_text(arguments, index, part);
		return;
	}
	for (size_t i = 0; i < part.len; i++)
	{
		if (is_ascii(part.data[i]))
			pb_out_char(&out, part.data[i]);
		else
			pb_out_percent(&out, (PbSlice) {part.data + i, 1});
	}
	db_add_text(arguments, index, (PbSlice) {encoded, out.len < out.cap ? out.len : out.cap});
}

void
text_add_optional(DbArguments *arguments, int index, PbSlice value)
{
	char		cleaned[HTTP_HEAD_LIMIT];
	size_t		length = value.len < sizeof(cleaned) ? value.len : sizeof(cleaned);

	if (value.data == NULL)
		db_add_null(arguments, index);
	else if (pb_utf8_valid(value))
		db_add_text(arguments, index, value);
	else
	{
		for (size_t i = 0; i < length; i++)
			cleaned[i] = is_ascii(value.data[i]) ? value.data[i] : '?';
		db_add_text(arguments, index, (PbSlice) {cleaned, length});
	}
}

PbSlice
text_cookie(PbSlice field, PbSlice name)
{
	while (field.len > 0)
	{
		size_t		end = pb_slice_find(field, ';', 0);
		PbSlice		pair = pb_slice_trim((PbSlice) {field.data, end});
		size_t		equals = pb_slice_find(pair, '=', 0);

		if (equals < pair.len && pb_slice_equal((PbSlice) {pair.data, equals}, name))
			return (PbSlice) {pair.data + equals + 1, pair.len - equals - 1};
		if (end == field.len)
			break;
		field.data += end + 1;
		field.len -= end + 1;
	}
	return (PbSlice) {NULL, 0};
}
