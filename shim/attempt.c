/*
 * attempt.c: one attempt at a delivery, top to bottom.
 *
 * What is sent beside the callback's own headers: webhook-id (stable over
 * attempts) and webhook-timestamp (of this one), always; webhook-signature
 * if there are secrets.
 */
#include "attempt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../extension/core/header.h"

#define OWN_HEADERS 3

/* A database that gives no sensible time-out gets this one. */
#define TIMEOUT_MS 10000

/* Left of a lease for settling. */
#define LEASE_MARGIN_MS 1000

/* So much of a lease must be left to begin, though the time-out were longer: leases are 20 s at least. */
#define LEASE_NEED_LIMIT_MS 15000

struct Attempts
{
	AttemptTools tools;
	AttemptHandler handler;
	void	   *context;
};

Attempts *
attempts_new(const AttemptTools *tools, AttemptHandler handler, void *context)
{
	Attempts   *attempts = calloc(1, sizeof(*attempts));

	if (attempts == NULL)
		return NULL;
	attempts->tools = *tools;
	attempts->handler = handler;
	attempts->context = context;
	return attempts;
}

void
attempts_free(Attempts *attempts)
{
	free(attempts);
}

/* ---- the end ---- */

static void
finish(Delivery *delivery, DeliveryOutcome outcome, EndpointNews news, const char *error, PbSlice response)
{
	Attempts   *attempts = delivery->attempts;

	delivery->outcome = outcome;
	if (outcome != DELIVERY_RELEASED)
		delivery->milliseconds = (int) ((loop_now_us() - delivery->started_us) / 1000);
	delivery_set_texts(delivery, error, response);
	attempts->handler(attempts->context, delivery, news);
}

static void
finish_unsent(Delivery *delivery, DeliveryOutcome outcome, const char *error)
{
	finish(delivery, outcome, ENDPOINT_NO_NEWS, error, (PbSlice) {0});
}

/* We had no descriptor, memory or room for it, which is not the endpoint's fault: given back, and not counted as an attempt. */
static void
finish_for_shortage(Delivery *delivery, const char *error)
{
	delivery->shortage = true;
	finish_unsent(delivery, DELIVERY_RELEASED, error);
}

/* Makes out's text a string; what did not fit is cut. */
static const char *
as_string(PbOut *out)
{
	out->data[out->len < out->cap ? out->len : out->cap - 1] = '\0';
	return out->data;
}

static void
on_transferred(void *context, const TransferResult *result)
{
	static const EndpointNews news[] = {
		[TRANSFER_ANSWERED] = ENDPOINT_ANSWERED,
		[TRANSFER_FAILED] = ENDPOINT_FAILED,
		[TRANSFER_UNREACHED] = ENDPOINT_UNREACHED,
		[TRANSFER_BLOCKED] = ENDPOINT_NO_NEWS,
		[TRANSFER_UNSENT] = ENDPOINT_NO_NEWS,
	};
	static const DeliveryOutcome outcomes[] = {
		[TRANSFER_ANSWERED] = DELIVERY_RESPONSE,
		[TRANSFER_FAILED] = DELIVERY_ERROR,
		[TRANSFER_UNREACHED] = DELIVERY_ERROR,
		[TRANSFER_BLOCKED] = DELIVERY_BLOCKED,
		[TRANSFER_UNSENT] = DELIVERY_RELEASED,
	};
	Delivery   *delivery = context;
	bool		refused = result->end == TRANSFER_ANSWERED && result->http_code >= 400;

	delivery->http_code = result->http_code;
	delivery->retry_after = result->retry_after;
	delivery->address = result->address;
	delivery->shortage = result->end == TRANSFER_UNSENT;
	if (result->end == TRANSFER_ANSWERED)
		delivery->endpoint->good = result->address;
	finish(delivery, outcomes[result->end], refused ? ENDPOINT_REFUSED : news[result->end], result->error, result->response);
}

/* ---- headers ---- */

static bool
header_well_formed(PbSlice header, size_t colon)
{
	if (colon == header.len || !pb_header_name_ok((PbSlice) {header.data, colon}))
		return false;
	for (size_t i = colon + 1; i < header.len; i++)
		if (!pb_header_byte_ok(header.data[i]))
			return false;
	return true;
}

