/*
 * url.h: an absolute http(s) URL taken apart, strictly.
 */
#ifndef PB_URL_H
#define PB_URL_H

#include "slice.h"

typedef enum PbUrlError
{
	PB_URL_OK,
	PB_URL_BAD_SCHEME,			/* not http or https */
	PB_URL_BAD_HOST,			/* none, over 253 bytes, a label empty or over 63, a byte outside [A-Za-z0-9._-], or a
								 * malformed [v6] */
	PB_URL_BAD_PORT,			/* not 1..65535, or with a leading zero */
	PB_URL_USERINFO,			/* user:password@ is not accepted */
	PB_URL_BAD_BYTE				/* a control, a space, a '"', a backslash, or a byte over 0x7E in the URL */
} PbUrlError;

typedef struct PbUrl
{
	PbSlice		scheme;
	bool		https;
	PbSlice		host;			/* without brackets and without a trailing dot */
	bool		host_is_v6;
	uint16_t	port;			/* the scheme's if not given */
	PbSlice		authority;		/* host[:port] as written */
	PbSlice		path;			/* from '/' on, may be empty */
	PbSlice		query;			/* without '?' */
	bool		has_query;
	PbSlice		fragment;		/* without '#'; never sent */
	bool		has_fragment;
} PbUrl;

/* May the byte stand in a URL as it is?  No for those of PB_URL_BAD_BYTE. */
extern bool pb_url_byte_ok(char c);

extern PbUrlError pb_url_split(PbSlice text, PbUrl *url);

#endif							/* PB_URL_H */
