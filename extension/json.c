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

#if PG_VERSION_NUM >= 160000
#define CALLBACK_RETURN JsonParseErrorType
#define CALLBACK_DONE return JSON_SUCCESS
#else
#define CALLBACK_RETURN void
#define CALLBACK_DONE return
#endif

static CALLBACK_RETURN
object_start(void *state)
{
	Gathering  *gathering = state;

	if (gathering->lex->lex_level == 0)
		gathering->is_object = true;
	CALLBACK_DONE;
}

static CALLBACK_RETURN
field_start(void *state, char *name, bool is_null)
{
	Gathering  *gathering = state;
	JsonTokenType token = gathering->lex->token_type;
	JsonMember *member;

	if (gathering->lex->lex_level != 1 || !gathering->is_object)
		CALLBACK_DONE;
	if (gathering->count == gathering->capacity)
	{
		gathering->capacity *= 2;
		gathering->members = repalloc(gathering->members, sizeof(JsonMember) * gathering->capacity);
	}
	member = &gathering->members[gathering->count++];
	member->name = pb_slice(name);
	member->text = (PbSlice) {NULL, 0};
	member->nested = token == JSON_TOKEN_OBJECT_START || token == JSON_TOKEN_ARRAY_START;
	CALLBACK_DONE;
}

static CALLBACK_RETURN
scalar(void *state, char *token, JsonTokenType type)
{
	Gathering  *gathering = state;
	JsonMember *member;

	if (gathering->lex->lex_level != 1 || gathering->count == 0)
		CALLBACK_DONE;
	member = &gathering->members[gathering->count - 1];
	if (!member->nested && type != JSON_TOKEN_NULL)
		member->text = pb_slice(token);
	CALLBACK_DONE;
}

JsonResult
json_members(PbSlice text, JsonMember **members, int *count)
{
	Gathering	gathering = {0};
	JsonSemAction actions = {0};
	JsonParseErrorType error;

	if (!pb_utf8_valid(text))
		return JSON_BAD_ENCODING;
	if (too_deep(text))
		return JSON_BROKEN;
	gathering.capacity = 16;
	gathering.members = palloc(sizeof(JsonMember) * gathering.capacity);
#if PG_VERSION_NUM >= 170000
	gathering.lex = makeJsonLexContextCstringLen(NULL, text.data, text.len, PG_UTF8, true);
#else
	gathering.lex = makeJsonLexContextCstringLen(unconstify(char *, text.data), (int) text.len, PG_UTF8, true);
#endif
	actions.semstate = &gathering;
	actions.object_start = object_start;
	actions.object_field_start = field_start;
	actions.scalar = scalar;
	error = pg_parse_json(gathering.lex, &actions);
	*members = gathering.members;
	*count = gathering.count;
	if (error == JSON_UNICODE_CODE_POINT_ZERO)
		return JSON_BAD_ENCODING;
	return error == JSON_SUCCESS && gathering.is_object ? JSON_MEMBERS : JSON_BROKEN;
}
