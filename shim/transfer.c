/*
 * transfer.c: HTTP requests with libcurl's multi socket interface.
 *
 * Easy handles are made once and used again; what never varies is set when
 * one is made.  At the end of each transfer libcurl walks the kept connections
 * of its multi handle: there are several, each with hosts of its own.
 * CURLOPT_CONNECT_TO names the checked address, so libcurl
 * resolves nothing and matches kept connections by address as well as by host.
 * Callbacks of libcurl only take notes: handlers of users run after
 * curl_multi_socket_action has returned.
 */
#include "transfer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "hash.h"
#include "log.h"

/* Multi handles among which the hosts are shared out. */
#define POOLS 8

/* A buffer that one large request grew is given back beyond this. */
#define TEXT_KEEP 16384

/* A few bytes more, so that whoever cuts the text can see where a character ends. */
#define TRANSFER_KEEP_ROOM (TRANSFER_KEEP_LIMIT + 3)

/* A multi handle with the connections to its hosts. */
typedef struct Pool
{
	Transfers  *transfers;
	CURLM	   *multi;
	LoopTimer	timer;
} Pool;

typedef struct Transfer
{
	struct Transfer *next;		/* in idle or all */
	struct Transfer *next_made;
	Transfers  *transfers;
	Pool	   *pool;			/* of the request's host */
	CURL	   *easy;
	TransferHandler handler;
	void	   *context;

	/* the request */
	char	   *text;			/* URL, target and headers, each with a NUL */
	size_t		text_cap;
	struct curl_slist headers[TRANSFER_HEADER_LIMIT + 1];
	struct curl_slist connect_to;
	char		connect_to_text[GUARD_ADDRESS_ROOM + 16];
	uint16_t	port;
	int64_t		due_ms;			/* when it must have ended */
	int64_t		connect_due_ms; /* when it must have connected */
	PbAddress	addresses[TRANSFER_ADDRESS_LIMIT];
	size_t		address_count;
	size_t		address_at;		/* the one being tried */

	/* the response */
	bool		forbidden;		/* the guard said no */
	bool		shortage;		/* no socket for it */
	bool		too_late;		/* its time was up before anything was sent */
	bool		enough;			/* the read limit was reached */
	bool		header_too_long;
	size_t		header_len;
	size_t		body_len;
	size_t		kept;
	char		body[TRANSFER_KEEP_ROOM];
	char		error[CURL_ERROR_SIZE];
} Transfer;

typedef struct TransferSocket
{
	Pool	   *pool;			/* whose connection has it now */
	LoopIo		io;
} TransferSocket;

struct Transfers
{
	Loop	   *loop;
	Guard	   *guard;
	const char *user_agent;
	Pool		pools[POOLS];
	Transfer   *idle;
	Transfer   *made;			/* all there are, for the end */
	TransferSocket **sockets;	/* by descriptor; made once per number */
	int			socket_cap;
};

static void act(Pool *pool, curl_socket_t fd, int events);

/* ---- libcurl's sockets and timer in the loop ---- */

static void
on_socket_ready(void *context, unsigned ready)
{
	TransferSocket *socket = context;
	int			events = ((ready & LOOP_READ) ? CURL_CSELECT_IN : 0) | ((ready & LOOP_WRITE) ? CURL_CSELECT_OUT : 0);

	act(socket->pool, socket->io.fd, events);
}

static TransferSocket *
get_socket(Transfers *transfers, int fd)
{
	if (fd >= transfers->socket_cap)
	{
		int			cap = fd + 64;
		TransferSocket **grown = realloc(transfers->sockets, (size_t) cap * sizeof(*grown));

		if (grown == NULL)
			return NULL;
		memset(grown + transfers->socket_cap, 0, (size_t) (cap - transfers->socket_cap) * sizeof(*grown));
		transfers->sockets = grown;
		transfers->socket_cap = cap;
	}
	if (transfers->sockets[fd] == NULL)
		transfers->sockets[fd] = calloc(1, sizeof(TransferSocket));
	return transfers->sockets[fd];
}

static int
on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	Pool	   *pool = context;
	Transfers  *transfers = pool->transfers;
	TransferSocket *socket = get_socket(transfers, fd);
	unsigned	interest = ((what & CURL_POLL_IN) ? LOOP_READ : 0) | ((what & CURL_POLL_OUT) ? LOOP_WRITE : 0);

	(void) easy;
	(void) socket_context;
	if (socket != NULL)
		socket->pool = pool;
	if (socket != NULL && what == CURL_POLL_REMOVE)
		loop_io_stop(transfers->loop, &socket->io);
	else if (socket != NULL && socket->io.active)
		loop_io_change(transfers->loop, &socket->io, interest);
	else if (socket == NULL || !loop_io_start(transfers->loop, &socket->io, fd, interest, on_socket_ready, socket))
		log_error("cannot watch a connection: its request may end by its time limit only");
	return 0;					/* anything else would end all transfers, for good */
}

