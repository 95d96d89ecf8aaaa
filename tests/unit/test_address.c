/*
 * test_address.c: strict address literals, CIDRs, and the special-purpose ranges.
 *
 * Expectations come from the IANA registries and RFC 4291; the C library's inet_pton is the second opinion.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The range that an address is reported in, "" if it is public. */
static const char *
range_of(const char *text)
{
	PbAddress	address;
	const PbRange *range;

	if (!pb_address_parse(pb_slice(text), &address))
		fail_msg("no address: %s", text);
	range = pb_address_special(&address);
	return range == NULL ? "" : range->cidr;
}

static void
assert_range(const char *address, const char *expected)
{
	if (strcmp(range_of(address), expected) != 0)
		fail_msg("%s is in \"%s\", not in \"%s\"", address, range_of(address), expected);
}

/* The edges of a range and its neighbours, each with the range that it is reported in. */
typedef struct Edges
{
	const char *cidr;
	const char *first;
	const char *first_in;
	const char *last;
	const char *last_in;
	const char *before;			/* NULL: nothing is before it */
	const char *before_in;
	const char *after;
	const char *after_in;
} Edges;

#define V4_ALL_ONES "255.255.255.255/32"
#define V4_ZERO "0.0.0.0/32"

static const Edges edges[] =
{
	{"0.0.0.0/8", "0.0.0.0", V4_ZERO, "0.255.255.255", "0.0.0.0/8", NULL, NULL, "1.0.0.0", ""},
	{"0.0.0.0/32", "0.0.0.0", V4_ZERO, "0.0.0.0", V4_ZERO, NULL, NULL, "0.0.0.1", "0.0.0.0/8"},
	{"10.0.0.0/8", "10.0.0.0", "10.0.0.0/8", "10.255.255.255", "10.0.0.0/8",
	"9.255.255.255", "", "11.0.0.0", ""},
	{"100.64.0.0/10", "100.64.0.0", "100.64.0.0/10", "100.127.255.255", "100.64.0.0/10",
	"100.63.255.255", "", "100.128.0.0", ""},
	{"127.0.0.0/8", "127.0.0.0", "127.0.0.0/8", "127.255.255.255", "127.0.0.0/8",
	"126.255.255.255", "", "128.0.0.0", ""},
	{"169.254.0.0/16", "169.254.0.0", "169.254.0.0/16", "169.254.255.255", "169.254.0.0/16",
	"169.253.255.255", "", "169.255.0.0", ""},
	{"172.16.0.0/12", "172.16.0.0", "172.16.0.0/12", "172.31.255.255", "172.16.0.0/12",
	"172.15.255.255", "", "172.32.0.0", ""},
	{"192.0.0.0/24", "192.0.0.0", "192.0.0.0/29", "192.0.0.255", "192.0.0.0/24",
	"191.255.255.255", "", "192.0.1.0", ""},
	{"192.0.0.0/29", "192.0.0.0", "192.0.0.0/29", "192.0.0.7", "192.0.0.0/29",
	"191.255.255.255", "", "192.0.0.8", "192.0.0.8/32"},
	{"192.0.0.8/32", "192.0.0.8", "192.0.0.8/32", "192.0.0.8", "192.0.0.8/32",
	"192.0.0.7", "192.0.0.0/29", "192.0.0.9", "192.0.0.9/32"},
	{"192.0.0.9/32", "192.0.0.9", "192.0.0.9/32", "192.0.0.9", "192.0.0.9/32",
	"192.0.0.8", "192.0.0.8/32", "192.0.0.10", "192.0.0.10/32"},
	{"192.0.0.10/32", "192.0.0.10", "192.0.0.10/32", "192.0.0.10", "192.0.0.10/32",
	"192.0.0.9", "192.0.0.9/32", "192.0.0.11", "192.0.0.0/24"},
	{"192.0.0.170/32", "192.0.0.170", "192.0.0.170/32", "192.0.0.170", "192.0.0.170/32",
	"192.0.0.169", "192.0.0.0/24", "192.0.0.171", "192.0.0.171/32"},
	{"192.0.0.171/32", "192.0.0.171", "192.0.0.171/32", "192.0.0.171", "192.0.0.171/32",
	"192.0.0.170", "192.0.0.170/32", "192.0.0.172", "192.0.0.0/24"},
	{"192.0.2.0/24", "192.0.2.0", "192.0.2.0/24", "192.0.2.255", "192.0.2.0/24",
	"192.0.1.255", "", "192.0.3.0", ""},
	{"192.31.196.0/24", "192.31.196.0", "192.31.196.0/24", "192.31.196.255", "192.31.196.0/24",
	"192.31.195.255", "", "192.31.197.0", ""},
	{"192.52.193.0/24", "192.52.193.0", "192.52.193.0/24", "192.52.193.255", "192.52.193.0/24",
	"192.52.192.255", "", "192.52.194.0", ""},
	{"192.88.99.0/24", "192.88.99.0", "192.88.99.0/24", "192.88.99.255", "192.88.99.0/24",
	"192.88.98.255", "", "192.88.100.0", ""},
	{"192.88.99.2/32", "192.88.99.2", "192.88.99.2/32", "192.88.99.2", "192.88.99.2/32",
	"192.88.99.1", "192.88.99.0/24", "192.88.99.3", "192.88.99.0/24"},
	{"192.168.0.0/16", "192.168.0.0", "192.168.0.0/16", "192.168.255.255", "192.168.0.0/16",
	"192.167.255.255", "", "192.169.0.0", ""},
	{"192.175.48.0/24", "192.175.48.0", "192.175.48.0/24", "192.175.48.255", "192.175.48.0/24",
	"192.175.47.255", "", "192.175.49.0", ""},
	{"198.18.0.0/15", "198.18.0.0", "198.18.0.0/15", "198.19.255.255", "198.18.0.0/15",
	"198.17.255.255", "", "198.20.0.0", ""},
	{"198.51.100.0/24", "198.51.100.0", "198.51.100.0/24", "198.51.100.255", "198.51.100.0/24",
	"198.51.99.255", "", "198.51.101.0", ""},
	{"203.0.113.0/24", "203.0.113.0", "203.0.113.0/24", "203.0.113.255", "203.0.113.0/24",
	"203.0.112.255", "", "203.0.114.0", ""},
	{"224.0.0.0/4", "224.0.0.0", "224.0.0.0/4", "239.255.255.255", "224.0.0.0/4",
	"223.255.255.255", "", "240.0.0.0", "240.0.0.0/4"},
	{"240.0.0.0/4", "240.0.0.0", "240.0.0.0/4", "255.255.255.255", V4_ALL_ONES,
	"239.255.255.255", "224.0.0.0/4", NULL, NULL},
	{"255.255.255.255/32", "255.255.255.255", V4_ALL_ONES, "255.255.255.255", V4_ALL_ONES,
	"255.255.255.254", "240.0.0.0/4", NULL, NULL},

	{"::/128", "::", "::/128", "::", "::/128", NULL, NULL, "::1", "::1/128"},
	{"::1/128", "::1", "::1/128", "::1", "::1/128", "::", "::/128", "::2", "0.0.0.0/8"},
	{"::/96", "::", "::/128", "::ffff:ffff", V4_ALL_ONES, NULL, NULL, "::1:0:0", ""},
	{"::ffff:0:0/96", "::ffff:0:0", V4_ZERO, "::ffff:ffff:ffff", V4_ALL_ONES,
	"::fffe:ffff:ffff", "", "::1:0:0:0", ""},
	{"::ffff:0:0:0/96", "::ffff:0:0:0", V4_ZERO, "::ffff:0:ffff:ffff", V4_ALL_ONES,
	"::fffe:ffff:ffff:ffff", "", "::ffff:1:0:0", ""},
	{"64:ff9b::/96", "64:ff9b::", V4_ZERO, "64:ff9b::ffff:ffff", V4_ALL_ONES,
	"64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "", "64:ff9b::1:0:0", ""},
	{"64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1::/48",
		"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:1::/48",
	"64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "", "64:ff9b:2::", ""},
	{"100::/64", "100::", "100::/64", "100::ffff:ffff:ffff:ffff", "100::/64",
	"ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "100:0:0:1::", "100:0:0:1::/64"},
	{"100:0:0:1::/64", "100:0:0:1::", "100:0:0:1::/64",
		"100:0:0:1:ffff:ffff:ffff:ffff", "100:0:0:1::/64",
	"100::ffff:ffff:ffff:ffff", "100::/64", "100:0:0:2::", ""},
	/* The first address of 2001::/23 is Teredo's with the client 255.255.255.255. */
	{"2001::/23", "2001::", V4_ALL_ONES, "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::/23",
	"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2001:200::", ""},
	{"2001::/32", "2001::", V4_ALL_ONES, "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", V4_ZERO,
	"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2001:1::", "2001::/23"},
	{"2001:1::1/128", "2001:1::1", "2001:1::1/128", "2001:1::1", "2001:1::1/128",
	"2001:1::", "2001::/23", "2001:1::2", "2001:1::2/128"},
	{"2001:1::2/128", "2001:1::2", "2001:1::2/128", "2001:1::2", "2001:1::2/128",
	"2001:1::1", "2001:1::1/128", "2001:1::3", "2001:1::3/128"},
	{"2001:1::3/128", "2001:1::3", "2001:1::3/128", "2001:1::3", "2001:1::3/128",
	"2001:1::2", "2001:1::2/128", "2001:1::4", "2001::/23"},
	{"2001:2::/48", "2001:2::", "2001:2::/48", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "2001:2::/48",
	"2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "2001::/23", "2001:2:1::", "2001::/23"},
	{"2001:3::/32", "2001:3::", "2001:3::/32", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff", "2001:3::/32",
	"2001:2:ffff:ffff:ffff:ffff:ffff:ffff", "2001::/23", "2001:4::", "2001::/23"},
	{"2001:4:112::/48", "2001:4:112::", "2001:4:112::/48",
		"2001:4:112:ffff:ffff:ffff:ffff:ffff", "2001:4:112::/48",
	"2001:4:111:ffff:ffff:ffff:ffff:ffff", "2001::/23", "2001:4:113::", "2001::/23"},
	{"2001:10::/28", "2001:10::", "2001:10::/28", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:10::/28",
	"2001:f:ffff:ffff:ffff:ffff:ffff:ffff", "2001::/23", "2001:20::", "2001:20::/28"},
	{"2001:20::/28", "2001:20::", "2001:20::/28", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:20::/28",
	"2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:10::/28", "2001:30::", "2001:30::/28"},
	{"2001:30::/28", "2001:30::", "2001:30::/28", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:30::/28",
	"2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:20::/28", "2001:40::", "2001::/23"},
	{"2001:db8::/32", "2001:db8::", "2001:db8::/32", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::/32",
	"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "", "2001:db9::", ""},
	{"2002::/16", "2002::", V4_ZERO, "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", V4_ALL_ONES,
	"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2003::", ""},
	{"2620:4f:8000::/48", "2620:4f:8000::", "2620:4f:8000::/48",
		"2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:8000::/48",
	"2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "", "2620:4f:8001::", ""},
	{"3fff::/20", "3fff::", "3fff::/20", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::/20",
	"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "3fff:1000::", ""},
	{"5f00::/16", "5f00::", "5f00::/16", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5f00::/16",
	"5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "5f01::", ""},
	{"fc00::/7", "fc00::", "fc00::/7", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::/7",
	"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "fe00::", ""},
	{"fe80::/10", "fe80::", "fe80::/10", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::/10",
	"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "fec0::", "fec0::/10"},
	{"fec0::/10", "fec0::", "fec0::/10", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::/10",
	"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::/10", "ff00::", "ff00::/8"},
	{"ff00::/8", "ff00::", "ff00::/8", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::/8",
	"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::/10", NULL, NULL},
};

static void
every_special_range_has_its_registered_edges(void **state)
{
	(void) state;
	for (size_t i = 0; i < COUNT(edges); i++)
	{
		assert_range(edges[i].first, edges[i].first_in);
		assert_range(edges[i].last, edges[i].last_in);
		if (edges[i].before != NULL)
			assert_range(edges[i].before, edges[i].before_in);
		if (edges[i].after != NULL)
			assert_range(edges[i].after, edges[i].after_in);
	}
}

static void
every_row_of_the_table_is_tested_once_and_is_a_cidr(void **state)
{
	(void) state;
	assert_int_equal(pb_special_range_count, COUNT(edges));
	for (size_t i = 0; i < pb_special_range_count; i++)
	{
		PbCidr		cidr;
		int			seen = 0;

		if (!pb_cidr_parse(pb_slice(pb_special_ranges[i].cidr), &cidr))
			fail_msg("no CIDR: %s", pb_special_ranges[i].cidr);
		for (size_t k = 0; k < COUNT(edges); k++)
			seen += strcmp(edges[k].cidr, pb_special_ranges[i].cidr) == 0;
		if (seen != 1)
			fail_msg("%s is tested %d times", pb_special_ranges[i].cidr, seen);
		assert_true(strlen(pb_special_ranges[i].name) > 0);
		assert_memory_equal(pb_special_ranges[i].source, "RFC ", 4);
	}
}

static void
well_known_public_addresses_are_public(void **state)
{
	(void) state;
	assert_range("1.1.1.1", "");
	assert_range("8.8.8.8", "");
	assert_range("93.184.215.14", "");
	assert_range("2606:4700:4700::1111", "");
	assert_range("2001:4860:4860::8888", "");
	assert_range("2a00:1450:4001:80b::200e", "");
}

static void
embedded_ipv4_is_special_whatever_is_inside(void **state)
{
	(void) state;
	assert_range("::ffff:8.8.8.8", "::ffff:0:0/96");
	assert_range("::8.8.8.8", "::/96");
	assert_range("::ffff:0:8.8.8.8", "::ffff:0:0:0/96");
	assert_range("64:ff9b::8.8.8.8", "64:ff9b::/96");
	assert_range("2002:808:808::1", "2002::/16");
	assert_range("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "2001::/32");
}

static void
embedded_special_ipv4_is_named_by_its_own_range(void **state)
{
	(void) state;
	assert_range("::ffff:10.0.0.1", "10.0.0.0/8");
	assert_range("::ffff:7f00:1", "127.0.0.0/8");
	assert_range("::127.0.0.1", "127.0.0.0/8");
	assert_range("::ffff:0:127.0.0.1", "127.0.0.0/8");
	assert_range("64:ff9b::169.254.169.254", "169.254.0.0/16");
	assert_range("2002:7f00:1::", "127.0.0.0/8");
	assert_range("2002:c0a8:101::1", "192.168.0.0/16");
	/* Teredo, client 192.0.2.45 with every bit inverted */
	assert_range("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.0/24");
}

static void
assert_parses(const char *text, int family, const char *bytes)
{
	PbAddress	address;

	if (!pb_address_parse(pb_slice(text), &address))
		fail_msg("refused: %s", text);
	assert_int_equal(address.family, family);
	assert_memory_equal(address.bytes, bytes, 16);
}

static void
literals_are_read(void **state)
{
	(void) state;
	assert_parses("0.0.0.0", 4, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
	assert_parses("192.0.2.45", 4, "\xC0\0\x02\x2D\0\0\0\0\0\0\0\0\0\0\0\0");
	assert_parses("255.255.255.255", 4, "\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\0\0\0\0\0");
	/* RFC 4291, 2.2 */
	assert_parses("ABCD:EF01:2345:6789:ABCD:EF01:2345:6789", 6,
				  "\xAB\xCD\xEF\x01\x23\x45\x67\x89\xAB\xCD\xEF\x01\x23\x45\x67\x89");
	assert_parses("2001:DB8:0:0:8:800:200C:417A", 6, "\x20\x01\x0D\xB8\0\0\0\0\0\x08\x08\0\x20\x0C\x41\x7A");
	assert_parses("2001:DB8::8:800:200C:417A", 6, "\x20\x01\x0D\xB8\0\0\0\0\0\x08\x08\0\x20\x0C\x41\x7A");
	assert_parses("FF01::101", 6, "\xFF\x01\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01");
	assert_parses("::1", 6, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
	assert_parses("::", 6, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
	assert_parses("0:0:0:0:0:0:13.1.68.3", 6, "\0\0\0\0\0\0\0\0\0\0\0\0\x0D\x01\x44\x03");
	assert_parses("::FFFF:129.144.52.38", 6, "\0\0\0\0\0\0\0\0\0\0\xFF\xFF\x81\x90\x34\x26");
	/* "::" may stand for a single group */
	assert_parses("1:2:3:4:5:6:7::", 6, "\0\x01\0\x02\0\x03\0\x04\0\x05\0\x06\0\x07\0\0");
	assert_parses("::2:3:4:5:6:7:8", 6, "\0\0\0\x02\0\x03\0\x04\0\x05\0\x06\0\x07\0\x08");
}

static void
what_is_no_strict_literal_is_refused(void **state)
{
	static const char *const bad[] =
	{
		"", " ", "localhost", "1", "1.2", "1.2.3", "1.2.3.4.", ".1.2.3.4", "1.2.3.4.5", "1..2.3", "256.1.1.1",
		"1.1.1.256", "01.2.3.4", "1.2.3.04", "00.0.0.0", "0x7f.0.0.1", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "+1.2.3.4",
		"1.2.3.4/32", "4294967296.1.1.1", "1,2,3,4", "127.1", "2130706433", "0x7f000001",
		":", ":::", "1:", ":1", "1::2::3", ":::1", "1:::2", "::1:", ":1::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
		"1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "12345::", "::12345", "g::", "::g", "fe80::1%eth0",
		"fe80::1%25eth0", "[::1]", "::1.2.3", "::1.2.3.256", "::01.2.3.4", "1.2.3.4::", "::1.2.3.4:5",
		"1:2:3:4:5:6:7:1.2.3.4", "::ffff:1.2.3.4.", "1:2:3:4:5:1.2.3.4", "::/0", "::1 "
	};

	(void) state;
	for (size_t i = 0; i < COUNT(bad); i++)
	{
		PbAddress	address;

		if (pb_address_parse(pb_slice(bad[i]), &address))
			fail_msg("taken for an address: \"%s\"", bad[i]);
	}
	assert_false(pb_address_parse((PbSlice) {"1.2.3.4\0", 8}, &(PbAddress) {0}));
	assert_false(pb_address_parse((PbSlice) {NULL, 0}, &(PbAddress) {0}));
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Texts near to addresses: inet_pton must give the same verdict and bytes. */
static void
agrees_with_inet_pton(void **state)
{
	static const char *const pieces[] =
	{
		"0", "1", "9", "10", "25", "255", "256", "01", "a", "ff", "FFFF", "12345", ":", ":", ":", "::", ".", ".", ".",
		"1.2.3.4", "::1", "g", "%", " "
	};
	const char *given = getenv("POSTBACK_SEED");	/* replays a run */
	uint64_t	seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t) time(NULL);
	int			taken = 0;

	(void) state;
	print_error("POSTBACK_SEED=%llu\n", (unsigned long long) seed);
	seed = seed * 2 + 1;		/* never 0, where the generator would stay */
	for (int round = 0; round < 400000; round++)
	{
		char		text[128] = "";
		uint8_t		expected[16] = {0};
		PbAddress	address;
		bool		ok;
		bool		known;

		for (uint64_t n = next_random(&seed) % 16 + 1; n > 0; n--)
			strcat(text, pieces[next_random(&seed) % COUNT(pieces)]);
		known = inet_pton(strchr(text, ':') != NULL ? AF_INET6 : AF_INET, text, expected) == 1;
		ok = pb_address_parse(pb_slice(text), &address);
		if (ok != known || (ok && memcmp(address.bytes, expected, 16) != 0))
			fail_msg("inet_pton says %d, we say %d: \"%s\"", known, ok, text);
		taken += ok;
	}
	assert_true(taken > 1000);
}

static bool
contains(const char *range, const char *text)
{
	PbCidr		cidr;
	PbAddress	address;

	assert_true(pb_cidr_parse(pb_slice(range), &cidr));
	assert_true(pb_address_parse(pb_slice(text), &address));
	return pb_cidr_contains(&cidr, &address);
}

static void
cidrs_contain_their_addresses(void **state)
{
	(void) state;
	assert_true(contains("10.0.0.0/8", "10.255.0.1"));
	assert_false(contains("10.0.0.0/8", "11.0.0.0"));
	assert_true(contains("172.16.0.0/12", "172.31.255.255"));
	assert_false(contains("172.16.0.0/12", "172.32.0.0"));
	assert_true(contains("0.0.0.0/0", "255.255.255.255"));
	assert_true(contains("192.0.2.1", "192.0.2.1"));
	assert_false(contains("192.0.2.1", "192.0.2.0"));
	assert_true(contains("192.0.2.0/31", "192.0.2.1"));
	assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(contains("2001:db8::/33", "2001:db8:8000::"));
	assert_true(contains("::/0", "ffff::"));
	assert_true(contains("::1", "::1"));
	assert_false(contains("::1", "::2"));
	assert_false(contains("0.0.0.0/0", "::ffff:10.0.0.1"));
	assert_false(contains("::/0", "10.0.0.1"));
}

static void
malformed_cidrs_are_refused(void **state)
{
	static const char *const bad[] =
	{
		"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/8/8",
		"10.0.0.1/8", "10.0.0.0/0", "10/8", "10.0.0.0/255.0.0.0", "::/129", "::1/127", "2001:db8::1/64", "::/00",
		"10.0.0.0/4294967304"
	};

	(void) state;
	for (size_t i = 0; i < COUNT(bad); i++)
	{
		PbCidr		cidr;

		if (pb_cidr_parse(pb_slice(bad[i]), &cidr))
			fail_msg("taken for a CIDR: \"%s\"", bad[i]);
	}
}

static void
obfuscated_ipv4_is_seen(void **state)
{
	static const char *const numeric[] =
	{
		"127.1", "0x7f000001", "0X7F000001", "017700000001", "2130706433", "0x7f.1", "127.0.1", "0177.0.0.1", "0", "0x",
		"127.0.0.1.", "2130706433.", "0x7f.0x0.0x0.0x1", "00000177.0.0.1", "256.256.256.256", "1.2.3.4.5", "127.0.0.01",
		"99999999999", "a.b.1"
	};
	static const char *const other[] =
	{
		"", ".", "127.0.0.1", "8.8.8.8", "example.com", "1.example", "127.0.0.1.example.com", "0x7f.example", "0xfg", "x1",
		"1e3", "dead.beef", "cafe", "::1", "a", "1a", "0x7f000001.de"
	};

	(void) state;
	for (size_t i = 0; i < COUNT(numeric); i++)
		if (!pb_host_looks_numeric(pb_slice(numeric[i])))
			fail_msg("not seen: %s", numeric[i]);
	for (size_t i = 0; i < COUNT(other); i++)
		if (pb_host_looks_numeric(pb_slice(other[i])))
			fail_msg("taken for a number: %s", other[i]);
	assert_false(pb_host_looks_numeric((PbSlice) {NULL, 0}));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_special_range_has_its_registered_edges),
		cmocka_unit_test(every_row_of_the_table_is_tested_once_and_is_a_cidr),
		cmocka_unit_test(well_known_public_addresses_are_public),
		cmocka_unit_test(embedded_ipv4_is_special_whatever_is_inside),
		cmocka_unit_test(embedded_special_ipv4_is_named_by_its_own_range),
		cmocka_unit_test(literals_are_read),
		cmocka_unit_test(what_is_no_strict_literal_is_refused),
		cmocka_unit_test(agrees_with_inet_pton),
		cmocka_unit_test(cidrs_contain_their_addresses),
		cmocka_unit_test(malformed_cidrs_are_refused),
		cmocka_unit_test(obfuscated_ipv4_is_seen),
	};

	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
