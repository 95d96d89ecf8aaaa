/*
 * http.c: libmicrohttpd in the loop, behind framing.c.
 *
 * How the bytes are checked.  libmicrohttpd reads a socket with recv(2) and
 * offers no hook before its own lenient parser.  So this file defines recv
 * (gate_recv below): the executable's definition takes precedence over the C
 * library's, for every caller in the process.  For any other descriptor it just reads; for a client's
 * connection it reads and lets framing.c look at each byte, in whatever pieces they
 * come, before libmicrohttpd sees them.  On the first byte that breaks a
 * rule nothing more is passed on: requests before it are finished and answered
 * in order, then the refusal is sent, and what follows is thrown away until the connection closes.
 *
 * It fails closed: a request is handed to the handler only if the gate has
 * counted it as whole (see is_vetted), so should a build ever bypass the gate,
 * nothing at all is served, and http_start says so.
 *
 * How requests wait.  A request that is not answered at once has its connection
 * suspended; the answer is queued and the connection resumed from the
 * loop, and MHD_run follows in the same turn (on_turn).  Everything happens on one thread.
 */
#include "http.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../extension/core/code.h"
#include "framing.h"
#include "hash.h"
#include "log.h"

/*
 * libmicrohttpd's memory per connection: the head, a record per field, and the
 * answer's head.  It is cleared for each request, so it counts fully in the process's size.
 */
#define POOL_SIZE (HTTP_HEAD_LIMIT + HTTP_FIELD_LIMIT * 64 + HTTP_ANSWER_HEAD)
#define BODY_KEPT 4096			/* every connection's own; a larger body buffer is given back after its request */
#define BODIES_LIMIT (16 * 1024 * 1024) /* bytes of all larger ones at once */
#define LISTEN_BACKLOG 4096
#define LINGER_MS 2000			/* after a refusal, for the client to read it */
#define DISCARD_LIMIT (1024 * 1024)
#define SWEEP_MS 250
#define ADDRESS_SLOTS 1024

/* A connection is on one of these lists, in order of deadline, since each list has one duration. */
typedef enum Deadline
{
	DEADLINE_REQUEST,
	DEADLINE_IDLE,
	DEADLINE_LINGER,
	DEADLINE_COUNT,
	DEADLINE_NONE = DEADLINE_COUNT
} Deadline;

/* What a connection is doing, as its handler sees it. */
typedef enum Phase
{
	PHASE_READING,				/* between requests, or a request is coming in */
	PHASE_ASKED,				/* the handler is running */
	PHASE_WAITING,				/* suspended: the handler owes an answer */
	PHASE_ANSWERED				/* the answer is on its way out */
} Phase;

/* How many connections an address (or /64) holds. */
typedef struct AddressCount
{
	struct AddressCount *next;
	PbAddress	address;
	int			count;
} AddressCount;

typedef struct Connection
{
	Http	   *http;
	struct MHD_Connection *mhd;
	int			fd;
	HttpRequest request;
	Phase		phase;
	Framing		framing;
	uint64_t	handled;		/* requests given to the handler */
	bool		seen_head;		/* libmicrohttpd has announced the present request */
	bool		overflowed;		/* there was no room for the body */
	bool		refusal_sent;
	size_t		discarded;

	char	   *target;			/* in libmicrohttpd's memory */
	char	   *body;
	size_t		body_length;
	size_t		body_room;
	char	   *forwarded;		/* several X-Forwarded-For fields, joined */

	Deadline	deadline;
	int64_t		deadline_ms;
	struct Connection *prev;
	struct Connection *next;
	AddressCount *counted;
} Connection;

typedef struct DeadlineList
{
	int64_t		duration_ms;
	Connection *head;
	Connection *tail;
} DeadlineList;

struct Http
{
	Loop	   *loop;
	HttpOptions options;
	HttpHandler handler;
	void	   *context;
	struct MHD_Daemon *daemon;
	int			listen_fd;
	int			port;
	LoopIo		io;
	LoopHook	hook;
	LoopTimer	sweep;
	bool		ready;			/* libmicrohttpd has something to do */
	bool		draining;
	LoopHandler drained;
	void	   *drained_context;
	HttpStats	stats;
	LogLimit	lost_answer_limit;
	size_t		body_room;		/* of all bodies larger than BODY_KEPT */
	DeadlineList deadlines[DEADLINE_COUNT];
	AddressCount *addresses[ADDRESS_SLOTS];
};

struct HttpPrepared
{
	int			status;
	struct MHD_Response *keep;
	struct MHD_Response *close;
};

