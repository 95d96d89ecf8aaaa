/*
 * receiver.c: the publisher's server of the delivery benchmark.
 *
 * Answers every request on keep-alive connections with 200 and a short body,
 * from one thread, as fast as it can: it must not be the bottleneck.  Knows
 * just enough HTTP for that: the end of the head and Content-Length.
 *
 * GET /-/stats answers "COUNT FIRST LAST": the requests counted since the last
 * such call, and when the first and the last one of them came, in microseconds
 * of the wall clock.  GET /-/count answers COUNT and goes on counting.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
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

typedef struct Connection
{
	int			fd;
	size_t		len;
	char		data[REQUEST_MAX];
} Connection;

static uint64_t count;
static uint64_t first_us;
static uint64_t last_us;

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

/* false when the connection is of no more use */
static bool
answer(Connection *c)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK";
	char		text[256];
	char		body[128];
	int			body_len;
	int			len;

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
		return send(c->fd, ok, sizeof(ok) - 1, MSG_NOSIGNAL) == (ssize_t) sizeof(ok) - 1;
	}
	len = snprintf(text, sizeof(text),
				   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", body_len, body);
	return send(c->fd, text, (size_t) len, MSG_NOSIGNAL) == len;
}

static void
serve(Connection *c)
{
	size_t		used;
	ssize_t		n = recv(c->fd, c->data + c->len, REQUEST_MAX - c->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
	{
		drop(c);
		return;
	}
	c->len += (size_t) n;
	while ((used = whole_request(c)) > 0)
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
take_connection(int listener, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN};
	int			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int			on = 1;
	Connection *c;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c = malloc(sizeof(*c));
	if (c == NULL)
		die("out of memory");
	c->fd = fd;
	c->len = 0;
	event.data.ptr = c;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		die("could not watch a connection");
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			epoll = epoll_create1(EPOLL_CLOEXEC);
	int			on = 1;

	if (argc != 2)
	{
		fputs("receiver PORT\n", stderr);
		return 1;
	}
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
				take_connection(listener, epoll);
			else
				serve(events[i].data.ptr);
		}
	}
}
