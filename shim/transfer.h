/*
 * transfer.h: HTTP requests, many at once, on kept connections.
 *
 * The only part of the daemon that knows libcurl.  A transfer goes to
 * addresses that were looked at before (see guard.h) and to no other: the
 * address is part of what makes a kept connection the same, the guard is asked
 * again when a socket is made, and the peer is compared once more before a request is written.
 * No redirect is followed, no proxy, cookie, .netrc or environment is heeded
 * (but SSL_CERT_FILE, which names the trusted certificates).
 */
#ifndef POSTBACKD_TRANSFER_H
#define POSTBACKD_TRANSFER_H

#include "../extension/core/address.h"
#include "../extension/core/url.h"
#include "guard.h"
#include "loop.h"

/* Connecting, TLS included, must be done in this time; where a host has several addresses they share it. */
#define TRANSFER_CONNECT_MS 3000

/* Reading stops behind this many bytes of body (or fails behind as many of header); so many are kept. */
#define TRANSFER_READ_LIMIT 65536
#define TRANSFER_KEEP_LIMIT 2048

#define TRANSFER_ADDRESS_LIMIT 4
#define TRANSFER_HEADER_LIMIT 64

typedef struct Transfers Transfers;

typedef enum TransferEnd
{
	TRANSFER_ANSWERED,			/* a whole response, or TRANSFER_READ_LIMIT of it: http_code is set */
	TRANSFER_FAILED,			/* the server was there but its answer was not: reset, malformed ... */
	TRANSFER_UNREACHED,			/* not connected, no TLS, or no whole answer in time */
	TRANSFER_BLOCKED,			/* the guard forbade the socket */
	TRANSFER_UNSENT				/* there was no descriptor or memory for the socket: it says nothing of the server */
} TransferEnd;

typedef struct TransferRequest
{
	const PbUrl *url;			/* scheme, host and port are used */
	PbSlice		target;			/* sent as it is: path and query, begins with '/' */
	bool		post;
	PbSlice		body;			/* of a post; must stay until the end */
	const PbSlice *headers;		/* "Name: value", without CR, LF and NUL */
	size_t		header_count;	/* at most TRANSFER_HEADER_LIMIT */
	const PbAddress *addresses; /* to be tried in this order, at most TRANSFER_ADDRESS_LIMIT are */
	size_t		address_count;
	int			timeout_ms;		/* for all of it */
} TransferRequest;

typedef struct TransferResult
{
	TransferEnd end;
	int			http_code;		/* 0 unless answered */
	int			retry_after;	/* seconds, -1 if the response has none */
	PbAddress	address;		/* the last one tried */
	const char *error;			/* for people; "" if answered */
	PbSlice		response;		/* the body's beginning, any bytes; up to 3 more than TRANSFER_KEEP_LIMIT */
} TransferResult;

/* The result is valid until the handler returns. */
typedef void (*TransferHandler) (void *context, const TransferResult *result);

/* connections: most that are kept open, those under way among them.  NULL if libcurl refuses. */
extern Transfers *transfers_new(Loop *loop, Guard *guard, int connections, const char *user_agent)
			__attribute__((warn_unused_result));

/* Who is still under way gets no result. */
extern void transfers_free(Transfers *transfers);

/*
 * Everything but the body is copied.  The handler is called exactly once, from
 * the loop.  False: out of memory, and the handler is not called.
 */
extern bool transfer_start(Transfers *transfers, const TransferRequest *request, TransferHandler handler,
						   void *context) __attribute__((warn_unused_result));

#endif							/* POSTBACKD_TRANSFER_H */
