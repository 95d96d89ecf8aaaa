/*
 * log.h: structured lines on stderr, one event per line in logfmt.
 *
 *     ts=2026-01-02T03:04:05.678Z level=info msg="database connected" connection=1
 *
 * A message is a constant sentence; everything that varies is a field.  Every
 * value is escaped, cut at LOG_VALUE_LIMIT bytes, and searched for what looks
 * like one of our secrets (KEY_SECRET tokens become KEY_***, whsec_... becomes
 * whsec_***), so a secret in somebody's error text does not get through either.
 *
 *     log_info("listening", LOG_TEXT("address", address), LOG_INT("port", port));
 */
#ifndef POSTBACKD_LOG_H
#define POSTBACKD_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "../extension/core/slice.h"

#define LOG_VALUE_LIMIT 512

/* So much of a text is to be kept for the log: enough for a secret that stands at the limit to be known for one. */
#define LOG_TEXT_ROOM (LOG_VALUE_LIMIT + 64)

typedef enum LogLevel
{
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
} LogLevel;

typedef enum LogKind
{
	LOG_KIND_END,
	LOG_KIND_TEXT,
	LOG_KIND_INT,
	LOG_KIND_TOKEN
} LogKind;

typedef struct LogField
{
	LogKind		kind;
	const char *key;
	PbSlice		text;
	int64_t		number;
} LogField;

/* A NUL-terminated string (NULL leaves the field out), a slice, an integer, a postback token (shown as KEY_***). */
#define LOG_TEXT(k, v) ((LogField) {.kind = LOG_KIND_TEXT, .key = (k), .text = log_slice(v)})
#define LOG_SLICE(k, v) ((LogField) {.kind = LOG_KIND_TEXT, .key = (k), .text = (v)})
#define LOG_INT(k, v) ((LogField) {.kind = LOG_KIND_INT, .key = (k), .number = (v)})
#define LOG_TOKEN(k, v) ((LogField) {.kind = LOG_KIND_TOKEN, .key = (k), .text = (v)})
#define LOG_END ((LogField) {.kind = LOG_KIND_END})

#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) LOG_AT(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)

#define LOG_AT(level, msg, ...) \
	do { \
		if (log_enabled(level)) \
			log_write(level, msg, (const LogField[]) {__VA_ARGS__ __VA_OPT__(,) LOG_END}); \
	} while (0)

/* The process's one setting; main makes it.  Lines less urgent than level are dropped. */
extern void log_set_level(LogLevel level);
extern bool log_enabled(LogLevel level);

/* The level named "error", "warning", "info" or "debug"; false if there is none such. */
extern bool log_level_parse(const char *name, LogLevel *level) __attribute__((warn_unused_result));

/* Behind the macros above: fields end with LOG_END. */
extern void log_write(LogLevel level, const char *message, const LogField *fields);

/* pb_slice that takes NULL for "no such field". */
extern PbSlice log_slice(const char *text);

/*
 * For what could repeat thousands of times a second: true at most once a
 * second per LogLimit (zero-initialised), then *suppressed is how many were
 * held back since the last time.
 */
typedef struct LogLimit
{
	int64_t		next_ms;
	int64_t		suppressed;
} LogLimit;

extern bool log_allowed(LogLimit *limit, int64_t now_ms, int64_t *suppressed) __attribute__((warn_unused_result));

#endif							/* POSTBACKD_LOG_H */
