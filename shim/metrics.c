/*
 * metrics.c: a bounded table of series and its rendering.
 */
#include "metrics.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define REFRESH_LIMIT 8
#define SLOTS (METRICS_LIMIT * 2)	/* a power of two: open addressing at most half full */
#define BUCKET_LIMIT 24

typedef enum Kind
{
	KIND_COUNTER,
	KIND_GAUGE,
	KIND_HISTOGRAM
} Kind;

struct Metric
{
	Kind		kind;
	char	   *name;
	char	   *labels;			/* "" for none */
	const char *help;
	uint64_t	hash;
	double		value;			/* a histogram's sum */
	const double *bounds;
	int			bound_count;
	double		buckets[];		/* bound_count + 1, not cumulative */
};

struct Metrics
{
	Metric	   *series[METRICS_LIMIT];	/* in order of creation */
	int			count;
	Metric	   *slots[SLOTS];
	Metric	   *overflow;		/* takes what is beyond the limit, unshown */

	struct
	{
		MetricsRefresh refresh;
		void	   *context;
	}			refreshes[REFRESH_LIMIT];
	int			refresh_count;

	MetricsShow show;
	void	   *show_context;
	MetricsHealth health;
	void	   *health_context;
	time_t		started;
};

const double metrics_seconds_bounds[] = {
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10
};
const int	metrics_seconds_bound_count = sizeof(metrics_seconds_bounds) / sizeof(metrics_seconds_bounds[0]);

const double metrics_count_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
const int	metrics_count_bound_count = sizeof(metrics_count_bounds) / sizeof(metrics_count_bounds[0]);

static Metric *
metric_new(Kind kind, const char *name, const char *labels, const char *help, const double *bounds, int bound_count)
{
	Metric	   *metric = calloc(1, sizeof(*metric) + (size_t) (bound_count + 1) * sizeof(double));

	if (metric == NULL)
		return NULL;
	metric->kind = kind;
	metric->name = strdup(name);
	metric->labels = strdup(labels);
	metric->help = help;
	metric->bounds = bounds;
	metric->bound_count = bound_count;
	if (metric->name == NULL || metric->labels == NULL)
	{
		free(metric->name);
		free(metric->labels);
		free(metric);
		return NULL;
	}
	return metric;
}

static void
metric_free(Metric *metric)
{
	if (metric == NULL)
		return;
	free(metric->name);
	free(metric->labels);
	free(metric);
}

Metrics *
metrics_new(void)
{
	Metrics    *metrics = calloc(1, sizeof(*metrics));

	if (metrics == NULL)
		return NULL;
	metrics->started = time(NULL);
	metrics->overflow = metric_new(KIND_HISTOGRAM, "", "", "", NULL, BUCKET_LIMIT);
	if (metrics->overflow == NULL)
	{
		free(metrics);
		return NULL;
	}
	metrics->overflow->bound_count = 0;
	return metrics;
}

void
metrics_free(Metrics *metrics)
{
	if (metrics == NULL)
		return;
	for (int i = 0; i < metrics->count; i++)
		metric_free(metrics->series[i]);
	metric_free(metrics->overflow);
	free(metrics);
}

/* FNV-1a over name and labels. */
static uint64_t
hash_pair(const char *name, const char *labels)
{
	uint64_t	hash = 0xcbf29ce484222325u;

	for (const char *p = name; *p != '\0'; p++)
		hash = (hash ^ (unsigned char) *p) * 0x100000001b3u;
	hash = (hash ^ '{') * 0x100000001b3u;
	for (const char *p = labels; *p != '\0'; p++)
		hash = (hash ^ (unsigned char) *p) * 0x100000001b3u;
	return hash;
}

static Metric *
find_or_add(Metrics *metrics, Kind kind, const char *name, const char *labels, const char *help,
			const double *bounds, int bound_count)
{
	const char *text = labels == NULL ? "" : labels;
	uint64_t	hash = hash_pair(name, text);
	size_t		slot = hash & (SLOTS - 1);
	Metric	   *metric;

	for (; (metric = metrics->slots[slot]) != NULL; slot = (slot + 1) & (SLOTS - 1))
		if (metric->hash == hash && strcmp(metric->name, name) == 0 && strcmp(metric->labels, text) == 0)
			return metric;
	if (metrics->count == METRICS_LIMIT)
		return metrics->overflow;
	metric = metric_new(kind, name, text, help, bounds, bound_count);
	if (metric == NULL)
		return metrics->overflow;
	metric->hash = hash;
	metrics->slots[slot] = metric;
	metrics->series[metrics->count++] = metric;
	return metric;
}

Metric *
metrics_counter(Metrics *metrics, const char *name, const char *labels, const char *help)
{
	return find_or_add(metrics, KIND_COUNTER, name, labels, help, NULL, 0);
}

Metric *
metrics_gauge(Metrics *metrics, const char *name, const char *labels, const char *help)
{
	return find_or_add(metrics, KIND_GAUGE, name, labels, help, NULL, 0);
}

Metric *
metrics_histogram(Metrics *metrics, const char *name, const char *labels, const char *help,
				  const double *bounds, int bound_count)
{
	return find_or_add(metrics, KIND_HISTOGRAM, name, labels, help, bounds, bound_count);
}

void
metric_add(Metric *metric, double amount)
{
	metric->value += amount;
}

void
metric_set(Metric *metric, double value)
{
	metric->value = value;
}

void
metric_observe(Metric *metric, double value)
{
	int			bucket = 0;

	while (bucket < metric->bound_count && value > metric->bounds[bucket])
		bucket++;
	metric->buckets[bucket]++;
	metric->value += value;
}