static const FramingLimits limits = {
	.target = HTTP_TARGET_LIMIT,
	.click_target = HTTP_CLICK_LIMIT,
	.head = HTTP_HEAD_LIMIT,
	.fields = HTTP_FIELD_LIMIT,
	.body = HTTP_BODY_LIMIT
};

/* Which header field is which; cookies come under the name that framing.c gives them. */
static const struct
{
	const char *name;
	HttpField	field;
}			fields[] = {
	{"content-type", HTTP_CONTENT_TYPE},
	{FRAMING_COOKIE, HTTP_COOKIE},
	{"user-agent", HTTP_USER_AGENT},
	{"referer", HTTP_REFERER},
	{"x-forwarded-for", HTTP_FORWARDED_FOR},
	{"x-forwarded-proto", HTTP_FORWARDED_PROTO},
	{"x-postback-signature", HTTP_SIGNATURE},
	{"cf-ipcountry", HTTP_COUNTRY},
	{"x-country-code", HTTP_COUNTRY},
	{"sec-purpose", HTTP_PURPOSE},
	{"purpose", HTTP_PURPOSE},
	{"x-moz", HTTP_PURPOSE},
	{"x-purpose", HTTP_PURPOSE},
};

#define FIELD_NAMES (sizeof(fields) / sizeof(fields[0]))

/* ---- deadlines ---- */

static void
deadline_clear(Connection *c)
{
	DeadlineList *list;

	if (c->deadline == DEADLINE_NONE)
		return;
	list = &c->http->deadlines[c->deadline];
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		list->head = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	else
		list->tail = c->prev;
	c->deadline = DEADLINE_NONE;
}

static void
deadline_set(Connection *c, Deadline deadline)
{
	DeadlineList *list = &c->http->deadlines[deadline];

	deadline_clear(c);
	c->deadline = deadline;
	c->deadline_ms = loop_now_ms(c->http->loop) + list->duration_ms;
	c->next = NULL;
	c->prev = list->tail;
	if (list->tail != NULL)
		list->tail->next = c;
	else
		list->head = c;
	list->tail = c;
}

/*
 * libmicrohttpd notices a socket that was shut down, in whatever state the
 * connection is, and closes it.  A connection whose answer is still owed is
 * left alone: it ends when the handler answers, which has a deadline of its own.
 */
static void
expire(Connection *c)
{
	if (c->phase == PHASE_WAITING)
	{
		deadline_set(c, c->deadline);
		return;
	}
	if (c->deadline != DEADLINE_LINGER)
		c->http->stats.connections_expired++;
	deadline_clear(c);
	shutdown(c->fd, SHUT_RDWR);
}

static void
on_sweep(void *context)
{
	Http	   *http = context;
	int64_t		now = loop_now_ms(http->loop);

	for (int i = 0; i < DEADLINE_COUNT; i++)
		while (http->deadlines[i].head != NULL && http->deadlines[i].head->deadline_ms <= now)
			expire(http->deadlines[i].head);
	if (http->stats.connections > 0)
		loop_timer_set(http->loop, &http->sweep, SWEEP_MS, on_sweep, http);
}

/* ---- the gate: every byte of a client's connection passes here first ---- */

/*
 * The connection of each descriptor.  recv has no argument to carry it, hence
 * this one table for the process (it may serve several Http).
 */
static Connection **gates;
static int	gate_room;

extern ssize_t gate_recv(int fd, void *buffer, size_t size, int flags) __asm__("recv");

static bool
gate_open(int fd, Connection *c)
{
	if (fd >= gate_room)
	{
		int			room = fd + 1024;
		Connection **table = realloc(gates, (size_t) room * sizeof(*table));

		if (table == NULL)
			return false;
		memset(table + gate_room, 0, (size_t) (room - gate_room) * sizeof(*table));
		gates = table;
		gate_room = room;
	}
	gates[fd] = c;
	return true;
}

static void
gate_close(int fd)
{
	if (fd >= 0 && fd < gate_room)
		gates[fd] = NULL;
}

static PbCode
refusal_code(int status)
{
	switch (status)
	{
		case 413:
			return PB_PAYLOAD_TOO_LARGE;
		case 414:
			return PB_URI_TOO_LONG;
		case 431:
			return PB_HEADERS_TOO_LARGE;
		default:
			return PB_BAD_REQUEST;
	}
}

static void
count_refusal(HttpStats *stats, int status)
{
	switch (status)
	{
		case 413:
			stats->rejected_413++;
			break;
		case 414:
			stats->rejected_414++;
			break;
		case 431:
			stats->rejected_431++;
			break;
		default:
			stats->rejected_400++;
	}
}