/* False: *why says what is wrong, without any header's value. */
static bool
headers_fit(const Delivery *delivery, PbOut *why)
{
	if (delivery->unreadable)
	{
		pb_out_slice(why, PB_LITERAL("there are more headers or secrets than can be sent"));
		return false;
	}
	for (size_t i = 0; i < delivery->header_count; i++)
	{
		PbSlice		header = delivery->headers[i];
		PbSlice		name = {header.data, pb_slice_find(header, ':', 0)};

		if (!header_well_formed(header, name.len))
		{
			pb_out_slice(why, PB_LITERAL("a header is malformed, number "));
			pb_out_int(why, (int64_t) i + 1);
			return false;
		}
		if (pb_header_reserved(name))
		{
			pb_out_slice(why, PB_LITERAL("a callback may not set the header "));
			pb_out_slice(why, name);
			return false;
		}
	}
	return true;
}

/* ---- sending ---- */

/* Room for the texts that one request adds. */
typedef struct OwnTexts
{
	char		id[DELIVERY_ID_ROOM + 16];
	char		timestamp[48];
	char		signature[24 + DELIVERY_SECRET_LIMIT * SIGN_ROOM];
	PbSlice		headers[DELIVERY_HEADER_LIMIT + OWN_HEADERS];
	size_t		header_count;
} OwnTexts;

static void
add_header(OwnTexts *own, const char *data, size_t len)
{
	own->headers[own->header_count++] = (PbSlice) {data, len};
}

/* False: a secret is none. */
static bool
add_own_headers(Delivery *delivery, PbSlice target, OwnTexts *own)
{
	int64_t		now = time(NULL);
	SignMessage message = {
		.id = pb_slice(delivery->delivery_id),
		.timestamp = now,
		.content = delivery->post ? delivery->body : target,
	};
	PbOut		out = pb_out(own->signature, sizeof(own->signature));

	memcpy(own->headers, delivery->headers, delivery->header_count * sizeof(PbSlice));
	own->header_count = delivery->header_count;
	add_header(own, own->id, (size_t) snprintf(own->id, sizeof(own->id), "webhook-id: %s", delivery->delivery_id));
	add_header(own, own->timestamp, (size_t) snprintf(own->timestamp, sizeof(own->timestamp),
													  "webhook-timestamp: %" PRId64, now));
	if (delivery->secret_count == 0)
		return true;
	pb_out_slice(&out, PB_LITERAL("webhook-signature: "));
	if (sign_webhook(delivery->attempts->tools.signer, delivery->secrets, delivery->secret_count, &message,
					 &out) != SIGN_OK)
		return false;
	add_header(own, own->signature, out.len);
	return true;
}

/*
 * The request target: path and query as they are in the URL, which is what a
 * GET's signature covers.  Writes only if the path is empty, else points into the URL.
 */
static PbSlice
request_target(const PbUrl *url, PbOut *room)
{
	PbSlice		query = url->query;

	if (url->path.len > 0)
		return (PbSlice) {url->path.data, url->path.len + (url->has_query ? 1 + query.len : 0)};
	pb_out_char(room, '/');
	if (url->has_query)
	{
		pb_out_char(room, '?');
		pb_out_slice(room, query);
	}
	return (PbSlice) {room->data, room->len};
}

static int64_t
timeout_of(const Delivery *delivery)
{
	return delivery->timeout_ms > 0 ? delivery->timeout_ms : TIMEOUT_MS;
}

/* What is left of the delivery's time, or of its lease if that is less; by the clock, for a turn of the loop may be long. */
static int
time_left(const Delivery *delivery)
{
	int64_t		now = loop_now_us();
	int64_t		left = timeout_of(delivery) - (now - delivery->started_us) / 1000;
	int64_t		lease_left = delivery->lease_end_ms - LEASE_MARGIN_MS - now / 1000;

	left = left < lease_left ? left : lease_left;
	return left < 1 ? 0 : (int) left;
}

static bool
is_among(const PbAddress *addresses, size_t count, const PbAddress *address)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(&addresses[i], address, sizeof(*address)) == 0)
			return true;
	return false;
}

/* The addresses to try, each once, however often the name server says it; the one that answered last first. */
static size_t
choose_addresses(const Endpoint *endpoint, const PbAddress *addresses, size_t count, PbAddress *chosen)
{
	size_t		n = 0;

	if (is_among(addresses, count, &endpoint->good))
		chosen[n++] = endpoint->good;
	for (size_t i = 0; i < count && n < TRANSFER_ADDRESS_LIMIT; i++)
		if (!is_among(chosen, n, &addresses[i]))
			chosen[n++] = addresses[i];
	return n;
}

