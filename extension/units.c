/*
 * units.c: amounts between minor and full units, in SQL.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"

#include "argument.h"
#include "core/currency.h"
#include "core/money.h"

/* minor_units(amount, currency): '49.99', EUR -> 4999; null if it is no amount of that currency. */
PG_FUNCTION_INFO_V1(postback_minor_units);
Datum
postback_minor_units(PG_FUNCTION_ARGS)
{
	PbSlice		amount = argument_scalar(fcinfo, 0);
	const PbCurrency *currency = pb_currency_find(argument_scalar(fcinfo, 1));
	int64		minor;

	if (currency == NULL || pb_money_parse_major(pb_slice_trim(amount), currency->exponent, &minor) != PB_OK)
		PG_RETURN_NULL();
	PG_RETURN_INT64(minor);
}

/* full_units(minor, currency): 4999, EUR -> 49.99; null if there is no such currency. */
PG_FUNCTION_INFO_V1(postback_full_units);
Datum
postback_full_units(PG_FUNCTION_ARGS)
{
	static const char *const units[] = {"1", "0.1", "0.01", "0.001", "0.0001"};
	const PbCurrency *currency = pb_currency_find(argument_scalar(fcinfo, 1));
	Datum		unit;

	if (currency == NULL || currency->exponent >= (int) lengthof(units))
		PG_RETURN_NULL();
	unit = DirectFunctionCall3(numeric_in, CStringGetDatum(units[currency->exponent]), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
	PG_RETURN_DATUM(DirectFunctionCall2(numeric_mul, PG_GETARG_DATUM(0), unit));
}
