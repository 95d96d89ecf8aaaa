/*
 * json.h: a flat JSON object as names and texts.
 */
#ifndef POSTBACK_JSON_H
#define POSTBACK_JSON_H

#include "postback.h"

/*
 * One member of the object.  text: strings unescaped, numbers and booleans as written, data NULL for null; nested: an object or array.
 * What is no character, or NUL, in a name or text makes it invalid UTF-8.
 */
typedef struct JsonMember
{
	PbSlice		name;
	PbSlice		text;
	bool		nested;
} JsonMember;

/* Reads the whole object; false if it is none, or nested too deep.  Raises nothing that the text could cause. */
extern bool json_members(PbSlice text, JsonMember **members, int *count);

#endif							/* POSTBACK_JSON_H */
