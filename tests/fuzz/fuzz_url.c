/*
 * fuzz_url.c: URLs taken apart (extension/core/url.c) against libcurl, which sends to them: what is accepted here means the
 * same host, port, path and query there.  Names beyond ASCII (IDN) are refused here, so nobody has to agree on them.
 */
#include "fuzz.h"

#include <curl/curl.h>
#include <strings.h>

#include "address.h"
#include "url.h"

static const char *
terminated(PbSlice s)
{
	char	   *text = room(s.len + 1);

	if (s.len > 0)
		memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	return text;
}

/* A part as libcurl has it; "" if it has none. */
static PbSlice
curl_part(CURLU *handle, CURLUPart what, unsigned flags)
{
	char	   *text = NULL;
	PbSlice		part = {0};

	if (curl_url_get(handle, what, &text, flags) == CURLUE_OK && text != NULL)
		part = copy_of(pb_slice(text));
	curl_free(text);
	return part;
}

static void
check_with_curl(PbSlice text, const PbUrl *url)
{
	CURLU	   *handle = curl_url();
	PbSlice		host;
	PbSlice		path;

	HOLDS(handle != NULL);
	HOLDS(curl_url_set(handle, CURLUPART_URL, terminated(text), CURLU_PATH_AS_IS) == CURLUE_OK);
	host = curl_part(handle, CURLUPART_HOST, 0);
	path = curl_part(handle, CURLUPART_PATH, 0);

	HOLDS(pb_slice_equal_nocase(curl_part(handle, CURLUPART_SCHEME, 0), url->scheme));
	if (url->host_is_v6)
	{
		PbAddress	ours;
		PbAddress	theirs;

		HOLDS(host.len > 2 && host.data[0] == '[');
		HOLDS(pb_address_parse(url->host, &ours));
		HOLDS(pb_address_parse((PbSlice) {host.data + 1, host.len - 2}, &theirs));
		HOLDS(memcmp(&ours, &theirs, sizeof(ours)) == 0);
	}
	else if (!pb_host_looks_numeric(url->host))
	{
		if (host.len > 0 && host.data[host.len - 1] == '.')
			host.len--;
		HOLDS(pb_slice_equal_nocase(host, url->host));
	}
	HOLDS(atoi(terminated(curl_part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT))) == url->port);
	HOLDS(pb_slice_equal(path, url->path.len > 0 ? url->path : PB_LITERAL("/")));
	HOLDS(pb_slice_equal(curl_part(handle, CURLUPART_QUERY, 0), url->query));
	HOLDS(pb_slice_equal(curl_part(handle, CURLUPART_FRAGMENT, 0), url->fragment));
	HOLDS(curl_part(handle, CURLUPART_USER, 0).len == 0 && curl_part(handle, CURLUPART_PASSWORD, 0).len == 0);
	curl_url_cleanup(handle);
}

/* The parts put together again are the text. */
static void
check_parts(PbSlice text, const PbUrl *url)
{
	PbSlice		again = WRITTEN(out, ({
				pb_out_slice(&out, url->scheme);
				pb_out_slice(&out, PB_LITERAL("://"));
				pb_out_slice(&out, url->authority);
				pb_out_slice(&out, url->path);
				pb_out_slice(&out, url->has_query ? PB_LITERAL("?") : PB_LITERAL(""));
				pb_out_slice(&out, url->query);
				pb_out_slice(&out, url->has_fragment ? PB_LITERAL("#") : PB_LITERAL(""));
				pb_out_slice(&out, url->fragment);
			}));

	HOLDS(pb_slice_equal(again, text));
	HOLDS(url->port > 0 && url->host.len > 0 && url->host.len <= 253);
	HOLDS(url->https == pb_slice_equal_nocase(url->scheme, PB_LITERAL("https")));
	HOLDS(pb_slice_find(url->path, '?', 0) == url->path.len && pb_slice_find(url->query, '#', 0) == url->query.len);
	for (size_t i = 0; i < text.len; i++)
		HOLDS(text.data[i] > ' ' && text.data[i] < 0x7F);
}

static void
check_properties(Input *in)
{
	PbSlice		text = take_rest(in);
	PbUrl		url;

	if (pb_url_split(text, &url) != PB_URL_OK)
		return;
	check_parts(text, &url);
	check_with_curl(text, &url);
}
