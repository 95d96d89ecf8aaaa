/*
 * client.c: the brand's server of the crash test: postbacks over HTTP, and a log of what was asked and answered.
 *
 * Knows HTTP/1.1 with Content-Length and how to ask; what an answer means is the
 * checker's to judge.  What order number n asks for follows from --seed and n
 * alone: new, approved, reversed, partial, create-and-approve, follow-ups that
 * overtake their order, a fifth of all requests repeating the one before.  What
 * gets no answer, or 503, is asked again as a sender would, seven times out of
 * eight.
 *
 * The log, one line each, in the order in which things happened:
 *
 *     I ORDER STEP WHAT VALUE      about to be sent: new approved reversed partial click; value "-": none
 *     A ORDER STEP STATUS BODY     answered, other than by 503; a click: its id
 *     L ORDER STEP STATUS          no answer (0), or 503, or a redirect without a click id: may or may not have happened
 *
 * An answer counts, and what waits for it goes on, only after its line has been
 * flushed to disk.
 *
 * Prints "progress ANSWERED" every 50 ms and one line of figures at the end.
 * SIGTERM: begins no further order, finishes those begun, ends.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX 1024
#define ANSWER_MAX 8192
#define STEPS_MAX 16
#define CLICKS_MAX 1024
#define CLICK_ID_ROOM 40
#define LOG_ROOM (4 * 1024 * 1024)

#define RECONNECT_MS 20
#define ANSWER_TIMEOUT_MS 20000
#define RETRY_MIN_MS 100
#define RETRY_SPREAD_MS 700
#define PROGRESS_MS 50
#define FINISH_LIMIT_MS 120000

/* The database keeps eight follow-ups of an order that it does not know. */
#define OVERTAKING_MAX 8

typedef enum What
{
	NEW,
	APPROVED,
	REVERSED,
	PARTIAL,
	CLICK
} What;

static const char *const names[] = {"new", "approved", "reversed", "partial", "click"};

typedef enum Progress
{
	WAITING,
	IN_FLIGHT,
	ANSWERED,					/* its line is not on disk yet */
	DONE
} Progress;

typedef struct Step
{
	What		what;
	int			value;			/* -1: none */
	bool		with_previous;	/* does not wait for the one before it */
	bool		repeat;
	Progress	progress;
} Step;

typedef struct Order
{
	uint64_t	number;			/* 0: free */
	uint64_t	random;
	bool		created;		/* an answer said so */
	int			follow_ups;		/* sent before that */
	int64_t		retry_at_ms;
	char		click_id[CLICK_ID_ROOM];
	int			count;
	Step		steps[STEPS_MAX];
} Order;

typedef enum State
{
	CLOSED,
	CONNECTING,
	IDLE,
	BUSY
} State;

typedef struct Connection
{
	int			fd;
	State		state;
	int64_t		since_ms;
	Order	   *order;
	int			step;
	size_t		request_length;
	size_t		request_done;
	size_t		answer_length;
	char		request[REQUEST_MAX];
	char		answer[ANSWER_MAX];
} Connection;

/* What the command line says. */
static int	port;
static const char *token;
static const char *link_code;
static const char *log_name;
static uint64_t seed = 1;
static double rate = 2000;
static int	connection_count = 64;
static int	open_orders = 256;

static char clicks[CLICKS_MAX][CLICK_ID_ROOM];
static int	click_count;

static Connection *connections;
static Order *orders;
static uint64_t next_number = 1;
static int	epoll;
static volatile sig_atomic_t stopping;

static int	log_file;
static char log_text[LOG_ROOM];
static size_t log_length;
static bool log_has_answers;

/* Figures. */
static uint64_t requests;
static uint64_t repeats;
static uint64_t accepted;		/* 200 and 302 */
static uint64_t refused;		/* 4xx */
static uint64_t unavailable;	/* 503 */
static uint64_t lost;			/* no answer */
static uint64_t retries;

static void die(const char *format,...) __attribute__((noreturn, format(printf, 1, 2)));