/* Did a pixel ask, which shows an image and nothing else? */
static bool
refused_pixel(const Connection *c)
{
	return c->http->options.pixel.len > 0 && c->framing.path_end == (uint32_t) ('.' << 24 | 'g' << 16 | 'i' << 8 | 'f');
}

/* What a refusal answers, behind its status line and date; returns its length, which is less than size. */
static size_t
refusal_text(const Connection *c, char *text, size_t size)
{
	const char *code = pb_code_name(refusal_code(c->framing.status));
	PbSlice		pixel = c->http->options.pixel;
	char		json[256];
	size_t		length;

	if (!refused_pixel(c))
	{
		snprintf(json, sizeof(json), "{\"ok\":false,\"code\":\"%s\",\"message\":\"%s\"}", code, c->framing.reason);
		return (size_t) snprintf(text, size, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(json), json);
	}
	length = (size_t) snprintf(text, size, "Content-Type: image/gif\r\nCache-Control: no-store\r\nX-Postback-Code: %s\r\n"
							   "Content-Length: %zu\r\n\r\n", code, pixel.len);
	memcpy(text + length, pixel.data, pixel.len);
	return length + pixel.len;
}

/*
 * Answers what the gate has refused, past libmicrohttpd, which knows nothing
 * of that request or only a part of it.  Called only when every earlier answer has been handed to the kernel.
 */