static void
send_request(Delivery *delivery, PbSlice target, const PbAddress *addresses, size_t count)
{
	OwnTexts	own;
	PbAddress	chosen[TRANSFER_ADDRESS_LIMIT];
	TransferRequest request = {
		.url = &delivery->target.url,
		.target = target,
		.post = delivery->post,
		.body = delivery->body,
		.headers = own.headers,
		.addresses = chosen,
		.timeout_ms = time_left(delivery),
	};

	if (request.timeout_ms == 0)	/* the process was held up: somebody else may have the claim by now */
	{
		finish_unsent(delivery, DELIVERY_RELEASED, "");
		return;
	}
	if (!add_own_headers(delivery, target, &own))
	{
		finish_unsent(delivery, DELIVERY_ERROR, "a signing secret is not \"whsec_\" and base64");
		return;
	}
	request.header_count = own.header_count;
	request.address_count = choose_addresses(delivery->endpoint, addresses, count, chosen);
	if (!transfer_start(delivery->attempts->tools.transfers, &request, on_transferred, delivery))
		finish_for_shortage(delivery, "out of memory");
}

/* The addresses are known: look at them, then send. */
static void
send_to(Delivery *delivery, const PbAddress *addresses, size_t count)
{
	char		room[DELIVERY_ERROR_LIMIT];
	PbOut		why = pb_out(room, sizeof(room));
	const PbUrl *url = &delivery->target.url;
	char	   *text;
	PbOut		out;

	if (!guard_addresses(delivery->attempts->tools.guard, url, addresses, count, &why))
	{
		finish_unsent(delivery, DELIVERY_BLOCKED, as_string(&why));
		return;
	}
	if (url->path.len > 0)
	{
		send_request(delivery, request_target(url, NULL), addresses, count);
		return;
	}
	text = malloc(url->query.len + 2);
	if (text == NULL)
	{
		finish_for_shortage(delivery, "out of memory");
		return;
	}
	out = pb_out(text, url->query.len + 2);
	send_request(delivery, request_target(url, &out), addresses, count);
	free(text);
}

static void
on_resolved(void *context, const ResolveAnswer *answer)
{
	Delivery   *delivery = context;
	char		room[DELIVERY_ERROR_LIMIT];
	PbOut		why = pb_out(room, sizeof(room));

	if (answer->error == NULL)
	{
		send_to(delivery, answer->addresses, answer->count);
		return;
	}
	if (answer->shortage)
	{
		finish_for_shortage(delivery, answer->error);
		return;
	}
	pb_out_slice(&why, PB_LITERAL("host "));
	pb_out_slice(&why, delivery->target.url.host);
	pb_out_slice(&why, PB_LITERAL(": "));
	pb_out_slice(&why, pb_slice(answer->error));
	finish(delivery, DELIVERY_ERROR, ENDPOINT_UNREACHED, as_string(&why), (PbSlice) {0});
}

/* A claim whose lease would end under way is given back: somebody else may have it by then. */
static bool
lease_long_enough(const Delivery *delivery)
{
	int64_t		need = timeout_of(delivery) + LEASE_MARGIN_MS;

	if (need > LEASE_NEED_LIMIT_MS)
		need = LEASE_NEED_LIMIT_MS;
	return delivery->lease_end_ms - delivery->started_us / 1000 >= need;
}

void
attempt_start(Attempts *attempts, Delivery *delivery)
{
	char		room[DELIVERY_ERROR_LIMIT];
	PbOut		why = pb_out(room, sizeof(room));

	delivery->attempts = attempts;
	delivery->started_us = loop_now_us();
	if (!lease_long_enough(delivery))
		finish_unsent(delivery, DELIVERY_RELEASED, "");
	else if (!guard_url(attempts->tools.guard, delivery->url, &delivery->target, &why))
		finish_unsent(delivery, DELIVERY_BLOCKED, as_string(&why));
	else if (!headers_fit(delivery, &why))
		finish_unsent(delivery, DELIVERY_ERROR, as_string(&why));
	else if (delivery->target.literal)
		send_to(delivery, &delivery->target.address, 1);
	else
		resolver_lookup(attempts->tools.resolver, delivery->target.url.host, &delivery->waiter, on_resolved,
						delivery);
}
