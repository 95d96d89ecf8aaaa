/*
 * framing.h: where HTTP/1.x requests begin and end, read byte by byte and strictly.
 *
 * libmicrohttpd is lenient in what ends a line, a header or a request, and
 * every leniency is a way to smuggle a request past whoever stands in front.  So
 * the bytes pass through here first, and it gets only what has one meaning: see the
 * rules in framing.c.  Pure: no sockets, no allocation, input split anywhere.
 */
#ifndef POSTBACKD_FRAMING_H
#define POSTBACKD_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Two bytes are replaced by this one, in place, in what is passed on; no head may contain it:
 * the first '?' of a target, and the last letter of a field name "Cookie".
 * libmicrohttpd then finds neither arguments nor cookies to split, decode and store (which could fill its
 * memory), and the reader of the request knows exactly where the query begins.
 */
#define FRAMING_MARK '\x01'
#define FRAMING_COOKIE "cooki\x01"

/* What the target of a click begins with: its tracking values may be long. */
#define FRAMING_CLICK "/c/"

typedef struct FramingLimits
{
	uint32_t	target;			/* bytes of request target */
	uint32_t	click_target;	/* of one that begins with FRAMING_CLICK; no less than target */
	uint32_t	head;			/* bytes of request line and header fields, line ends included */
	uint32_t	fields;			/* header fields */
	uint32_t	body;			/* bytes of body */
} FramingLimits;

/* Where one connection's stream stands.  All zero at its beginning. */
typedef struct Framing
{
	uint8_t		state;
	uint8_t		place;			/* within what is read literally: a version, a field's name or value */
	uint8_t		field;			/* the field whose value is being read, if its meaning matters here */
	uint8_t		name_length;
	char		name[18];		/* lower case, as much of it as matters */
	bool		http_1_0;
	bool		has_body_method;	/* the method may have a body */
	bool		query_marked;
	bool		is_click;
	bool		blank_skipped;
	uint32_t	target_bytes;
	uint32_t	path_end;		/* the last four bytes of the path, as far as it has come, the last one lowest */
	uint32_t	head_bytes;
	uint32_t	field_count;
	uint8_t		seen[8];		/* how often each field that matters was there */
	uint64_t	length;			/* Content-Length; then what is left of the body or chunk */
	uint32_t	body_bytes;
	int			status;			/* 0, or the HTTP status of the refusal */
	const char *reason;			/* and why, for people */
	uint64_t	heads;			/* heads passed on, whole */
	uint64_t	requests;		/* requests passed on, whole */
} Framing;

/*
 * Reads length bytes and returns how many of them may be passed on.  Fewer
 * than length means that the request which begins or continues there is
 * refused, with status and reason; nothing more of this stream may be read.
 * What was passed on of a refused request is never a whole request.
 */
extern size_t framing_read(Framing *framing, const FramingLimits *limits, char *data, size_t length);

/* Between two requests: nothing of the next one has come. */
extern bool framing_is_idle(const Framing *framing);

#endif							/* POSTBACKD_FRAMING_H */