void
metrics_label(char *out, PbSlice value)
{
	size_t		length = value.len < 48 ? value.len : 48;

	for (size_t i = 0; i < length; i++)
	{
		char		c = value.data[i];
		bool		kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			c == '_' || c == '.' || c == ':' || c == '-';

		out[i] = kept ? c : '_';
	}
	out[length] = '\0';
}

void
metrics_on_refresh(Metrics *metrics, MetricsRefresh refresh, void *context)
{
	if (metrics->refresh_count == REFRESH_LIMIT)
	{
		log_error("too many metric refreshers");
		return;
	}
	metrics->refreshes[metrics->refresh_count].refresh = refresh;
	metrics->refreshes[metrics->refresh_count++].context = context;
}

void
metrics_on_show(Metrics *metrics, MetricsShow show, void *context)
{
	metrics->show = show;
	metrics->show_context = context;
}

void
metrics_on_health(Metrics *metrics, MetricsHealth health, void *context)
{
	metrics->health = health;
	metrics->health_context = context;
}

bool
metrics_healthy(const Metrics *metrics)
{
	return metrics->health == NULL || metrics->health(metrics->health_context);
}

/* ---- rendering ---- */

static void
out_number(PbOut *out, double value)
{
	char		text[40];

	if (value == floor(value) && fabs(value) < 1e15)
		snprintf(text, sizeof(text), "%.0f", value);
	else
		snprintf(text, sizeof(text), "%.*g", DBL_DIG, value);
	pb_out_slice(out, log_slice(text));
}

/* name[suffix]{labels[,le="bound"]} value */
static void
out_sample(PbOut *out, const Metric *metric, const char *suffix, const char *le, double value)
{
	pb_out_slice(out, log_slice(metric->name));
	pb_out_slice(out, log_slice(suffix));
	if (metric->labels[0] != '\0' || le != NULL)
	{
		pb_out_char(out, '{');
		pb_out_slice(out, log_slice(metric->labels));
		if (le != NULL)
		{
			if (metric->labels[0] != '\0')
				pb_out_char(out, ',');
			pb_out_bytes(out, "le=\"", 4);
			pb_out_slice(out, log_slice(le));
			pb_out_char(out, '"');
		}
		pb_out_char(out, '}');
	}
	pb_out_char(out, ' ');
	out_number(out, value);
	pb_out_char(out, '\n');
}

static void
out_histogram(PbOut *out, const Metric *metric)
{
	double		total = 0;
	char		le[40];

	for (int i = 0; i < metric->bound_count; i++)
	{
		total += metric->buckets[i];
		snprintf(le, sizeof(le), "%.*g", DBL_DIG, metric->bounds[i]);
		out_sample(out, metric, "_bucket", le, total);
	}
	total += metric->buckets[metric->bound_count];
	out_sample(out, metric, "_bucket", "+Inf", total);
	out_sample(out, metric, "_sum", NULL, metric->value);
	out_sample(out, metric, "_count", NULL, total);
}

/* All series of one name stand together, below its HELP and TYPE. */
static void
out_family(PbOut *out, const Metrics *metrics, int first)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	const Metric *head = metrics->series[first];

	pb_out_bytes(out, "# HELP ", 7);
	pb_out_slice(out, log_slice(head->name));
	pb_out_char(out, ' ');
	pb_out_slice(out, log_slice(head->help));
	pb_out_bytes(out, "\n# TYPE ", 8);
	pb_out_slice(out, log_slice(head->name));
	pb_out_char(out, ' ');
	pb_out_slice(out, log_slice(types[head->kind]));
	pb_out_char(out, '\n');
	for (int i = first; i < metrics->count; i++)
	{
		if (strcmp(metrics->series[i]->name, head->name) != 0)
			continue;
		if (head->kind == KIND_HISTOGRAM)
			out_histogram(out, metrics->series[i]);
		else
			out_sample(out, metrics->series[i], "", NULL, metrics->series[i]->value);
	}
}

static bool
is_first_of_family(const Metrics *metrics, int index)
{
	for (int i = 0; i < index; i++)
		if (strcmp(metrics->series[i]->name, metrics->series[index]->name) == 0)
			return false;
	return true;
}

static void
refresh_process(Metrics *metrics)
{
	long		pages = 0;
	FILE	   *statm = fopen("/proc/self/statm", "re");

	if (statm != NULL)
	{
		if (fscanf(statm, "%*s %ld", &pages) != 1)
			pages = 0;
		fclose(statm);
	}
	metric_set(metrics_gauge(metrics, "process_resident_memory_bytes", NULL, "Resident memory size in bytes."),
			   (double) pages * (double) sysconf(_SC_PAGESIZE));
	metric_set(metrics_counter(metrics, "process_cpu_seconds_total", NULL, "User and system CPU time spent in seconds."),
			   (double) clock() / CLOCKS_PER_SEC);
	metric_set(metrics_gauge(metrics, "process_start_time_seconds", NULL, "Start time of the process, unix seconds."),
			   (double) metrics->started);
}

char *
metrics_render(Metrics *metrics, size_t *length)
{
	size_t		room = 64 * 1024;

	refresh_process(metrics);
	for (int i = 0; i < metrics->refresh_count; i++)
		metrics->refreshes[i].refresh(metrics->refreshes[i].context);
	for (;;)
	{
		char	   *text = malloc(room);
		PbOut		out;

		if (text == NULL)
			return NULL;
		out = pb_out(text, room);
		for (int i = 0; i < metrics->count; i++)
			if (is_first_of_family(metrics, i))
				out_family(&out, metrics, i);
		if (metrics->show != NULL)
			metrics->show(metrics->show_context, &out);
		*length = out.len;
		if (pb_out_fits(&out))
			return text;
		free(text);
		room = out.len;
	}
}
