/*
 * version.c: which versions of library, SQL and daemon go together.
 */
#include "version.h"

bool
pb_same_minor(const char *a, const char *b)
{
	int			dots = 0;

	for (; *a == *b; a++, b++)
		if (*a == '\0' || (*a == '.' && ++dots == 2))
			return true;
	return dots == 1 && ((*a == '\0' && *b == '.') || (*a == '.' && *b == '\0'));
}
