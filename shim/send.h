/*
 * send.h: the role that sends deliveries: claim, attempt, settle.
 */
#ifndef POSTBACKD_SEND_H
#define POSTBACKD_SEND_H

#include "loop.h"
#include "metrics.h"
#include "options.h"

/* Runs the loop until a signal has drained it; returns the process's exit code. */
extern int	send_run(Loop *loop, Metrics *metrics, const Options *options);

#endif							/* POSTBACKD_SEND_H */