static void
on_timer(void *context)
{
	act(context, CURL_SOCKET_TIMEOUT, 0);
}

static int
on_timer_wanted(CURLM *multi, long timeout_ms, void *context)
{
	Pool	   *pool = context;

	(void) multi;
	if (timeout_ms < 0)
		loop_timer_stop(pool->transfers->loop, &pool->timer);
	else
		loop_timer_set(pool->transfers->loop, &pool->timer, timeout_ms, on_timer, pool);
	return 0;
}

/* ---- libcurl's questions about a transfer ---- */

static bool
same_address(const PbAddress *a, const PbAddress *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

static bool
sockaddr_address(const struct sockaddr *sa, PbAddress *address)
{
	*address = (PbAddress) {0};
	if (sa->sa_family == AF_INET)
	{
		address->family = 4;
		memcpy(address->bytes, &((const struct sockaddr_in *) (const void *) sa)->sin_addr, 4);
	}
	else if (sa->sa_family == AF_INET6)
	{
		address->family = 6;
		memcpy(address->bytes, &((const struct sockaddr_in6 *) (const void *) sa)->sin6_addr, 16);
	}
	return address->family != 0;
}

/* Is it the address that this transfer was given for, and may it still be connected to? */
static bool
address_agrees(const Transfer *transfer, const PbAddress *address)
{
	return same_address(address, &transfer->addresses[transfer->address_at]) &&
		guard_address(transfer->transfers->guard, address, transfer->port);
}

static curl_socket_t
on_open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *where)
{
	Transfer   *transfer = context;
	PbAddress	address;
	int			room = TRANSFER_READ_LIMIT;
	int			fd;

	if (purpose != CURLSOCKTYPE_IPCXN || !sockaddr_address(&where->addr, &address) ||
		!address_agrees(transfer, &address))
	{
		transfer->forbidden = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(where->family, where->socktype | SOCK_CLOEXEC, where->protocol);
	/* Else the kernel takes megabytes of an endless response before we close the connection. */
	if (fd < 0)
		transfer->shortage = loop_is_shortage(errno);
	else
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return fd;
}

/*
 * Before each request, on new connections and kept ones.  libcurl counts the time from when it came to the transfer,
 * which is later than we do where the loop was held up; the time may be a lease's, after which nothing may be sent.
 */
static int
on_before_request(void *context, char *peer, char *local, int peer_port, int local_port)
{
	Transfer   *transfer = context;
	PbAddress	address;

	(void) local;
	(void) local_port;
	if (loop_now_us() / 1000 >= transfer->due_ms)
	{
		transfer->too_late = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (peer_port == transfer->port && pb_address_parse(pb_slice(peer), &address) &&
		address_agrees(transfer, &address))
		return CURL_PREREQFUNC_OK;
	transfer->forbidden = true;
	return CURL_PREREQFUNC_ABORT;
}

static size_t
on_header(char *data, size_t size, size_t count, void *context)
{
	Transfer   *transfer = context;

	(void) data;
	transfer->header_len += size * count;
	if (transfer->header_len <= TRANSFER_READ_LIMIT)
		return size * count;
	transfer->header_too_long = true;
	return 0;
}

static size_t
on_body(char *data, size_t size, size_t count, void *context)
{
	Transfer   *transfer = context;
	size_t		len = size * count;
	size_t		room = TRANSFER_KEEP_ROOM - transfer->kept;
	size_t		keep = len < room ? len : room;

	memcpy(transfer->body + transfer->kept, data, keep);
	transfer->kept += keep;
	transfer->body_len += len;
	if (transfer->body_len <= TRANSFER_READ_LIMIT)
		return len;
	transfer->enough = true;	/* returning another number ends the transfer and its connection */
	return 0;
}

/* ---- making ---- */

/* Options that are the same for every request. */
static bool
set_up(Transfer *transfer)
{
	CURL	   *easy = transfer->easy;
	const char *trusted = getenv("SSL_CERT_FILE");
	CURLcode	bad = CURLE_OK;

#define SET(option, value) (bad = bad != CURLE_OK ? bad : curl_easy_setopt(easy, option, value))
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_CAPATH, NULL);	/* or libcurl would read the certificates anew for each connection */
	if (trusted != NULL && trusted[0] != '\0')
		SET(CURLOPT_CAINFO, trusted);
	SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);	/* addresses only: kept, they would be looked through at each end of a transfer */
	SET(CURLOPT_USERAGENT, transfer->transfers->user_agent);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_PREREQFUNCTION, on_before_request);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, transfer);