static void
send_refusal(Connection *c)
{
	int			status = c->framing.status;
	char		date[40];
	char		answer[640];
	time_t		now = time(NULL);
	struct tm	utc;
	size_t		length;

	c->refusal_sent = true;
	count_refusal(&c->http->stats, status);
	log_debug("request refused", LOG_INT("status", status), LOG_TEXT("reason", c->framing.reason));
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
	length = (size_t) snprintf(answer, sizeof(answer), "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n",
							   status, MHD_get_reason_phrase_for((unsigned) status), date);
	length += refusal_text(c, answer + length, sizeof(answer) - length);
	(void) !send(c->fd, answer, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(c->fd, SHUT_WR);
	deadline_set(c, DEADLINE_LINGER);
}

/* Throws away what comes after a refusal; 0 ends the connection, -1 waits for the client to end it. */
static ssize_t
discard(Connection *c)
{
	char		scratch[4096];

	while (c->discarded < DISCARD_LIMIT)
	{
		ssize_t		got = recvfrom(c->fd, scratch, sizeof(scratch), MSG_DONTWAIT, NULL, NULL);

		if (got <= 0)
			return got;
		c->discarded += (size_t) got;
	}
	return 0;
}

/*
 * Requests that came before the refused one and still need libmicrohttpd:
 * read but not handled, or not answered to the end.
 */
static bool
has_earlier_requests(const Connection *c)
{
	return c->framing.requests > c->handled || c->phase != PHASE_READING;
}

static ssize_t
gate_read(Connection *c, char *buffer, size_t size, int flags)
{
	bool		was_idle = framing_is_idle(&c->framing);
	ssize_t		got;
	size_t		passed;

	if (c->framing.status != 0)
	{
		if (c->refusal_sent)
			return discard(c);
		errno = EAGAIN;			/* the refusal comes after the answers before it: on_completed */
		return -1;
	}
	got = recvfrom(c->fd, buffer, size, flags, NULL, NULL);
	if (got <= 0)
		return got;
	if (was_idle && c->phase == PHASE_READING)
		deadline_set(c, DEADLINE_REQUEST);
	passed = framing_read(&c->framing, &limits, buffer, (size_t) got);
	if (passed == (size_t) got)
		return got;
	if (has_earlier_requests(c))
	{
		if (passed > 0)
			return (ssize_t) passed;
		errno = EAGAIN;
		return -1;
	}
	send_refusal(c);
	return discard(c);
}

/* recv(2) for the whole process. */
__attribute__((visibility("default"), used))
ssize_t
gate_recv(int fd, void *buffer, size_t size, int flags)
{
	Connection *c = fd >= 0 && fd < gate_room ? gates[fd] : NULL;

	if (c == NULL)
		return recvfrom(fd, buffer, size, flags, NULL, NULL);
	return gate_read(c, buffer, size, flags);
}

/* ---- connections per address ---- */

static bool
address_from(const struct sockaddr *from, PbAddress *address)
{
	memset(address, 0, sizeof(*address));
	if (from->sa_family == AF_INET)
	{
		address->family = 4;
		memcpy(address->bytes, &((const struct sockaddr_in *) from)->sin_addr, 4);
		return true;
	}
	if (from->sa_family != AF_INET6)
		return false;
	address->family = 6;
	memcpy(address->bytes, &((const struct sockaddr_in6 *) from)->sin6_addr, 16);
	pb_address_unmap(address);
	return true;
}

static AddressCount **
address_slot(Http *http, const PbAddress *address)
{
	AddressCount **slot = &http->addresses[hash_bytes(address->bytes, sizeof(address->bytes)) % ADDRESS_SLOTS];

	while (*slot != NULL && memcmp((*slot)->address.bytes, address->bytes, sizeof(address->bytes)) != 0)
		slot = &(*slot)->next;
	return slot;
}

/* What is counted: an IPv4 address, or an IPv6 network of /64, since that is what one subscriber has. */
static bool
is_counted(const Http *http, const PbAddress *address, PbAddress *key)
{
	if (http->options.max_connections_per_address <= 0)
		return false;
	for (int i = 0; i < http->options.trusted_count; i++)
		if (pb_cidr_contains(&http->options.trusted[i], address))
			return false;
	*key = *address;
	if (key->family == 6)
		memset(key->bytes + 8, 0, 8);
	return true;
}

static void
address_count(Connection *c)
{
	PbAddress	key;
	AddressCount **slot;

	if (!is_counted(c->http, &c->request.peer, &key))
		return;
	slot = address_slot(c->http, &key);
	if (*slot == NULL)
	{
		*slot = calloc(1, sizeof(**slot));
		if (*slot == NULL)
			return;
		(*slot)->address = key;
		c->http->stats.addresses++;
	}
	(*slot)->count++;
	c->counted = *slot;
}

static void
address_uncount(Connection *c)
{
	AddressCount **slot;
	AddressCount *entry = c->counted;

	if (entry == NULL || --entry->count > 0)
		return;
	slot = address_slot(c->http, &entry->address);
	*slot = entry->next;
	free(entry);
	c->http->stats.addresses--;
}

static enum MHD_Result
on_accept(void *context, const struct sockaddr *from, socklen_t length)
{
	Http	   *http = context;
	PbAddress	address;
	PbAddress	key;
	AddressCount *entry;

	(void) length;
	if (!address_from(from, &address) || !is_counted(http, &address, &key))
		return MHD_YES;
	entry = *address_slot(http, &key);
	if (entry == NULL || entry->count < http->options.max_connections_per_address)
		return MHD_YES;
	http->stats.connections_refused++;
	return MHD_NO;
}

/* ---- connections ---- */

static Connection *
connection_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* What counts towards BODIES_LIMIT. */
static size_t
counted_room(size_t room)
{
	return room > BODY_KEPT ? room : 0;
}

static void
body_free(Connection *c)
{
	c->http->body_room -= counted_room(c->body_room);
	free(c->body);
	c->body = NULL;
	c->body_room = 0;
}

static void
connection_free(Connection *c)
{
	deadline_clear(c);
	gate_close(c->fd);
	address_uncount(c);
	c->http->stats.connections--;
	body_free(c);
	free(c->forwarded);
	free(c);
}

static Connection *
connection_new(Http *http, struct MHD_Connection *mhd)
{
	Connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->http = http;
	c->mhd = mhd;
	c->deadline = DEADLINE_NONE;
	c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	(void) address_from(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
						&c->request.peer);
	if (!gate_open(c->fd, c))
	{
		free(c);
		return NULL;
	}
	address_count(c);
	http->stats.connections++;
	http->stats.connections_accepted++;
	deadline_set(c, DEADLINE_REQUEST);
	if (!loop_timer_is_set(&http->sweep))
		loop_timer_set(http->loop, &http->sweep, SWEEP_MS, on_sweep, http);
	return c;
}

/*
 * A connection for which there is no memory has no context, and on_request refuses it.
 *
 * libmicrohttpd stops listening when it has all the connections, or open files, that it may have.  It begins again only in
 * the run after the one in which a connection ended, and nothing but us would bring that run about.
 */
static void
on_connection(void *context, struct MHD_Connection *mhd, void **slot, enum MHD_ConnectionNotificationCode code)
{
	Http	   *http = context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		*slot = connection_new(http, mhd);
		return;
	}
	http->ready = true;
	if (*slot != NULL)
		connection_free(*slot);
	*slot = NULL;
}

/* ---- requests ---- */

/* The raw target, before libmicrohttpd touches it. */
static void *
on_target(void *context, const char *target, struct MHD_Connection *mhd)
{
	Connection *c = connection_of(mhd);

	(void) context;
	if (c != NULL)
		c->target = (char *) target;
	return NULL;
}

