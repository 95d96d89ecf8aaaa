/*
 * decode.c: the parameters of one postback, from its query and body, read by the rules of the core.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "core/currency.h"
#include "core/form.h"
#include "core/multipart.h"
#include "json.h"
#include "receive.h"

/* The parameter that a name means for this token: its own map first, then ours. */
static PbParameter
parameter_of(const Token *token, PbSlice name)
{
	for (int i = 0; i < token->param_count; i++)
		if (pb_slice_equal_nocase(token->params[i].theirs, name))
			return pb_parameter_find(token->params[i].ours);
	return pb_parameter_find(name);
}

/* Reads one decoded pair; the value must live as long as the batch. Of a refused call only the order, for its receipt. */
static void
read_pair(Call *item, PbSlice name, PbSlice value)
{
	PbParameter parameter = parameter_of(item->token, pb_slice_trim(name));
	const char *canonical;

	/* A signature has been looked at where there is a secret, and is somebody else's where there is none. */
	if (parameter == PB_P_UNKNOWN || parameter == PB_P_SIG || (item->code != PB_OK && parameter != PB_P_ORDER))
		return;
	canonical = pb_parameter_name(parameter);
	value = pb_slice_trim(value);
	if (value.len == 0)
		return;
	if (!pb_utf8_valid(value))
		item_refuse(item, PB_BAD_ENCODING, canonical, "%s is not valid UTF-8, or has a NUL; send it in UTF-8, percent-encoded",
					canonical);
	else if (value.len > pb_parameter_limit(parameter))
		item_refuse(item, PB_TOO_LONG, canonical, "%s is longer than %zu bytes; shorten it", canonical,
					pb_parameter_limit(parameter));
	else if (item->p[parameter].data != NULL && !pb_slice_equal(item->p[parameter], value))
		item_refuse(item, PB_AMBIGUOUS_PARAMETER, canonical, "%s is given twice with different values; send one of them", canonical);
	else
		item->p[parameter] = value;
}

/* Takes one decoded pair, and keeps a note of it if that is wanted. as_sent: not decoded yet; data NULL: the same. */
static void
take_pair(Call *item, PbSlice as_sent, PbSlice name, PbSlice value)
{
	PbCode		before = item->code;
	Pair	   *pair;

	read_pair(item, name, value);
	if (!item->traced)
		return;
	pair = palloc(sizeof(Pair));
	pair->as_sent = as_sent;
	pair->name = name;
	pair->value = value;
	pair->parameter = parameter_of(item->token, pb_slice_trim(name));
	pair->refused = before == PB_OK && item->code != PB_OK;
	pair->skipped = before != PB_OK;
	item->pairs = lappend(item->pairs, pair);
}

static void
take_form(Call *item, PbSlice form)
{
	PbSlice		name;
	PbSlice		value;

	while (pb_form_next(&form, &name, &value))
	{
		char	   *buffer = palloc(name.len + value.len + 1);
		size_t		name_length = pb_form_decode(name, buffer);
		size_t		value_length = pb_form_decode(value, buffer + name_length);

		take_pair(item, (PbSlice) {name.data, value.data + value.len - name.data},
				  (PbSlice) {buffer, name_length}, (PbSlice) {buffer + name_length, value_length});
	}
}

static void
take_form_body(Call *item)
{
	take_form(item, item->body);
}

/* The media type of a Content-Type value, without parameters. */
static PbSlice
media_type(PbSlice content_type)
{
	return pb_slice_trim((PbSlice) {content_type.data, pb_slice_find(content_type, ';', 0)});
}

static void
take_multipart(Call *item)
{
	PbSlice		rest = item->body;
	PbSlice		boundary;
	PbSlice		name;
	PbSlice		value;
	PbMultipart next = PB_MULTIPART_BAD;

	if (pb_header_parameter(item->content_type, PB_LITERAL("boundary"), &boundary))
		while ((next = pb_multipart_next(&rest, boundary, &name, &value)) == PB_MULTIPART_PART)
			take_pair(item, (PbSlice) {NULL, 0}, name, value);
	if (next == PB_MULTIPART_BAD)
		item_refuse(item, PB_BAD_ENCODING, NULL,
					"the body is no multipart/form-data with the boundary of its Content-Type; send it as forms are sent");
}

