/*
 * address.c: IP addresses from text, and the table of those that no postback may be sent to.
 *
 * Strict on purpose: a text that another resolver might read differently is no address here.
 */
#include "address.h"

#include <string.h>

/*
 * The IANA IPv4 and IPv6 Special-Purpose Address Registries, whole, as of 2025; then what is special without being
 * in them.  Where ranges overlap the longest prefix names the address, so the order is for the reader only.
 */
const PbRange pb_special_ranges[] =
{
	/* IANA IPv4 Special-Purpose Address Registry */
	{"0.0.0.0/8", "this network", "RFC 791"},
	{"0.0.0.0/32", "this host on this network", "RFC 1122"},
	{"10.0.0.0/8", "private use", "RFC 1918"},
	{"100.64.0.0/10", "shared address space", "RFC 6598"},
	{"127.0.0.0/8", "loopback", "RFC 1122"},
	{"169.254.0.0/16", "link local", "RFC 3927"},
	{"172.16.0.0/12", "private use", "RFC 1918"},
	{"192.0.0.0/24", "IETF protocol assignments", "RFC 6890"},
	{"192.0.0.0/29", "IPv4 service continuity prefix", "RFC 7335"},
	{"192.0.0.8/32", "IPv4 dummy address", "RFC 7600"},
	{"192.0.0.9/32", "port control protocol anycast", "RFC 7723"},
	{"192.0.0.10/32", "TURN anycast", "RFC 8155"},
	{"192.0.0.170/32", "NAT64/DNS64 discovery", "RFC 7050"},
	{"192.0.0.171/32", "NAT64/DNS64 discovery", "RFC 7050"},
	{"192.0.2.0/24", "documentation (TEST-NET-1)", "RFC 5737"},
	{"192.31.196.0/24", "AS112-v4", "RFC 7535"},
	{"192.52.193.0/24", "AMT", "RFC 7450"},
	{"192.88.99.0/24", "deprecated (6to4 relay anycast)", "RFC 7526"},
	{"192.88.99.2/32", "6a44 relay anycast", "RFC 6751"},
	{"192.168.0.0/16", "private use", "RFC 1918"},
	{"192.175.48.0/24", "direct delegation AS112 service", "RFC 7534"},
	{"198.18.0.0/15", "benchmarking", "RFC 2544"},
	{"198.51.100.0/24", "documentation (TEST-NET-2)", "RFC 5737"},
	{"203.0.113.0/24", "documentation (TEST-NET-3)", "RFC 5737"},
	{"240.0.0.0/4", "reserved", "RFC 1112"},
	{"255.255.255.255/32", "limited broadcast", "RFC 919"},
	/* IANA IPv6 Special-Purpose Address Registry */
	{"::1/128", "loopback", "RFC 4291"},
	{"::/128", "unspecified address", "RFC 4291"},
	{"::ffff:0:0/96", "IPv4-mapped address", "RFC 4291"},
	{"64:ff9b::/96", "IPv4-IPv6 translation (NAT64)", "RFC 6052"},
	{"64:ff9b:1::/48", "IPv4-IPv6 translation (local NAT64)", "RFC 8215"},
	{"100::/64", "discard only", "RFC 6666"},
	{"100:0:0:1::/64", "dummy IPv6 prefix", "RFC 9780"},
	{"2001::/23", "IETF protocol assignments", "RFC 2928"},
	{"2001::/32", "Teredo", "RFC 4380"},
	{"2001:1::1/128", "port control protocol anycast", "RFC 7723"},
	{"2001:1::2/128", "TURN anycast", "RFC 8155"},
	{"2001:1::3/128", "DNS-SD service registration anycast", "RFC 9665"},
	{"2001:2::/48", "benchmarking", "RFC 5180"},
	{"2001:3::/32", "AMT", "RFC 7450"},
	{"2001:4:112::/48", "AS112-v6", "RFC 7535"},
	{"2001:10::/28", "deprecated (ORCHID)", "RFC 4843"},
	{"2001:20::/28", "ORCHIDv2", "RFC 7343"},
	{"2001:30::/28", "drone remote ID", "RFC 9374"},
	{"2001:db8::/32", "documentation", "RFC 3849"},
	{"2002::/16", "6to4", "RFC 3056"},
	{"2620:4f:8000::/48", "direct delegation AS112 service", "RFC 7534"},
	{"3fff::/20", "documentation", "RFC 9637"},
	{"5f00::/16", "segment routing (SRv6) SIDs", "RFC 9602"},
	{"fc00::/7", "unique local", "RFC 4193"},
	{"fe80::/10", "link local", "RFC 4291"},
	/* special without a row in those registries */
	{"224.0.0.0/4", "multicast", "RFC 5771"},
	{"::/96", "IPv4-compatible address (deprecated)", "RFC 4291"},
	{"::ffff:0:0:0/96", "IPv4-translated address", "RFC 2765"},
	{"fec0::/10", "site local (deprecated)", "RFC 3879"},
	{"ff00::/8", "multicast", "RFC 4291"},
};
const size_t pb_special_range_count = sizeof(pb_special_ranges) / sizeof(pb_special_ranges[0]);

