/*
 * argument.h: arguments of the SQL functions: arrays taken apart, texts as slices.
 */
#ifndef POSTBACK_ARGUMENT_H
#define POSTBACK_ARGUMENT_H

#include "postback.h"

/* One array argument of a batch, taken apart. */
typedef struct Argument
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
	bool		given;
} Argument;

/* Takes argument n apart; raises unless it has as many elements as expected (-1: any number). Null: not given. */
extern Argument argument_take(FunctionCallInfo fcinfo, int n, const char *name, int expected);

/* Element i as a slice, data NULL for null or when the argument is not given. */
extern PbSlice argument_slice(const Argument *argument, int i);

/* A scalar text argument as a slice, data NULL for null. */
extern PbSlice argument_scalar(FunctionCallInfo fcinfo, int n);

#endif							/* POSTBACK_ARGUMENT_H */