static void
take_json(Call *item)
{
	JsonMember *members;
	int			count;

	if (!json_members(item->body, &members, &count))
	{
		item_refuse(item, PB_BAD_JSON, NULL, "the body must be one flat JSON object: {\"order\":\"A-1\",\"value\":4999}");
		return;
	}
	for (int i = 0; i < count; i++)
	{
		PbParameter parameter = parameter_of(item->token, pb_slice_trim(members[i].name));

		if (!members[i].nested && members[i].text.data != NULL)
			take_pair(item, (PbSlice) {NULL, 0}, members[i].name, members[i].text);
		else if (members[i].nested && parameter == PB_P_UNKNOWN)
			take_pair(item, (PbSlice) {NULL, 0}, members[i].name, PB_LITERAL("{...}"));
		else if (members[i].nested)
			item_refuse(item, PB_BAD_JSON, pb_parameter_name(parameter), "%s must be a string or a number, not nested",
						pb_parameter_name(parameter));
	}
}

/* The bodies that are understood. */
static const struct
{
	const char *type;
	void		(*take) (Call *item);
}			bodies[] = {
	{"application/x-www-form-urlencoded", take_form_body},
	{"multipart/form-data", take_multipart},
	{"application/json", take_json},
};

static void
take_body(Call *item)
{
	PbSlice		type = item->content_type.data != NULL ? media_type(item->content_type) : pb_slice(bodies[0].type);

	if (item->body.len == 0)
		return;
	for (size_t i = 0; i < lengthof(bodies); i++)
		if (pb_slice_equal_nocase(type, pb_slice(bodies[i].type)))
		{
			bodies[i].take(item);
			return;
		}
	item_refuse(item, PB_UNSUPPORTED_MEDIA_TYPE, NULL,
				"the body must be %s, %s or %s", bodies[0].type, bodies[1].type, bodies[2].type);
}

static void
read_status(Call *item)
{
	PbSlice		word = item->p[PB_P_STATUS].data != NULL ? item->p[PB_P_STATUS] : PB_LITERAL("");

	for (int i = 0; i < item->token->status_count; i++)
		if (pb_slice_equal_nocase(item->token->statuses[i].theirs, word))
		{
			word = item->token->statuses[i].ours;
			break;
		}
	if (!pb_status_word(word, &item->sent))
		item_refuse(item, PB_BAD_STATUS, "status", "status \"%.*s\" is not one of new, approved, reversed, partial; the token's status_map can translate it",
					(int) word.len, word.data);
}

static void
read_currency(Call *item)
{
	const PbCurrency *currency;

	if (item->p[PB_P_CURRENCY].data == NULL)
		return;
	currency = pb_currency_find(item->p[PB_P_CURRENCY]);
	if (currency == NULL)
		item_refuse(item, PB_BAD_CURRENCY, "currency", "currency \"%.*s\" is not an ISO 4217 code; send one such as EUR, or none for the brand's",
					(int) item->p[PB_P_CURRENCY].len, item->p[PB_P_CURRENCY].data);
	else
		item->currency = pb_slice(currency->code);
}

/*
 * The order value from what was sent in minor and in full units (data NULL: not sent), by a currency's exponent. Both must
 * agree.
 */
PbCode
amount_read(PbSlice minor, PbSlice full, int exponent, bool *has_value, int64 *value)
{
	int64		other;

	*has_value = minor.data != NULL || full.data != NULL;
	*value = 0;
	if (minor.data != NULL && pb_money_parse_minor(minor, value) != PB_OK)
		return PB_BAD_VALUE;
	if (full.data == NULL)
		return PB_OK;
	if (pb_money_parse_major(full, exponent, &other) != PB_OK)
		return PB_BAD_VALUE;
	if (minor.data != NULL && other != *value)
		return PB_AMBIGUOUS_PARAMETER;
	*value = other;
	return PB_OK;
}

/* The order value of a call, were it in a currency of that exponent. */
PbCode
item_value(const Call *item, int exponent, bool *has_value, int64 *value)
{
	PbSlice		none = {NULL, 0};
	PbSlice		sent = item->p[PB_P_VALUE];
	PbSlice		amount = item->p[PB_P_AMOUNT];
	PbCode		code;
	int64		other;
	bool		has_other;

	code = amount_read(item->full_units ? none : sent, item->full_units ? sent : none, exponent, has_value, value);
	if (code != PB_OK || amount.data == NULL)
		return code;
	code = amount_read(none, amount, exponent, &has_other, &other);
	if (code == PB_OK && *has_value && other != *value)
		return PB_AMBIGUOUS_PARAMETER;
	*has_value = true;
	*value = other;
	return code;
}

/*
 * The same for a call as it comes. A follow-up that names no currency is read by its conversion's, which is not known yet: here
 * it is enough that some currency would do.
 */
