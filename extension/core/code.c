/*
 * code.c: names and HTTP statuses of the result codes, made from the table in code.h.
 */
#include "code.h"

static const struct
{
	const char *name;
	int			http;
}			codes[PB_CODE_COUNT] =
{
#define X(symbol, name, http) {name, http},
	PB_CODES(X)
#undef X
};

const char *
pb_code_name(PbCode code)
{
	return codes[code].name;
}

int
pb_code_http(PbCode code)
{
	return codes[code].http;
}