#undef SET
	return bad == CURLE_OK;
}

static Transfer *
make_transfer(Transfers *transfers)
{
	Transfer   *transfer = calloc(1, sizeof(*transfer));

	if (transfer == NULL)
		return NULL;
	transfer->transfers = transfers;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !set_up(transfer))
	{
		if (transfer->easy != NULL)
			curl_easy_cleanup(transfer->easy);
		free(transfer);
		return NULL;
	}
	transfer->next_made = transfers->made;
	transfers->made = transfer;
	return transfer;
}

static bool
make_pool(Transfers *transfers, Pool *pool, int connections)
{
	pool->transfers = transfers;
	pool->multi = curl_multi_init();
	return pool->multi != NULL &&
		curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted) == CURLM_OK &&
		curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool) == CURLM_OK &&
		curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted) == CURLM_OK &&
		curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool) == CURLM_OK &&
		curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long) connections) == CURLM_OK;
}

Transfers *
transfers_new(Loop *loop, Guard *guard, int connections, const char *user_agent)
{
	Transfers  *transfers;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return NULL;
	transfers = calloc(1, sizeof(*transfers));
	if (transfers == NULL)
	{
		curl_global_cleanup();
		return NULL;
	}
	transfers->loop = loop;
	transfers->guard = guard;
	transfers->user_agent = user_agent;
	for (int i = 0; i < POOLS; i++)
		if (!make_pool(transfers, &transfers->pools[i], connections / POOLS > 0 ? connections / POOLS : 1))
		{
			transfers_free(transfers);
			return NULL;
		}
	return transfers;
}

void
transfers_free(Transfers *transfers)
{
	if (transfers == NULL)
		return;
	while (transfers->made != NULL)
	{
		Transfer   *transfer = transfers->made;

		transfers->made = transfer->next_made;
		if (transfer->pool != NULL)
			curl_multi_remove_handle(transfer->pool->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
		free(transfer->text);
		free(transfer);
	}
	for (int i = 0; i < POOLS; i++)
	{
		if (transfers->pools[i].multi != NULL)
			curl_multi_cleanup(transfers->pools[i].multi);
		loop_timer_stop(transfers->loop, &transfers->pools[i].timer);
	}
	for (int i = 0; i < transfers->socket_cap; i++)
	{
		if (transfers->sockets[i] != NULL)
			loop_io_stop(transfers->loop, &transfers->sockets[i]->io);
		free(transfers->sockets[i]);
	}
	free(transfers->sockets);
	free(transfers);
	curl_global_cleanup();
}

/* ---- the request ---- */

/* "scheme://host:port", the host in the plain form that was looked at. */
static void
out_origin(PbOut *out, const PbUrl *url)
{
	pb_out_slice(out, url->https ? PB_LITERAL("https://") : PB_LITERAL("http://"));
	if (url->host_is_v6)
		pb_out_char(out, '[');
	pb_out_slice(out, url->host);
	if (url->host_is_v6)
		pb_out_char(out, ']');
	pb_out_char(out, ':');
	pb_out_int(out, url->port);
	pb_out_char(out, '\0');
}

/* A header without a value must end in ';' for libcurl to send it at all. */
static void
out_header(PbOut *out, PbSlice header)
{
	size_t		colon = pb_slice_find(header, ':', 0);
	size_t		end = header.len;

	while (end > colon + 1 && (header.data[end - 1] == ' ' || header.data[end - 1] == '\t'))
		end--;
	pb_out_bytes(out, header.data, end == colon + 1 ? colon : header.len);
	if (end == colon + 1)
		pb_out_char(out, ';');
	pb_out_char(out, '\0');
}

/* Offsets of the texts in transfer->text. */
typedef struct TextPlan
{
	size_t		target;
	size_t		headers[TRANSFER_HEADER_LIMIT];
} TextPlan;

static size_t
out_texts(PbOut *out, const TransferRequest *request, TextPlan *plan)
{
	out_origin(out, request->url);
	plan->target = out->len;
	pb_out_slice(out, request->target);
	pb_out_char(out, '\0');
	for (size_t i = 0; i < request->header_count; i++)
	{
		plan->headers[i] = out->len;
		out_header(out, request->headers[i]);
	}
	return out->len;
}

static bool
set_texts(Transfer *transfer, const TransferRequest *request, TextPlan *plan)
{
	PbOut		out = pb_out(transfer->text, transfer->text_cap);
	size_t		need = out_texts(&out, request, plan);
	char	   *grown;

	if (need <= transfer->text_cap)
		return true;
	grown = realloc(transfer->text, need);
	if (grown == NULL)
		return false;
	transfer->text = grown;
	transfer->text_cap = need;
	out = pb_out(transfer->text, transfer->text_cap);
	out_texts(&out, request, plan);
	return true;
}

static void
set_headers(Transfer *transfer, const TransferRequest *request, const TextPlan *plan)
{
	static char no_expect[] = "Expect:";
	struct curl_slist *nodes = transfer->headers;
	size_t		count = request->header_count;

	for (size_t i = 0; i < count; i++)
		nodes[i] = (struct curl_slist) {.data = transfer->text + plan->headers[i], .next = &nodes[i + 1]};
	nodes[count] = (struct curl_slist) {.data = no_expect};
}

/* Names the address to connect to, and what time is left for it. */
static bool
set_address(Transfer *transfer)
{
	int64_t		now = loop_now_ms(transfer->transfers->loop);
	int64_t		left = transfer->due_ms - now;
	int64_t		connect_left = transfer->connect_due_ms - now;
	int64_t		shares = (int64_t) (transfer->address_count - transfer->address_at);
	const PbAddress *address = &transfer->addresses[transfer->address_at];
	char		text[GUARD_ADDRESS_ROOM];
	CURL	   *easy = transfer->easy;

	guard_address_text(address, text);
	snprintf(transfer->connect_to_text, sizeof(transfer->connect_to_text),
			 address->family == 6 ? "::[%s]:%d" : "::%s:%d", text, transfer->port);
	transfer->connect_to = (struct curl_slist) {.data = transfer->connect_to_text};
	left = left < 1 ? 1 : left;
	connect_left = connect_left / shares < 1 ? 1 : connect_left / shares;
	return curl_easy_setopt(easy, CURLOPT_CONNECT_TO, &transfer->connect_to) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) left) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) connect_left) == CURLE_OK;
}

