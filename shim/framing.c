/*
 * framing.c: the strict reader of HTTP/1.x framing (RFC 9112), one state machine.
 *
 * Refused with 400, and the connection ends:
 *   a line that does not end in CRLF (bare LF, bare CR); a control byte or NUL anywhere in a head;
 *   a request line that is not METHOD SP TARGET SP VERSION with single spaces; a target that neither
 *   begins with '/' nor is an http or https URL without a user; a version other than HTTP/1.0 and HTTP/1.1;
 *   a field whose name is not a token directly followed by ':'; a folded line (obs-fold);
 *   Host missing in 1.1, repeated, empty, or of other bytes than a name, address and port have;
 *   Content-Length repeated, a list, signed, empty or not decimal; Transfer-Encoding repeated, other than exactly
 *   "chunked", in 1.0, or beside Content-Length; Content-Type repeated;
 *   a body with a method that has none here (GET, HEAD, DELETE, OPTIONS, TRACE, CONNECT);
 *   chunk sizes other than 1 to 8 hexadecimal digits; chunk extensions; trailers.
 * One empty line before a request line is skipped (RFC 9112 section 2.2).
 * Beyond a limit: 414 target, 431 head, 413 body.
 */
#include "framing.h"

#include <string.h>

typedef enum State
{
	START,						/* all zero: before the first byte of a request */
	START_LF,					/* after the CR of an empty line before it */
	METHOD,
	SCHEME,						/* of a target in absolute form */
	AUTHORITY,					/* of the same */
	TARGET,
	VERSION,
	LINE_LF,					/* after the CR that ends the request line or a field */
	LINE_START,
	NAME,
	VALUE,						/* of a field that does not matter here */
	VALUE_MATTERS,
	HEAD_LF,					/* after the CR of the empty line that ends the head */
	BODY,						/* length bytes of it are left */
	CHUNK_SIZE,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	LAST_CR,					/* after the last chunk: no trailers, so an empty line */
	LAST_LF,
	REFUSED
} State;

/* Fields whose meaning matters for framing; all others only have to be well-formed. */
typedef enum Field
{
	OTHER,
	HOST,
	CONTENT_LENGTH,
	TRANSFER_ENCODING,
	CONTENT_TYPE
} Field;

static const struct
{
	const char *name;
	Field		field;
}			fields_that_matter[] = {
	{"host", HOST},
	{"content-length", CONTENT_LENGTH},
	{"transfer-encoding", TRANSFER_ENCODING},
	{"content-type", CONTENT_TYPE},
};

/* Places within a value that matters. */
enum
{
	BEFORE,						/* leading white space */
	INSIDE,
	AFTER						/* trailing white space: libmicrohttpd keeps it, so only Host may have it */
};

static bool
is_token_byte(unsigned char c)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(c != 0 && memchr(others, c, sizeof(others) - 1) != NULL);
}

static bool
is_host_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']';
}

/* Visible ASCII and everything above it: what a target may hold.  Bytes above ASCII are the reader's affair. */
static bool
is_target_byte(unsigned char c)
{
	return c > 0x20 && c != 0x7F;
}

static bool
is_value_byte(unsigned char c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7F);
}

static bool
refuse(Framing *f, int status, const char *reason)
{
	f->state = REFUSED;
	f->status = status;
	f->reason = reason;
	return false;
}

/* ---- the request line ---- */

static bool
begin_request(Framing *f, unsigned char c)
{
	uint64_t	heads = f->heads;
	uint64_t	requests = f->requests;
	bool		blank_skipped = f->blank_skipped;

	if (c == '\r' && !blank_skipped)
	{
		f->state = START_LF;
		return true;
	}
	if (!is_token_byte(c))
		return refuse(f, 400, "malformed method");
	memset(f, 0, sizeof(*f));
	f->heads = heads;
	f->requests = requests;
	f->state = METHOD;
	f->head_bytes = 1;
	f->name[f->name_length++] = (char) c;
	return true;
}