/* Nothing is to be decoded. */
static size_t
on_unescape(void *context, struct MHD_Connection *mhd, char *text)
{
	(void) context;
	(void) mhd;
	return strlen(text);
}

/* The rest of it is read and thrown away, and its request answered 503. */
static void
body_give_up(Connection *c)
{
	c->overflowed = true;
	body_free(c);
	c->body_length = 0;
}

/*
 * Those who send slowly must not keep the room from those who do not: of the larger bodies that are still
 * coming in, those that began first give way.
 */
static bool
bodies_make_room(Http *http, const Connection *wanting, size_t more)
{
	for (Connection *c = http->deadlines[DEADLINE_REQUEST].head; c != NULL; c = c->next)
	{
		if (http->body_room + more <= BODIES_LIMIT)
			return true;
		if (c != wanting && c->phase == PHASE_READING && counted_room(c->body_room) > 0)
			body_give_up(c);
	}
	return http->body_room + more <= BODIES_LIMIT;
}

/* Room in steps: a body that comes slowly takes little more than what has come. */
static bool
body_grow(Connection *c, size_t needed)
{
	size_t		room = (needed + BODY_KEPT - 1) / BODY_KEPT * BODY_KEPT;
	size_t		more = counted_room(room) - counted_room(c->body_room);
	char	   *body;

	if (needed <= c->body_room)
		return true;
	if (more > 0 && !bodies_make_room(c->http, c, more))
		return false;
	body = realloc(c->body, room);
	if (body == NULL)
		return false;
	c->http->body_room += more;
	c->body = body;
	c->body_room = room;
	return true;
}

static void
body_append(Connection *c, const char *data, size_t length)
{
	size_t		needed = c->body_length + length;

	if (c->overflowed)
		return;
	if (needed > HTTP_BODY_LIMIT || !body_grow(c, needed))
	{
		body_give_up(c);
		return;
	}
	memcpy(c->body + c->body_length, data, length);
	c->body_length = needed;
}

/* Further X-Forwarded-For fields go on the end of the list, as one field with commas means the same. */
static void
join_forwarded(Connection *c, PbSlice more)
{
	PbSlice    *list = &c->request.field[HTTP_FORWARDED_FOR];
	char	   *joined = malloc(list->len + 1 + more.len);

	if (joined == NULL)
		return;
	memcpy(joined, list->data, list->len);
	joined[list->len] = ',';
	memcpy(joined + list->len + 1, more.data, more.len);
	*list = (PbSlice) {joined, list->len + 1 + more.len};
	free(c->forwarded);
	c->forwarded = joined;
}

static enum MHD_Result
on_field(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
		 const char *value, size_t value_length)
{
	Connection *c = context;
	PbSlice		found = {value == NULL ? "" : value, value_length};

	(void) kind;
	for (size_t i = 0; i < FIELD_NAMES; i++)
	{
		PbSlice    *field = &c->request.field[fields[i].field];

		if ((name[0] | 0x20) != fields[i].name[0] || strlen(fields[i].name) != name_length ||
			strncasecmp(name, fields[i].name, name_length) != 0)
			continue;
		while (found.len > 0 && (found.data[found.len - 1] == ' ' || found.data[found.len - 1] == '\t'))
			found.len--;
		if (field->data == NULL)
			*field = found;
		else if (fields[i].field == HTTP_FORWARDED_FOR)
			join_forwarded(c, found);
		break;
	}
	return MHD_YES;
}

/* Of a target that is a URL, what comes after its host. */
static PbSlice
path_of(PbSlice target)
{
	size_t		start = 0;

	if (target.len > 0 && target.data[0] != '/')
		start = pb_slice_find(target, '/', pb_slice_find(target, '/', 0) + 2);
	return (PbSlice) {target.data + start, target.len - start};
}

static void
fill_request(Connection *c, const char *method)
{
	HttpRequest *request = &c->request;
	char	   *mark = strchr(c->target, FRAMING_MARK);

	request->method = pb_slice(method);
	request->path = path_of((PbSlice) {c->target, mark == NULL ? strlen(c->target) : (size_t) (mark - c->target)});
	request->query = mark == NULL ? (PbSlice) {NULL, 0} : pb_slice(mark + 1);
	request->body = (PbSlice) {c->body, c->body_length};
	memset(request->field, 0, sizeof(request->field));
	MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, on_field, c);
	request->arrived_us = loop_now_us();
	request->next = NULL;
	request->tag = 0;
}

