/*
 * answer.h: the answers that the daemon gives by itself, and the counting of all answers.
 */
#ifndef POSTBACKD_ANSWER_H
#define POSTBACKD_ANSWER_H

#include "../extension/core/code.h"
#include "http.h"
#include "metrics.h"

typedef struct Answers Answers;

typedef enum Route
{
	ROUTE_POSTBACK,
	ROUTE_PIXEL,				/* /p/TOKEN.gif */
	ROUTE_CLICK,
	ROUTE_HEALTH,
	ROUTE_OTHER,
	ROUTE_COUNT
} Route;

/* The pixel: 1x1, transparent. */
extern const PbSlice answer_gif;

/* NULL when out of memory. */
extern Answers *answers_new(Metrics *metrics) __attribute__((warn_unused_result));
extern void answers_free(Answers *answers);

/*
 * Answers with an error: JSON, or for ROUTE_PIXEL the pixel with the code in
 * X-Postback-Code.  405 says in Allow what the route takes, 429 and 503 ask to come again in a second.
 */
extern void answer_error(Answers *answers, Route route, HttpRequest *request, PbCode code);

/* /healthz */
extern void answer_health(Answers *answers, HttpRequest *request, bool healthy);

/* Counts an answer that was made elsewhere: by route and outcome (a result or an error code), and its time since arrival. */
extern void answer_count(Answers *answers, Route route, const HttpRequest *request, PbSlice outcome);

#endif							/* POSTBACKD_ANSWER_H */
