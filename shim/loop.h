/*
 * loop.h: the one event loop: descriptors, timers, signals and what runs between turns.
 *
 * No threads, no locks: every callback runs in loop_run, on the caller's
 * stack, one after the other.  A callback may start, change and stop anything,
 * itself included.  LoopIo, LoopTimer and LoopHook are embedded in the structs
 * of their users, who keep them alive until they are stopped; nothing is
 * allocated per event.  A turn is: wait, descriptors, due timers, hooks.
 */
#ifndef POSTBACKD_LOOP_H
#define POSTBACKD_LOOP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Loop Loop;

/* ready: LOOP_READ | LOOP_WRITE, as much of it as was asked for; an error or hang-up is told as all that was asked for. */
typedef void (*LoopIoHandler) (void *context, unsigned ready);
typedef void (*LoopHandler) (void *context);
typedef void (*LoopSignalHandler) (void *context, int signal_number);

#define LOOP_READ 1u
#define LOOP_WRITE 2u

/* One watched descriptor, level-triggered.  Zero-initialise; fields are the loop's own. */
typedef struct LoopIo
{
	int			fd;
	unsigned	interest;
	bool		active;
	LoopIoHandler handler;
	void	   *context;
} LoopIo;

/* One timer, firing once per loop_timer_set.  Zero-initialise; fields are the loop's own. */
typedef struct LoopTimer
{
	int64_t		due_ms;
	int			place;			/* 1 + index in the heap; 0: not set */
	LoopHandler handler;
	void	   *context;
} LoopTimer;

/* Something to be run at the end of each turn, in order of registration.  Zero-initialise. */
typedef struct LoopHook
{
	LoopHandler handler;
	void	   *context;
	struct LoopHook *next;
} LoopHook;

/* NULL (and errno) when the kernel refuses. */
extern Loop *loop_new(void) __attribute__((warn_unused_result));
extern void loop_free(Loop *loop);

/* Runs turns until loop_stop; returns the code given to it. */
extern int	loop_run(Loop *loop);
extern void loop_stop(Loop *loop, int exit_code);

/* So many connections, or as many as the limit of open files has room for beside what else there is; the log then says so. */
extern int	loop_room(int connections);

/* Does a system call fail with this errno for want of descriptors or memory, whatever it was asked to do? */
extern bool loop_is_shortage(int error);

/*
 * Milliseconds / microseconds that never go back and pass while the host is suspended, too.  loop_now_ms is taken once per
 * turn; loop_now_us asks the clock.
 */
extern int64_t loop_now_ms(const Loop *loop);
extern int64_t loop_now_us(void);

/*
 * Watches fd for interest (LOOP_READ | LOOP_WRITE, or 0 for none yet).
 * loop_io_change gives another interest; loop_io_stop must come before fd is
 * closed, and an event that was already fetched is then not delivered.
 * Stopping what is not active does nothing.  False only when epoll refuses.
 */
extern bool loop_io_start(Loop *loop, LoopIo *io, int fd, unsigned interest, LoopIoHandler handler, void *context)
			__attribute__((warn_unused_result));
extern void loop_io_change(Loop *loop, LoopIo *io, unsigned interest);
extern void loop_io_stop(Loop *loop, LoopIo *io);

/* (Re)sets the timer to fire once, delay_ms from the present turn (0: in this turn or the next). */
extern void loop_timer_set(Loop *loop, LoopTimer *timer, int64_t delay_ms, LoopHandler handler, void *context);
extern void loop_timer_stop(Loop *loop, LoopTimer *timer);
extern bool loop_timer_is_set(const LoopTimer *timer);

extern void loop_hook_add(Loop *loop, LoopHook *hook, LoopHandler handler, void *context);
extern void loop_hook_remove(Loop *loop, LoopHook *hook);

/* From a hook (or anything else): the next wait returns at once, there is work left. */
extern void loop_again(Loop *loop);

/*
 * SIGTERM and SIGINT arrive as calls of handler, from the loop.  SIGPIPE is
 * ignored from loop_new on.  Calling it again replaces the handler.
 */
extern bool loop_on_signal(Loop *loop, LoopSignalHandler handler, void *context) __attribute__((warn_unused_result));

/* A random number in [0, bound), for jitter only. */
extern int64_t loop_random(Loop *loop, int64_t bound);

#endif							/* POSTBACKD_LOOP_H */
