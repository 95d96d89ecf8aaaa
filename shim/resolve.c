/*
 * resolve.c: host names to addresses with c-ares, and a cache of its answers.
 *
 * A name is asked for once however many wait for it.  c-ares's own retries
 * may outlast a waiter; the answer then still goes into the cache.  When
 * /etc/resolv.conf changes, the channel is made anew and open questions are
 * asked again.
 */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <ares.h>

#include "hash.h"
#include "log.h"

#define BUCKETS 1024
#define HOST_MAX 253

/* 0.7 s and 1.4 s per server: a server that drops AAAA questions leaves time to answer with the A records. */
#define TRY_MS 700
#define TRIES 2
#define CONFIG_CHECK_MS 5000

static const char config_path[] = "/etc/resolv.conf";
static const char nothing_to_ask_with[] = "there is no open file or memory left to ask for the host name";

/* A name asked for or known. */
typedef struct ResolveName
{
	struct ResolveName *next;	/* in its bucket */
	struct ResolveName *older;	/* by time of asking, all names */
	struct ResolveName *newer;
	Resolver   *resolver;
	bool		asking;
	int64_t		asked_us;
	int64_t		good_until_ms;
	PbAddress  *addresses;
	size_t		count;
	char		host[HOST_MAX + 1];
} ResolveName;

typedef struct ResolveSocket
{
	struct ResolveSocket *next;
	Resolver   *resolver;
	LoopIo		io;
} ResolveSocket;

struct Resolver
{
	Loop	   *loop;
	ares_channel channel;
	bool		channel_open;
	const char *servers;
	struct timespec config_mtime;
	int64_t		config_checked_ms;
	LoopTimer	ares_timer;
	LoopTimer	limit_timer;
	ResolveSocket *sockets;
	ResolveWaiter *waiting;		/* ascending by due_ms */
	ResolveWaiter **waiting_end;
	ResolveName *buckets[BUCKETS];
	ResolveName *oldest;
	ResolveName *newest;
	int			name_count;
	bool		restarting;
	int64_t		shortage_us;	/* when there was last no descriptor or memory to ask with */
};

static void ask(Resolver *resolver, ResolveName *name);

/* ---- the loop's side of c-ares ---- */

static void on_ares_timer(void *context);

static void
plan_ares_timer(Resolver *resolver)
{
	struct timeval room;
	struct timeval *wait;

	if (!resolver->channel_open)
		return;
	wait = ares_timeout(resolver->channel, NULL, &room);
	if (wait == NULL)
		loop_timer_stop(resolver->loop, &resolver->ares_timer);
	else
		loop_timer_set(resolver->loop, &resolver->ares_timer, wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1,
					   on_ares_timer, resolver);
}

static void
on_ares_timer(void *context)
{
	Resolver   *resolver = context;

	ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	plan_ares_timer(resolver);
}

static void
on_socket_ready(void *context, unsigned ready)
{
	ResolveSocket *socket = context;
	Resolver   *resolver = socket->resolver;
	int			fd = socket->io.fd;

	ares_process_fd(resolver->channel, (ready & LOOP_READ) ? fd : ARES_SOCKET_BAD,
					(ready & LOOP_WRITE) ? fd : ARES_SOCKET_BAD);
	plan_ares_timer(resolver);
}

static void
forget_socket(Resolver *resolver, int fd)
{
	for (ResolveSocket **at = &resolver->sockets; *at != NULL; at = &(*at)->next)
	{
		ResolveSocket *socket = *at;

		if (socket->io.fd != fd)
			continue;
		loop_io_stop(resolver->loop, &socket->io);
		*at = socket->next;
		free(socket);
		return;
	}
}

/* c-ares tells which sockets it wants watched; neither way means that it is about to close it. */
static void
on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
	Resolver   *resolver = context;
	unsigned	interest = (readable ? LOOP_READ : 0) | (writable ? LOOP_WRITE : 0);
	ResolveSocket *socket;

	if (interest == 0)
	{
		forget_socket(resolver, fd);
		return;
	}
	for (socket = resolver->sockets; socket != NULL; socket = socket->next)
		if (socket->io.fd == fd)
		{
			loop_io_change(resolver->loop, &socket->io, interest);
			return;
		}
	socket = calloc(1, sizeof(*socket));
	if (socket != NULL)
		socket->resolver = resolver;
	if (socket == NULL || !loop_io_start(resolver->loop, &socket->io, fd, interest, on_socket_ready, socket))
	{
		resolver->shortage_us = loop_now_us();	/* the question ends by its time limit */
		free(socket);
		return;
	}
	socket->next = resolver->sockets;
	resolver->sockets = socket;
}

