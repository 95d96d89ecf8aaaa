/*
 * metrics.h: counters, gauges and histograms, shown as Prometheus text.
 *
 * A series is (name, labels); asking again for the same pair gives the same
 * Metric, so callers may keep the pointer or look it up each time.  The number of
 * series is bounded (METRICS_LIMIT): beyond it every new one is one shared,
 * unshown series, so that a label taken from outside cannot eat memory.
 *
 *     Metric *c = metrics_counter(m, "postbackd_batches_total", "kind=\"click\"", "Batches sent to the database.");
 *     metric_add(c, 1);
 */
#ifndef POSTBACKD_METRICS_H
#define POSTBACKD_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "../extension/core/slice.h"

#define METRICS_LIMIT 1024

typedef struct Metrics Metrics;
typedef struct Metric Metric;

extern Metrics *metrics_new(void) __attribute__((warn_unused_result));
extern void metrics_free(Metrics *metrics);

/*
 * labels: ready text such as  route="postback",outcome="created"  (copied), or
 * NULL for none.  help of the first series of a name is shown.  Values of
 * labels must not need escaping: see metrics_label.
 */
extern Metric *metrics_counter(Metrics *metrics, const char *name, const char *labels, const char *help);
extern Metric *metrics_gauge(Metrics *metrics, const char *name, const char *labels, const char *help);

/* bounds: upper bounds, ascending, a static array; +Inf is added. */
extern Metric *metrics_histogram(Metrics *metrics, const char *name, const char *labels, const char *help,
								 const double *bounds, int bound_count);

extern void metric_add(Metric *metric, double amount);
extern void metric_set(Metric *metric, double value);
extern void metric_observe(Metric *metric, double value);

/* Usual bounds: seconds from 0.5 ms to 10 s, and counts from 1 to 512. */
extern const double metrics_seconds_bounds[];
extern const int metrics_seconds_bound_count;
extern const double metrics_count_bounds[];
extern const int metrics_count_bound_count;

/* value as a label's value: [a-z0-9_.:-] kept, everything else '_', at most 48 bytes; out has room for 49. */
extern void metrics_label(char *out, PbSlice value);

/* Called before each rendering, for gauges that are cheaper to compute than to keep. */
typedef void (*MetricsRefresh) (void *context);
extern void metrics_on_refresh(Metrics *metrics, MetricsRefresh refresh, void *context);

/* Appends ready text to each rendering, families of its own, for series that come and go. */
typedef void (*MetricsShow) (void *context, PbOut *out);
extern void metrics_on_show(Metrics *metrics, MetricsShow show, void *context);

/* Is the role able to work?  Answers /healthz on the metrics port (and on serve's own). */
typedef bool (*MetricsHealth) (void *context);
extern void metrics_on_health(Metrics *metrics, MetricsHealth health, void *context);
extern bool metrics_healthy(const Metrics *metrics);

/* The whole exposition (version 0.0.4), malloc'd, *length bytes; NULL when out of memory. */
extern char *metrics_render(Metrics *metrics, size_t *length) __attribute__((warn_unused_result));

#endif							/* POSTBACKD_METRICS_H */
