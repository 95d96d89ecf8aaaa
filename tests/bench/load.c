/*
 * load.c: HTTP load on one address from one thread.
 *
 * Keeps a fixed number of keep-alive connections busy with one request each,
 * reads every answer to its end and counts it.  With --pace N it sends N
 * requests per second instead, whatever the answers do, over as many of the
 * connections as that takes; latencies count from when a request was to be
 * sent, so that a server that makes callers wait shows.  It knows about HTTP/1.1 answers
 * with a Content-Length and nothing about postback.  Every answer that has not
 * the expected status, and every broken connection, ends the run with exit code
 * 1 and the offending answer on stderr: a measured rate is a rate of successes.
 *
 * In --path and --body, {n} is a number that is used once (counting from --from)
 * and {id} a line of the --ids file, used in turn.  With --body the requests are POSTs of a form.
 *
 * It runs for some time, or (--requests) until so many have been answered.  Prints
 * one line of name=value: answered and next concern the whole run with
 * its warm-up (next is the first number that was not used), the rest only the
 * measured seconds, which begin after the warm-up, with the first answer at the
 * earliest; with --requests all of it is measured.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 16384
#define ANSWER_HEAD_MAX 16384
#define EVENTS_PER_WAIT 256
#define STALL_SECONDS 15

/* Latencies up to this many microseconds are counted exactly. */
#define LATENCY_LIMIT 1000000

typedef struct Connection
{
	int			fd;
	uint64_t	sent_at;		/* microseconds, when it was to be sent; 0 = idle */
	struct Connection *next_idle;	/* with --pace */
	size_t		request_len;
	size_t		request_done;	/* bytes of the request written so far */
	size_t		head_len;		/* bytes of the answer gathered in head */
	size_t		body_left;
	bool		in_body;
	char		request[REQUEST_MAX];
	char		head[ANSWER_HEAD_MAX];
} Connection;

/* What the command line says. */
static const char *host = "127.0.0.1";
static int	port = 0;
static int	connections = 64;
static double seconds = 5.0;
static double warmup = 1.0;
static double pace = 0;			/* requests per second; 0 = as fast as answers come */
static uint64_t requests = 0;	/* 0: for so many seconds */
static const char *path = "/";
static const char *body = NULL;
static uint64_t next_number = 1;
static int	expected_status = 200;

/* Lines of the --ids file. */
static char *id_text;
static const char **ids;
static size_t id_count;
static size_t id_next;

/* Counts. */
static uint64_t started;
static uint64_t answered;
static uint64_t measured;
static double measured_seconds;
static uint32_t latency_counts[LATENCY_LIMIT + 1];
static uint64_t latency_max;
static size_t busy;

/* Connections that wait for their turn, with --pace: longest idle first, so that none is idle for so long that the server closes it. */
static Connection *idle;
static Connection **idle_end = &idle;

static void die(const char *format,...) __attribute__((noreturn, format(printf, 1, 2)));

