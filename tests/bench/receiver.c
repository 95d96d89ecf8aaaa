/*
 * receiver.c: the publisher's server of the delivery benchmark and the crash test.
 *
 * Answers every request on keep-alive connections with 200 and a short body,
 * from one thread, as fast as it can: it must not be the bottleneck.  Knows
 * just enough HTTP for that: the end of the head and Content-Length.  It is to
 * be reached by any loopback address, 127.0.0.0/8.
 *
 * Paths that begin with a fault's name are those of bad servers: /hang is never
 * answered, /error is answered 500, /reset has its connection reset, /endless
 * gets a body that does not end.
 *
 * receiver PORT LOG appends a line "STATUS WEBHOOK-ID TARGET" to the file LOG
 * for each request before it is answered, and refuses one delivery in ten, when
 * it comes first, with 500.
 *
 * GET /-/stats answers "COUNT FIRST LAST": the requests answered 200 since the
 * last such call, and when the first and the last one of them came, in
 * microseconds of the wall clock.  GET /-/count answers COUNT and goes on
 * counting.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 65536
#define EVENTS_PER_WAIT 256
#define REFUSED_ROOM (1 << 22)

typedef struct Connection
{
	int			fd;
	bool		endless;
	size_t		len;
	char		data[REQUEST_MAX];
} Connection;

static int	epoll;
static uint64_t count;
static uint64_t first_us;
static uint64_t last_us;

static int	log_file = -1;
static bool refused[REFUSED_ROOM];	/* by hash of the id: two that share a place are refused once between them */

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static void
die(const char *what)
{
	fprintf(stderr, "receiver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
drop(Connection *c)
{
	close(c->fd);
	free(c);
}

/* Length of the first whole request in the buffer, or 0. */
static size_t
whole_request(Connection *c)
{
	char	   *end = memmem(c->data, c->len, "\r\n\r\n", 4);
	char	   *length;
	size_t		need;

	if (end == NULL)
		return 0;
	need = (size_t) (end - c->data) + 4;
	if (strncmp(c->data, "GET ", 4) != 0)
	{
		*end = '\0';
		length = strcasestr(c->data, "\ncontent-length:");
		*end = '\r';
		if (length != NULL)
			need += strtoull(length + 16, NULL, 10);
	}
	return c->len >= need ? need : 0;
}

static bool
is_path(const Connection *c, const char *path)
{
	const char *at = memchr(c->data, ' ', c->len);

	return at != NULL && strncmp(at + 1, path, strlen(path)) == 0;
}

/* Does what the path asks for, if it is a bad server's; false when the connection is of no more use. */
static bool
misbehave(Connection *c, bool *done)
{
	static const char error[] = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nerror";
	static const char endless[] = "HTTP/1.1 200 OK\r\n\r\n";
	struct linger reset = {.l_onoff = 1};
	int			endless_room = 65536;	/* filling megabytes would cost more than all else that is measured */
	struct epoll_event writable = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};

	*done = true;
	if (is_path(c, "/hang"))
		return true;
	if (is_path(c, "/error"))
		return send(c->fd, error, sizeof(error) - 1, MSG_NOSIGNAL) == (ssize_t) sizeof(error) - 1;
	if (is_path(c, "/reset"))
	{
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		return false;
	}
	if (is_path(c, "/endless"))
	{
		c->endless = true;
		setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &endless_room, sizeof(endless_room));
		epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &writable);
		return send(c->fd, endless, sizeof(endless) - 1, MSG_NOSIGNAL) == (ssize_t) sizeof(endless) - 1;
	}
	*done = false;
	return true;
}

/* Logs a request; returns its status. */
static int
log_request(Connection *c)
{
	char	   *end = memmem(c->data, c->len, "\r\n\r\n", 4);
	char	   *id;
	char	   *target;
	size_t		id_length;
	uint64_t	hash = UINT64_C(14695981039346656037);
	int			status = 200;

	if (log_file < 0)
		return status;
	*end = '\0';
	id = strcasestr(c->data, "\nwebhook-id: ");
	target = strchr(c->data, ' ');
	if (id == NULL || target == NULL)
		die("a request without webhook-id");
	id += 13;
	target++;
	id_length = strcspn(id, "\r");
	for (size_t i = 0; i < id_length; i++)
		hash = (hash ^ (unsigned char) id[i]) * UINT64_C(1099511628211);
	if (hash % 10 == 0 && !refused[hash / 10 % REFUSED_ROOM])
	{
		refused[hash / 10 % REFUSED_ROOM] = true;
		status = 500;
	}
	if (dprintf(log_file, "%d %.*s %.*s\n", status, (int) id_length, id, (int) strcspn(target, " "), target) < 0)
		die("could not write the log");
	*end = '\r';
	return status;
}

