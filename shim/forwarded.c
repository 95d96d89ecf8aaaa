/*
 * forwarded.c: X-Forwarded-For read from the right, X-Forwarded-Proto.
 */
#include "forwarded.h"

#include <string.h>

static PbSlice
trim(PbSlice s)
{
	while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
	{
		s.data++;
		s.len--;
	}
	while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Takes the last entry off a comma-separated list; false when it is empty. */
static bool
take_last(PbSlice *list, PbSlice *entry)
{
	size_t		comma = list->len;

	if (list->data == NULL)
		return false;
	while (comma > 0 && list->data[comma - 1] != ',')
		comma--;
	*entry = trim((PbSlice) {list->data + comma, list->len - comma});
	if (comma > 0)
		list->len = comma - 1;
	else
		*list = (PbSlice) {NULL, 0};
	return true;
}

/* Nothing, or a colon and one to five digits, from the given place to the end? */
static bool
is_port(PbSlice entry, size_t at)
{
	if (at == entry.len)
		return true;
	if (entry.data[at] != ':' || entry.len - at < 2 || entry.len - at > 6)
		return false;
	for (at++; at < entry.len; at++)
		if (entry.data[at] < '0' || entry.data[at] > '9')
			return false;
	return true;
}

/* An address, with or without a port: 192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1], [2001:db8::1]:4711. */
static bool
parse_entry(PbSlice entry, PbAddress *address)
{
	size_t		end;

	if (pb_address_parse(entry, address))
		return true;
	if (entry.len > 0 && entry.data[0] == '[')
	{
		end = pb_slice_find(entry, ']', 1);
		return end < entry.len && pb_address_parse((PbSlice) {entry.data + 1, end - 1}, address) &&
			address->family == 6 && is_port(entry, end + 1);
	}
	end = pb_slice_find(entry, ':', 0);
	return pb_address_parse((PbSlice) {entry.data, end}, address) && address->family == 4 && is_port(entry, end);
}

/* An IPv4 client of a proxy that listens on an IPv6 socket is the IPv4 address, as our own peers are. */
static bool
entry_address(PbSlice entry, PbAddress *address)
{
	if (!parse_entry(entry, address))
		return false;
	pb_address_unmap(address);
	return true;
}

PbAddress
forwarded_sender(const CidrList *trusted, const HttpRequest *request)
{
	PbAddress	sender = request->peer;
	PbAddress	before;
	PbSlice		list = request->field[HTTP_FORWARDED_FOR];
	PbSlice		entry;

	while (cidr_list_contains(trusted, &sender) && take_last(&list, &entry) && entry_address(entry, &before))
		sender = before;
	return sender;
}

bool
forwarded_is_tls(const CidrList *trusted, const HttpRequest *request)
{
	PbSlice		proto = request->field[HTTP_FORWARDED_PROTO];

	if (proto.data == NULL || !cidr_list_contains(trusted, &request->peer))
		return false;
	proto.len = pb_slice_find(proto, ',', 0);
	return pb_slice_equal_nocase(trim(proto), PB_LITERAL("https"));
}