/* Ranges of the table above whose addresses carry an IPv4 address: at which byte, and what it is XORed with. */
typedef struct Embedding
{
	const char *cidr;
	size_t		offset;
	uint8_t		flip;
} Embedding;

static const Embedding embeddings[] =
{
	{"::/96", 12, 0x00},
	{"::ffff:0:0/96", 12, 0x00},
	{"::ffff:0:0:0/96", 12, 0x00},
	{"64:ff9b::/96", 12, 0x00},
	{"2002::/16", 2, 0x00},
	{"2001::/32", 12, 0xFF},	/* Teredo: the client's address, every bit inverted */
};

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A decimal number from *at on, at most limit, no leading zero; *at moves past it. */
static bool
read_decimal(PbSlice text, size_t *at, int limit, int *number)
{
	size_t		start = *at;
	int			n = 0;

	while (*at < text.len && is_digit(text.data[*at]))
	{
		n = n * 10 + (text.data[*at] - '0');
		if (n > limit)
			return false;
		(*at)++;
	}
	*number = n;
	return *at > start && (text.data[start] != '0' || *at == start + 1);
}

/* The whole of text as a dotted quad. */
static bool
parse_v4(PbSlice text, uint8_t *bytes)
{
	size_t		at = 0;

	for (int i = 0; i < 4; i++)
	{
		int			n;

		if (i > 0 && (at == text.len || text.data[at++] != '.'))
			return false;
		if (!read_decimal(text, &at, 255, &n))
			return false;
		bytes[i] = (uint8_t) n;
	}
	return at == text.len;
}

/* One to four hex digits from *at on; *at moves past them. */
static bool
read_group(PbSlice text, size_t *at, uint8_t *bytes)
{
	size_t		start = *at;
	unsigned	n = 0;

	while (*at < text.len && *at - start < 4 && hex_digit(text.data[*at]) >= 0)
		n = n << 4 | (unsigned) hex_digit(text.data[(*at)++]);
	bytes[0] = (uint8_t) (n >> 8);
	bytes[1] = (uint8_t) (n & 0xFF);
	return *at > start;
}

/*
 * Reads groups separated by colons into bytes, the last two possibly as a dotted quad, up to the end of text or to
 * "::".  *at moves past what was read; returns how many bytes that gave, at most room, or -1.
 */
static int
read_groups(PbSlice text, size_t *at, uint8_t *bytes, int room)
{
	int			used = 0;

	while (*at < text.len)
	{
		PbSlice		rest = {text.data + *at, text.len - *at};

		if (room - used >= 4 && parse_v4(rest, bytes + used))
		{
			*at = text.len;
			return used + 4;
		}
		if (room - used < 2 || !read_group(text, at, bytes + used))
			return -1;
		used += 2;
		if (*at == text.len || (text.len - *at >= 2 && text.data[*at + 1] == ':' && text.data[*at] == ':'))
			return used;
		if (text.data[*at] != ':' || ++(*at) == text.len)
			return -1;
	}
	return used;
}

/* The whole of text as RFC 4291 has it; "::" stands for one group of zeros or more. */
static bool
parse_v6(PbSlice text, uint8_t *bytes)
{
	uint8_t		tail[16];
	size_t		at = 0;
	int			head_len = 0;
	int			tail_len;

	memset(bytes, 0, 16);
	if (text.len < 2)
		return false;
	if (text.data[0] != ':' || text.data[1] != ':')
	{
		head_len = read_groups(text, &at, bytes, 16);
		if (head_len < 0)
			return false;
		if (at == text.len)
			return head_len == 16;
	}
	at += 2;					/* the "::" */
	tail_len = read_groups(text, &at, tail, 16);
	if (tail_len < 0 || at < text.len || head_len + tail_len > 14)
		return false;
	memcpy(bytes + 16 - tail_len, tail, (size_t) tail_len);
	return true;
}