static bool
read_method(Framing *f, unsigned char c)
{
	if (c == ' ')
	{
		static const char *const bodiless[] = {"GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT"};

		f->has_body_method = true;
		f->name[f->name_length] = '\0';
		for (size_t i = 0; i < sizeof(bodiless) / sizeof(bodiless[0]); i++)
			if (strcmp(f->name, bodiless[i]) == 0)
				f->has_body_method = false;
		f->state = TARGET;
		return true;
	}
	if (!is_token_byte(c) || f->name_length == sizeof(f->name) - 1)
		return refuse(f, 400, "malformed method");
	f->name[f->name_length++] = (char) c;
	return true;
}

/*
 * A URL, which every server must take for a target (RFC 9112 section 3.2.2): http:// or https://, then a host.  What host
 * it is means nothing here, as with the field Host.
 */
static bool
read_scheme(Framing *f, unsigned char c)
{
	static const char schemes[] = "https://";

	if (f->place == strlen("http") && c == ':')
		f->place++;
	if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != schemes[f->place++])
		return refuse(f, 400, "the request target must begin with / or be an http URL");
	if (f->place == sizeof(schemes) - 1)
	{
		f->state = AUTHORITY;
		f->place = 0;
	}
	return true;
}

static bool
read_authority(Framing *f, unsigned char c)
{
	if (f->place > 0 && (c == '/' || c == '?' || c == ' '))
		f->state = TARGET;
	else if (is_host_byte(c) && f->place < UINT8_MAX)
		f->place++;
	else
		return refuse(f, 400, "malformed host in the request target");
	return true;
}

/* What the byte is to the form of the target, which its first one decides. */
static bool
read_form(Framing *f, unsigned char c)
{
	if (f->target_bytes == 0 && c != '/')
	{
		f->state = SCHEME;
		f->place = 0;
	}
	if (f->state == SCHEME)
		return read_scheme(f, c);
	return f->state != AUTHORITY || read_authority(f, c);
}

/* Takes note of whether this byte of the target continues FRAMING_CLICK. */
static void
look_for_click(Framing *f, unsigned char c)
{
	static const char prefix[] = FRAMING_CLICK;

	if (f->target_bytes < sizeof(prefix) - 1)
		f->is_click = (f->target_bytes == 0 || f->is_click) && c == (unsigned char) prefix[f->target_bytes];
}

static bool
read_target(Framing *f, const FramingLimits *limits, char *at)
{
	unsigned char c = (unsigned char) *at;

	if (!read_form(f, c))
		return false;
	if (c == ' ')
	{
		f->state = VERSION;
		f->place = 0;
		return true;
	}
	if (!is_target_byte(c))
		return refuse(f, 400, "malformed request target");
	look_for_click(f, c);
	if (++f->target_bytes > (f->is_click ? limits->click_target : limits->target))
		return refuse(f, 414, "the request target is too long");
	if (c == '?' && !f->query_marked)
	{
		f->query_marked = true;
		*at = FRAMING_MARK;
	}
	else if (!f->query_marked)
		f->path_end = f->path_end << 8 | c;
	return true;
}

static bool
read_version(Framing *f, unsigned char c)
{
	static const char prefix[] = "HTTP/1.";

	if (f->place < sizeof(prefix) - 1)
	{
		if (c != (unsigned char) prefix[f->place++])
			return refuse(f, 400, "the version must be HTTP/1.1 or HTTP/1.0");
	}
	else if (f->place == sizeof(prefix) - 1)
	{
		if (c != '0' && c != '1')
			return refuse(f, 400, "the version must be HTTP/1.1 or HTTP/1.0");
		f->http_1_0 = (c == '0');
		f->place++;
	}
	else if (c == '\r')
		f->state = LINE_LF;
	else
		return refuse(f, 400, "malformed request line");
	return true;
}

/* ---- header fields ---- */

static bool
begin_line(Framing *f, const FramingLimits *limits, unsigned char c)
{
	if (c == '\r')
	{
		f->state = HEAD_LF;
		return true;
	}
	if (c == ' ' || c == '\t')
		return refuse(f, 400, "folded header field");
	if (!is_token_byte(c))
		return refuse(f, 400, "malformed header field name");
	if (++f->field_count > limits->fields)
		return refuse(f, 431, "too many header fields");
	f->state = NAME;
	f->name_length = 1;
	f->name[0] = (char) (c >= 'A' && c <= 'Z' ? c + 32 : c);
	return true;
}

