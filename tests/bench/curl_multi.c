/*
 * curl_multi.c: GET requests through a bare libcurl-multi loop.
 *
 * The yardstick for deliveries: what libcurl itself can do on this machine at
 * this concurrency when nobody claims, signs or logs anything.  One thread,
 * curl_multi_socket_action on epoll, easy handles and connections kept and used
 * again, bodies thrown away.  Any answer but 200 is an error.
 *
 * "curl_multi URL COUNT CONCURRENCY": in URL, {n} is the number of the request.
 * Prints "answered=N seconds=S rate=R"; "curl_multi --version" names libcurl.
 */
#define _GNU_SOURCE

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define URL_MAX 2048
#define EVENTS_PER_WAIT 256

static CURLM *multi;
static int	epoll;
static int64_t timer_due = -1;	/* microseconds, monotonic; -1 = none */

static const char *url_template;
static long total;
static long started;
static long finished;

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "curl_multi: %s: %s\n", what, why);
	exit(1);
}

static void
check(CURLMcode code)
{
	if (code != CURLM_OK)
		die("libcurl", curl_multi_strerror(code));
}

static size_t
throw_away(char *data, size_t size, size_t count, void *arg)
{
	(void) data;
	(void) arg;
	return size * count;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct epoll_event event = {.data.fd = fd};

	(void) easy;
	(void) arg;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
		check(curl_multi_assign(multi, fd, NULL));
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0)
		die("could not watch a connection", strerror(errno));
	check(curl_multi_assign(multi, fd, multi));
	return 0;
}

static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	(void) m;
	(void) arg;
	timer_due = timeout_ms < 0 ? -1 : now_us() + timeout_ms * 1000;
	return 0;
}

static void
start(CURL *easy)
{
	char		url[URL_MAX];
	const char *hole = strstr(url_template, "{n}");
	int			len;

	if (hole == NULL)
		len = snprintf(url, sizeof(url), "%s", url_template);
	else
		len = snprintf(url, sizeof(url), "%.*s%ld%s",
					   (int) (hole - url_template), url_template, started, hole + 3);
	if (len >= URL_MAX)
		die("URL too long", url_template);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	check(curl_multi_add_handle(multi, easy));
	started++;
}

static CURL *
new_easy(void)
{
	CURL	   *easy = curl_easy_init();

	if (easy == NULL)
		die("libcurl", "no easy handle");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, throw_away);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 3000L);
	return easy;
}

/* Takes every finished transfer and puts the next request on its handle. */
static void
take_finished(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		long		status = 0;

		if (message->msg != CURLMSG_DONE)
			continue;
		if (message->data.result != CURLE_OK)
			die("request failed", curl_easy_strerror(message->data.result));
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (status != 200)
			die("request failed", "status is not 200");
		finished++;
		check(curl_multi_remove_handle(multi, easy));
		if (started < total)
			start(easy);
		else
			curl_easy_cleanup(easy);
	}
}

static void
wait_and_act(void)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	int			running;
	int			timeout = 1000;
	int			n;

	if (timer_due >= 0)
	{
		int64_t		left = timer_due - now_us();

		timeout = left <= 0 ? 0 : (int) ((left + 999) / 1000);
	}
	n = epoll_wait(epoll, events, EVENTS_PER_WAIT, timeout);
	if (n < 0 && errno != EINTR)
		die("could not wait", strerror(errno));
	for (int i = 0; i < n; i++)
	{
		int			what = 0;

		if (events[i].events & EPOLLIN)
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			what |= CURL_CSELECT_ERR;
		check(curl_multi_socket_action(multi, events[i].data.fd, what, &running));
	}
	if (timer_due >= 0 && now_us() >= timer_due)
	{
		timer_due = -1;
		check(curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running));
	}
}

int
main(int argc, char **argv)
{
	long		concurrency;
	int64_t		begin;
	double		seconds;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		puts(curl_version());
		return 0;
	}
	if (argc != 4)
	{
		fputs("curl_multi URL COUNT CONCURRENCY\n", stderr);
		return 1;
	}
	url_template = argv[1];
	total = atol(argv[2]);
	concurrency = atol(argv[3]);

	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (multi == NULL || epoll < 0)
		die("could not start", strerror(errno));
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, concurrency);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency);

	begin = now_us();
	while (started < total && started < concurrency)
		start(new_easy());
	while (finished < total)
	{
		wait_and_act();
		take_finished();
	}
	seconds = (double) (now_us() - begin) / 1e6;
	printf("answered=%ld seconds=%.3f rate=%.1f\n", finished, seconds, (double) finished / seconds);
	return 0;
}