/* The gate must have seen this request, and all of it. */
static bool
is_vetted(const Connection *c)
{
	return c != NULL && c->target != NULL && c->framing.requests > c->handled;
}

/* As refused_pixel, of the whole request: the gate may have read on since. */
static bool
asked_pixel(const Connection *c)
{
	PbSlice		path = c->request.path;

	return c->http->options.pixel.len > 0 && path.len >= 4 &&
		pb_slice_equal((PbSlice) {path.data + path.len - 4, 4}, PB_LITERAL(".gif"));
}

static void
reply_overflow(Connection *c)
{
	const HttpReply image = {
		.status = 503,
		.content_type = "image/gif",
		.body = c->http->options.pixel,
		.header = {{"Cache-Control", "no-store"}, {"X-Postback-Code", pb_code_name(PB_UNAVAILABLE)}, {"Retry-After", "1"}}
	};
	static const HttpReply json = {
		.status = 503,
		.content_type = "application/json",
		.body = PB_LITERAL("{\"ok\":false,\"code\":\"unavailable\","
						   "\"message\":\"Too many large bodies at once. Please send it again.\"}"),
		.header = {{"Retry-After", "1"}}
	};

	c->http->stats.rejected_503++;
	http_reply(&c->request, asked_pixel(c) ? &image : &json);
}

static enum MHD_Result
ask_handler(Connection *c, const char *method)
{
	Http	   *http = c->http;

	if (!is_vetted(c))
	{
		log_error("a request was not checked by the gate: refused");
		return MHD_NO;
	}
	fill_request(c, method);
	c->handled++;
	http->stats.requests++;
	c->phase = PHASE_ASKED;
	if (c->overflowed)
		reply_overflow(c);
	else
		http->handler(http->context, &c->request);
	if (c->phase == PHASE_ASKED)
	{
		c->phase = PHASE_WAITING;
		http->stats.connections_waiting++;
		MHD_suspend_connection(c->mhd);
	}
	return MHD_YES;
}

/* Called once when the head is there, for each piece of the body, and once at the end. */
static enum MHD_Result
on_request(void *context, struct MHD_Connection *mhd, const char *url, const char *method, const char *version,
		   const char *data, size_t *data_length, void **slot)
{
	Connection *c = connection_of(mhd);

	(void) context;
	(void) url;
	(void) version;
	(void) slot;
	if (c == NULL || c->framing.heads <= c->handled)
		return MHD_NO;
	if (!c->seen_head)
	{
		c->seen_head = true;
		c->body_length = 0;
		c->overflowed = false;
		return MHD_YES;
	}
	if (*data_length > 0)
	{
		body_append(c, data, *data_length);
		*data_length = 0;
		return MHD_YES;
	}
	return ask_handler(c, method);
}

/* The answer has been handed to the kernel, or the connection is ending. */
static void
on_completed(void *context, struct MHD_Connection *mhd, void **slot, enum MHD_RequestTerminationCode code)
{
	Connection *c = connection_of(mhd);

	(void) context;
	(void) slot;
	if (c == NULL)
		return;
	c->seen_head = false;
	c->target = NULL;
	c->phase = PHASE_READING;
	free(c->forwarded);
	c->forwarded = NULL;
	if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK || c->refusal_sent)
		return;
	if (c->framing.status != 0 && !has_earlier_requests(c))
		send_refusal(c);
	else if (framing_is_idle(&c->framing) && c->framing.requests == c->handled)
	{
		deadline_set(c, DEADLINE_IDLE);
		if (c->http->draining)
			shutdown(c->fd, SHUT_RDWR);
	}
	else
		deadline_set(c, DEADLINE_REQUEST);
}

/* ---- answers ---- */

static struct MHD_Response *
make_response(const HttpReply *reply, bool close)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(reply->body.len, (void *) reply->body.data,
																	MHD_RESPMEM_MUST_COPY);

	if (response == NULL)
		return NULL;
	if (reply->content_type != NULL)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
	for (int i = 0; i < HTTP_REPLY_HEADERS && reply->header[i].name != NULL; i++)
		MHD_add_response_header(response, reply->header[i].name, reply->header[i].value);
	if (close || reply->close)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	return response;
}

/* With no answer to give, the connection is cut: the client must not take silence for anything else. */
static void
send_response(Connection *c, int status, struct MHD_Response *response)
{
	Http	   *http = c->http;

	if (response == NULL || MHD_queue_response(c->mhd, (unsigned) status, response) != MHD_YES)
		shutdown(c->fd, SHUT_RDWR);
	if (c->phase == PHASE_WAITING)
	{
		http->stats.connections_waiting--;
		MHD_resume_connection(c->mhd);
		http->ready = true;
	}
	c->phase = PHASE_ANSWERED;
	if (c->body_room > BODY_KEPT)
		body_free(c);
}

