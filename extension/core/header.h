/*
 * header.h: header fields of a request as a callback may set them (RFC 9110, 5).
 *
 * Used where callbacks are saved, where their headers are rendered and, once more, where they are sent.
 */
#ifndef PB_HEADER_H
#define PB_HEADER_H

#include "slice.h"

/* Is it a field name: a token, not empty? */
extern bool pb_header_name_ok(PbSlice name);

/* Does the field belong to the connection or to us, so that no callback may set it?  Without case. */
extern bool pb_header_reserved(PbSlice name);

/* May the byte stand in a field's value?  Not so controls, but for the tab. */
extern bool pb_header_byte_ok(char c);

/* Writes a value without the bytes that may not stand in it. */
extern void pb_out_header(PbOut *out, PbSlice value);

#endif							/* PB_HEADER_H */