/* c-ares takes a socket that it cannot make for a name server that refuses: whether there is one to be had is tried before. */
static void
try_socket(Resolver *resolver)
{
	int			fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	else if (loop_is_shortage(errno))
		resolver->shortage_us = loop_now_us();
}

/* Can it be for want of something of ours that the name, asked for since then, has no answer? */
static bool
was_short(const Resolver *resolver, const ResolveName *name)
{
	return !resolver->channel_open || resolver->shortage_us >= name->asked_us;
}

static struct timespec
config_mtime(void)
{
	struct stat status;

	if (stat(config_path, &status) != 0)
		return (struct timespec) {0};
	return status.st_mtim;
}

static bool
open_channel(Resolver *resolver)
{
	char		lookups[] = "b";	/* the DNS only */
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = TRY_MS,
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
	};
	int			mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		ARES_OPT_SOCK_STATE_CB;
	int			status;

	resolver->config_mtime = config_mtime();
	resolver->config_checked_ms = loop_now_ms(resolver->loop);
	status = ares_init_options(&resolver->channel, &options, mask);
	resolver->channel_open = status == ARES_SUCCESS;
	if (resolver->channel_open && resolver->servers != NULL)
		status = ares_set_servers_ports_csv(resolver->channel, resolver->servers);
	if (status != ARES_SUCCESS)
		log_error("cannot set up the resolver", LOG_TEXT("error", ares_strerror(status)));
	return status == ARES_SUCCESS;
}

static void
close_channel(Resolver *resolver)
{
	if (resolver->channel_open)
		ares_destroy(resolver->channel);
	resolver->channel_open = false;
	loop_timer_stop(resolver->loop, &resolver->ares_timer);
	while (resolver->sockets != NULL)
		forget_socket(resolver, resolver->sockets->io.fd);
}

Resolver *
resolver_new(Loop *loop, const char *servers)
{
	Resolver   *resolver;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return NULL;
	resolver = calloc(1, sizeof(*resolver));
	if (resolver == NULL)
	{
		ares_library_cleanup();
		return NULL;
	}
	resolver->loop = loop;
	resolver->servers = servers;
	resolver->waiting_end = &resolver->waiting;
	if (!open_channel(resolver))
	{
		resolver_free(resolver);
		return NULL;
	}
	return resolver;
}

void
resolver_free(Resolver *resolver)
{
	if (resolver == NULL)
		return;
	resolver->restarting = true;
	close_channel(resolver);
	loop_timer_stop(resolver->loop, &resolver->limit_timer);
	for (ResolveName *name = resolver->oldest; name != NULL;)
	{
		ResolveName *newer = name->newer;

		free(name->addresses);
		free(name);
		name = newer;
	}
	free(resolver);
	ares_library_cleanup();
}

/* Follows a change of resolv.conf (a DHCP lease, a restarted container network). */
static void
follow_config(Resolver *resolver)
{
	int64_t		now = loop_now_ms(resolver->loop);
	struct timespec mtime;

	if (resolver->servers != NULL || now - resolver->config_checked_ms < CONFIG_CHECK_MS)
		return;
	resolver->config_checked_ms = now;
	mtime = config_mtime();
	if (resolver->channel_open && mtime.tv_sec == resolver->config_mtime.tv_sec &&
		mtime.tv_nsec == resolver->config_mtime.tv_nsec)
		return;

	log_info("name servers may have changed", LOG_TEXT("file", config_path));
	resolver->restarting = true;
	close_channel(resolver);
	resolver->restarting = false;
	if (!open_channel(resolver))
		return;
	for (ResolveName *name = resolver->oldest; name != NULL; name = name->newer)
		if (name->asking)
			ask(resolver, name);
}

/* ---- names ---- */

static unsigned
bucket_of(const char *host)
{
	return hash_bytes(host, strlen(host)) % BUCKETS;
}

static void
link_newest(Resolver *resolver, ResolveName *name)
{
	name->older = resolver->newest;
	name->newer = NULL;
	if (resolver->newest != NULL)
		resolver->newest->newer = name;
	else
		resolver->oldest = name;
	resolver->newest = name;
}

static void
unlink_name(Resolver *resolver, ResolveName *name)
{
	if (name->older != NULL)
		name->older->newer = name->newer;
	else
		resolver->oldest = name->newer;
	if (name->newer != NULL)
		name->newer->older = name->older;
	else
		resolver->newest = name->older;
}

static void
drop_name(Resolver *resolver, ResolveName *name)
{
	ResolveName **at = &resolver->buckets[bucket_of(name->host)];

	while (*at != name)
		at = &(*at)->next;
	*at = name->next;
	unlink_name(resolver, name);
	free(name->addresses);
	free(name);
	resolver->name_count--;
}

