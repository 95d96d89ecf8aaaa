/*
 * fuzz_forwarded.c: X-Forwarded-For and -Proto (shim/forwarded.c): an address is believed only if everybody to the right of it
 * is a trusted proxy. An IPv4-mapped one is the IPv4 address.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include "forwarded.h"

#define ENTRIES_MAX 64

/* RFC 4291, 2.5.5.2 */
static void
unmap(PbAddress *address)
{
	struct in6_addr in6;
	PbAddress	in = {.family = 4};

	memcpy(&in6, address->bytes, sizeof(in6));
	if (address->family != 6 || !IN6_IS_ADDR_V4MAPPED(&in6))
		return;
	memcpy(in.bytes, &in6.s6_addr[12], 4);
	*address = in;
}

/* An address as proxies write it, by the C library: bare, in brackets, with a port of up to five digits behind. */
static bool
read_entry(PbSlice entry, PbAddress *address)
{
	char		text[64] = {0};
	char	   *colon;
	size_t		last;

	while (entry.len > 0 && (entry.data[0] == ' ' || entry.data[0] == '\t'))
		entry = (PbSlice) {entry.data + 1, entry.len - 1};
	while (entry.len > 0 && (entry.data[entry.len - 1] == ' ' || entry.data[entry.len - 1] == '\t'))
		entry.len--;
	*address = (PbAddress) {.family = 6};
	if (entry.len == 0 || entry.len >= sizeof(text) || memchr(entry.data, '\0', entry.len) != NULL)
		return false;
	memcpy(text, entry.data, entry.len);
	if (inet_pton(AF_INET6, text, address->bytes) == 1)
		return true;

	colon = strrchr(text, ':');
	if (colon != NULL && colon[1] != '\0' && strlen(colon + 1) <= 5 && strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
		(text[0] != '[' || colon[-1] == ']'))
		*colon = '\0';
	if (text[0] != '[')
	{
		*address = (PbAddress) {.family = 4};
		return inet_pton(AF_INET, text, address->bytes) == 1;
	}
	last = strlen(text) - 1;
	if (text[last] != ']')
		return false;
	text[last] = '\0';
	return inet_pton(AF_INET6, text + 1, address->bytes) == 1;
}

static bool
trusts(const CidrList *list, const PbAddress *address)
{
	for (int i = 0; i < list->count; i++)
		if (pb_cidr_contains(&list->items[i], address))
			return true;
	return false;
}

static void
take_trusted(Input *in, CidrList *list)
{
	static const char *const ranges[] = {"10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128", "0.0.0.0/0", "::/0"};
	int			chosen = take_choice(in, 1 << COUNT(ranges));

	for (size_t i = 0; i < COUNT(ranges); i++)
		if ((chosen >> i & 1) != 0)
			HOLDS(pb_cidr_parse(pb_slice(ranges[i]), &list->items[list->count++]));
}

static void
check_properties(Input *in)
{
	static const char *const peers[] = {"10.1.2.3", "192.0.2.1", "198.51.100.7", "2001:db8::1", "2a00::1", "::1"};
	CidrList	trusted = {0};
	HttpRequest request = {0};
	PbSlice		list;
	PbSlice		entries[ENTRIES_MAX];
	size_t		count = 0;
	PbAddress	expected;
	PbAddress	found;

	take_trusted(in, &trusted);
	HOLDS(pb_address_parse(pb_slice(peers[take_choice(in, COUNT(peers))]), &request.peer));
	request.field[HTTP_FORWARDED_PROTO] = take_text(in);
	list = take_rest(in);
	request.field[HTTP_FORWARDED_FOR] = list;

	for (size_t at = 0; list.data != NULL && at <= list.len && count < ENTRIES_MAX; count++)
	{
		size_t		comma = pb_slice_find(list, ',', at);

		entries[count] = (PbSlice) {list.data + at, comma - at};
		at = comma + 1;
	}
	if (count == ENTRIES_MAX)
		return;
	expected = request.peer;
	while (trusts(&trusted, &expected) && count > 0 && read_entry(entries[count - 1], &found))
	{
		unmap(&found);
		expected = found;
		count--;
	}
	found = forwarded_sender(&trusted, &request);
	HOLDS(found.family == expected.family && memcmp(found.bytes, expected.bytes, found.family == 4 ? 4 : 16) == 0);
	if (forwarded_is_tls(&trusted, &request))
	{
		PbSlice		proto = request.field[HTTP_FORWARDED_PROTO];

		HOLDS(trusts(&trusted, &request.peer));
		HOLDS(proto.len >= 5);
		while (proto.data[0] == ' ' || proto.data[0] == '\t')
			proto = (PbSlice) {proto.data + 1, proto.len - 1};
		HOLDS(proto.len >= 5 && strncasecmp(proto.data, "https", 5) == 0);
	}
}
