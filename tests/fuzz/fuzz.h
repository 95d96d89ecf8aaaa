/*
 * fuzz.h: what the fuzzers share: libFuzzer's bytes taken apart into arguments, and properties that must hold.
 *
 * Included once by each fuzzer, which defines check_properties.  Everything that it is given or allocates here lies in
 * memory of exactly its size, so that the address sanitizer sees the first byte read or written beyond.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slice.h"

#define HOLDS(property) \
	do { \
		if (!(property)) \
		{ \
			fprintf(stderr, "%s:%d: this does not hold: %s\n", __FILE__, __LINE__, #property); \
			abort(); \
		} \
	} while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The bytes that are left.  Beyond their end everything is zero or empty. */
typedef struct Input
{
	const uint8_t *data;
	size_t		len;
} Input;

/* One run of the fuzzer. */
static void check_properties(Input *in);

#define ALLOCATED_MAX 1024

static void *allocated[ALLOCATED_MAX];
static size_t allocated_count;

/* Memory of exactly this size until the end of the run; NULL for 0. */
static inline char *
room(size_t size)
{
	if (size == 0)
		return NULL;
	HOLDS(allocated_count < ALLOCATED_MAX);
	return allocated[allocated_count++] = malloc(size);
}

static inline PbSlice
copy_of(PbSlice s)
{
	char	   *copy = room(s.len);

	if (s.len > 0)
		memcpy(copy, s.data, s.len);
	return (PbSlice) {copy, s.len};
}

/* Big-endian. */
static inline uint64_t
take_number(Input *in, int bytes)
{
	uint64_t	n = 0;

	for (; bytes > 0 && in->len > 0; bytes--, in->data++, in->len--)
		n = n << 8 | *in->data;
	return n;
}

/* 0 to limit - 1, from one byte. */
static inline int
take_choice(Input *in, int limit)
{
	return (int) (take_number(in, 1) % (uint64_t) limit);
}

static inline PbSlice
take_bytes(Input *in, size_t len)
{
	PbSlice		taken = {(const char *) in->data, len < in->len ? len : in->len};

	in->data += taken.len;
	in->len -= taken.len;
	return copy_of(taken);
}

/* Up to 255 bytes, the number first. */
static inline PbSlice
take_text(Input *in)
{
	return take_bytes(in, take_number(in, 1));
}

static inline PbSlice
take_rest(Input *in)
{
	return take_bytes(in, in->len);
}

/* Often an extreme one. */
static inline int64_t
take_int64(Input *in)
{
	int			shape = take_choice(in, 6);
	int64_t		near = (int64_t) take_number(in, shape == 0 ? 8 : 2);
	int64_t		power = 1;

	switch (shape)
	{
		case 0:
			return near;
		case 1:
			return INT64_MAX - near;
		case 2:
			return INT64_MIN + near;
		case 3:
			return near;
		case 4:
			return -near;
		default:
			for (int i = near & 15; i > 0; i--)
				power *= 10;
			return power + (near >> 4) - 2048;
	}
}

/* A writer's output does not depend on the room that it has; returns all of it. */
#define WRITTEN(out, ...) \
	({ \
		PbOut		out = pb_out(NULL, 0); \
		PbOut		whole; \
		__VA_ARGS__; \
		whole = pb_out(room(out.len), out.len); \
		out = whole; \
		__VA_ARGS__; \
		HOLDS(out.len == whole.cap); \
		whole = out; \
		out = pb_out(room(whole.len / 2), whole.len / 2); \
		__VA_ARGS__; \
		HOLDS(out.len == whole.len && pb_out_fits(&whole)); \
		HOLDS(out.cap == 0 || memcmp(out.data, whole.data, out.cap) == 0); \
		(PbSlice) {whole.data, whole.len}; \
	})

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		in = {data, size};

	check_properties(&in);
	while (allocated_count > 0)
		free(allocated[--allocated_count]);
	return 0;
}

#endif							/* FUZZ_H */
