/*
 * text.h: bytes from a request made into text that the database accepts.
 */
#ifndef POSTBACKD_TEXT_H
#define POSTBACKD_TEXT_H

#include "db.h"

/*
 * Adds what is part of a URL: as it is if it is valid UTF-8, else with every
 * byte above ASCII percent-encoded, which means the same there.
 */
extern void text_add_encoded(DbArguments *arguments, int index, PbSlice part);

/* Adds a header field's value; NULL if absent; if it is not valid UTF-8, with '?' for every byte above ASCII. */
extern void text_add_optional(DbArguments *arguments, int index, PbSlice value);

/* The value of the named cookie in a Cookie field; data is NULL if there is none. */
extern PbSlice text_cookie(PbSlice field, PbSlice name);

#endif							/* POSTBACKD_TEXT_H */