static bool
end_name(Framing *f)
{
	f->state = VALUE;
	f->field = OTHER;
	f->place = BEFORE;
	if (f->name_length >= sizeof(f->name))
		return true;
	f->name[f->name_length] = '\0';
	for (size_t i = 0; i < sizeof(fields_that_matter) / sizeof(fields_that_matter[0]); i++)
	{
		if (strcmp(f->name, fields_that_matter[i].name) != 0)
			continue;
		f->field = (uint8_t) fields_that_matter[i].field;
		if (++f->seen[f->field] > 1)
			return refuse(f, 400, "repeated Host, Content-Length, Transfer-Encoding or Content-Type");
		f->state = f->field == CONTENT_TYPE ? VALUE : VALUE_MATTERS;
		f->name_length = 0;
	}
	return true;
}

static bool
read_name(Framing *f, char *at)
{
	unsigned char c = (unsigned char) *at;

	if (c == ':')
		return end_name(f);
	if (!is_token_byte(c))
		return refuse(f, 400, "malformed header field name");
	if (f->name_length < sizeof(f->name))
		f->name[f->name_length++] = (char) (c >= 'A' && c <= 'Z' ? c + 32 : c);
	if (f->name_length == 6 && memcmp(f->name, "cookie", 6) == 0)
		*at = FRAMING_MARK;
	return true;
}

static bool
read_value(Framing *f, unsigned char c)
{
	if (c == '\r')
		f->state = LINE_LF;
	else if (!is_value_byte(c))
		return refuse(f, 400, "control byte in a header field");
	return true;
}

static const char *
malformed(const Framing *f)
{
	switch (f->field)
	{
		case HOST:
			return "malformed Host";
		case CONTENT_LENGTH:
			return "malformed Content-Length";
		default:
			return "Transfer-Encoding other than chunked";
	}
}

/* One byte inside the value of a field that matters; f->name_length counts them. */
static bool
read_value_byte(Framing *f, unsigned char c)
{
	static const char chunked[] = "chunked";
	bool		good;

	f->place = INSIDE;
	switch (f->field)
	{
		case HOST:
			good = is_host_byte(c) && f->name_length < 255;
			break;
		case CONTENT_LENGTH:
			good = c >= '0' && c <= '9' && f->name_length < 18;
			f->length = f->length * 10 + (uint64_t) (c - '0');
			break;
		default:
			good = f->name_length < sizeof(chunked) - 1 && (c | 0x20) == chunked[f->name_length];
	}
	f->name_length++;
	return good || refuse(f, 400, malformed(f));
}

static bool
end_value(Framing *f)
{
	if (f->place == BEFORE || (f->field == TRANSFER_ENCODING && f->name_length != strlen("chunked")))
		return refuse(f, 400, malformed(f));
	f->state = LINE_LF;
	return true;
}

static bool
read_value_that_matters(Framing *f, unsigned char c)
{
	if (c == '\r')
		return end_value(f);
	if ((c == ' ' || c == '\t') && (f->place == BEFORE || f->field == HOST))
	{
		if (f->place == INSIDE)
			f->place = AFTER;
		return true;
	}
	if (f->place == AFTER)
		return refuse(f, 400, malformed(f));
	return read_value_byte(f, c);
}

static void
end_request(Framing *f)
{
	f->requests++;
	f->state = START;
	f->blank_skipped = false;
}

/* The head is whole: what does it say of the body? */
static bool
end_head(Framing *f, const FramingLimits *limits)
{
	bool		has_length = f->seen[CONTENT_LENGTH] > 0;
	bool		chunked = f->seen[TRANSFER_ENCODING] > 0;

	if (!f->http_1_0 && f->seen[HOST] == 0)
		return refuse(f, 400, "Host is missing");
	if (chunked && has_length)
		return refuse(f, 400, "Transfer-Encoding beside Content-Length");
	if (chunked && f->http_1_0)
		return refuse(f, 400, "Transfer-Encoding in HTTP/1.0");
	if (!f->has_body_method && (chunked || f->length > 0))
		return refuse(f, 400, "this method takes no body");
	if (f->length > limits->body)
		return refuse(f, 413, "the body is too large");
	f->heads++;
	if (chunked)
	{
		f->state = CHUNK_SIZE;
		f->place = 0;
		f->length = 0;
	}
	else if (f->length > 0)
		f->state = BODY;
	else
		end_request(f);
	return true;
}

