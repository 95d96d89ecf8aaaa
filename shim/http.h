/*
 * http.h: an HTTP/1.x server in the loop, on libmicrohttpd, with strict reading of our own before it.
 *
 * http.c is the only place that knows libmicrohttpd.  A handler is called once
 * per request, when all of it is here and it has passed every check of framing
 * (framing.h); it answers at once or later, with exactly one http_reply (or
 * http_reply_prepared) per request.  Until then the connection sleeps, whatever its client does.
 *
 *     Http *http = http_start(loop, &options, handler, context);
 *     ...
 *     static void handler(void *context, HttpRequest *request)
 *     {
 *         http_reply(request, &(HttpReply) {.status = 200, .content_type = "text/plain", .body = PB_LITERAL("ok")});
 *     }
 */
#ifndef POSTBACKD_HTTP_H
#define POSTBACKD_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "../extension/core/address.h"
#include "../extension/core/slice.h"
#include "loop.h"

#define HTTP_TARGET_LIMIT 8192	/* bytes of request target; beyond: 414 */
#define HTTP_CLICK_LIMIT 13312	/* of a click's: twelve tracking values of 1,024 bytes, and their names */
#define HTTP_HEAD_LIMIT 14336	/* bytes of request line and headers; beyond: 431 */
#define HTTP_FIELD_LIMIT 64		/* header fields; beyond: 431 */
#define HTTP_BODY_LIMIT 65536	/* bytes of body; beyond: 413 */
#define HTTP_ANSWER_HEAD 2048	/* bytes of an answer's head that always fit; more only beside a request with a smaller one */
#define HTTP_REPLY_HEADERS 6

typedef struct Http Http;
typedef struct HttpPrepared HttpPrepared;

/* The header fields that anybody here asks for. */
typedef enum HttpField
{
	HTTP_CONTENT_TYPE,
	HTTP_COOKIE,
	HTTP_USER_AGENT,
	HTTP_REFERER,
	HTTP_FORWARDED_FOR,			/* all X-Forwarded-For fields, joined by ',' */
	HTTP_FORWARDED_PROTO,
	HTTP_SIGNATURE,				/* X-Postback-Signature */
	HTTP_COUNTRY,				/* CF-IPCountry or X-Country-Code */
	HTTP_PURPOSE,				/* Sec-Purpose, Purpose, X-Moz or X-Purpose: a prefetch says so */
	HTTP_FIELD_COUNT
} HttpField;

/* What came.  Slices live until the reply; bytes are raw, exactly as sent. */
typedef struct HttpRequest
{
	PbSlice		method;
	PbSlice		path;			/* of the target, before '?' */
	PbSlice		query;			/* after '?' */
	PbSlice		body;
	PbSlice		field[HTTP_FIELD_COUNT];	/* data is NULL if absent */
	PbAddress	peer;			/* who holds the connection */
	int64_t		arrived_us;		/* when it was complete (loop_now_us) */

	/* For the handler's own use until the reply: a queue's link and a number. */
	struct HttpRequest *next;
	int64_t		tag;
} HttpRequest;

typedef struct HttpHeader
{
	const char *name;
	const char *value;
} HttpHeader;

typedef struct HttpReply
{
	int			status;
	const char *content_type;	/* NULL: none */
	PbSlice		body;			/* copied */
	HttpHeader	header[HTTP_REPLY_HEADERS]; /* up to the first without a name; copied */
	bool		close;			/* ends the connection after this */
} HttpReply;

typedef void (*HttpHandler) (void *context, HttpRequest *request);

typedef struct HttpOptions
{
	const char *listen;			/* an IPv4 or IPv6 address */
	int			port;			/* 0: any free one (see http_port) */
	bool		reuse_port;
	int			max_connections;
	int			max_connections_per_address;	/* 0: no limit; IPv6 counts by /64 */
	int			request_timeout_ms; /* for a whole request: from its first byte until its answer has been sent */
	int			idle_timeout_ms;	/* between requests */
	const PbCidr *trusted;		/* peers that are not counted per address (proxies) */
	int			trusted_count;
	PbSlice		pixel;			/* an image: what is refused before the handler is answered by it, if the path ends in .gif */
} HttpOptions;

/* Counted since the start, or (the last three) as it is now. */
typedef struct HttpStats
{
	int64_t		connections_accepted;
	int64_t		connections_refused;	/* over the cap per address */
	int64_t		connections_expired;	/* cut off by a deadline */
	int64_t		requests;		/* given to the handler */
	int64_t		rejected_400;	/* answered here, because of framing */
	int64_t		rejected_413;
	int64_t		rejected_414;
	int64_t		rejected_431;
	int64_t		rejected_503;	/* no room for so many bodies at once */
	int			connections;
	int			connections_waiting;	/* with a request that the handler has not answered yet */
	int			addresses;		/* distinct, under the cap per address */
} HttpStats;

/* Listens and serves.  NULL, after logging why, if it cannot. */
extern Http *http_start(Loop *loop, const HttpOptions *options, HttpHandler handler, void *context)
			__attribute__((warn_unused_result));

/* The port listened on. */
extern int	http_port(const Http *http);

/* Answers.  The request must not be touched any more. */
extern void http_reply(HttpRequest *request, const HttpReply *reply);

/* The same answer for many requests, made once. NULL when out of memory. */
extern HttpPrepared *http_prepare(const HttpReply *reply) __attribute__((warn_unused_result));
extern void http_prepared_free(HttpPrepared *prepared);
extern void http_reply_prepared(HttpRequest *request, const HttpPrepared *prepared);

extern void http_stats(const Http *http, HttpStats *stats);

/*
 * Stops accepting, closes connections between requests, lets the others
 * finish (each answer says Connection: close), then calls drained, from the loop.
 */
extern void http_drain(Http *http, LoopHandler drained, void *context);

/* Closes everything at once.  Requests that were not answered get none, and must not be touched any more. */
extern void http_free(Http *http);

#endif							/* POSTBACKD_HTTP_H */
