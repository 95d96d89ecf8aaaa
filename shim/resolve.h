/*
 * resolve.h: host names to addresses, without ever blocking the loop.
 *
 * The only part of the daemon that knows c-ares.  Names are looked up in the
 * DNS and nowhere else: not in /etc/hosts, not with search domains or
 * aliases, so a name means the same here as for everybody.  "localhost" and
 * names below it are 127.0.0.1 (RFC 6761) and are not asked for.
 */
#ifndef POSTBACKD_RESOLVE_H
#define POSTBACKD_RESOLVE_H

#include "../extension/core/address.h"
#include "loop.h"

/* A lookup that took longer is answered as a failure; if the answer still comes it is kept for the next one. */
#define RESOLVE_LIMIT_MS 3000

/* How long an answer is kept: its TTL, but no longer than this. */
#define RESOLVE_KEEP_MS 60000
#define RESOLVE_CACHE_LIMIT 4096

typedef struct Resolver Resolver;

typedef struct ResolveAnswer
{
	const PbAddress *addresses; /* all that the name has, IPv4 ones first; valid until the handler returns */
	size_t		count;
	const char *error;			/* why there are none, NULL if count > 0 */
	bool		shortage;		/* for want of descriptors, memory or room of ours: it says nothing of the host */
} ResolveAnswer;

typedef void (*ResolveHandler) (void *context, const ResolveAnswer *answer);

/* One waiting for an answer.  Embedded in its user's struct; fields are the resolver's own. */
typedef struct ResolveWaiter
{
	struct ResolveWaiter *next;
	struct ResolveName *name;
	int64_t		due_ms;
	ResolveHandler handler;
	void	   *context;
} ResolveWaiter;

/* servers: "ADDR:PORT,..." instead of those of /etc/resolv.conf, or NULL.  NULL if c-ares refuses. */
extern Resolver *resolver_new(Loop *loop, const char *servers) __attribute__((warn_unused_result));

/* Who still waits gets no answer. */
extern void resolver_free(Resolver *resolver);

/*
 * Looks host up (a name, no address) and calls handler exactly once: before
 * this returns if the answer is known, else within RESOLVE_LIMIT_MS.  The
 * handler must not look up further names.
 */
extern void resolver_lookup(Resolver *resolver, PbSlice host, ResolveWaiter *waiter, ResolveHandler handler,
							void *context);

#endif							/* POSTBACKD_RESOLVE_H */
