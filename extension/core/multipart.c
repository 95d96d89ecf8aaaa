/*
 * multipart.c: the parts of a multipart/form-data body (RFC 7578), as names and values.
 *
 * Only what browsers and HTTP libraries send is read: a name in Content-Disposition, no transfer encodings.
 */
#include "multipart.h"

#include <string.h>

/* Offset of needle in s at or after from, or s.len. */
static size_t
find(PbSlice s, PbSlice needle, size_t from)
{
	for (size_t at = from; at + needle.len <= s.len; at++)
		if (memcmp(s.data + at, needle.data, needle.len) == 0)
			return at;
	return s.len;
}

static PbSlice
from(PbSlice s, size_t at)
{
	return (PbSlice) {s.data + at, s.len - at};
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Skips blanks and semicolons. */
static size_t
skip_separators(PbSlice s, size_t at)
{
	while (at < s.len && (is_blank(s.data[at]) || s.data[at] == ';'))
		at++;
	return at;
}

/* The value that starts at s.data[at]: quoted or up to a blank or semicolon.  Returns the offset behind it. */
static size_t
take_value(PbSlice s, size_t at, PbSlice *value)
{
	size_t		start = at;

	if (at < s.len && s.data[at] == '"')
	{
		size_t		end = pb_slice_find(s, '"', at + 1);

		*value = (PbSlice) {s.data + at + 1, end - at - 1};
		return end < s.len ? end + 1 : end;
	}
	while (at < s.len && !is_blank(s.data[at]) && s.data[at] != ';')
		at++;
	*value = (PbSlice) {s.data + start, at - start};
	return at;
}

bool
pb_header_parameter(PbSlice header, PbSlice name, PbSlice *value)
{
	size_t		at = pb_slice_find(header, ';', 0);

	for (at = skip_separators(header, at); at < header.len; at = skip_separators(header, at))
	{
		size_t		start = at;
		PbSlice		attribute;
		PbSlice		found;

		while (at < header.len && header.data[at] != '=' && header.data[at] != ';')
			at++;
		attribute = pb_slice_trim((PbSlice) {header.data + start, at - start});
		if (at == header.len || header.data[at] == ';')
			continue;
		at = take_value(header, at + 1, &found);
		if (pb_slice_equal_nocase(attribute, name))
		{
			*value = found;
			return true;
		}
	}
	return false;
}

/* The name that a part's head gives it; false if none. */
static bool
part_name(PbSlice head, PbSlice *name)
{
	static const PbSlice disposition = {"content-disposition:", 20};

	while (head.len > 0)
	{
		size_t		end = find(head, PB_LITERAL("\r\n"), 0);
		PbSlice		line = {head.data, end};

		if (line.len > disposition.len &&
			pb_slice_equal_nocase((PbSlice) {line.data, disposition.len}, disposition))
			return pb_header_parameter(from(line, disposition.len), PB_LITERAL("name"), name);
		head = end < head.len ? from(head, end + 2) : from(head, head.len);
	}
	return false;
}

/* Offset of the line end, two dashes and boundary that close a part's value, or s.len. */
static size_t
find_delimiter(PbSlice s, PbSlice boundary)
{
	size_t		at = 0;

	while ((at = find(s, PB_LITERAL("\r\n--"), at)) < s.len)
	{
		if (at + 4 + boundary.len <= s.len && memcmp(s.data + at + 4, boundary.data, boundary.len) == 0)
			return at;
		at += 4;
	}
	return s.len;
}

static bool
begins_with_boundary(PbSlice s, PbSlice boundary)
{
	return s.len >= boundary.len + 4 && s.data[0] == '-' && s.data[1] == '-' && memcmp(s.data + 2, boundary.data, boundary.len) == 0;
}

PbMultipart
pb_multipart_next(PbSlice *rest, PbSlice boundary, PbSlice *name, PbSlice *value)
{
	PbSlice		s = *rest;
	size_t		head_end;
	size_t		value_end;

	if (boundary.len == 0 || boundary.len > 70)
		return PB_MULTIPART_BAD;
	if (!begins_with_boundary(s, boundary))
	{
		/* What stands before the first boundary is nobody's (RFC 2046, 5.1.1): a line end, or a notice for old mail readers. */
		size_t		preamble_end = find_delimiter(s, boundary);

		if (preamble_end == s.len || !begins_with_boundary(from(s, preamble_end + 2), boundary))
			return PB_MULTIPART_BAD;
		s = from(s, preamble_end + 2);
	}
	s = from(s, boundary.len + 2);
	if (s.data[0] == '-' && s.data[1] == '-')
		return PB_MULTIPART_END;
	while (s.len > 2 && is_blank(s.data[0]))
		s = from(s, 1);
	if (s.data[0] != '\r' || s.data[1] != '\n')
		return PB_MULTIPART_BAD;
	s = from(s, 2);
	head_end = find(s, PB_LITERAL("\r\n\r\n"), 0);
	if (head_end == s.len || !part_name((PbSlice) {s.data, head_end}, name))
		return PB_MULTIPART_BAD;
	s = from(s, head_end + 4);
	value_end = find_delimiter(s, boundary);
	if (value_end == s.len)
		return PB_MULTIPART_BAD;
	*value = (PbSlice) {s.data, value_end};
	*rest = from(s, value_end + 2);
	return PB_MULTIPART_PART;
}
