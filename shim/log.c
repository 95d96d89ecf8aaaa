/*
 * log.c: one line per event, made in one buffer and written with one write(2).
 */
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_LIMIT 4096
#define TOKEN_KEY_LENGTH 8		/* a token is KEY_SECRET; KEY is no secret */
#define TOKEN_SECRET_MIN 16

/* The one setting of the process, made by main. */
static LogLevel threshold = LOG_LEVEL_INFO;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void
log_set_level(LogLevel level)
{
	threshold = level;
}

bool
log_enabled(LogLevel level)
{
	return level <= threshold;
}

bool
log_level_parse(const char *name, LogLevel *level)
{
	for (int i = 0; i <= LOG_LEVEL_DEBUG; i++)
	{
		if (strcmp(name, level_names[i]) == 0)
		{
			*level = (LogLevel) i;
			return true;
		}
	}
	return false;
}

PbSlice
log_slice(const char *text)
{
	if (text == NULL)
		return (PbSlice) {NULL, 0};
	return (PbSlice) {text, strlen(text)};
}

bool
log_allowed(LogLimit *limit, int64_t now_ms, int64_t *suppressed)
{
	if (now_ms < limit->next_ms)
	{
		limit->suppressed++;
		return false;
	}
	*suppressed = limit->suppressed;
	limit->suppressed = 0;
	limit->next_ms = now_ms + 1000;
	return true;
}

static bool
is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_secret_byte(char c)
{
	return is_alphanumeric(c) || c == '-' || c == '_' || c == '+' || c == '/' || c == '=';
}

/* Length of what looks like a secret at the beginning of text, and how much of it may be shown; 0 if it does not. */
static size_t
secret_length(PbSlice text, size_t *shown)
{
	size_t		key = 0;
	size_t		end;

	while (key < text.len && key <= TOKEN_KEY_LENGTH && is_alphanumeric(text.data[key]))
		key++;
	if (key == text.len || text.data[key] != '_')
		return 0;
	end = key + 1;
	while (end < text.len && is_secret_byte(text.data[end]))
		end++;
	*shown = key + 1;
	if (key == 5 && memcmp(text.data, "whsec", 5) == 0)
		return end;
	if (key == TOKEN_KEY_LENGTH && end - *shown >= TOKEN_SECRET_MIN)
		return end;
	return 0;
}

/* Writes text to out with everything that looks like one of our secrets masked. */
static void
out_masked(PbOut *out, PbSlice text)
{
	size_t		i = 0;
	bool		at_word = true;

	while (i < text.len)
	{
		size_t		shown;
		size_t		secret = 0;

		if (at_word)
			secret = secret_length((PbSlice) {text.data + i, text.len - i}, &shown);
		if (secret > 0)
		{
			pb_out_bytes(out, text.data + i, shown);
			pb_out_bytes(out, "***", 3);
			i += secret;
			at_word = false;
			continue;
		}
		at_word = !is_alphanumeric(text.data[i]);
		pb_out_char(out, text.data[i++]);
	}
}

static bool
needs_quotes(PbSlice text)
{
	if (text.len == 0)
		return true;
	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\')
			return true;
	}
	return false;
}

static void
out_quoted(PbOut *out, PbSlice text)
{
	static const char hex[] = "0123456789abcdef";

	pb_out_char(out, '"');
	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (c == '"' || c == '\\')
		{
			pb_out_char(out, '\\');
			pb_out_char(out, (char) c);
		}
		else if (c == '\n')
			pb_out_bytes(out, "\\n", 2);
		else if (c < 0x20 || c >= 0x7F)
		{
			pb_out_bytes(out, "\\x", 2);
			pb_out_char(out, hex[c >> 4]);
			pb_out_char(out, hex[c & 15]);
		}
		else
			pb_out_char(out, (char) c);
	}
	pb_out_char(out, '"');
}

static void
out_text(PbOut *out, PbSlice text)
{
	char		masked[LOG_VALUE_LIMIT];
	PbOut		mask = pb_out(masked, sizeof(masked));
	PbSlice		value;

	/* Cut when masked: a secret that is cut before is too short to be known for one. */
	out_masked(&mask, text);
	value = (PbSlice) {masked, mask.len < sizeof(masked) ? mask.len : sizeof(masked)};
	if (needs_quotes(value))
		out_quoted(out, value);
	else
		pb_out_slice(out, value);
}

/* KEY_***: at most the first 8 bytes, whether it is a token of ours or somebody's guess. */
static void
out_token(PbOut *out, PbSlice token)
{
	char		text[TOKEN_KEY_LENGTH + 4];
	PbOut		shown = pb_out(text, sizeof(text));
	size_t		key = token.len < TOKEN_KEY_LENGTH ? token.len / 2 : TOKEN_KEY_LENGTH;

	pb_out_bytes(&shown, token.data, key);
	pb_out_bytes(&shown, "_***", 4);
	if (needs_quotes((PbSlice) {text, shown.len}))
		out_quoted(out, (PbSlice) {text, shown.len});
	else
		pb_out_bytes(out, text, shown.len);
}

static void
out_time(PbOut *out)
{
	struct timespec now;
	struct tm	utc;
	char		text[40];
	size_t		length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	length += (size_t) snprintf(text + length, sizeof(text) - length, ".%03ldZ", now.tv_nsec / 1000000);
	pb_out_bytes(out, "ts=", 3);
	pb_out_bytes(out, text, length);
}

static void
out_field(PbOut *out, const LogField *field)
{
	if (field->kind != LOG_KIND_INT && field->text.data == NULL)
		return;
	pb_out_char(out, ' ');
	pb_out_slice(out, log_slice(field->key));
	pb_out_char(out, '=');
	if (field->kind == LOG_KIND_INT)
		pb_out_int(out, field->number);
	else if (field->kind == LOG_KIND_TOKEN)
		out_token(out, field->text);
	else
		out_text(out, field->text);
}

void
log_write(LogLevel level, const char *message, const LogField *fields)
{
	char		line[LINE_LIMIT];
	PbOut		out = pb_out(line, sizeof(line) - 1);	/* room for the newline */
	size_t		length;
	ssize_t		written;

	out_time(&out);
	pb_out_bytes(&out, " level=", 7);
	pb_out_slice(&out, log_slice(level_names[level]));
	pb_out_bytes(&out, " msg=", 5);
	out_text(&out, log_slice(message));
	for (; fields->kind != LOG_KIND_END; fields++)
		out_field(&out, fields);

	length = out.len < out.cap ? out.len : out.cap;
	line[length++] = '\n';
	do
		written = write(STDERR_FILENO, line, length);
	while (written < 0 && errno == EINTR);
}