static void
die(const char *format,...)
{
	va_list		args;

	fputs("load: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static void
read_ids(const char *name)
{
	FILE	   *file = fopen(name, "r");
	struct stat st;
	size_t		size;
	size_t		lines = 0;

	if (file == NULL || fstat(fileno(file), &st) != 0)
		die("could not open \"%s\": %s", name, strerror(errno));
	size = (size_t) st.st_size;
	id_text = malloc(size + 1);
	if (id_text == NULL || fread(id_text, 1, size, file) != size)
		die("could not read \"%s\"", name);
	id_text[size] = '\0';
	fclose(file);

	for (size_t i = 0; i < size; i++)
		lines += id_text[i] == '\n';
	ids = malloc((lines + 1) * sizeof(*ids));
	if (ids == NULL)
		die("out of memory");
	for (char *line = strtok(id_text, "\n"); line != NULL; line = strtok(NULL, "\n"))
		ids[id_count++] = line;
	if (id_count == 0)
		die("\"%s\" is empty", name);
}

static size_t
append(char *to, size_t len, const char *text, size_t text_len)
{
	if (len + text_len > REQUEST_MAX)
		die("request too long");
	memcpy(to + len, text, text_len);
	return len + text_len;
}

/* Appends the template with what stands for {n} and {id}. */
static size_t
expand(char *to, size_t len, const char *template, const char *id)
{
	char		number[24];

	for (const char *p = template; *p != '\0';)
	{
		if (strncmp(p, "{n}", 3) == 0)
		{
			len = append(to, len, number, (size_t) snprintf(number, sizeof(number), "%" PRIu64, next_number));
			p += 3;
		}
		else if (strncmp(p, "{id}", 4) == 0)
		{
			if (id == NULL)
				die("{id} needs --ids");
			len = append(to, len, id, strlen(id));
			p += 4;
		}
		else
			len = append(to, len, p++, 1);
	}
	return len;
}

/* Writes the next request into the connection's buffer. */
static void
make_request(Connection *c)
{
	char		text[REQUEST_MAX];
	const char *id = id_count == 0 ? NULL : ids[id_next];
	size_t		len = append(c->request, 0, body == NULL ? "GET " : "POST ", body == NULL ? 4 : 5);
	int			n;

	len = expand(c->request, len, path, id);
	n = snprintf(text, sizeof(text), " HTTP/1.1\r\nHost: %s:%d\r\n", host, port);
	len = append(c->request, len, text, (size_t) n);
	if (body != NULL)
	{
		size_t		body_len = expand(text, 0, body, id);
		char		field[128];

		n = snprintf(field, sizeof(field), "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n",
					 body_len);
		len = append(c->request, len, field, (size_t) n);
		len = append(c->request, len, text, body_len);
	}
	else
		len = append(c->request, len, "\r\n", 2);
	if (id_count > 0)
		id_next = (id_next + 1) % id_count;
	next_number++;
	c->request_len = len;
	c->request_done = 0;
}

static void
send_request(Connection *c)
{
	while (c->request_done < c->request_len)
	{
		ssize_t		n = send(c->fd, c->request + c->request_done,
							 c->request_len - c->request_done, MSG_NOSIGNAL);

		if (n > 0)
			c->request_done += (size_t) n;
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno == EAGAIN)
			return;				/* EPOLLOUT is always asked for, edge-triggered */
		else
			die("could not send: %s", strerror(errno));
	}
}

static void
start_request(Connection *c, uint64_t at)
{
	make_request(c);
	c->head_len = 0;
	c->in_body = false;
	c->sent_at = at;
	busy++;
	started++;
	send_request(c);
}

/*
 * The value of Content-Length in a complete head.  An answer without one could
 * only be read to the end of the connection, which is an error here.
 */
static size_t
content_length(const char *head, const char *end)
{
	static const char name[] = "content-length:";
	const size_t name_len = sizeof(name) - 1;

	for (const char *line = memchr(head, '\n', (size_t) (end - head));
		 line != NULL && (size_t) (end - ++line) > name_len;
		 line = memchr(line, '\n', (size_t) (end - line)))
	{
		if (strncasecmp(line, name, name_len) == 0)
			return (size_t) strtoull(line + name_len, NULL, 10);
	}
	die("answer without Content-Length:\n%.*s", (int) (end - head), head);
}

static void
put_idle(Connection *c)
{
	c->next_idle = NULL;
	*idle_end = c;
	idle_end = &c->next_idle;
}

/* Counts an answer that has been read to its end; at is when. */
static void
finish_request(Connection *c, uint64_t at, uint64_t measure_from, uint64_t stop_at)
{
	uint64_t	latency = at - c->sent_at;

	answered++;
	busy--;
	c->sent_at = 0;
	if (at >= measure_from && at < stop_at)
	{
		measured++;
		latency_counts[latency < LATENCY_LIMIT ? latency : LATENCY_LIMIT]++;
		if (latency > latency_max)
			latency_max = latency;
	}
	if (pace > 0)
		put_idle(c);
	else if (at < stop_at && (requests == 0 || started < requests))
		start_request(c, now_us());
}

/* Takes len bytes of an answer; true when that completes it. */
static bool
take_bytes(Connection *c, size_t len)
{
	const char *end;
	const char *body;
	size_t		body_here;
	int			status;

	if (c->in_body)
	{
		if (len > c->body_left)
			die("more bytes than Content-Length says");
		c->body_left -= len;
		return c->body_left == 0;
	}

	c->head_len += len;
	end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
	if (end == NULL)
	{
		if (c->head_len == ANSWER_HEAD_MAX)
			die("head of answer longer than %d bytes", ANSWER_HEAD_MAX);
		return false;
	}
	body = end + 4;
	body_here = c->head_len - (size_t) (body - c->head);
	status = c->head_len > 12 && strncmp(c->head, "HTTP/1.1 ", 9) == 0 ? atoi(c->head + 9) : 0;
	if (status != expected_status)
		die("expected status %d, was answered:\n%.*s\nto: %.*s", expected_status,
			(int) c->head_len, c->head, (int) c->request_len, c->request);
	c->body_left = content_length(c->head, end + 2);
	if (body_here > c->body_left)
		die("more bytes than Content-Length says");
	c->body_left -= body_here;
	c->in_body = true;
	return c->body_left == 0;
}

/* Reads what has come; true when an answer is complete. */
static bool
read_answer(Connection *c)
{
	char		scrap[ANSWER_HEAD_MAX];

	for (;;)
	{
		char	   *to = c->in_body ? scrap : c->head + c->head_len;
		size_t		room = c->in_body ? sizeof(scrap) : ANSWER_HEAD_MAX - c->head_len;
		ssize_t		n = recv(c->fd, to, room, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0)
			die("could not receive: %s", strerror(errno));
		if (n == 0)
			die("connection closed by the server after %" PRIu64 " answers", answered);
		if (c->sent_at == 0)
			die("answer without a request");
		if (take_bytes(c, (size_t) n))
			return true;
	}
}

/* As many connections as the machine allows, whatever the shell's limit of open files. */
static void
allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void
open_connection(Connection *c, int epoll)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
	int			on = 1;

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		die("\"%s\" is not an IPv4 address", host);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *) &address, sizeof(address)) != 0)
		die("could not connect to %s:%d: %s", host, port, strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
		die("could not watch a connection: %s", strerror(errno));
}