static Connection *
connection_of_request(HttpRequest *request)
{
	return (Connection *) ((char *) request - offsetof(Connection, request));
}

void
http_reply(HttpRequest *request, const HttpReply *reply)
{
	Connection *c = connection_of_request(request);
	struct MHD_Response *response = make_response(reply, c->http->draining);

	send_response(c, reply->status, response);
	if (response != NULL)
		MHD_destroy_response(response);
}

HttpPrepared *
http_prepare(const HttpReply *reply)
{
	HttpPrepared *prepared = calloc(1, sizeof(*prepared));

	if (prepared == NULL)
		return NULL;
	prepared->status = reply->status;
	prepared->keep = make_response(reply, false);
	prepared->close = make_response(reply, true);
	if (prepared->keep == NULL || prepared->close == NULL)
	{
		http_prepared_free(prepared);
		return NULL;
	}
	return prepared;
}

void
http_prepared_free(HttpPrepared *prepared)
{
	if (prepared == NULL)
		return;
	if (prepared->keep != NULL)
		MHD_destroy_response(prepared->keep);
	if (prepared->close != NULL)
		MHD_destroy_response(prepared->close);
	free(prepared);
}

void
http_reply_prepared(HttpRequest *request, const HttpPrepared *prepared)
{
	Connection *c = connection_of_request(request);

	send_response(c, prepared->status, c->http->draining ? prepared->close : prepared->keep);
}

/* ---- in the loop ---- */

static void
on_ready(void *context, unsigned ready)
{
	Http	   *http = context;

	(void) ready;
	http->ready = true;
}

static bool
has_more(Http *http)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	return MHD_get_timeout(http->daemon, &timeout) == MHD_YES && timeout == 0;
}

/* A resumed connection makes its answer in one run and sends it in the next. */
static void
on_turn(void *context)
{
	Http	   *http = context;

	for (int i = 0; i < 2 && (http->ready || has_more(http)); i++)
	{
		http->ready = false;
		MHD_run(http->daemon);
	}
	if (http->ready || has_more(http))
		loop_again(http->loop);
	if (http->draining && http->stats.connections == 0 && http->drained != NULL)
	{
		LoopHandler drained = http->drained;

		http->drained = NULL;
		drained(http->drained_context);
	}
}

/* ---- starting and ending ---- */

/* There is no other sign of an answer whose head was too long to be given: its connection is just closed. */
static void
warn_of_lost_answer(Http *http)
{
	int64_t		suppressed;

	if (log_allowed(&http->lost_answer_limit, loop_now_ms(http->loop), &suppressed))
		log_error("an answer was too long to be sent: is it a landing or fallback URL?",
				  LOG_INT("bytes_that_always_fit", HTTP_ANSWER_HEAD), LOG_INT("suppressed", suppressed));
}

static void
on_log(void *context, const char *format, va_list arguments)
{
	char		text[256];

	vsnprintf(text, sizeof(text), format, arguments);
	if (strstr(text, "failed to create response header") != NULL)
		warn_of_lost_answer(context);
	text[strcspn(text, "\n")] = '\0';
	log_debug("libmicrohttpd", LOG_TEXT("text", text));
}

static int
fail(const char *what, const HttpOptions *options, int fd)
{
	log_error("cannot listen", LOG_TEXT("step", what), LOG_TEXT("address", options->listen),
			  LOG_INT("port", options->port), LOG_TEXT("error", strerror(errno)));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* TCP_NODELAY is inherited by the connections. */
static int
listen_on(const HttpOptions *options)
{
	struct sockaddr_storage at = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *) &at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &at;
	socklen_t	length;
	int			on = 1;
	int			fd;

	if (inet_pton(AF_INET, options->listen, &v4->sin_addr) == 1)
	{
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t) options->port);
		length = sizeof(*v4);
	}
	else if (inet_pton(AF_INET6, options->listen, &v6->sin6_addr) == 1)
	{
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t) options->port);
		length = sizeof(*v6);
	}
	else
	{
		errno = EINVAL;
		return fail("address", options, -1);
	}
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail("socket", options, fd);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (options->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
		return fail("SO_REUSEPORT", options, fd);
	if (bind(fd, (struct sockaddr *) &at, length) != 0)
		return fail("bind", options, fd);
	if (listen(fd, LISTEN_BACKLOG) != 0)
		return fail("listen", options, fd);
	return fd;
}

