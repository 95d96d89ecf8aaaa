/*
 * plan.h: every SQL statement that the C code runs, prepared once per backend and fed with arrays.
 *
 * A statement takes one array per column (a few take scalars as one-element arrays), so that a batch of any size costs
 * one execution.  Rows are put in column by column and taken out column by column, in the order of plan.c's text.
 */
#ifndef POSTBACK_PLAN_H
#define POSTBACK_PLAN_H

#include "postback.h"

#include "access/htup.h"
#include "access/tupdesc.h"

typedef enum Statement
{
	ST_TOKENS,
	ST_TOKEN,
	ST_RECEIPT,
	ST_CONVERSIONS,
	ST_CONVERSIONS_LOCKED,
	ST_CONVERSIONS_BY_ID,
	ST_UNPRICED,
	ST_CLICKS,
	ST_PROMO_CODES,
	ST_LAST_CLICKS,
	ST_OFFERS,
	ST_BRANDS,
	ST_HOLDS,
	ST_TERMS,
	ST_TERMS_BY_ID,
	ST_RATES,
	ST_ORDER_ROWS,
	ST_PARKED,
	ST_LOCK_PARKED,
	ST_PARK,
	ST_UNPARK,
	ST_KEEP_PARKED,
	ST_FORGET_PARKED,
	ST_EVENTS,
	ST_EVENT_IDS,
	ST_CREATE,
	ST_UNCREATE,
	ST_UPDATE,
	ST_LAST_CHANGE,
	ST_HISTORY,
	ST_LEDGER,
	ST_LOCK_PREPAID,
	ST_BALANCE,
	ST_AVAILABLE,
	ST_EXHAUST,
	ST_CALLBACKS,
	ST_CALLBACK,
	ST_CALLBACK_TEXTS,
	ST_CONVERSION,
	ST_LOCK_CONVERSIONS,
	ST_CONVERSIONS_OF_TIME,
	ST_NEWEST_CONVERSIONS,
	ST_NEWEST_EVENTS,
	ST_NEWEST_CLICKS,
	ST_SAMPLE_LINK,
	ST_WAITING,
	ST_CHANGE,
	ST_OFFER_NAMES,
	ST_CLICK_DETAILS,
	ST_SEQUENCES,
	ST_DELIVER,
	ST_QUEUE,
	ST_RECEIPTS,
	ST_LINKS,
	ST_FALLBACKS,
	ST_REPEATS,
	ST_INSERT_CLICKS,
	ST_INSERT_CLICK_DETAILS,
	STATEMENT_COUNT
} Statement;

/*
 * Statements run between these two: an SPI connection whose memory goes with statements_end, and a planner that takes the index
 * whatever the statistics say (a table that was empty a minute ago need not be so now).
 */
extern int	statements_begin(void);	/* returns what statements_end wants */
extern void statements_end(int level);

/* The arguments of one execution, row by row.  Lives in the memory context it was made in. */
typedef struct Rows Rows;

extern Rows *rows_begin(Statement statement, int capacity);
extern void rows_next(Rows *rows);

extern void put_datum(Rows *rows, Datum value, bool is_null);
extern void put_ulid(Rows *rows, const PbUlid *value);	/* NULL: null */
extern void put_slice(Rows *rows, PbSlice value);	/* data NULL: null */
extern void put_cstring(Rows *rows, const char *value); /* NULL: null */
extern void put_int(Rows *rows, int32 value);
extern void put_bigint(Rows *rows, int64 value);
extern void put_bool(Rows *rows, bool value);
extern void put_timestamp(Rows *rows, TimestampTz value);

/*
 * Executes the statement unless there are no rows; returns the number of rows processed. Results
 * are read with record_read until the next execution.
 */
extern uint64 rows_execute(Rows *rows);

/*
 * Runs a SELECT of ids, in their order, and raises a serialization failure if it would find others were it to see what is
 * committed now: for transactions that see one moment only.
 */
extern void rows_check_current(Rows *rows);

/* Inserts rows without those that exist already; says of each whether it did, and returns how many. */
extern uint64 rows_insert_new(Rows *rows, bool *inserted);

/* One row being read, column by column. Values live until statements_end, or as long as the tuple. */
typedef struct Record
{
	Datum	   *values;
	bool	   *nulls;
	int			next;
	int			count;
} Record;

extern Record record_read(uint64 row);	/* of the last execution's result */
extern Record record_of_tuple(HeapTuple tuple, TupleDesc desc);

extern bool take_datum(Record *record, Datum *value);	/* false: null */
extern bool take_ulid(Record *record, PbUlid *value);	/* false: null, value zeroed */
extern PbSlice take_slice(Record *record);	/* data NULL: null */
extern int32 take_int(Record *record);	/* null: 0 */
extern bool take_bigint(Record *record, int64 *value);	/* false: null, value 0 */
extern bool take_bool(Record *record);	/* null: false */
extern bool take_timestamp(Record *record, TimestampTz *value);

#endif							/* POSTBACK_PLAN_H */
