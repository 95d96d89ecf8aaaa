/*
 * fuzz_address.c: IP addresses and ranges (extension/core/address.c) against the C library's inet_pton and inet_aton, and
 * the table of special ranges bit by bit.
 */
#include "fuzz.h"

#include <arpa/inet.h>

#include "address.h"

static const char *
terminated(PbSlice s)
{
	char	   *text = room(s.len + 1);

	if (s.len > 0)
		memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	return text;
}

static bool
reference_parse(PbSlice s, PbAddress *address)
{
	*address = (PbAddress) {0};
	if (s.len > 0 && memchr(s.data, '\0', s.len) != NULL)
		return false;
	address->family = s.len > 0 && memchr(s.data, ':', s.len) != NULL ? 6 : 4;
	return inet_pton(address->family == 6 ? AF_INET6 : AF_INET, terminated(s), address->bytes) == 1;
}

static bool
bit(const PbAddress *address, int i)
{
	return (address->bytes[i / 8] >> (7 - i % 8) & 1) != 0;
}

static bool
in_range(const PbAddress *address, const PbAddress *range, int bits)
{
	if (address->family != range->family)
		return false;
	for (int i = 0; i < bits; i++)
		if (bit(address, i) != bit(range, i))
			return false;
	return true;
}

/* The table's row as the C library reads it. */
static void
read_row(const PbRange *row, PbAddress *range, int *bits)
{
	PbSlice		cidr = pb_slice(row->cidr);

	*bits = atoi(strchr(row->cidr, '/') + 1);
	HOLDS(reference_parse((PbSlice) {cidr.data, pb_slice_find(cidr, '/', 0)}, range));
}

static void
check_special(const PbAddress *address)
{
	const PbRange *special = pb_address_special(address);
	bool		found = false;
	PbAddress	mapped = {.family = 6,.bytes = {[10] = 0xFF, [11] = 0xFF}};
	PbAddress	nat64 = {.family = 6,.bytes = {[1] = 0x64, [2] = 0xFF, [3] = 0x9B}};

	for (size_t i = 0; i < pb_special_range_count && !found; i++)
	{
		PbAddress	range;
		int			bits;

		read_row(&pb_special_ranges[i], &range, &bits);
		found = in_range(address, &range, bits);
	}
	HOLDS((special != NULL) == found);
	if (address->family == 6)
		return;
	/* However an IPv4 address is dressed, it is no public one; and a forbidden one is named. */
	memcpy(mapped.bytes + 12, address->bytes, 4);
	memcpy(nat64.bytes + 12, address->bytes, 4);
	HOLDS(pb_address_special(&mapped) != NULL && pb_address_special(&nat64) != NULL);
	HOLDS(special == NULL || (pb_address_special(&mapped) == special && pb_address_special(&nat64) == special));
}

static void
check_cidr(PbSlice text)
{
	size_t		slash = pb_slice_find(text, '/', 0);
	PbSlice		digits = slash < text.len ? (PbSlice) {text.data + slash + 1, text.len - slash - 1} : (PbSlice) {0};
	PbAddress	address;
	PbAddress	other;
	PbCidr		cidr;
	bool		good = reference_parse((PbSlice) {text.data, slash}, &address);
	int			full = address.family == 6 ? 128 : 32;
	long		bits = full;

	if (slash < text.len)
	{
		good = good && digits.len > 0 && digits.len <= 3 && (digits.data[0] != '0' || digits.len == 1);
		for (size_t i = 0; i < digits.len; i++)
			good = good && digits.data[i] >= '0' && digits.data[i] <= '9';
		bits = good ? strtol(terminated(digits), NULL, 10) : 0;
		good = good && bits <= full;
	}
	for (int i = (int) bits; good && i < full; i++)
		good = !bit(&address, i);
	HOLDS(pb_cidr_parse(text, &cidr) == good);
	if (!good)
		return;
	HOLDS(cidr.bits == bits && memcmp(cidr.address.bytes, address.bytes, 16) == 0);
	/* One bit after the other turned: it stays inside exactly while the bit is behind the prefix. */
	for (int i = 0; i < full; i++)
	{
		other = address;
		other.bytes[i / 8] ^= (uint8_t) (0x80 >> i % 8);
		HOLDS(pb_cidr_contains(&cidr, &other) == (i >= bits));
	}
	HOLDS(pb_cidr_contains(&cidr, &address));
}

/* What the C library would take for an address, though it is no literal, must be seen as a number. */
static void
check_numeric(PbSlice text)
{
	struct in_addr hidden;
	PbAddress	address;

	if (text.len == 0 || strcspn(terminated(text), " \t\n\v\f\r") < text.len)
		return;
	if (inet_aton(terminated(text), &hidden) != 0 && !pb_address_parse(text, &address))
		HOLDS(pb_host_looks_numeric(text));
	if (pb_address_parse(text, &address))
		HOLDS(!pb_host_looks_numeric(text));
}

static void
check_properties(Input *in)
{
	int			choice = take_choice(in, 3);
	PbAddress	address = {.family = choice == 1 ? 4 : 6};
	PbAddress	expected;
	PbSlice		text;

	if (choice > 0)
	{
		text = take_bytes(in, choice == 1 ? 4 : 16);
		if (text.len > 0)
			memcpy(address.bytes, text.data, text.len);
		check_special(&address);
		return;
	}
	text = take_rest(in);
	if (reference_parse(text, &expected))
	{
		HOLDS(pb_address_parse(text, &address));
		HOLDS(memcmp(&address, &expected, sizeof(address)) == 0);
		check_special(&address);
	}
	else
		HOLDS(!pb_address_parse(text, &address));
	check_cidr(text);
	check_numeric(text);
}
