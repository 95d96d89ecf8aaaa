/*
 * code.c: names, HTTP statuses and meanings, made from the tables in code.h.
 */
#include "code.h"

static const struct
{
	const char *name;
	int			http;
	const char *meaning;
}			codes[PB_CODE_COUNT] =
{
#define X(symbol, name, http, meaning) {name, http, meaning},
	PB_CODES(X)
#undef X
};

typedef struct Word
{
	const char *name;
	const char *meaning;
} Word;

static const Word results[PB_RESULT_COUNT] =
{
#define X(symbol, name, meaning) {name, meaning},
	PB_RESULTS(X)
#undef X
};

static const Word warnings[PB_WARNING_COUNT] =
{
#define X(symbol, name, meaning) {name, meaning},
	PB_WARNINGS(X)
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

const char *
pb_code_meaning(PbCode code)
{
	return codes[code].meaning;
}

const char *
pb_result_name(PbResult result)
{
	return results[result].name;
}

const char *
pb_result_meaning(PbResult result)
{
	return results[result].meaning;
}

const char *
pb_warning_name(PbWarning warning)
{
	return warnings[warning].name;
}

const char *
pb_warning_meaning(PbWarning warning)
{
	return warnings[warning].meaning;
}