/* ---- chunks ---- */

static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
read_chunk_size(Framing *f, const FramingLimits *limits, unsigned char c)
{
	int			digit = hex_digit(c);

	if (c == '\r' && f->place > 0)
	{
		f->state = CHUNK_SIZE_LF;
		return true;
	}
	if (digit < 0 || f->place == 8)
		return refuse(f, 400, "malformed chunk size");
	f->place++;
	f->length = f->length * 16 + (uint64_t) digit;
	if (f->length + f->body_bytes > limits->body)
		return refuse(f, 413, "the body is too large");
	return true;
}

static bool
expect(Framing *f, unsigned char c, unsigned char wanted, State next, const char *reason)
{
	if (c != wanted)
		return refuse(f, 400, reason);
	f->state = (uint8_t) next;
	return true;
}

/* Bytes of a body or chunk that can be taken at once. */
static size_t
skip_data(Framing *f, size_t available)
{
	size_t		taken = available < f->length ? available : (size_t) f->length;

	f->length -= taken;
	f->body_bytes += (uint32_t) taken;
	if (f->length == 0)
	{
		if (f->state == BODY)
			end_request(f);
		else
			f->state = CHUNK_DATA_CR;
	}
	return taken;
}

static bool
read_chunk_byte(Framing *f, const FramingLimits *limits, unsigned char c)
{
	switch (f->state)
	{
		case CHUNK_SIZE:
			return read_chunk_size(f, limits, c);
		case CHUNK_SIZE_LF:
			return expect(f, c, '\n', f->length == 0 ? LAST_CR : CHUNK_DATA, "malformed chunk size");
		case CHUNK_DATA_CR:
			return expect(f, c, '\r', CHUNK_DATA_LF, "malformed chunk");
		case CHUNK_DATA_LF:
			f->place = 0;
			return expect(f, c, '\n', CHUNK_SIZE, "malformed chunk");
		case LAST_CR:
			return expect(f, c, '\r', LAST_LF, "trailers are not accepted");
		default:
			if (!expect(f, c, '\n', START, "malformed chunk"))
				return false;
			end_request(f);
			return true;
	}
}

/* ---- all of it ---- */

static bool
read_head_byte(Framing *f, const FramingLimits *limits, char *at)
{
	unsigned char c = (unsigned char) *at;

	switch (f->state)
	{
		case START:
			return begin_request(f, c);
		case START_LF:
			f->blank_skipped = true;
			return expect(f, c, '\n', START, "malformed method");
		case METHOD:
			return read_method(f, c);
		case SCHEME:
		case AUTHORITY:
		case TARGET:
			return read_target(f, limits, at);
		case VERSION:
			return read_version(f, c);
		case LINE_LF:
			return expect(f, c, '\n', LINE_START, "a line must end in CR LF");
		case LINE_START:
			return begin_line(f, limits, c);
		case NAME:
			return read_name(f, at);
		case VALUE:
			return read_value(f, c);
		case VALUE_MATTERS:
			return read_value_that_matters(f, c);
		default:
			return expect(f, c, '\n', HEAD_LF, "a line must end in CR LF") && end_head(f, limits);
	}
}

size_t
framing_read(Framing *f, const FramingLimits *limits, char *data, size_t length)
{
	size_t		i = 0;

	while (i < length)
	{
		if (f->state == REFUSED)
			break;
		if (f->state == BODY || f->state == CHUNK_DATA)
		{
			i += skip_data(f, length - i);
			continue;
		}
		if (f->state > HEAD_LF)
		{
			if (!read_chunk_byte(f, limits, (unsigned char) data[i]))
				break;
		}
		else
		{
			if (f->state != START && ++f->head_bytes > limits->head)
			{
				refuse(f, 431, "the head is too large");
				break;
			}
			if (!read_head_byte(f, limits, &data[i]))
				break;
		}
		i++;
	}
	return i;
}

bool
framing_is_idle(const Framing *f)
{
	return f->state == START;
}