/* Makes room for one more.  False if every name kept is still being asked for. */
static bool
make_room(Resolver *resolver)
{
	ResolveName *name = resolver->oldest;

	if (resolver->name_count < RESOLVE_CACHE_LIMIT)
		return true;
	while (name != NULL && name->asking)
		name = name->newer;
	if (name == NULL)
		return false;
	drop_name(resolver, name);
	return true;
}

/* The name of that host, made if need be.  NULL: no room or no memory. */
static ResolveName *
get_name(Resolver *resolver, const char *host)
{
	unsigned	bucket = bucket_of(host);
	ResolveName *name;

	for (name = resolver->buckets[bucket]; name != NULL; name = name->next)
		if (strcmp(name->host, host) == 0)
			return name;
	if (!make_room(resolver))
		return NULL;
	name = calloc(1, sizeof(*name));
	if (name == NULL)
		return NULL;
	strcpy(name->host, host);
	name->resolver = resolver;
	name->next = resolver->buckets[bucket];
	resolver->buckets[bucket] = name;
	link_newest(resolver, name);
	resolver->name_count++;
	return name;
}

/* ---- answers ---- */

/* Answers everybody who waits for name. */
static void
answer_waiting(Resolver *resolver, const ResolveName *name, const ResolveAnswer *answer)
{
	ResolveWaiter *answered = NULL;
	ResolveWaiter **answered_end = &answered;
	ResolveWaiter **at = &resolver->waiting;

	while (*at != NULL)
	{
		ResolveWaiter *waiter = *at;

		if (waiter->name != name)
		{
			at = &waiter->next;
			continue;
		}
		*at = waiter->next;
		waiter->next = NULL;
		*answered_end = waiter;
		answered_end = &waiter->next;
	}
	resolver->waiting_end = at;
	while (answered != NULL)
	{
		ResolveWaiter *waiter = answered;

		answered = waiter->next;
		waiter->handler(waiter->context, answer);
	}
}

static bool
node_address(const struct ares_addrinfo_node *node, int family, PbAddress *address)
{
	if (node->ai_family != family)
		return false;
	*address = (PbAddress) {0};
	if (family == AF_INET)
	{
		const struct sockaddr_in *in = (const void *) node->ai_addr;

		address->family = 4;
		memcpy(address->bytes, &in->sin_addr, 4);
	}
	else
	{
		const struct sockaddr_in6 *in = (const void *) node->ai_addr;

		address->family = 6;
		memcpy(address->bytes, &in->sin6_addr, 16);
	}
	return true;
}

/* The time to live of the whole answer: the least of its records, aliases included. */
static int64_t
answer_ttl_ms(const struct ares_addrinfo *info)
{
	int64_t		ttl = RESOLVE_KEEP_MS;

	for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
		if (node->ai_ttl * INT64_C(1000) < ttl)
			ttl = node->ai_ttl * INT64_C(1000);
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL; cname = cname->next)
		if (cname->ttl * INT64_C(1000) < ttl)
			ttl = cname->ttl * INT64_C(1000);
	return ttl < 0 ? 0 : ttl;
}

/* Every address is kept, for every one must be looked at.  IPv4 first: it needs no luck with routes. */
static bool
keep_answer(ResolveName *name, const struct ares_addrinfo *info)
{
	static const int families[] = {AF_INET, AF_INET6};
	size_t		count = 0;
	PbAddress  *addresses;

	for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
		count++;
	addresses = calloc(count > 0 ? count : 1, sizeof(*addresses));
	if (addresses == NULL)
		return false;
	free(name->addresses);
	name->addresses = addresses;
	name->count = 0;
	for (size_t i = 0; i < 2; i++)
		for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
			if (node_address(node, families[i], &addresses[name->count]))
				name->count++;
	name->good_until_ms = loop_now_ms(name->resolver->loop) + answer_ttl_ms(info);
	return name->count > 0;
}

static const char *
failure_text(int status)
{
	switch (status)
	{
		case ARES_ENOTFOUND:
			return "no such host name";
		case ARES_ENODATA:
		case ARES_SUCCESS:
			return "the host name has no address";
		case ARES_ETIMEOUT:
			return "the name server does not answer";
		case ARES_ESERVFAIL:
		case ARES_EREFUSED:
		case ARES_ECONNREFUSED:
			return "the name server fails or refuses";
	}
	return ares_strerror(status);
}