/* false when the connection is of no more use */
static bool
answer(Connection *c)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK";
	static const char no[] = "HTTP/1.1 500 No\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nNo";
	char		text[256];
	char		body[128];
	int			body_len;
	int			len;
	bool		done;

	if (!misbehave(c, &done))
		return false;
	if (done)
		return true;
	if (strncmp(c->data, "GET /-/stats ", 13) == 0)
	{
		body_len = snprintf(body, sizeof(body), "%" PRIu64 " %" PRIu64 " %" PRIu64, count, first_us, last_us);
		count = first_us = last_us = 0;
	}
	else if (strncmp(c->data, "GET /-/count ", 13) == 0)
		body_len = snprintf(body, sizeof(body), "%" PRIu64, count);
	else
	{
		last_us = now_us();
		if (count++ == 0)
			first_us = last_us;
		return send(c->fd, log_request(c) == 200 ? ok : no, sizeof(ok) - 1, MSG_NOSIGNAL) == (ssize_t) sizeof(ok) - 1;
	}
	len = snprintf(text, sizeof(text),
				   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", body_len, body);
	return send(c->fd, text, (size_t) len, MSG_NOSIGNAL) == len;
}

/* Writes as much of an endless body as the socket takes; false when the connection has ended. */
static bool
write_endless(Connection *c)
{
	static const char block[16384];
	ssize_t		n;

	while ((n = send(c->fd, block, sizeof(block), MSG_NOSIGNAL)) > 0)
		;
	return n < 0 && errno == EAGAIN;
}

static void
serve(Connection *c)
{
	size_t		used;
	ssize_t		n;

	if (c->endless && !write_endless(c))
	{
		drop(c);
		return;
	}
	n = recv(c->fd, c->data + c->len, REQUEST_MAX - c->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
	{
		drop(c);
		return;
	}
	c->len += (size_t) n;
	while (!c->endless && (used = whole_request(c)) > 0)
	{
		if (!answer(c))
		{
			drop(c);
			return;
		}
		c->len -= used;
		if (c->len > 0)
			memmove(c->data, c->data + used, c->len);
	}
	if (c->len == REQUEST_MAX)
	{
		fprintf(stderr, "receiver: request longer than %d bytes\n", REQUEST_MAX);
		drop(c);
	}
}

static void
take_connection(int listener)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct sockaddr_in peer;
	socklen_t	peer_len = sizeof(peer);
	int			fd = accept4(listener, (struct sockaddr *) &peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int			on = 1;
	Connection *c;

	if (fd < 0)
		return;
	if (ntohl(peer.sin_addr.s_addr) >> 24 != 127)
	{
		close(fd);				/* no business of anybody outside */
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c = malloc(sizeof(*c));
	if (c == NULL)
		die("out of memory");
	c->fd = fd;
	c->endless = false;
	c->len = 0;
	event.data.ptr = c;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("could not watch a connection");
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			on = 1;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (argc != 2 && argc != 3)
	{
		fputs("receiver PORT [LOG]\n", stderr);
		return 1;
	}
	if (argc == 3 && (log_file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
		die("could not open the log");
	address.sin_port = htons((uint16_t) atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(listener, 1024) != 0)
		die("could not listen");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
		die("could not watch the listening socket");

	for (;;)
	{
		struct epoll_event events[EVENTS_PER_WAIT];
		int			n = epoll_wait(epoll, events, EVENTS_PER_WAIT, -1);

		if (n < 0 && errno != EINTR)
			die("could not wait");
		for (int i = 0; i < n; i++)
		{
			if (events[i].data.ptr == NULL)
				take_connection(listener);
			else
				serve(events[i].data.ptr);
		}
	}
}
