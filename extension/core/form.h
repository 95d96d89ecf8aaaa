/*
 * form.h: application/x-www-form-urlencoded, read as WHATWG's parser does.
 *
 * Pairs are split at '&', names from values at the first '='; empty pairs are
 * skipped; '+' is a space; %XX is a byte; a bad escape stays literal.  Bytes
 * are not checked here: see pb_utf8_valid.
 */
#ifndef PB_FORM_H
#define PB_FORM_H

#include "slice.h"

/* Takes the next raw (still encoded) pair off *rest; false when there is none left. */
extern bool pb_form_next(PbSlice *rest, PbSlice *name, PbSlice *value);

/* Decodes raw into out, which has room for raw.len bytes (out may be raw.data itself); returns the length. */
extern size_t pb_form_decode(PbSlice raw, char *out);

#endif							/* PB_FORM_H */
