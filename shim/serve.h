/*
 * serve.h: the role that answers HTTP: postbacks, clicks, /healthz.
 */
#ifndef POSTBACKD_SERVE_H
#define POSTBACKD_SERVE_H

#include "loop.h"
#include "metrics.h"
#include "options.h"

/* Runs the loop until a signal has drained it; returns the process's exit code.  send.h has the same for its role. */
extern int	serve_run(Loop *loop, Metrics *metrics, const Options *options);

#endif							/* POSTBACKD_SERVE_H */