bool
pb_address_parse(PbSlice text, PbAddress *address)
{
	*address = (PbAddress) {0};
	address->family = pb_slice_find(text, ':', 0) < text.len ? 6 : 4;
	return address->family == 6 ? parse_v6(text, address->bytes) : parse_v4(text, address->bytes);
}

void
pb_address_unmap(PbAddress *address)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
	PbAddress	inside = {.family = 4};

	if (address->family != 6 || memcmp(address->bytes, mapped, sizeof(mapped)) != 0)
		return;
	memcpy(inside.bytes, address->bytes + sizeof(mapped), 4);
	*address = inside;
}

static bool
same_prefix(const uint8_t *a, const uint8_t *b, int bits)
{
	int			whole = bits / 8;
	int			rest = bits % 8;

	if (memcmp(a, b, (size_t) whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & (0xFF00 >> rest) & 0xFF) == 0;
}

bool
pb_cidr_parse(PbSlice text, PbCidr *cidr)
{
	size_t		slash = pb_slice_find(text, '/', 0);
	size_t		at = slash + 1;
	PbAddress	masked = {0};
	int			full;

	if (!pb_address_parse((PbSlice) {text.data, slash}, &cidr->address))
		return false;
	full = cidr->address.family == 4 ? 32 : 128;
	cidr->bits = full;
	if (slash < text.len && (!read_decimal(text, &at, full, &cidr->bits) || at < text.len))
		return false;

	for (int i = 0; i < cidr->bits; i++)
		masked.bytes[i / 8] |= cidr->address.bytes[i / 8] & (0x80 >> i % 8);
	return memcmp(masked.bytes, cidr->address.bytes, sizeof(masked.bytes)) == 0;
}

/* By family too: an IPv4 range does not contain v4-mapped addresses. */
bool
pb_cidr_contains(const PbCidr *cidr, const PbAddress *address)
{
	return cidr->address.family == address->family &&
		same_prefix(cidr->address.bytes, address->bytes, cidr->bits);
}

/* The row with the longest prefix that the address is in, or NULL. */
static const PbRange *
find_range(const PbAddress *address)
{
	const PbRange *best = NULL;
	int			best_bits = -1;

	for (size_t i = 0; i < pb_special_range_count; i++)
	{
		PbCidr		cidr;

		if (pb_cidr_parse(pb_slice(pb_special_ranges[i].cidr), &cidr) &&
			cidr.bits > best_bits && pb_cidr_contains(&cidr, address))
		{
			best = &pb_special_ranges[i];
			best_bits = cidr.bits;
		}
	}
	return best;
}

/* The IPv4 address inside an address of the given range, if that range has them. */
static bool
embedded_v4(const PbRange *range, const PbAddress *address, PbAddress *inner)
{
	for (size_t i = 0; i < sizeof(embeddings) / sizeof(embeddings[0]); i++)
	{
		const Embedding *e = &embeddings[i];

		if (strcmp(e->cidr, range->cidr) != 0)
			continue;
		*inner = (PbAddress) {.family = 4};
		for (size_t k = 0; k < 4; k++)
			inner->bytes[k] = address->bytes[e->offset + k] ^ e->flip;
		return true;
	}
	return false;
}

/*
 * An address that embeds an IPv4 one is special whatever is inside: a public one would have been given as itself,
 * and where the translator stands decides what it reaches.  If the one inside is special too, its range is the
 * better answer to "why".
 */
const PbRange *
pb_address_special(const PbAddress *address)
{
	const PbRange *range = find_range(address);
	const PbRange *inside;
	PbAddress	inner;

	if (range == NULL || !embedded_v4(range, address, &inner))
		return range;
	inside = find_range(&inner);
	return inside != NULL ? inside : range;
}

/*
 * By the rule of WHATWG's URL standard: the last label (but for a trailing dot) is digits only, or 0x and hex
 * digits.  No top-level domain is, so no real host is lost.
 */
bool
pb_host_looks_numeric(PbSlice host)
{
	PbAddress	address;
	size_t		start;
	bool		digits = true;
	bool		hex;

	if (pb_address_parse(host, &address))
		return false;
	if (host.len > 0 && host.data[host.len - 1] == '.')
		host.len--;
	for (start = host.len; start > 0 && host.data[start - 1] != '.';)
		start--;
	if (start == host.len)
		return false;
	hex = host.len - start >= 2 && host.data[start] == '0' &&
		(host.data[start + 1] == 'x' || host.data[start + 1] == 'X');
	for (size_t i = start; i < host.len; i++)
	{
		digits = digits && is_digit(host.data[i]);
		if (i >= start + 2)
			hex = hex && hex_digit(host.data[i]) >= 0;
	}
	return digits || hex;
}