static bool
set_method(Transfer *transfer, const TransferRequest *request)
{
	CURL	   *easy = transfer->easy;

	if (!request->post)
		return curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body.len) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.len > 0 ? request->body.data : "") == CURLE_OK;
}

static bool
set_request(Transfer *transfer, const TransferRequest *request)
{
	int64_t		now = loop_now_ms(transfer->transfers->loop);
	TextPlan	plan;

	if (!set_texts(transfer, request, &plan))
		return false;
	set_headers(transfer, request, &plan);
	transfer->port = request->url->port;
	transfer->due_ms = now + request->timeout_ms;
	transfer->connect_due_ms = now + TRANSFER_CONNECT_MS;
	transfer->address_at = 0;
	transfer->address_count = request->address_count < TRANSFER_ADDRESS_LIMIT ?
		request->address_count : TRANSFER_ADDRESS_LIMIT;
	memcpy(transfer->addresses, request->addresses, transfer->address_count * sizeof(PbAddress));
	return curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->text) == CURLE_OK &&
		curl_easy_setopt(transfer->easy, CURLOPT_REQUEST_TARGET, transfer->text + plan.target) == CURLE_OK &&
		curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
		set_method(transfer, request) && set_address(transfer);
}

static void
clear_response(Transfer *transfer)
{
	transfer->forbidden = false;
	transfer->shortage = false;
	transfer->too_late = false;
	transfer->enough = false;
	transfer->header_too_long = false;
	transfer->header_len = 0;
	transfer->body_len = 0;
	transfer->kept = 0;
	transfer->error[0] = '\0';
}

static void
put_back(Transfer *transfer)
{
	Transfers  *transfers = transfer->transfers;

	if (transfer->text_cap > TEXT_KEEP)
	{
		free(transfer->text);
		transfer->text = NULL;
		transfer->text_cap = 0;
	}
	transfer->next = transfers->idle;
	transfers->idle = transfer;
}

static Pool *
pool_of(Transfers *transfers, const PbUrl *url)
{
	return &transfers->pools[(hash_bytes(url->host.data, url->host.len) ^ url->port) % POOLS];
}

