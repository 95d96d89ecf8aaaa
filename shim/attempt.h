/*
 * attempt.h: one attempt at a delivery, from the egress guard to the response.
 *
 * Look at the URL, resolve the host, look at its addresses, sign, send.
 */
#ifndef POSTBACKD_ATTEMPT_H
#define POSTBACKD_ATTEMPT_H

#include "delivery.h"
#include "endpoint.h"
#include "resolve.h"
#include "sign.h"
#include "transfer.h"

typedef struct Attempts Attempts;

/* The delivery's result is set; news is what its endpoint is to be told. */
typedef void (*AttemptHandler) (void *context, Delivery *delivery, EndpointNews news);

/* What attempts are made with; not owned. */
typedef struct AttemptTools
{
	Guard	   *guard;
	Resolver   *resolver;
	Transfers  *transfers;
	Signer	   *signer;
} AttemptTools;

/* NULL when out of memory. */
extern Attempts *attempts_new(const AttemptTools *tools, AttemptHandler handler, void *context)
			__attribute__((warn_unused_result));
extern void attempts_free(Attempts *attempts);

/* Calls the handler exactly once: before this returns (it was blocked, say) or later from the loop. */
extern void attempt_start(Attempts *attempts, Delivery *delivery);

#endif							/* POSTBACKD_ATTEMPT_H */