static int
bound_port(int fd)
{
	struct sockaddr_storage at;
	socklen_t	length = sizeof(at);

	if (getsockname(fd, (struct sockaddr *) &at, &length) != 0)
		return 0;
	if (at.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *) &at)->sin6_port);
	return ntohs(((struct sockaddr_in *) &at)->sin_port);
}

static struct MHD_Daemon *
start_daemon(Http *http)
{
	return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_TURBO | MHD_USE_SUSPEND_RESUME | MHD_USE_ERROR_LOG,
							0, on_accept, http, on_request, http,
							MHD_OPTION_EXTERNAL_LOGGER, on_log, http,
							MHD_OPTION_LISTEN_SOCKET, http->listen_fd,
							MHD_OPTION_CONNECTION_LIMIT, (unsigned) http->options.max_connections,
							MHD_OPTION_CONNECTION_TIMEOUT, 0u,
							MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) POOL_SIZE,
							MHD_OPTION_STRICT_FOR_CLIENT, 1,
							MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
							MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
							MHD_OPTION_URI_LOG_CALLBACK, on_target, http,
							MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, http,
							MHD_OPTION_END);
}

static bool
gate_is_in_place(void)
{
	if (dlsym(RTLD_DEFAULT, "recv") == (void *) gate_recv)
		return true;
	log_error("cannot serve: this build does not put its own recv in front of the C library's, "
			  "so requests could not be checked");
	return false;
}

Http *
http_start(Loop *loop, const HttpOptions *options, HttpHandler handler, void *context)
{
	Http	   *http;
	const union MHD_DaemonInfo *info;

	if (!gate_is_in_place())
		return NULL;
	http = calloc(1, sizeof(*http));
	if (http == NULL)
		return NULL;
	http->loop = loop;
	http->options = *options;
	http->options.max_connections = loop_room(options->max_connections);
	http->handler = handler;
	http->context = context;
	http->deadlines[DEADLINE_REQUEST].duration_ms = options->request_timeout_ms;
	http->deadlines[DEADLINE_IDLE].duration_ms = options->idle_timeout_ms;
	http->deadlines[DEADLINE_LINGER].duration_ms = LINGER_MS;
	http->listen_fd = listen_on(options);
	if (http->listen_fd < 0)
	{
		free(http);
		return NULL;
	}
	http->port = bound_port(http->listen_fd);
	http->daemon = start_daemon(http);
	if (http->daemon == NULL)
	{
		fail("libmicrohttpd", options, http->listen_fd);
		free(http);
		return NULL;
	}
	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	loop_hook_add(loop, &http->hook, on_turn, http);
	if (info == NULL || !loop_io_start(loop, &http->io, info->listen_fd, LOOP_READ, on_ready, http))
	{
		fail("epoll", options, -1);
		http_free(http);
		return NULL;
	}
	http->ready = true;
	return http;
}

int
http_port(const Http *http)
{
	return http->port;
}

void
http_stats(const Http *http, HttpStats *stats)
{
	*stats = http->stats;
}

static void
hang_up_between_requests(Http *http)
{
	for (int i = 0; i < DEADLINE_COUNT; i++)
		for (Connection *c = http->deadlines[i].head; c != NULL; c = c->next)
			if (c->refusal_sent || (framing_is_idle(&c->framing) && !has_earlier_requests(c)))
				shutdown(c->fd, SHUT_RDWR);
}

void
http_drain(Http *http, LoopHandler drained, void *context)
{
	MHD_socket	listener;

	if (http->draining)
		return;
	http->draining = true;
	http->drained = drained;
	http->drained_context = context;
	listener = MHD_quiesce_daemon(http->daemon);
	if (listener != MHD_INVALID_SOCKET)
		close(listener);
	http->listen_fd = -1;
	hang_up_between_requests(http);
	http->ready = true;
	loop_again(http->loop);
}

/* libmicrohttpd aborts when it is stopped with connections suspended. */
static void
wake_all(Http *http)
{
	for (int i = 0; i < DEADLINE_COUNT; i++)
		for (Connection *c = http->deadlines[i].head; c != NULL; c = c->next)
			if (c->phase == PHASE_WAITING)
				send_response(c, 0, NULL);
}

void
http_free(Http *http)
{
	if (http == NULL)
		return;
	wake_all(http);
	loop_io_stop(http->loop, &http->io);
	loop_hook_remove(http->loop, &http->hook);
	MHD_stop_daemon(http->daemon);
	loop_timer_stop(http->loop, &http->sweep);
	free(http);
}