bool
transfer_start(Transfers *transfers, const TransferRequest *request, TransferHandler handler, void *context)
{
	Transfer   *transfer = transfers->idle;

	if (transfer != NULL)
		transfers->idle = transfer->next;
	else if ((transfer = make_transfer(transfers)) == NULL)
		return false;
	transfer->handler = handler;
	transfer->context = context;
	transfer->pool = pool_of(transfers, request->url);
	clear_response(transfer);
	if (!set_request(transfer, request) ||
		curl_multi_add_handle(transfer->pool->multi, transfer->easy) != CURLM_OK)
	{
		put_back(transfer);
		return false;
	}
	return true;
}

/* ---- the end of a transfer ---- */

static TransferEnd
end_of(const Transfer *transfer, CURLcode code)
{
	if (transfer->forbidden)
		return TRANSFER_BLOCKED;
	if (transfer->shortage)
		return TRANSFER_UNSENT;
	if (transfer->too_late)
		return TRANSFER_UNREACHED;
	switch (code)
	{
		case CURLE_OK:
			return TRANSFER_ANSWERED;
		case CURLE_WRITE_ERROR:
			return transfer->enough ? TRANSFER_ANSWERED : TRANSFER_FAILED;
		case CURLE_COULDNT_CONNECT:
		case CURLE_OPERATION_TIMEDOUT:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
			return TRANSFER_UNREACHED;
		default:
			return TRANSFER_FAILED;
	}
}

static const char *
error_text(const Transfer *transfer, TransferEnd end, CURLcode code)
{
	if (end == TRANSFER_ANSWERED)
		return "";
	if (end == TRANSFER_BLOCKED)
		return "the connection's address is not the one that was looked at";
	if (end == TRANSFER_UNSENT)
		return "there is no open file or memory left for a connection";
	if (transfer->too_late)
		return "its time was up before it could be sent";
	if (transfer->header_too_long)
		return "the response's header is longer than 64 KB";
	if (code == CURLE_OUT_OF_MEMORY)	/* libcurl says so of a header line that is longer than 100 KB, too */
		return "a line of the response's header is too long, or memory is short";
	return transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
}

/* Another address of the host may be there where this one was not, as long as nothing was sent. */
static bool
try_next_address(Transfer *transfer, CURLcode code)
{
	curl_off_t	connected = 0;

	if (transfer->forbidden || transfer->shortage || transfer->address_at + 1 >= transfer->address_count ||
		(code != CURLE_COULDNT_CONNECT && code != CURLE_OPERATION_TIMEDOUT))
		return false;
	curl_easy_getinfo(transfer->easy, CURLINFO_CONNECT_TIME_T, &connected);
	if (connected > 0 || transfer->due_ms <= loop_now_ms(transfer->transfers->loop))
		return false;
	transfer->address_at++;
	clear_response(transfer);
	return set_address(transfer) &&
		curl_multi_add_handle(transfer->pool->multi, transfer->easy) == CURLM_OK;
}

static void
finish(Transfer *transfer, CURLcode code)
{
	TransferResult result = {.retry_after = -1};
	curl_off_t	retry_after = 0;
	long		http_code = 0;

	curl_multi_remove_handle(transfer->pool->multi, transfer->easy);
	if (try_next_address(transfer, code))
		return;
	result.end = end_of(transfer, code);
	result.error = error_text(transfer, result.end, code);
	result.address = transfer->addresses[transfer->address_at];
	if (result.end == TRANSFER_ANSWERED)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http_code);
		curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
		result.http_code = (int) http_code;
		result.response = (PbSlice) {transfer->body, transfer->kept};
	}
	if (retry_after > 0)
		result.retry_after = retry_after > INT32_MAX ? INT32_MAX : (int) retry_after;
	transfer->handler(transfer->context, &result);
	put_back(transfer);
}

/* Tells libcurl what has happened, then hands out what has ended. */
static void
act(Pool *pool, curl_socket_t fd, int events)
{
	CURLMsg    *message;
	int			running;
	int			left;

	if (curl_multi_socket_action(pool->multi, fd, events, &running) != CURLM_OK)
		log_error("libcurl's multi interface failed");
	while ((message = curl_multi_info_read(pool->multi, &left)) != NULL)
	{
		CURLcode	code = message->data.result;
		char	   *transfer = NULL;

		if (message->msg == CURLMSG_DONE &&
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer) == CURLE_OK && transfer != NULL)
			finish((Transfer *) (void *) transfer, code);
	}
}
