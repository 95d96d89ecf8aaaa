/*
 * insert.h: a batch of rows into a table of the extension.
 */
#ifndef POSTBACK_INSERT_H
#define POSTBACK_INSERT_H

/* Rows column by column: values[column * capacity + row]. */
typedef struct InsertRows
{
	int			column_count;
	int			count;
	int			capacity;
	const Datum *values;
	const bool *nulls;
} InsertRows;

/* Inserts the rows as one command; columns, separated by spaces, name what they give, other columns get their defaults. */
extern void insert_rows(const char *table, const char *columns, const InsertRows *rows);

/*
 * Likewise, in their order, without those whose unique key exists, after waiting for whoever is about to write it; says of each
 * whether it was inserted, and returns how many. Not for partitioned tables.
 */
extern int	insert_rows_unless_exist(const char *table, const char *columns, const InsertRows *rows, bool *inserted);

#endif							/* POSTBACK_INSERT_H */
