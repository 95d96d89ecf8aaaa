/*
 * loop.c: epoll, a binary heap of timers, a list of hooks, a signalfd.
 */
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define EVENTS_PER_TURN 256
#define SPARE_DESCRIPTORS 64	/* for the database, the metrics port, name servers ... */

struct Loop
{
	int			epoll_fd;
	int64_t		now_ms;
	bool		stopped;
	bool		again;
	int			exit_code;
	uint64_t	random_state;

	/* Events fetched in this turn and not yet delivered, so that loop_io_stop can take them back. */
	struct epoll_event events[EVENTS_PER_TURN];
	int			event_count;
	int			event_next;

	LoopTimer **heap;			/* heap[0] is due first */
	int			timer_count;
	int			timer_room;

	LoopHook   *hooks;
	LoopHook   *next_hook;		/* the one to run after the present one */

	int			signal_fd;
	LoopIo		signal_io;
	LoopSignalHandler signal_handler;
	void	   *signal_context;
};

/*
 * Not CLOCK_MONOTONIC, which stands still while the host is suspended: leases go on.  libcurl and c-ares keep time by
 * clocks of their own; with them only spans are exchanged, and either asks again for what is left if its timer comes early.
 */
int64_t
loop_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
loop_now_ms(const Loop *loop)
{
	return loop->now_ms;
}

Loop *
loop_new(void)
{
	Loop	   *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	loop->signal_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
	{
		free(loop);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	loop->now_ms = loop_now_us() / 1000;
	loop->random_state = (uint64_t) loop_now_us() ^ ((uint64_t) getpid() << 32) ^ 0x9E3779B97F4A7C15u;
	return loop;
}

void
loop_free(Loop *loop)
{
	if (loop == NULL)
		return;
	loop_io_stop(loop, &loop->signal_io);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
}

/* xorshift64* */
int64_t
loop_random(Loop *loop, int64_t bound)
{
	uint64_t	x = loop->random_state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	loop->random_state = x;
	return bound <= 0 ? 0 : (int64_t) (((x * 0x2545F4914F6CDD1Du) >> 1) % (uint64_t) bound);
}

/* ---- descriptors ---- */

int
loop_room(int connections)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t) connections + SPARE_DESCRIPTORS)
		return connections;
	log_warning("fewer connections than asked for: the limit of open files is lower",
				LOG_INT("asked", connections), LOG_INT("open_files", (int64_t) limit.rlim_cur));
	return limit.rlim_cur > 2 * SPARE_DESCRIPTORS ? (int) limit.rlim_cur - SPARE_DESCRIPTORS : SPARE_DESCRIPTORS;
}

bool
loop_is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static uint32_t
epoll_interest(unsigned interest)
{
	return ((interest & LOOP_READ) ? EPOLLIN : 0u) | ((interest & LOOP_WRITE) ? EPOLLOUT : 0u);
}

bool
loop_io_start(Loop *loop, LoopIo *io, int fd, unsigned interest, LoopIoHandler handler, void *context)
{
	struct epoll_event event = {.events = epoll_interest(interest), .data.ptr = io};

	loop_io_stop(loop, io);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return false;
	*io = (LoopIo) {.fd = fd, .interest = interest, .active = true, .handler = handler, .context = context};
	return true;
}

void
loop_io_change(Loop *loop, LoopIo *io, unsigned interest)
{
	struct epoll_event event = {.events = epoll_interest(interest), .data.ptr = io};

	if (!io->active || io->interest == interest)
		return;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &event) == 0)
		io->interest = interest;
}

void
loop_io_stop(Loop *loop, LoopIo *io)
{
	if (!io->active)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	io->active = false;
	for (int i = loop->event_next; i < loop->event_count; i++)
		if (loop->events[i].data.ptr == io)
			loop->events[i].data.ptr = NULL;
}

static void
deliver(LoopIo *io, uint32_t events)
{
	unsigned	ready = 0;

	if (events & (EPOLLERR | EPOLLHUP))
		ready = io->interest;
	if (events & EPOLLIN)
		ready |= LOOP_READ;
	if (events & EPOLLOUT)
		ready |= LOOP_WRITE;
	ready &= io->interest;
	if (ready != 0)
		io->handler(io->context, ready);
}

/* ---- timers ---- */

static void
heap_put(Loop *loop, int index, LoopTimer *timer)
{
	loop->heap[index] = timer;
	timer->place = index + 1;
}

