/*
 * json.c: a flat JSON object as names and texts, by PostgreSQL's own parser, so that numbers stay as they were written.
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "json.h"

/* Deeper texts are refused before the recursive parser sees them. */
#define MAX_DEPTH 32

/* What the parser's callbacks gather. */
typedef struct Gathering
{
	JsonLexContext *lex;
	JsonMember *members;
	int			count;
	int			capacity;
	bool		is_object;
} Gathering;

static bool
too_deep(PbSlice text)
{
	int			depth = 0;
	bool		in_string = false;

	for (size_t i = 0; i < text.len; i++)
	{
		char		c = text.data[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '[') && ++depth > MAX_DEPTH)
			return true;
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
	}
	return false;
}

/* The code unit of an escape \uXXXX that s begins with, or -1. */
static int
escaped_unit(PbSlice s)
{
	int			unit = 0;

	if (s.len < 6 || s.data[0] != '\\' || s.data[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
	{
		const char *digits = "0123456789abcdef";
		const char *digit = s.data[i] == '\0' ? NULL : strchr(digits, pg_tolower((unsigned char) s.data[i]));

		if (digit == NULL)
			return -1;
		unit = unit * 16 + (int) (digit - digits);
	}
	return unit;
}

/* How many bytes at the start of s, which is within a string, belong together; *character: they mean one, and not NUL. */
static size_t
string_unit(PbSlice s, bool *character)
{
	int			first = escaped_unit(s);

	*character = s.data[0] != '\0' && first != 0;
	if (first >= 0xD800 && first <= 0xDFFF)
	{
		int			second = s.len > 6 ? escaped_unit((PbSlice) {s.data + 6, s.len - 6}) : -1;

		*character = first < 0xDC00 && second >= 0xDC00 && second <= 0xDFFF;
		return *character ? 12 : 6;
	}
	if (first >= 0)
		return 6;
	return s.data[0] == '\\' && s.len > 1 ? 2 : 1;
}

/*
 * The text with a byte that is no UTF-8 for each NUL and each half of a surrogate pair in its strings, at which the parser would
 * stop. So they are what other bytes are that mean no character: no matter but in a value that somebody reads.
 */
static PbSlice
without_stoppers(PbSlice text)
{
	char	   *out = palloc(text.len + 1);
	size_t		length = 0;
	size_t		taken;
	bool		in_string = false;

	for (size_t i = 0; i < text.len; i += taken)
	{
		bool		character = true;

		taken = in_string ? string_unit((PbSlice) {text.data + i, text.len - i}, &character) : 1;
		if (text.data[i] == '"')
			in_string = !in_string;
		if (character)
			memcpy(out + length, text.data + i, taken);
		else
			out[length] = '\xFF';
		length += character ? taken : 1;
	}
	return (PbSlice) {out, length};
}

static JSON_CALLBACK
object_start(void *state)
{
	Gathering  *gathering = state;

	if (gathering->lex->lex_level == 0)
		gathering->is_object = true;
	JSON_CALLBACK_DONE;
}

static JSON_CALLBACK
field_start(void *state, char *name, bool is_null)
{
	Gathering  *gathering = state;
	JsonTokenType token = gathering->lex->token_type;
	JsonMember *member;

	if (gathering->lex->lex_level != 1 || !gathering->is_object)
		JSON_CALLBACK_DONE;
	if (gathering->count == gathering->capacity)
	{
		gathering->capacity *= 2;
		gathering->members = repalloc(gathering->members, sizeof(JsonMember) * gathering->capacity);
	}
	member = &gathering->members[gathering->count++];
	member->name = pb_slice(name);
	member->text = (PbSlice) {NULL, 0};
	member->nested = token == JSON_TOKEN_OBJECT_START || token == JSON_TOKEN_ARRAY_START;
	JSON_CALLBACK_DONE;
}

static JSON_CALLBACK
scalar(void *state, char *token, JsonTokenType type)
{
	Gathering  *gathering = state;
	JsonMember *member;

	if (gathering->lex->lex_level != 1 || gathering->count == 0)
		JSON_CALLBACK_DONE;
	member = &gathering->members[gathering->count - 1];
	if (!member->nested && type != JSON_TOKEN_NULL)
		member->text = pb_slice(token);
	JSON_CALLBACK_DONE;
}

bool
json_members(PbSlice text, JsonMember **members, int *count)
{
	Gathering	gathering = {0};
	JsonSemAction actions = {0};
	JsonParseErrorType error;

	if (too_deep(text))
		return false;
	text = without_stoppers(text);
	gathering.capacity = 16;
	gathering.members = palloc(sizeof(JsonMember) * gathering.capacity);
	gathering.lex = json_lexer(text.data, text.len);
	actions.semstate = &gathering;
	actions.object_start = object_start;
	actions.object_field_start = field_start;
	actions.scalar = scalar;
	error = pg_parse_json(gathering.lex, &actions);
	*members = gathering.members;
	*count = gathering.count;
	return error == JSON_SUCCESS && gathering.is_object;
}
