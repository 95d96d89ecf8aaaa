/*
 * header.c: header fields of a request as a callback may set them.
 */
#include "header.h"

#include <string.h>

static const char *const reserved[] = {
	"connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te",
	"trailer", "transfer-encoding", "upgrade", "webhook-id", "webhook-signature", "webhook-timestamp",
};

static bool
is_token_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool
pb_header_name_ok(PbSlice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!is_token_byte(name.data[i]))
			return false;
	return name.len > 0;
}

bool
pb_header_reserved(PbSlice name)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (pb_slice_equal_nocase(name, pb_slice(reserved[i])))
			return true;
	return false;
}

bool
pb_header_byte_ok(char c)
{
	return ((unsigned char) c >= 0x20 && c != 0x7F) || c == '\t';
}

void
pb_out_header(PbOut *out, PbSlice value)
{
	for (size_t i = 0; i < value.len; i++)
		if (pb_header_byte_ok(value.data[i]))
			pb_out_char(out, value.data[i]);
}