/* The latency that share of all measured answers did not exceed. */
static uint64_t
percentile(double share)
{
	uint64_t	rank = (uint64_t) ((double) measured * share);
	uint64_t	seen = 0;

	for (uint64_t us = 0; us < LATENCY_LIMIT; us++)
	{
		seen += latency_counts[us];
		if (seen > rank)
			return us;
	}
	return latency_max;
}

/*
 * With --pace: sends what is due, as far as there are connections, and returns
 * when the next request is due; *number counts them.
 */
static uint64_t
send_due(uint64_t *number, uint64_t start, uint64_t stop_at)
{
	uint64_t	now = now_us();

	for (;;)
	{
		uint64_t	due = start + (uint64_t) ((double) *number * 1e6 / pace);
		Connection *c = idle;

		if (due >= stop_at)
			return UINT64_MAX;
		if (due > now || c == NULL)
			return due;
		idle = c->next_idle;
		if (idle == NULL)
			idle_end = &idle;
		start_request(c, due);
		(*number)++;
	}
}

static int
wait_events(int epoll, struct epoll_event *events, uint64_t until)
{
	uint64_t	now = now_us();
	uint64_t	us = until <= now ? 0 : until - now;
	struct timespec timeout;

	if (us > 1000000 || (pace > 0 && idle == NULL))
		us = 1000000;
	timeout = (struct timespec) {.tv_sec = (time_t) (us / 1000000), .tv_nsec = (long) (us % 1000000) * 1000};
	return epoll_pwait2(epoll, events, EVENTS_PER_WAIT, &timeout, NULL);
}