static void
on_answer(void *context, int status, int timeouts, struct ares_addrinfo *info)
{
	ResolveName *name = context;
	Resolver   *resolver = name->resolver;
	ResolveAnswer answer = {0};

	(void) timeouts;
	if (resolver->restarting)	/* the channel closes; asked again on the next, or nobody cares any more */
		return;
	name->asking = false;
	if (status == ARES_SUCCESS && info != NULL && keep_answer(name, info))
	{
		answer.addresses = name->addresses;
		answer.count = name->count;
	}
	else
	{
		answer.shortage = status == ARES_ENOMEM || (status == ARES_ECONNREFUSED && was_short(resolver, name));
		answer.error = answer.shortage ? nothing_to_ask_with : failure_text(status);
	}
	ares_freeaddrinfo(info);
	answer_waiting(resolver, name, &answer);
}

static void
ask(Resolver *resolver, ResolveName *name)
{
	/* NOSORT: sorting would connect sockets to addresses that were not looked at yet. */
	struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

	name->asking = true;
	name->asked_us = loop_now_us();
	if (!resolver->channel_open)
		return;					/* asked when there is one again; until then it times out */
	try_socket(resolver);
	ares_getaddrinfo(resolver->channel, name->host, NULL, &hints, on_answer, name);
	plan_ares_timer(resolver);
}

/* ---- waiting ---- */

static void
on_limit(void *context)
{
	Resolver   *resolver = context;
	int64_t		now = loop_now_ms(resolver->loop);

	while (resolver->waiting != NULL && resolver->waiting->due_ms <= now)
	{
		ResolveWaiter *waiter = resolver->waiting;
		bool		shortage = was_short(resolver, waiter->name);
		ResolveAnswer too_late = {
			.error = shortage ? nothing_to_ask_with : "the name server does not answer", .shortage = shortage
		};

		resolver->waiting = waiter->next;
		if (resolver->waiting == NULL)
			resolver->waiting_end = &resolver->waiting;
		waiter->handler(waiter->context, &too_late);
	}
	if (resolver->waiting != NULL)
		loop_timer_set(resolver->loop, &resolver->limit_timer, resolver->waiting->due_ms - now, on_limit, resolver);
}

static void
wait_for(Resolver *resolver, ResolveName *name, ResolveWaiter *waiter)
{
	waiter->name = name;
	waiter->due_ms = loop_now_ms(resolver->loop) + RESOLVE_LIMIT_MS;
	waiter->next = NULL;
	*resolver->waiting_end = waiter;
	resolver->waiting_end = &waiter->next;
	if (!loop_timer_is_set(&resolver->limit_timer))
		loop_timer_set(resolver->loop, &resolver->limit_timer, RESOLVE_LIMIT_MS, on_limit, resolver);
}

/* Lower case, NUL-terminated.  False: too long to be a name. */
static bool
copy_host(PbSlice host, char *copy)
{
	if (host.len == 0 || host.len > HOST_MAX)
		return false;
	for (size_t i = 0; i < host.len; i++)
		copy[i] = host.data[i] >= 'A' && host.data[i] <= 'Z' ? (char) (host.data[i] + 32) : host.data[i];
	copy[host.len] = '\0';
	return true;
}

static bool
is_localhost(PbSlice host)
{
	PbSlice		suffix = PB_LITERAL(".localhost");

	if (pb_slice_equal_nocase(host, PB_LITERAL("localhost")))
		return true;
	return host.len > suffix.len &&
		pb_slice_equal_nocase((PbSlice) {host.data + host.len - suffix.len, suffix.len}, suffix);
}

void
resolver_lookup(Resolver *resolver, PbSlice host, ResolveWaiter *waiter, ResolveHandler handler, void *context)
{
	static const PbAddress loopback = {.family = 4, .bytes = {127, 0, 0, 1}};
	static const ResolveAnswer localhost = {.addresses = &loopback, .count = 1};
	static const ResolveAnswer no_name = {.error = "the host name is too long"};
	static const ResolveAnswer no_room = {.error = "too many host names are being looked up", .shortage = true};
	char		copy[HOST_MAX + 1];
	ResolveName *name;

	if (is_localhost(host))
	{
		handler(context, &localhost);
		return;
	}
	if (!copy_host(host, copy))
	{
		handler(context, &no_name);
		return;
	}
	follow_config(resolver);
	name = get_name(resolver, copy);
	if (name == NULL)
	{
		handler(context, &no_room);
		return;
	}
	if (!name->asking && name->count > 0 && loop_now_ms(resolver->loop) < name->good_until_ms)
	{
		ResolveAnswer known = {.addresses = name->addresses, .count = name->count};

		handler(context, &known);
		return;
	}
	waiter->handler = handler;
	waiter->context = context;
	wait_for(resolver, name, waiter);
	if (name->asking)
		return;
	unlink_name(resolver, name);
	link_newest(resolver, name);
	ask(resolver, name);
}
