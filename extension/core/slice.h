/*
 * slice.h: bytes read (a slice) and bytes written (a bounded output).
 *
 * Everything in core/ is pure C11: no allocation, no clock, no locale, no
 * randomness, no Postgres.  Inputs are (pointer, length), never NUL-terminated;
 * errors are returned codes.
 */
#ifndef PB_SLICE_H
#define PB_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes owned by somebody else.  data may be NULL only when len is 0. */
typedef struct PbSlice
{
	const char *data;
	size_t		len;
} PbSlice;

#define PB_LITERAL(s) ((PbSlice) {(s), sizeof(s) - 1})

/* A NUL-terminated string as a slice. */
extern PbSlice pb_slice(const char *text);

extern bool pb_slice_equal(PbSlice a, PbSlice b);

/* Equality without regard to the case of ASCII letters. */
extern bool pb_slice_equal_nocase(PbSlice a, PbSlice b);

/* memcmp order, shorter first: negative, zero or positive. */
extern int	pb_slice_compare(PbSlice a, PbSlice b);

/* Without leading and trailing ASCII spaces (0x20). */
extern PbSlice pb_slice_trim(PbSlice s);

/* Offset of the first occurrence of c at or after from, or s.len. */
extern size_t pb_slice_find(PbSlice s, char c, size_t from);

/* Valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF) without NUL. */
extern bool pb_utf8_valid(PbSlice s);

/* Length of the longest prefix of s that is at most limit bytes and cuts no UTF-8 character. */
extern size_t pb_utf8_cut(PbSlice s, size_t limit);

/*
 * Bounded output.  Writers never write past cap, but len goes on counting, so
 * that len > cap afterwards means "did not fit" and len is the room needed.
 */
typedef struct PbOut
{
	char	   *data;
	size_t		cap;
	size_t		len;
} PbOut;

extern PbOut pb_out(char *data, size_t cap);
extern bool pb_out_fits(const PbOut *out);
extern void pb_out_char(PbOut *out, char c);
extern void pb_out_bytes(PbOut *out, const char *data, size_t len);
extern void pb_out_slice(PbOut *out, PbSlice s);
extern void pb_out_int(PbOut *out, int64_t n);

/*
 * Escaping writers.  pb_out_percent encodes every byte but the RFC 3986
 * unreserved ones (ALPHA DIGIT - . _ ~) as %XX, upper case.  pb_out_json writes the inside of a JSON
 * string: quote, backslash and controls below 0x20 escaped, others as they are.
 */
extern void pb_out_percent(PbOut *out, PbSlice s);
extern void pb_out_json(PbOut *out, PbSlice s);

#endif							/* PB_SLICE_H */
