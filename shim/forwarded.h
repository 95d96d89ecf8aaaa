/*
 * forwarded.h: who sent a request, when a proxy of ours holds the connection.
 */
#ifndef POSTBACKD_FORWARDED_H
#define POSTBACKD_FORWARDED_H

#include <stdbool.h>

#include "http.h"
#include "options.h"

/*
 * The peer; or, if that is a trusted proxy, the rightmost address of
 * X-Forwarded-For that is not one: everything to its left was written by somebody
 * whom nobody has to believe.
 */
extern PbAddress forwarded_sender(const CidrList *trusted, const HttpRequest *request);

/* Did the request come over TLS to a trusted proxy (X-Forwarded-Proto: https)? */
extern bool forwarded_is_tls(const CidrList *trusted, const HttpRequest *request);

#endif							/* POSTBACKD_FORWARDED_H */