static void
die(const char *format,...)
{
	va_list		args;

	fputs("client: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int
pick(uint64_t *state, int below)
{
	return (int) (next_random(state) % (uint64_t) below);
}

/* ---- the log ---- */

static void log_line(const char *format,...) __attribute__((format(printf, 1, 2)));

static void
log_line(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	log_length += (size_t) vsnprintf(log_text + log_length, LOG_ROOM - log_length, format, args);
	va_end(args);
	if (log_length >= LOG_ROOM - ANSWER_MAX)
		die("the log's buffer is full");
}

/* To disk; from then on the answers in it count. */
static void
log_flush(void)
{
	for (size_t done = 0; done < log_length;)
	{
		ssize_t		n = write(log_file, log_text + done, log_length - done);

		if (n < 0 && errno != EINTR)
			die("could not write \"%s\": %s", log_name, strerror(errno));
		done += n > 0 ? (size_t) n : 0;
	}
	log_length = 0;
	if (!log_has_answers)
		return;
	if (fdatasync(log_file) != 0)
		die("could not flush \"%s\": %s", log_name, strerror(errno));
	log_has_answers = false;
	for (int i = 0; i < open_orders; i++)
		for (int s = 0; s < orders[i].count; s++)
			if (orders[i].steps[s].progress == ANSWERED)
				orders[i].steps[s].progress = DONE;
}

/* ---- what is asked ---- */

static Step *
add_step(Order *order, What what, int value, bool with_previous)
{
	Step	   *step = &order->steps[order->count++];

	*step = (Step) {.what = what, .value = value, .with_previous = with_previous};
	return step;
}

/* A step, and one time in four a repeat of it, at the same time or after it. */
static void
ask(Order *order, What what, int value, bool with_previous)
{
	uint64_t   *random = &order->random;
	int			repeated = value;

	add_step(order, what, value, with_previous);
	if (pick(random, 4) != 0)
		return;
	/* A repeat with another value must change nothing either. */
	if (what == NEW && pick(random, 8) == 0)
		repeated++;
	add_step(order, what, repeated, pick(random, 2) == 0)->repeat = true;
}

static void
plan_order(Order *order)
{
	uint64_t   *random = &order->random;
	int			value = 1 + pick(random, 100000);
	int			lower = pick(random, value);
	int			kind = pick(random, 100);
	int			approved_value = pick(random, 4) == 0 ? value : -1;

	if (pick(random, 16) == 0)
		add_step(order, CLICK, -1, false);
	else
		strcpy(order->click_id, clicks[pick(random, click_count)]);

	if (kind < 30)
		ask(order, NEW, value, false);
	else if (kind < 42)
		ask(order, APPROVED, value, false);
	else if (kind < 58)
	{
		ask(order, NEW, value, false);
		ask(order, APPROVED, approved_value, false);
	}
	else if (kind < 68)
	{
		ask(order, NEW, value, false);
		ask(order, REVERSED, -1, false);
	}
	else if (kind < 84)
	{
		ask(order, NEW, value, false);
		ask(order, PARTIAL, lower, false);
		if (pick(random, 2) == 0)
			ask(order, PARTIAL, pick(random, lower + 2), false);
		if (pick(random, 3) != 0)
			ask(order, pick(random, 2) == 0 ? APPROVED : REVERSED, -1, false);
	}
	else if (kind < 94)
	{
		/* Overtaking: answered 404, kept, applied when the order arrives. */
		if (pick(random, 2) == 0)
			ask(order, PARTIAL, lower, false);
		ask(order, pick(random, 2) == 0 ? APPROVED : REVERSED, -1, pick(random, 2) == 0);
		ask(order, NEW, value, false);
	}
	else
	{
		/* All at the same time. */
		ask(order, NEW, value, false);
		ask(order, PARTIAL, lower, true);
		ask(order, pick(random, 2) == 0 ? APPROVED : REVERSED, -1, true);
	}
	/* Something that may well be refused. */
	if (pick(random, 10) == 0)
		ask(order, (What) (1 + pick(random, 3)), value + pick(random, 3) - 1, false);
}

static Order *
begin_order(Order *order)
{
	memset(order, 0, sizeof(*order));
	order->number = next_number++;
	order->random = seed ^ (order->number * UINT64_C(0xd1342543de82ef95));
	plan_order(order);
	return order;
}

static void
make_request(Connection *c)
{
	const Order *order = c->order;
	const Step *step = &order->steps[c->step];
	char		query[REQUEST_MAX / 2];
	int			length;

	if (step->what == CLICK)
	{
		c->request_length = (size_t) snprintf(c->request, REQUEST_MAX,
											  "GET /c/%s?sub_id=o%" PRIu64 " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
											  link_code, order->number);
		return;
	}
	length = snprintf(query, sizeof(query), "order=O-%" PRIu64 "&click_id=%s", order->number, order->click_id);
	if (step->what != NEW)
		length += snprintf(query + length, sizeof(query) - (size_t) length, "&status=%s", names[step->what]);
	if (step->value >= 0)
		length += snprintf(query + length, sizeof(query) - (size_t) length, "&value=%d", step->value);
	if ((order->number + (uint64_t) c->step) % 4 == 0)
		length = snprintf(c->request, REQUEST_MAX,
						  "POST /p/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
						  "Content-Length: %d\r\n\r\n%s", token, length, query);
	else
		length = snprintf(c->request, REQUEST_MAX, "GET /p/%s?%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", token, query);
	c->request_length = (size_t) length;
}

/* ---- connections ---- */

static void
connection_open(Connection *c)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
	int			on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->since_ms = now_ms();
	if (c->fd < 0)
		die("could not make a socket: %s", strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if ((connect(c->fd, (struct sockaddr *) &address, sizeof(address)) != 0 && errno != EINPROGRESS) ||
		epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
	{
		close(c->fd);
		return;
	}
	c->state = CONNECTING;
}

/* What was under way may or may not have happened; mostly it is asked again. */
static void
step_lost(Connection *c, int status)
{
	Order	   *order = c->order;
	Step	   *step = &order->steps[c->step];

	log_line("L %" PRIu64 " %d %d\n", order->number, c->step, status);
	if (status == 503)
		unavailable++;
	else
		lost++;
	if (step->what != CLICK && pick(&order->random, 8) == 0)
	{
		step->progress = DONE;
		return;
	}
	retries++;
	step->progress = WAITING;
	order->retry_at_ms = now_ms() + RETRY_MIN_MS + pick(&order->random, RETRY_SPREAD_MS);
}

static void
connection_close(Connection *c)
{
	if (c->state == BUSY)
		step_lost(c, 0);
	close(c->fd);
	c->state = CLOSED;
	c->since_ms = now_ms();
}

static void
connection_write(Connection *c)
{
	while (c->request_done < c->request_length)
	{
		ssize_t		n = send(c->fd, c->request + c->request_done, c->request_length - c->request_done, MSG_NOSIGNAL);

		if (n > 0)
			c->request_done += (size_t) n;
		else if (n < 0 && errno == EAGAIN)
			return;
		else if (n >= 0 || errno != EINTR)
		{
			connection_close(c);
			return;
		}
	}
}

static void
connection_send(Connection *c, Order *order, int number)
{
	Step	   *step = &order->steps[number];

	c->order = order;
	c->step = number;
	c->state = BUSY;
	c->since_ms = now_ms();
	c->request_done = c->answer_length = 0;
	step->progress = IN_FLIGHT;
	if (step->value >= 0)
		log_line("I %" PRIu64 " %d %s %d\n", order->number, number, names[step->what], step->value);
	else
		log_line("I %" PRIu64 " %d %s -\n", order->number, number, names[step->what]);
	if (!order->created && step->what != NEW && step->what != CLICK)
		order->follow_ups++;
	requests++;
	repeats += step->repeat;
	make_request(c);
	connection_write(c);
}

/* A whole answer; body is that of length bytes. */
static void
take_answer(Connection *c, int status, const char *head, const char *body, size_t length)
{
	Order	   *order = c->order;
	Step	   *step = &order->steps[c->step];
	const char *id = NULL;

	c->state = IDLE;
	if (step->what == CLICK && status == 302)
	{
		id = strstr(head, "click_id=clk_");
		if (id == NULL || id > body || strcspn(id + 9, "\r\n&") >= CLICK_ID_ROOM)
			status = 503;
		else
		{
			body = id + 9;
			length = strcspn(body, "\r\n&");
			memcpy(order->click_id, body, length);
			order->click_id[length] = '\0';
		}
	}
	if (status == 503)
	{
		step_lost(c, status);
		return;
	}
	if (status >= 400)
		refused++;
	else
		accepted++;
	if (status == 200)
		order->created = true;
	log_line("A %" PRIu64 " %d %d %.*s\n", order->number, c->step, status, (int) length, body);
	log_has_answers = true;
	step->progress = ANSWERED;
}

static void
connection_read(Connection *c)
{
	for (;;)
	{
		ssize_t		n = recv(c->fd, c->answer + c->answer_length, ANSWER_MAX - 1 - c->answer_length, 0);
		char	   *body;
		char	   *field;
		size_t		length;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || c->state != BUSY)
		{
			connection_close(c);
			return;
		}
		c->answer_length += (size_t) n;
		c->answer[c->answer_length] = '\0';
		body = strstr(c->answer, "\r\n\r\n");
		if (body == NULL)
			continue;
		field = strcasestr(c->answer, "\r\nContent-Length:");
		if (strncmp(c->answer, "HTTP/1.1 ", 9) != 0 || field == NULL || field > body)
			die("an answer that is none:\n%s", c->answer);
		length = (size_t) atoi(field + 17);
		body += 4;
		if ((size_t) (c->answer + c->answer_length - body) < length)
		{
			if (c->answer_length == ANSWER_MAX - 1)
				die("an answer that is too long:\n%s", c->answer);
			continue;
		}
		take_answer(c, atoi(c->answer + 9), c->answer, body, length);
		c->answer_length = 0;
	}
}

static void
connection_event(Connection *c, uint32_t events)
{
	if (c->state == CLOSED)
		return;
	if (c->state == CONNECTING)
	{
		if (events & (EPOLLERR | EPOLLHUP))
			connection_close(c);
		else if (events & EPOLLOUT)
			c->state = IDLE;
		return;
	}
	if (c->state == BUSY && (events & EPOLLOUT))
		connection_write(c);
	if (c->state != CLOSED && (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)))
		connection_read(c);
}

static void
connections_tend(void)
{
	int64_t		now = now_ms();

	for (int i = 0; i < connection_count; i++)
	{
		Connection *c = &connections[i];

		if (c->state == CLOSED && now - c->since_ms >= RECONNECT_MS)
			connection_open(c);
		else if (c->state == BUSY && now - c->since_ms >= ANSWER_TIMEOUT_MS)
			connection_close(c);
	}
}

/* ---- what is next ---- */

static bool
too_many_overtake(const Order *order, What what)
{
	return what != NEW && what != CLICK && !order->created && order->follow_ups >= OVERTAKING_MAX;
}

/* The step of the order that may be sent now, or -1. */
static int
ready_step(Order *order, int64_t now)
{
	bool		all_done = true;

	if (now < order->retry_at_ms)
		return -1;
	for (int s = 0; s < order->count; s++)
	{
		Step	   *step = &order->steps[s];

		if (step->progress == WAITING && too_many_overtake(order, step->what))
			step->progress = DONE;
		if (step->progress == WAITING)
			return all_done || step->with_previous ? s : -1;
		if (step->progress != DONE)
			all_done = false;
	}
	return -1;
}

static bool
order_finished(const Order *order)
{
	for (int s = 0; s < order->count; s++)
		if (order->steps[s].progress != DONE)
			return false;
	return true;
}

/* Sends what may be sent, on connections that are free, as far as the rate allows; true while orders are open. */
static bool
send_some(double *allowance)
{
	static int	turn = 0;
	int64_t		now = now_ms();
	int			next_connection = 0;
	bool		open = false;

	turn = (turn + 1) % open_orders;
	for (int i = 0; i < open_orders; i++)
	{
		Order	   *order = &orders[(turn + i) % open_orders];
		int			step;

		if (order->number != 0 && order_finished(order))
			order->number = 0;
		if (order->number == 0 && !stopping && *allowance >= 1)
			begin_order(order);
		if (order->number == 0)
			continue;
		open = true;
		while (*allowance >= 1 && (step = ready_step(order, now)) >= 0)
		{
			while (next_connection < connection_count && connections[next_connection].state != IDLE)
				next_connection++;
			if (next_connection == connection_count)
				return true;
			connection_send(&connections[next_connection], order, step);
			*allowance -= 1;
		}
	}
	return open;
}

static void
run(void)
{
	int64_t		start = now_ms();
	int64_t		last = start;
	int64_t		progress_at = start;
	int64_t		stopping_since = 0;
	double		allowance = 0;

	for (;;)
	{
		struct epoll_event events[64];
		int64_t		now = now_ms();
		int			n;

		allowance += (double) (now - last) / 1000 * rate;
		if (allowance > rate / 10)
			allowance = rate / 10;
		last = now;
		connections_tend();
		if (!send_some(&allowance) && stopping)
			break;
		if (now >= progress_at)
		{
			printf("progress %" PRIu64 "\n", accepted + refused);
			progress_at = now + PROGRESS_MS;
		}
		if (stopping && stopping_since == 0)
			stopping_since = now;
		if (stopping_since != 0 && now - stopping_since > FINISH_LIMIT_MS)
			die("orders are still open %d seconds after the end", FINISH_LIMIT_MS / 1000);
		n = epoll_wait(epoll, events, 64, 5);
		if (n < 0 && errno != EINTR)
			die("could not wait: %s", strerror(errno));
		for (int i = 0; i < n; i++)
			connection_event(events[i].data.ptr, events[i].events);
		log_flush();
	}
	log_flush();
	printf("end orders=%" PRIu64 " requests=%" PRIu64 " repeats=%" PRIu64 " accepted=%" PRIu64 " refused=%" PRIu64
		   " unavailable=%" PRIu64 " lost=%" PRIu64 " retries=%" PRIu64 " milliseconds=%" PRId64 "\n",
		   next_number - 1, requests, repeats, accepted, refused, unavailable, lost, retries, now_ms() - start);
}

static void
on_signal(int signal_number)
{
	(void) signal_number;
	stopping = 1;
}

static void
read_clicks(const char *name)
{
	FILE	   *file = fopen(name, "r");

	if (file == NULL)
		die("could not open \"%s\": %s", name, strerror(errno));
	while (click_count < CLICKS_MAX && fscanf(file, "%39s", clicks[click_count]) == 1)
		click_count++;
	fclose(file);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"token", required_argument, NULL, 't'},
		{"link", required_argument, NULL, 'l'},
		{"clicks", required_argument, NULL, 'c'},
		{"log", required_argument, NULL, 'f'},
		{"seed", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'p':
				port = atoi(optarg);
				break;
			case 't':
				token = optarg;
				break;
			case 'l':
				link_code = optarg;
				break;
			case 'c':
				read_clicks(optarg);
				break;
			case 'f':
				log_name = optarg;
				break;
			case 's':
				seed = strtoull(optarg, NULL, 10);
				break;
			case 'r':
				rate = atof(optarg);
				break;
			default:
				return 1;
		}
	}
	if (port <= 0 || token == NULL || link_code == NULL || log_name == NULL || click_count == 0 || rate < 1)
		die("--port, --token, --link, --clicks and --log are needed");

	/* Never outlives the test. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, on_signal);
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_file = open(log_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	connections = calloc((size_t) connection_count, sizeof(*connections));
	orders = calloc((size_t) open_orders, sizeof(*orders));
	if (log_file < 0 || epoll < 0 || connections == NULL || orders == NULL)
		die("could not start: %s", strerror(errno));
	run();
	return 0;
}
