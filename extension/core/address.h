/*
 * address.h: which addresses a postback may be sent to.
 *
 * One table of the IANA special-purpose registries (IPv4 and IPv6, RFC 6890 and its updates) plus multicast and
 * deprecated ranges; whatever embeds an IPv4 address (v4-mapped, v4-compatible, NAT64, 6to4, Teredo) is forbidden,
 * and named by the range of the address inside if that is special itself.
 */
#ifndef PB_ADDRESS_H
#define PB_ADDRESS_H

#include "slice.h"

typedef struct PbAddress
{
	int			family;			/* 4 or 6 */
	uint8_t		bytes[16];		/* network order; 4 bytes used for family 4 */
} PbAddress;

typedef struct PbCidr
{
	PbAddress	address;
	int			bits;
} PbCidr;

/* A row of the table: why a range is special, and where that is laid down. */
typedef struct PbRange
{
	const char *cidr;
	const char *name;
	const char *source;			/* "RFC 1918" ... */
} PbRange;

extern const PbRange pb_special_ranges[];
extern const size_t pb_special_range_count;

/* Strict literals: dotted quad of four decimal numbers without leading zeros, or RFC 4291 text (no zone). */
extern bool pb_address_parse(PbSlice text, PbAddress *address);

/* Makes an IPv4-mapped address (::ffff:192.0.2.1) the IPv4 address that it stands for; others stay as they are. */
extern void pb_address_unmap(PbAddress *address);

/* "10.0.0.0/8" or a bare address (= full length); host bits must be zero. */
extern bool pb_cidr_parse(PbSlice text, PbCidr *cidr);
extern bool pb_cidr_contains(const PbCidr *cidr, const PbAddress *address);

/* The narrowest special-purpose range that an address, or the IPv4 one inside, is in; NULL if it is public. */
extern const PbRange *pb_address_special(const PbAddress *address);

/*
 * Text that resolvers of some systems take for an IPv4 address though it is no strict literal: 127.1, 0x7f000001,
 * 017700000001, 2130706433.
 */
extern bool pb_host_looks_numeric(PbSlice host);

#endif							/* PB_ADDRESS_H */
