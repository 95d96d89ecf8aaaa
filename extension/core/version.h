/*
 * version.h: which versions of library, SQL and daemon go together.
 */
#ifndef PB_VERSION_H
#define PB_VERSION_H

#include <stdbool.h>

/* "1.2.3" and "1.2.4" go together, "1.2" and "1.3" need not. */
extern bool pb_same_minor(const char *a, const char *b);

#endif							/* PB_VERSION_H */
