/*
 * multipart.h: the parts of a multipart/form-data body (RFC 7578), as names and values.
 */
#ifndef PB_MULTIPART_H
#define PB_MULTIPART_H

#include "slice.h"

/* The value of a parameter (without quotes) of a header value: "form-data; name=\"a\"" and name give a.  False if it has none. */
extern bool pb_header_parameter(PbSlice header, PbSlice name, PbSlice *value);

typedef enum PbMultipart
{
	PB_MULTIPART_PART,			/* *name and *value were set */
	PB_MULTIPART_END,			/* the closing boundary was reached */
	PB_MULTIPART_BAD			/* no boundary where one must be, a part without a name, or no end */
} PbMultipart;

/*
 * Takes the next part off *rest, which is the whole body at first.  boundary is without the leading dashes, 1 to 70 bytes.  Names and values are raw bytes
 * inside the body.
 */
extern PbMultipart pb_multipart_next(PbSlice *rest, PbSlice boundary, PbSlice *name, PbSlice *value);

#endif							/* PB_MULTIPART_H */
