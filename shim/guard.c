/*
 * guard.c: the egress guard: which URLs and addresses a delivery may go to.
 *
 * The ranges and the strict reading of literals are the core's (address.h);
 * here is what an operator may open, and the sentence that says why not.
 */
#include "guard.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Looking an address up in the table of ranges is slow beside sending; deliveries come in runs to the same ones. */
#define MEMO_SIZE 512

typedef struct Memo
{
	PbAddress	address;		/* family 0: unused */
	const PbRange *range;
} Memo;

struct Guard
{
	GuardRules	rules;
	Memo		memo[MEMO_SIZE];
};

Guard *
guard_create(const GuardRules *rules)
{
	Guard	   *guard = calloc(1, sizeof(*guard));

	if (guard != NULL)
		guard->rules = *rules;
	return guard;
}

void
guard_destroy(Guard *guard)
{
	free(guard);
}

void
guard_address_text(const PbAddress *address, char text[GUARD_ADDRESS_ROOM])
{
	if (inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, text, GUARD_ADDRESS_ROOM) == NULL)
		text[0] = '\0';
}

static void
say(PbOut *why, const char *text)
{
	pb_out_slice(why, pb_slice(text));
}

static void
say_address(PbOut *why, const PbAddress *address)
{
	char		text[GUARD_ADDRESS_ROOM];

	guard_address_text(address, text);
	say(why, text);
}

static const char *
url_error_text(PbUrlError error)
{
	switch (error)
	{
		case PB_URL_OK:
			break;
		case PB_URL_BAD_SCHEME:
			return "the URL's scheme is not http or https";
		case PB_URL_BAD_HOST:
			return "the URL's host is malformed";
		case PB_URL_BAD_PORT:
			return "the URL's port is not one of 1 to 65535";
		case PB_URL_USERINFO:
			return "the URL has a user name or password in it";
		case PB_URL_BAD_BYTE:
			return "the URL has a byte in it that must be percent-encoded";
	}
	return "the URL is malformed";
}

static bool
port_open(const Guard *guard, uint16_t port)
{
	if (port == 80 || port == 443)
		return true;
	for (size_t i = 0; i < guard->rules.port_count; i++)
		if (guard->rules.ports[i] == port)
			return true;
	return false;
}

static bool
range_open(const Guard *guard, const PbAddress *address)
{
	for (size_t i = 0; i < guard->rules.range_count; i++)
		if (pb_cidr_contains(&guard->rules.ranges[i], address))
			return true;
	return false;
}

static void
say_port(PbOut *why, uint16_t port)
{
	say(why, "port ");
	pb_out_int(why, port);
	say(why, " is not open (80 and 443 are, and those of --allow-port)");
}

bool
guard_url(const Guard *guard, PbSlice text, GuardTarget *target, PbOut *why)
{
	PbUrlError	error = pb_url_split(text, &target->url);
	const PbUrl *url = &target->url;

	if (error != PB_URL_OK)
	{
		say(why, url_error_text(error));
		return false;
	}
	target->literal = pb_address_parse(url->host, &target->address);
	if (!target->literal && pb_host_looks_numeric(url->host))
	{
		say(why, "host ");
		pb_out_slice(why, url->host);
		say(why, " is an address in an irregular spelling");
		return false;
	}
	/* Where no range is open, no address can open the port: spare the name server. */
	if (!port_open(guard, url->port) && guard->rules.range_count == 0)
	{
		say_port(why, url->port);
		return false;
	}
	return true;
}

static size_t
memo_slot(const PbAddress *address)
{
	return hash_bytes(address->bytes, sizeof(address->bytes)) % MEMO_SIZE;
}

/* pb_address_special, remembered. */
static const PbRange *
special_range(Guard *guard, const PbAddress *address)
{
	Memo	   *memo = &guard->memo[memo_slot(address)];

	if (memo->address.family != address->family ||
		memcmp(memo->address.bytes, address->bytes, address->family == 4 ? 4 : 16) != 0)
	{
		memo->address = *address;
		memo->range = pb_address_special(address);
	}
	return memo->range;
}

bool
guard_address(Guard *guard, const PbAddress *address, uint16_t port)
{
	return range_open(guard, address) || (port_open(guard, port) && special_range(guard, address) == NULL);
}

/* "host NAME has the address A, which" or "address A". */
static void
say_subject(PbOut *why, const PbUrl *url, const PbAddress *address)
{
	PbAddress	literal;
	bool		named = !pb_address_parse(url->host, &literal);

	if (named)
	{
		say(why, "host ");
		pb_out_slice(why, url->host);
		say(why, " has the ");
	}
	say(why, "address ");
	say_address(why, address);
	if (named)
		say(why, ", which");
}

bool
guard_addresses(Guard *guard, const PbUrl *url, const PbAddress *addresses, size_t count, PbOut *why)
{
	for (size_t i = 0; i < count; i++)
	{
		const PbRange *range;

		if (guard_address(guard, &addresses[i], url->port))
			continue;
		range = special_range(guard, &addresses[i]);
		if (range == NULL)
		{
			say_port(why, url->port);
			return false;
		}
		say_subject(why, url, &addresses[i]);
		say(why, " is in ");
		say(why, range->cidr);
		say(why, " (");
		say(why, range->name);
		say(why, ", ");
		say(why, range->source);
		say(why, ")");
		return false;
	}
	return true;
}