static void
heap_up(Loop *loop, int index)
{
	LoopTimer  *timer = loop->heap[index];

	while (index > 0 && loop->heap[(index - 1) / 2]->due_ms > timer->due_ms)
	{
		heap_put(loop, index, loop->heap[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	heap_put(loop, index, timer);
}

static void
heap_down(Loop *loop, int index)
{
	LoopTimer  *timer = loop->heap[index];

	for (;;)
	{
		int			child = 2 * index + 1;

		if (child >= loop->timer_count)
			break;
		if (child + 1 < loop->timer_count && loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
			child++;
		if (loop->heap[child]->due_ms >= timer->due_ms)
			break;
		heap_put(loop, index, loop->heap[child]);
		index = child;
	}
	heap_put(loop, index, timer);
}

static void
heap_make_room(Loop *loop)
{
	int			room = loop->timer_room == 0 ? 64 : loop->timer_room * 2;
	LoopTimer **heap = realloc(loop->heap, (size_t) room * sizeof(*heap));

	/* A daemon without its deadlines would hang instead of failing: better to be restarted. */
	if (heap == NULL)
	{
		log_error("out of memory");
		abort();
	}
	loop->heap = heap;
	loop->timer_room = room;
}

void
loop_timer_set(Loop *loop, LoopTimer *timer, int64_t delay_ms, LoopHandler handler, void *context)
{
	timer->handler = handler;
	timer->context = context;
	timer->due_ms = loop->now_ms + (delay_ms > 0 ? delay_ms : 0);
	if (timer->place == 0)
	{
		if (loop->timer_count == loop->timer_room)
			heap_make_room(loop);
		heap_put(loop, loop->timer_count++, timer);
	}
	heap_up(loop, timer->place - 1);
	heap_down(loop, timer->place - 1);
}

void
loop_timer_stop(Loop *loop, LoopTimer *timer)
{
	int			index = timer->place - 1;
	LoopTimer  *last;

	if (timer->place == 0)
		return;
	timer->place = 0;
	last = loop->heap[--loop->timer_count];
	if (last == timer)
		return;
	heap_put(loop, index, last);
	heap_up(loop, index);
	heap_down(loop, last->place - 1);
}

bool
loop_timer_is_set(const LoopTimer *timer)
{
	return timer->place != 0;
}

/* Timers that are set again for "now" by a handler wait for the next turn: descriptors get theirs in between. */
static void
run_timers(Loop *loop)
{
	int			budget = loop->timer_count;

	while (budget-- > 0 && loop->timer_count > 0 && loop->heap[0]->due_ms <= loop->now_ms)
	{
		LoopTimer  *timer = loop->heap[0];

		loop_timer_stop(loop, timer);
		timer->handler(timer->context);
	}
}

/* ---- hooks ---- */

void
loop_hook_add(Loop *loop, LoopHook *hook, LoopHandler handler, void *context)
{
	LoopHook  **end = &loop->hooks;

	*hook = (LoopHook) {.handler = handler, .context = context};
	while (*end != NULL)
		end = &(*end)->next;
	*end = hook;
}

void
loop_hook_remove(Loop *loop, LoopHook *hook)
{
	LoopHook  **link = &loop->hooks;

	while (*link != NULL && *link != hook)
		link = &(*link)->next;
	if (*link == NULL)
		return;
	*link = hook->next;
	if (loop->next_hook == hook)
		loop->next_hook = hook->next;
}

static void
run_hooks(Loop *loop)
{
	for (LoopHook *hook = loop->hooks; hook != NULL; hook = loop->next_hook)
	{
		loop->next_hook = hook->next;
		hook->handler(hook->context);
	}
}

/* ---- signals ---- */

static void
on_signal_ready(void *context, unsigned ready)
{
	Loop	   *loop = context;
	struct signalfd_siginfo info;

	(void) ready;
	while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
		loop->signal_handler(loop->signal_context, (int) info.ssi_signo);
}

bool
loop_on_signal(Loop *loop, LoopSignalHandler handler, void *context)
{
	sigset_t	set;

	loop->signal_handler = handler;
	loop->signal_context = context;
	if (loop->signal_fd >= 0)
		return true;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return false;
	loop->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return loop->signal_fd >= 0 &&
		loop_io_start(loop, &loop->signal_io, loop->signal_fd, LOOP_READ, on_signal_ready, loop);
}

/* ---- turns ---- */

static int
wait_ms(const Loop *loop)
{
	int64_t		left;

	if (loop->again)
		return 0;
	if (loop->timer_count == 0)
		return -1;
	left = loop->heap[0]->due_ms - loop->now_ms;
	if (left <= 0)
		return 0;
	return left > 60000 ? 60000 : (int) left;
}

static void
turn(Loop *loop)
{
	int			count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, wait_ms(loop));

	loop->again = false;
	loop->now_ms = loop_now_us() / 1000;
	loop->event_count = count > 0 ? count : 0;
	for (loop->event_next = 0; loop->event_next < loop->event_count;)
	{
		struct epoll_event *event = &loop->events[loop->event_next++];

		if (event->data.ptr != NULL)
			deliver(event->data.ptr, event->events);
	}
	run_timers(loop);
	run_hooks(loop);
}

int
loop_run(Loop *loop)
{
	loop->now_ms = loop_now_us() / 1000;
	while (!loop->stopped)
		turn(loop);
	loop->stopped = false;
	return loop->exit_code;
}

void
loop_stop(Loop *loop, int exit_code)
{
	loop->stopped = true;
	loop->exit_code = exit_code;
}

void
loop_again(Loop *loop)
{
	loop->again = true;
}
