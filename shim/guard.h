/*
 * guard.h: the egress guard: which URLs and addresses a delivery may go to.
 *
 * Decisions only, on text and addresses; nothing is resolved or connected here.
 */
#ifndef POSTBACKD_GUARD_H
#define POSTBACKD_GUARD_H

#include "../extension/core/address.h"
#include "../extension/core/url.h"

typedef struct Guard Guard;

/* What an operator opened: ranges (on every port), and ports elsewhere beside 80 and 443. */
typedef struct GuardRules
{
	const PbCidr *ranges;
	size_t		range_count;
	const int  *ports;
	size_t		port_count;
} GuardRules;

/* The rules are not copied.  NULL when out of memory. */
extern Guard *guard_create(const GuardRules *rules) __attribute__((warn_unused_result));
extern void guard_destroy(Guard *guard);

/* A URL that may be sent to, if its addresses may. */
typedef struct GuardTarget
{
	PbUrl		url;			/* points into the text that was given */
	bool		literal;		/* the host is an address ... */
	PbAddress	address;		/* ... this one; else it is a name to be resolved */
} GuardTarget;

/* False: blocked, and *why has the reason (a sentence's beginning, without the path or query). */
extern bool guard_url(const Guard *guard, PbSlice text, GuardTarget *target, PbOut *why)
			__attribute__((warn_unused_result));

/* May an address be connected to on a port? */
extern bool guard_address(Guard *guard, const PbAddress *address, uint16_t port) __attribute__((warn_unused_result));

/*
 * May a host be connected to that has these addresses?  One forbidden address
 * forbids them all.  False: blocked, and *why names the address, its range and
 * where that is laid down.
 */
extern bool guard_addresses(Guard *guard, const PbUrl *url, const PbAddress *addresses, size_t count, PbOut *why)
			__attribute__((warn_unused_result));

/* Room for any text of an address, with its NUL. */
#define GUARD_ADDRESS_ROOM 48

/* An address as inet_ntop writes it. */
extern void guard_address_text(const PbAddress *address, char text[GUARD_ADDRESS_ROOM]);

#endif							/* POSTBACKD_GUARD_H */
