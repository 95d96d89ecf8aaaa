/*
 * fuzz_framing.c: HTTP framing (shim/framing.c) against a reader that looks at whole requests: every request that is passed
 * on is one by RFC 9112 and the rules of framing.c, ends where that says, and comes out the same however the bytes arrive.
 */
#include "fuzz.h"

#include <strings.h>

#include "framing.h"

static const FramingLimits limits = {.target = 100, .click_target = 200, .head = 400, .fields = 8, .body = 64};

#define REQUESTS_MAX 32

static bool
only(PbSlice s, const char *set)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] == '\0' || strchr(set, s.data[i]) == NULL)
			return false;
	return true;
}

#define DIGITS "0123456789"
#define ALPHA "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define HOST DIGITS ALPHA ".-_:[]"
#define TOKEN DIGITS ALPHA "!#$%&'*+-.^_`|~"

static PbSlice
part(PbSlice s, size_t from, size_t to)
{
	return (PbSlice) {s.data + from, to - from};
}

/* Offset of needle at or after from, or SIZE_MAX. */
static size_t
find(PbSlice s, const char *needle, size_t from)
{
	const char *at = from >= s.len ? NULL : memmem(s.data + from, s.len - from, needle, strlen(needle));

	return at == NULL ? SIZE_MAX : (size_t) (at - s.data);
}

static bool
no_controls(PbSlice s, bool tab)
{
	for (size_t i = 0; i < s.len; i++)
		if (((uint8_t) s.data[i] < 0x20 && !(tab && s.data[i] == '\t')) || s.data[i] == 0x7F)
			return false;
	return true;
}

