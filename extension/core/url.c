/*
 * url.c: an absolute http(s) URL taken apart, strictly (RFC 3986, less what no receiver of postbacks needs).
 *
 * Knows text only: nothing is resolved, decoded or normalised here, so what was checked is what is sent.
 */
#include "url.h"

#include "address.h"

#define HOST_MAX 253
#define LABEL_MAX 63

bool
pb_url_byte_ok(char c)
{
	unsigned char u = (unsigned char) c;

	return u > 0x20 && u < 0x7F && u != '"' && u != '\\';
}

static PbSlice
part(PbSlice text, size_t from, size_t to)
{
	return (PbSlice) {text.data + from, to - from};
}

static bool
is_host_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* A name or a dotted quad, without its trailing dot. */
static bool
host_ok(PbSlice host)
{
	size_t		label = 0;

	if (host.len == 0 || host.len > HOST_MAX)
		return false;
	for (size_t i = 0; i < host.len; i++)
	{
		if (host.data[i] == '.')
		{
			if (label == 0)
				return false;
			label = 0;
		}
		else if (!is_host_byte(host.data[i]) || ++label > LABEL_MAX)
			return false;
	}
	return label > 0;
}

/* 1 to 65535, no leading zero: one port has one spelling. */
static bool
parse_port(PbSlice text, uint16_t *port)
{
	uint32_t	n = 0;

	if (text.len == 0 || text.len > 5 || text.data[0] == '0')
		return false;
	for (size_t i = 0; i < text.len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		n = n * 10 + (uint32_t) (text.data[i] - '0');
	}
	if (n > 65535)
		return false;
	*port = (uint16_t) n;
	return true;
}

/* Takes host and port from url->authority. */
static PbUrlError
split_authority(PbUrl *url)
{
	PbSlice		authority = url->authority;
	PbAddress	address;
	size_t		end;

	if (pb_slice_find(authority, '@', 0) < authority.len)
		return PB_URL_USERINFO;

	if (authority.len > 0 && authority.data[0] == '[')
	{
		end = pb_slice_find(authority, ']', 1);
		if (end == authority.len)
			return PB_URL_BAD_HOST;
		url->host = part(authority, 1, end);
		url->host_is_v6 = true;
		end++;
		if (!pb_address_parse(url->host, &address) || address.family != 6)
			return PB_URL_BAD_HOST;
		if (end < authority.len && authority.data[end] != ':')
			return PB_URL_BAD_HOST;
	}
	else
	{
		end = pb_slice_find(authority, ':', 0);
		url->host = part(authority, 0, end);
		if (url->host.len > 0 && url->host.data[url->host.len - 1] == '.')
			url->host.len--;
		if (!host_ok(url->host))
			return PB_URL_BAD_HOST;
	}

	url->port = url->https ? 443 : 80;
	if (end < authority.len && !parse_port(part(authority, end + 1, authority.len), &url->port))
		return PB_URL_BAD_PORT;
	return PB_URL_OK;
}

/* Takes path, query and fragment from what follows the authority. */
static void
split_rest(PbSlice text, size_t from, PbUrl *url)
{
	size_t		fragment = pb_slice_find(text, '#', from);
	size_t		query = pb_slice_find(part(text, 0, fragment), '?', from);

	url->path = part(text, from, query);
	url->has_query = query < fragment;
	if (url->has_query)
		url->query = part(text, query + 1, fragment);
	url->has_fragment = fragment < text.len;
	if (url->has_fragment)
		url->fragment = part(text, fragment + 1, text.len);
}

/* On an error *url holds what was read until then: do not use it. */
PbUrlError
pb_url_split(PbSlice text, PbUrl *url)
{
	PbSlice		slashes = PB_LITERAL("//");
	size_t		colon;
	size_t		end;

	*url = (PbUrl) {0};
	for (size_t i = 0; i < text.len; i++)
		if (!pb_url_byte_ok(text.data[i]))
			return PB_URL_BAD_BYTE;

	colon = pb_slice_find(text, ':', 0);
	if (colon == text.len)
		return PB_URL_BAD_SCHEME;
	url->scheme = part(text, 0, colon);
	url->https = pb_slice_equal_nocase(url->scheme, pb_slice("https"));
	if (!url->https && !pb_slice_equal_nocase(url->scheme, pb_slice("http")))
		return PB_URL_BAD_SCHEME;
	if (text.len - colon < 3 || !pb_slice_equal(part(text, colon + 1, colon + 3), slashes))
		return PB_URL_BAD_HOST;

	end = colon + 3;
	while (end < text.len && text.data[end] != '/' && text.data[end] != '?' && text.data[end] != '#')
		end++;
	url->authority = part(text, colon + 3, end);
	split_rest(text, end, url);
	return split_authority(url);
}