static void
run(void)
{
	Connection *all = calloc((size_t) connections, sizeof(Connection));
	int			epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t	paced = 0;
	uint64_t	next_due = UINT64_MAX;
	uint64_t	start;
	uint64_t	measure_from;
	uint64_t	stop_at;
	uint64_t	moved_at;		/* when an answer last came */

	if (all == NULL || epoll < 0)
		die("could not start: %s", strerror(errno));
	for (int i = 0; i < connections; i++)
		open_connection(&all[i], epoll);

	start = now_us();
	measure_from = requests > 0 ? start : start + (uint64_t) (warmup * 1e6);
	stop_at = requests > 0 ? UINT64_MAX : measure_from + (uint64_t) (seconds * 1e6);
	moved_at = start;
	for (int i = 0; i < connections; i++)
	{
		if (pace > 0)
		{
			put_idle(&all[i]);
		}
		else if (requests == 0 || started < requests)
			start_request(&all[i], now_us());
	}
	if (pace > 0)
		next_due = send_due(&paced, start, stop_at);

	while (busy > 0 || next_due != UINT64_MAX)
	{
		struct epoll_event events[EVENTS_PER_WAIT];
		int			n = wait_events(epoll, events, next_due);

		if (n < 0 && errno != EINTR)
			die("could not wait: %s", strerror(errno));
		for (int i = 0; i < n; i++)
		{
			Connection *c = events[i].data.ptr;

			if ((events[i].events & EPOLLOUT) && c->sent_at != 0)
				send_request(c);
			if ((events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && read_answer(c))
			{
				moved_at = now_us();
				if (requests == 0 && answered == 0 && moved_at > measure_from)
				{
					measure_from = moved_at;	/* a server that has only just begun: what is measured is its rate */
					stop_at = measure_from + (uint64_t) (seconds * 1e6);
				}
				finish_request(c, moved_at, measure_from, stop_at);
			}
		}
		if (pace > 0)
			next_due = send_due(&paced, start, stop_at);
		if (busy == 0)
			moved_at = now_us();
		if (now_us() > moved_at + STALL_SECONDS * 1000000ULL)
			die("%zu requests without an answer for %d seconds", busy, STALL_SECONDS);
	}
	measured_seconds = requests > 0 ? (double) (now_us() - start) / 1e6 : seconds;
	free(all);
}

static void
usage(FILE *to)
{
	fputs("load --port N [--host 127.0.0.1] [--connections 64] [--warmup 1.0] [--seconds 5.0]\n"
		  "     [--pace N] [--requests N] [--path /...{n}...{id}...] [--body ...{n}...{id}...]\n"
		  "     [--ids FILE] [--from 1] [--expect 200]\n", to);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"host", required_argument, NULL, 'h'},
		{"port", required_argument, NULL, 'p'},
		{"connections", required_argument, NULL, 'c'},
		{"seconds", required_argument, NULL, 's'},
		{"warmup", required_argument, NULL, 'w'},
		{"requests", required_argument, NULL, 'r'},
		{"path", required_argument, NULL, 'u'},
		{"body", required_argument, NULL, 'b'},
		{"ids", required_argument, NULL, 'i'},
		{"from", required_argument, NULL, 'f'},
		{"expect", required_argument, NULL, 'e'},
		{"pace", required_argument, NULL, 'a'},
		{"help", no_argument, NULL, '?'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'h':
				host = optarg;
				break;
			case 'p':
				port = atoi(optarg);
				break;
			case 'c':
				connections = atoi(optarg);
				break;
			case 's':
				seconds = atof(optarg);
				break;
			case 'w':
				warmup = atof(optarg);
				break;
			case 'r':
				requests = strtoull(optarg, NULL, 10);
				break;
			case 'u':
				path = optarg;
				break;
			case 'b':
				body = optarg;
				break;
			case 'i':
				read_ids(optarg);
				break;
			case 'f':
				next_number = strtoull(optarg, NULL, 10);
				break;
			case 'e':
				expected_status = atoi(optarg);
				break;
			case 'a':
				pace = atof(optarg);
				break;
			default:
				usage(stderr);
				return 1;
		}
	}
	if (port < 1 || port > 65535 || connections < 1 || seconds <= 0 || warmup < 0 || pace < 0 || optind < argc)
	{
		usage(stderr);
		return 1;
	}
	if (id_count > 0)
		id_next = next_number % id_count;
	allow_descriptors();

	run();
	if (measured == 0)
		die("no answer within the measured %.1f seconds", measured_seconds);
	printf("answered=%" PRIu64 " next=%" PRIu64 " measured=%" PRIu64
		   " rate=%.1f p50_us=%" PRIu64 " p99_us=%" PRIu64 " max_us=%" PRIu64 "\n",
		   answered, next_number, measured, (double) measured / measured_seconds,
		   percentile(0.50), percentile(0.99), latency_max);
	return 0;
}