static PbSlice
trim(PbSlice s, bool both)
{
	while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
		s = part(s, 1, s.len);
	while (both && s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
		s.len--;
	return s;
}

typedef struct Head
{
	bool		bodiless;
	bool		http_1_0;
	int			hosts;
	int			lengths;
	int			encodings;
	int			types;
	uint64_t	length;
} Head;

/* A path, or the URL of one: an http scheme, a host, and then nothing or '/' or '?'. */
static bool
is_target(PbSlice target)
{
	static const PbSlice schemes[] = {{"http://", 7}, {"https://", 8}};

	if (target.len > 0 && target.data[0] == '/')
		return true;
	for (size_t i = 0; i < COUNT(schemes); i++)
	{
		size_t		start = schemes[i].len;
		size_t		end = start;

		if (target.len < start || !pb_slice_equal_nocase(part(target, 0, start), schemes[i]))
			continue;
		while (end < target.len && target.data[end] != '/' && target.data[end] != '?')
			end++;
		return end > start && end - start <= 255 && only(part(target, start, end), HOST);
	}
	return false;
}

static bool
request_line(PbSlice line, Head *head)
{
	static const char *const bodiless[] = {"GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT"};
	size_t		first = find(line, " ", 0);
	size_t		second = first == SIZE_MAX ? SIZE_MAX : find(line, " ", first + 1);
	PbSlice		method;
	PbSlice		target;

	if (second == SIZE_MAX)
		return false;
	method = part(line, 0, first);
	target = part(line, first + 1, second);
	for (size_t i = 0; i < COUNT(bodiless); i++)
		head->bodiless = head->bodiless || pb_slice_equal(method, pb_slice(bodiless[i]));
	head->http_1_0 = pb_slice_equal(part(line, second + 1, line.len), PB_LITERAL("HTTP/1.0"));
	return method.len > 0 && method.len <= 17 && only(method, TOKEN) &&
		target.len <= (find(target, FRAMING_CLICK, 0) == 0 ? limits.click_target : limits.target) && is_target(target) && no_controls(target, false) &&
		(head->http_1_0 || pb_slice_equal(part(line, second + 1, line.len), PB_LITERAL("HTTP/1.1")));
}

static bool
header_field(PbSlice line, Head *head)
{
	size_t		colon = find(line, ":", 0);
	PbSlice		name;
	PbSlice		value;

	if (colon == SIZE_MAX || colon == 0)
		return false;
	name = part(line, 0, colon);
	value = part(line, colon + 1, line.len);
	if (!only(name, TOKEN) || !no_controls(value, true))
		return false;
	if (pb_slice_equal_nocase(name, PB_LITERAL("Content-Type")))
		head->types++;
	else if (pb_slice_equal_nocase(name, PB_LITERAL("Host")))
	{
		head->hosts++;
		value = trim(value, true);
		return value.len > 0 && value.len <= 255 && only(value, HOST);
	}
	else if (pb_slice_equal_nocase(name, PB_LITERAL("Transfer-Encoding")))
	{
		head->encodings++;
		return pb_slice_equal_nocase(trim(value, false), PB_LITERAL("chunked"));
	}
	else if (pb_slice_equal_nocase(name, PB_LITERAL("Content-Length")))
	{
		head->lengths++;
		value = trim(value, false);
		if (value.len == 0 || value.len > 18 || !only(value, DIGITS))
			return false;
		for (size_t i = 0; i < value.len; i++)
			head->length = head->length * 10 + (uint64_t) (value.data[i] - '0');
	}
	return true;
}

/* Length of the chunked body that s begins with, or SIZE_MAX. */
static size_t
chunked_length(PbSlice s)
{
	size_t		at = 0;
	uint64_t	sum = 0;

	while (true)
	{
		size_t		end = find(s, "\r\n", at);
		uint64_t	size = 0;

		if (end == SIZE_MAX || end == at || end - at > 8 || !only(part(s, at, end), DIGITS "abcdefABCDEF"))
			return SIZE_MAX;
		for (; at < end; at++)
			size = size * 16 + (uint64_t) (s.data[at] <= '9' ? s.data[at] - '0' : (s.data[at] | 32) - 'a' + 10);
		at += 2;
		sum += size;
		if (sum > limits.body || size > s.len - at || s.len - at - size < 2 || memcmp(s.data + at + size, "\r\n", 2) != 0)
			return SIZE_MAX;
		at += size + 2;
		if (size == 0)
			return at;
	}
}

/* Length of the request that s begins with, or SIZE_MAX if it is none or not whole. */
static size_t
request_length(PbSlice s)
{
	size_t		blank = s.len >= 2 && memcmp(s.data, "\r\n", 2) == 0 ? 2 : 0;
	size_t		at = blank;
	size_t		end = find(s, "\r\n", at);
	uint32_t	fields = 0;
	Head		head = {0};
	size_t		body;

	if (end == SIZE_MAX || !request_line(part(s, at, end), &head))
		return SIZE_MAX;
	for (at = end + 2; (end = find(s, "\r\n", at)) != at; at = end + 2)
		if (end == SIZE_MAX || !header_field(part(s, at, end), &head) || ++fields > limits.fields)
			return SIZE_MAX;
	at += 2;
	if (at - blank > limits.head || head.hosts > 1 || head.lengths > 1 || head.encodings > 1 || head.types > 1 ||
		(!head.http_1_0 && head.hosts == 0) || (head.encodings > 0 && (head.lengths > 0 || head.http_1_0)) ||
		(head.bodiless && (head.encodings > 0 || head.length > 0)) || head.length > limits.body)
		return SIZE_MAX;
	body = head.encodings > 0 ? chunked_length(part(s, at, s.len)) : (size_t) head.length;
	return body == SIZE_MAX || body > s.len - at ? SIZE_MAX : at + body;
}

static void
check_properties(Input *in)
{
	size_t		piece = 1 + (size_t) take_choice(in, 64);
	PbSlice		bytes = take_rest(in);
	PbSlice		whole = copy_of(bytes);
	PbSlice		pieces = copy_of(bytes);
	PbSlice		single = copy_of(bytes);
	Framing		at_once = {0};
	Framing		in_pieces = {0};
	Framing		one_by_one = {0};
	size_t		passed = framing_read(&at_once, &limits, (char *) whole.data, whole.len);
	size_t		start = 0;
	size_t		at = 0;

	HOLDS((passed < bytes.len) == (at_once.status != 0));
	HOLDS(at_once.status == 0 || at_once.status == 400 || at_once.status == 413 || at_once.status == 414 || at_once.status == 431);
	HOLDS((at_once.reason != NULL) == (at_once.status != 0));

	while (at < bytes.len)
	{
		size_t		length = bytes.len - at < piece ? bytes.len - at : piece;
		size_t		taken = framing_read(&in_pieces, &limits, (char *) pieces.data + at, length);

		at += taken;
		if (taken < length)
			break;
	}
	HOLDS(at == passed && in_pieces.status == at_once.status && in_pieces.requests == at_once.requests);
	HOLDS(in_pieces.heads == at_once.heads && framing_is_idle(&in_pieces) == framing_is_idle(&at_once));
	HOLDS(passed == 0 || memcmp(pieces.data, whole.data, passed) == 0);

	/* Where each request ends. */
	for (at = 0; at < passed; at++)
	{
		uint64_t	before = one_by_one.requests;

		HOLDS(framing_read(&one_by_one, &limits, (char *) single.data + at, 1) == 1);
		if (one_by_one.requests == before)
			continue;
		HOLDS(request_length(part(bytes, start, bytes.len)) == at + 1 - start);
		start = at + 1;
	}
	HOLDS(one_by_one.requests == at_once.requests);
	HOLDS(bytes.len == 0 || request_length(part(bytes, start, bytes.len)) == SIZE_MAX);

	/* Two bytes are marked, nothing else is changed. */
	for (at = 0; at < bytes.len; at++)
		HOLDS(whole.data[at] == bytes.data[at] ||
			(whole.data[at] == FRAMING_MARK && (bytes.data[at] == '?' || (bytes.data[at] | 32) == 'e')));
}
