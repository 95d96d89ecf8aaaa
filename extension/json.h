/*
 * json.h: a flat JSON object as names and texts.
 */
#ifndef POSTBACK_JSON_H
#define POSTBACK_JSON_H

#include "postback.h"

/* One member of the object.  text: strings unescaped, numbers and booleans as written, data NULL for null; nested: an object or array. */
typedef struct JsonMember
{
	PbSlice		name;
	PbSlice		text;
	bool		nested;
} JsonMember;

typedef enum JsonResult
{
	JSON_MEMBERS,
	JSON_BROKEN,				/* no JSON, no object, or nested too deep */
	JSON_BAD_ENCODING			/* invalid UTF-8, or an escaped NUL */
} JsonResult;

/* Reads the whole object; raises nothing that the text could cause. */
extern JsonResult json_members(PbSlice text, JsonMember **members, int *count);

#endif							/* POSTBACK_JSON_H */
