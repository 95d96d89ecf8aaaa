/*
 * fuzz_multipart.c: multipart/form-data (extension/core/multipart.c): what was written is read back, and whatever is read
 * lies inside the body and ends at a boundary.
 */
#include "fuzz.h"

#include "multipart.h"

#define PARTS_MAX 8

static bool
contains(PbSlice s, PbSlice needle)
{
	return s.len > 0 && memmem(s.data, s.len, needle.data, needle.len) != NULL;
}

static bool
has_byte(PbSlice s, const char *set)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] != '\0' && strchr(set, s.data[i]) != NULL)
			return true;
	return false;
}

static PbSlice
delimiter_of(PbSlice boundary)
{
	return WRITTEN(out, (pb_out_slice(&out, PB_LITERAL("\r\n--")), pb_out_slice(&out, boundary)));
}

/* Any bytes as a body. */
static void
check_body(PbSlice boundary, PbSlice body)
{
	PbSlice		delimiter = delimiter_of(boundary);
	PbSlice		rest = body;
	PbSlice		name;
	PbSlice		value;

	while (true)
	{
		PbSlice		before = rest;

		if (pb_multipart_next(&rest, boundary, &name, &value) != PB_MULTIPART_PART)
			return;
		HOLDS(boundary.len > 0 && boundary.len <= 70);
		HOLDS(rest.len < before.len && rest.data + rest.len == body.data + body.len);
		HOLDS(name.data >= before.data && name.data + name.len <= value.data);
		HOLDS(value.data + value.len + 2 == rest.data);
		HOLDS(!contains(value, delimiter));
		HOLDS(rest.len >= delimiter.len - 2 && memcmp(rest.data, delimiter.data + 2, delimiter.len - 2) == 0);
	}
}

typedef struct Part
{
	PbSlice		name;
	PbSlice		value;
	PbSlice		more;			/* of Content-Disposition */
	bool		quoted;
} Part;

static void
write_parts(PbOut *out, PbSlice boundary, const Part *parts, int count)
{
	for (int i = 0; i < count; i++)
	{
		pb_out_slice(out, PB_LITERAL("--"));
		pb_out_slice(out, boundary);
		pb_out_slice(out, PB_LITERAL("\r\nContent-Type: text/plain\r\ncontent-DISPOSITION: form-data"));
		pb_out_slice(out, parts[i].more);
		pb_out_slice(out, parts[i].quoted ? PB_LITERAL("; name=\"") : PB_LITERAL(";name="));
		pb_out_slice(out, parts[i].name);
		pb_out_slice(out, parts[i].quoted ? PB_LITERAL("\"") : PB_LITERAL("; filename=x"));
		pb_out_slice(out, PB_LITERAL("\r\n\r\n"));
		pb_out_slice(out, parts[i].value);
		pb_out_slice(out, PB_LITERAL("\r\n"));
	}
	pb_out_slice(out, PB_LITERAL("--"));
	pb_out_slice(out, boundary);
	pb_out_slice(out, PB_LITERAL("--\r\n"));
}

/* Takes parts that can be written, as many as there are. */
static int
take_parts(Input *in, PbSlice delimiter, Part *parts)
{
	static const PbSlice more[] = {
		{"", 0}, {"; filename=\"name=b;\"", 20}, {" ; x=y", 6}, {";; flag", 7}
	};
	int			count = 0;

	while (in->len > 0 && count < PARTS_MAX)
	{
		Part	   *part = &parts[count];

		part->more = more[take_choice(in, COUNT(more))];
		part->quoted = take_choice(in, 2) == 0;
		part->name = take_text(in);
		part->value = take_text(in);
		if (contains(part->value, delimiter) || has_byte(part->name, part->quoted ? "\"\r\n" : "\"\r\n \t;"))
			continue;
		count++;
	}
	return count;
}

static void
check_round_trip(PbSlice boundary, Input *in)
{
	Part		parts[PARTS_MAX];
	int			count = take_parts(in, delimiter_of(boundary), parts);
	PbSlice		rest = WRITTEN(out, write_parts(&out, boundary, parts, count));
	PbSlice		name;
	PbSlice		value;

	for (int i = 0; i < count; i++)
	{
		HOLDS(pb_multipart_next(&rest, boundary, &name, &value) == PB_MULTIPART_PART);
		HOLDS(pb_slice_equal(name, parts[i].name));
		HOLDS(pb_slice_equal(value, parts[i].value));
	}
	HOLDS(pb_multipart_next(&rest, boundary, &name, &value) == PB_MULTIPART_END);
}

static void
check_properties(Input *in)
{
	bool		any_body = take_choice(in, 2) == 0;
	PbSlice		boundary = take_bytes(in, (size_t) take_choice(in, 73));
	PbSlice		value;

	if (any_body)
	{
		PbSlice		body = take_rest(in);

		check_body(boundary, body);
		if (pb_header_parameter(body, PB_LITERAL("boundary"), &value))
			HOLDS(value.data > body.data && value.data + value.len <= body.data + body.len);
	}
	else if (boundary.len > 0 && boundary.len <= 70 && !has_byte(boundary, "\r\n"))
		check_round_trip(boundary, in);
}
