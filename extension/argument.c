/*
 * argument.c: arguments of the SQL functions: arrays taken apart, texts as slices.
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/lsyscache.h"

#include "argument.h"

Argument
argument_take(FunctionCallInfo fcinfo, int n, const char *name, int expected)
{
	Argument	argument = {0};
	ArrayType  *array;
	Oid			element;
	int16		length;
	bool		by_value;
	char		align;

	if (PG_ARGISNULL(n))
		return argument;
	array = PG_GETARG_ARRAYTYPE_P(n);
	element = ARR_ELEMTYPE(array);
	get_typlenbyvalalign(element, &length, &by_value, &align);
	deconstruct_array(array, element, length, by_value, align, &argument.values, &argument.nulls, &argument.count);
	argument.given = true;
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s must be a one-dimensional array", name),
				 errdetail("It has %d dimensions.", ARR_NDIM(array))));
	if (expected >= 0 && argument.count != expected)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%s must be a one-dimensional array of as many elements as items", name),
				 errdetail("It has %d, items has %d.", argument.count, expected)));
	return argument;
}

PbSlice
argument_slice(const Argument *argument, int i)
{
	if (!argument->given || argument->nulls[i])
		return (PbSlice) {NULL, 0};
	return text_slice(DatumGetTextPP(argument->values[i]));
}

PbSlice
argument_scalar(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return (PbSlice) {NULL, 0};
	return text_slice(PG_GETARG_TEXT_PP(n));
}
