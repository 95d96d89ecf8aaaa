/*
 * callback.h: a callback as the C code holds it, and whether a change of a conversion fires it.
 */
#ifndef POSTBACK_CALLBACK_H
#define POSTBACK_CALLBACK_H

#include "postback.h"

#include "utils/array.h"

#include "conversion.h"
#include "core/macro.h"

/* A name and the template of its value, or a JSON value that is no string and goes as it is. */
typedef struct Field
{
	PbSlice		name;
	PbTemplate *template;
	PbSlice		json;
} Field;

typedef struct Fields
{
	Field	   *items;
	int			count;
} Fields;

/* A row of postback.callback with its templates compiled. */
typedef struct Callback
{
	PbUlid		id;
	bool		enabled;
	PbSlice		type;
	bool		has_brand;
	PbUlid		brand_id;
	bool		has_offer;
	PbUlid		offer_id;
	bool		has_publisher;
	PbUlid		publisher_id;
	PbSlice		goal;
	bool		statuses[PB_STATE_COUNT];
	ArrayType  *reasons;		/* NULL: any */
	Datum		delay;
	PbSlice		method;
	PbSlice		endpoint;
	PbTemplate *url;
	Fields		params;
	Fields		headers;
	bool		include_test;
	bool		on_adjust;
	bool		broken;			/* its templates do not compile: it fires nothing */
} Callback;

/* What the renderer needs of an offer. */
typedef struct OfferName
{
	PbUlid		id;
	PbSlice		name;
	bool		goals_enabled;
} OfferName;

/* One delivery to be: a change and a callback that it fires. */
typedef struct Firing
{
	const Change *change;
	const Callback *callback;
	const OfferName *offer;
	TimestampTz since;			/* when the change was made, from when the callback's delay is counted */
	bool		trial;			/* a test: not delayed, tied to nothing, neither numbered nor ordered among deliveries */
	int			seq;			/* this and id are set when it is written */
	PbUlid		id;
} Firing;

/* match.c */
extern const char *cause_name(Cause cause);
extern Cause callback_cause(const Callback *callback);
extern bool callback_fires(const Callback *callback, const Change *change, const OfferName *offer);
extern const char *callback_misfit(const Callback *callback, const Change *change, const OfferName *offer);
extern bool text_array_contains(ArrayType *array, PbSlice value, bool (*equal) (PbSlice, PbSlice));

/* outbound.c */
extern void callback_read(Record *r, Callback *callback);
extern OfferName *offer_names_load(const Change *changes, int count, int *offer_count);
extern const OfferName *offer_name_find(const OfferName *offers, int count, const PbUlid *id);
extern void firings_write(Firing *firings, int count);

#endif							/* POSTBACK_CALLBACK_H */
