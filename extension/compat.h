/*
 * compat.h: all in which the versions of PostgreSQL that this builds on, 15 to 18, differ for it.
 */
#ifndef COMPAT_H
#define COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "postback builds on PostgreSQL 15 to 18: set PG_CONFIG to one of them"
#endif

/* Up to 15 part of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Callbacks of the JSON parser return whether to go on since 16; its text is const since 17. */
#if PG_VERSION_NUM >= 160000
#define JSON_CALLBACK JsonParseErrorType
#define JSON_CALLBACK_DONE return JSON_SUCCESS
#else
#define JSON_CALLBACK void
#define JSON_CALLBACK_DONE return
#endif

#if PG_VERSION_NUM >= 170000
#define json_lexer(text, length) makeJsonLexContextCstringLen(NULL, text, length, PG_UTF8, true)
#else
#define json_lexer(text, length) makeJsonLexContextCstringLen(unconstify(char *, text), (int) (length), PG_UTF8, true)
#endif

/* The index entries of a new row. Since 16 an UPDATE may leave out all but BRIN's. */
#if PG_VERSION_NUM >= 160000
#define insert_index_tuples(leaf, slot, estate, speculative, conflict) \
	ExecInsertIndexTuples(leaf, slot, estate, false, speculative, conflict, NIL, false)
#else
#define insert_index_tuples(leaf, slot, estate, speculative, conflict) \
	ExecInsertIndexTuples(leaf, slot, estate, false, speculative, conflict, NIL)
#endif

/* Since 18 it wants to know where the row itself is: nowhere yet. */
#if PG_VERSION_NUM >= 180000
#define check_index_constraints(leaf, slot, estate, other) \
	ExecCheckIndexConstraints(leaf, slot, estate, other, &(slot)->tts_tid, NIL)
#else
#define check_index_constraints(leaf, slot, estate, other) ExecCheckIndexConstraints(leaf, slot, estate, other, NIL)
#endif

#endif							/* COMPAT_H */