static PbCode
value_as_sent(const Call *item, bool *has_value, int64 *value)
{
	PbSlice		currency = item->currency.data != NULL ? item->currency : item->token->brand->currency;
	PbCode		code = item_value(item, currency_exponent(currency), has_value, value);

	if (item->sent == PB_SENT_NEW || item->currency.data != NULL)
		return code;
	for (int exponent = 0; code != PB_OK && exponent <= PB_EXPONENT_MAX; exponent++)
		if (item_value(item, exponent, has_value, value) == PB_OK)
			return PB_OK;
	return code;
}

/* Refuses a value that no currency could make right, or that its own currency does not allow. */
static void
read_value(Call *item)
{
	PbSlice		format = item->p[PB_P_VALUE_FORMAT];
	bool		has_value;
	int64		value;

	if (format.data != NULL && !pb_slice_equal_nocase(format, PB_LITERAL("currency")))
	{
		item_refuse(item, PB_BAD_VALUE_FORMAT, "value_format",
					"value_format \"%.*s\" is not known; send currency, or leave it out for minor units",
					(int) format.len, format.data);
		return;
	}
	item->full_units = format.data != NULL;
	switch (value_as_sent(item, &has_value, &value))
	{
		case PB_OK:
			break;
		case PB_AMBIGUOUS_PARAMETER:
			item_refuse(item, PB_AMBIGUOUS_PARAMETER, "amount", "amount and value disagree; send one of them");
			break;
		default:
			item_refuse(item, PB_BAD_VALUE, item->p[PB_P_VALUE].data != NULL ? "value" : "amount",
						"%s must be %s, at most 10^15 in minor units",
						item->p[PB_P_VALUE].data != NULL ? "value" : "amount",
						item->p[PB_P_VALUE].data != NULL && !item->full_units ?
						"digits in the smallest unit (4999 = 49.99)" :
						"digits with at most one period and the currency's decimals (49.99)");
	}
}

static void
read_ids(Call *item)
{
	if (item->p[PB_P_CLICK_ID].data != NULL)
	{
		item->has_click = pb_ulid_parse(item->p[PB_P_CLICK_ID], &item->click_id);
		item->click_malformed = !item->has_click;
	}
	/* One that is no id narrows to nothing. */
	item->has_offer = item->p[PB_P_OFFER_ID].data != NULL;
	if (!item->has_offer || !pb_ulid_parse(item->p[PB_P_OFFER_ID], &item->offer_id))
		memset(&item->offer_id, 0, sizeof(PbUlid));
	item->has_publisher = item->p[PB_P_PUBLISHER_ID].data != NULL;
	if (!item->has_publisher || !pb_ulid_parse(item->p[PB_P_PUBLISHER_ID], &item->publisher_id))
		memset(&item->publisher_id, 0, sizeof(PbUlid));
}

static void
read_test(Call *item)
{
	static const char prefix[] = "TEST-";
	PbSlice		order = item->p[PB_P_ORDER];

	item->test = item->token->test || pb_slice_equal(item->p[PB_P_TEST], PB_LITERAL("1")) ||
		pb_slice_equal_nocase(item->p[PB_P_TEST], PB_LITERAL("true")) ||
		(order.data != NULL && order.len >= strlen(prefix) && memcmp(order.data, prefix, strlen(prefix)) == 0);
}

/*
 * Reads and checks all parameters of an item; refuses it with the first error.  One that is refused already keeps its reason, but
 * its order is known.
 */
void
item_decode(Call *item)
{
	if (item->query.data != NULL)
		take_form(item, item->query);
	if (item->body.data != NULL)
		take_body(item);
	if (item->p[PB_P_CLICK_ID].data == NULL && item->cookie.data != NULL && item->cookie.len <= COOKIE_MAX)
		item->p[PB_P_CLICK_ID] = item->cookie;
	if (item->code != PB_OK)
		return;
	item->is_event = item->p[PB_P_EVENT].data != NULL;
	if (item->p[PB_P_ORDER].data == NULL && !item->is_event)
	{
		item_refuse(item, PB_MISSING_PARAMETER, "order", "order is missing: send your own reference of the sale");
		return;
	}
	read_test(item);
	read_ids(item);
	if (item->is_event)
		return;
	read_status(item);
	if (item->code == PB_OK)
		read_currency(item);
	if (item->code == PB_OK)
		read_value(item);
	if (item->code == PB_OK && item->p[PB_P_VALUE].data == NULL && item->p[PB_P_AMOUNT].data == NULL &&
		item->sent == PB_SENT_PARTIAL)
		item_refuse(item, PB_MISSING_PARAMETER, "value", "value is missing: send the order value that is left, in the smallest unit");
}
