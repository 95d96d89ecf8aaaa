/*
 * conversion.c: reading conversions and terms from rows, and pricing: order value into the brand's currency, commission,
 * fee, each rounded once.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

#include "conversion.h"
#include "core/currency.h"

#define MAX_BRACKETS 64

const char *
attribution_name(Attribution attribution)
{
	static const char *const names[] = {
		[ATTRIBUTION_NONE] = "none",
		[ATTRIBUTION_CLICK] = "click",
		[ATTRIBUTION_PROMO_CODE] = "promo_code",
		[ATTRIBUTION_LAST_CLICK] = "last_click",
	};

	return names[attribution];
}

static Attribution
attribution_find(PbSlice name)
{
	for (Attribution a = ATTRIBUTION_NONE; a <= ATTRIBUTION_LAST_CLICK; a++)
		if (pb_slice_equal(name, pb_slice(attribution_name(a))))
			return a;
	elog(ERROR, "unknown attribution \"%.*s\"", (int) name.len, name.data);
}

/* Reads a row of postback.conversion, columns in the table's order. */
void
conversion_read(Record record, Conversion *c)
{
	Record	   *r = &record;
	PbSlice		status;
	Datum		datum;
	bool		has_fee;

	memset(c, 0, sizeof(*c));
	take_ulid(r, &c->id);
	take_ulid(r, &c->brand_id);
	c->order_ref = take_slice(r);
	c->goal = take_slice(r);
	c->goal_given = take_bool(r);
	status = take_slice(r);
	if (!pb_state_find(status, &c->status))
		elog(ERROR, "unknown status \"%.*s\" of a conversion", (int) status.len, status.data);
	c->test = take_bool(r);
	take_ulid(r, &c->offer_id);
	take_ulid(r, &c->publisher_id);
	c->has_click = take_ulid(r, &c->click_id);
	c->attribution = attribution_find(take_slice(r));
	take_bigint(r, &c->value);
	c->currency = take_slice(r);
	c->has_sale_value = take_bigint(r, &c->sale_value);
	c->priced = take_bigint(r, &c->commission);
	has_fee = take_bigint(r, &c->fee);
	Assert(has_fee == c->priced);
	(void) has_fee;
	c->commission_currency = take_slice(r);
	c->has_terms = take_ulid(r, &c->terms_id);
	take_datum(r, &c->fee_percent);
	c->fee_of = take_slice(r);
	c->has_rate = take_datum(r, &c->fx_rate);
	c->has_hold = take_timestamp(r, &c->hold_until);
	c->external_transaction_id = take_slice(r);
	c->sub_id = take_slice(r);
	c->subs = take_datum(r, &datum) ? DatumGetArrayTypeP(datum) : NULL;
	c->promo_code = take_slice(r);
	c->reason = take_slice(r);
	c->notice = take_slice(r);
	take_timestamp(r, &c->created_at);
	take_timestamp(r, &c->updated_at);
}

Conversion *
conversion_copy(const Conversion *conversion)
{
	Conversion *copy = palloc(sizeof(Conversion));

	*copy = *conversion;
	return copy;
}

int
currency_exponent(PbSlice currency)
{
	const PbCurrency *found = pb_currency_find(currency);

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("currency \"%.*s\" is not an ISO 4217 code", (int) currency.len, currency.data),
				 errhint("Three capital letters, such as EUR, USD or JPY.")));
	return found->exponent;
}

char *
array_cstring(ArrayType *array)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(TEXTARRAYOID, &output, &is_varlena);
	return OidOutputFunctionCall(output, PointerGetDatum(array));
}

/* Names of goals, events and codes are compared as the database compares them: by the collation nocase. */
int
names_compare(PbSlice a, PbSlice b)
{
	static Oid	nocase = InvalidOid;
	static Oid	nocase_schema = InvalidOid;
	Oid			schema;

	if (pb_slice_equal(a, b))
		return 0;
	/* Another one if the extension was dropped and created again. */
	schema = get_namespace_oid("postback", false);
	if (schema != nocase_schema)
	{
		nocase = get_collation_oid(list_make2(makeString("postback"), makeString("nocase")), false);
		nocase_schema = schema;
	}
	return varstr_cmp(a.data, (int) a.len, b.data, (int) b.len, nocase);
}

bool
names_equal(PbSlice a, PbSlice b)
{
	return names_compare(a, b) == 0;
}

/* A non-negative numeric of at most 18 digits. */
static PbDecimal
decimal_of_numeric(Datum numeric)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
	PbDecimal	decimal;

	if (pb_decimal_parse(pb_slice(text), &decimal) != PB_OK)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("number %s has more than 18 digits", text)));
	return decimal;
}

/* A percentage in millionths of a percent. */
static int64
percent_of_numeric(Datum numeric)
{
	PbDecimal	decimal = decimal_of_numeric(numeric);

	while (decimal.scale < 6)
	{
		decimal.mantissa *= 10;
		decimal.scale++;
	}
	return decimal.mantissa;
}

/* A numeric of a bracket as percent (six decimals) or as minor units (none); raises nothing. */
static bool
bracket_number(const JsonbValue *value, int decimals, int64 *result)
{
	PbDecimal	decimal;
	char	   *text;

	if (value->type != jbvNumeric)
		return false;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (pb_decimal_parse(pb_slice(text), &decimal) != PB_OK || decimal.scale > decimals)
		return false;
	for (; decimal.scale < decimals; decimal.scale++)
		if (decimal.mantissa > PB_VALUE_MAX)
			return false;
		else
			decimal.mantissa *= 10;
	*result = decimal.mantissa;
	return true;
}

/* One object {"from": n, "percent": p, "fixed": f}; false if it is none such. */
static bool
bracket_read(const JsonbValue *object, PbBracket *bracket)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	bool		has_from = false;
	bool		has_rate = false;

	memset(bracket, 0, sizeof(*bracket));
	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		return false;
	iterator = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		PbSlice		name;

		if (token != WJB_KEY)
			continue;
		name = (PbSlice) {key.val.string.val, key.val.string.len};
		if (JsonbIteratorNext(&iterator, &value, true) != WJB_VALUE)
			return false;
		if (pb_slice_equal(name, PB_LITERAL("from")) && bracket_number(&value, 0, &bracket->from))
			has_from = true;
		else if (pb_slice_equal(name, PB_LITERAL("percent")) && bracket_number(&value, 6, &bracket->percent))
			has_rate = true;
		else if (pb_slice_equal(name, PB_LITERAL("fixed")) && bracket_number(&value, 0, &bracket->fixed))
			has_rate = true;
		else
			return false;
	}
	return has_from && has_rate;
}

/* All brackets, ascending by from; -1 if they are malformed. */
static int
brackets_read(Jsonb *jsonb, PbBracket brackets[MAX_BRACKETS])
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			count = 0;

	if (!JB_ROOT_IS_ARRAY(jsonb) || JB_ROOT_IS_SCALAR(jsonb))
		return -1;
	iterator = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (count == MAX_BRACKETS || !bracket_read(&value, &brackets[count]))
			return -1;
		if (count > 0 && brackets[count].from <= brackets[count - 1].from)
			return -1;
		count++;
	}
	return count;
}

PG_FUNCTION_INFO_V1(brackets_valid);
Datum
brackets_valid(PG_FUNCTION_ARGS)
{
	PbBracket	brackets[MAX_BRACKETS];

	PG_RETURN_BOOL(brackets_read(PG_GETARG_JSONB_P(0), brackets) > 0);
}

/* Takes id, percent, fixed, min, max, brackets; false if there is no row (id null). */
bool
terms_take(Record *record, Terms *terms)
{
	Datum		datum;
	bool		found;
	PbBracket	brackets[MAX_BRACKETS];

	memset(terms, 0, sizeof(*terms));
	found = take_ulid(record, &terms->id);
	if (take_datum(record, &datum))
		terms->rule.percent = percent_of_numeric(datum);
	take_bigint(record, &terms->rule.fixed);
	take_bigint(record, &terms->rule.min);
	if (!take_bigint(record, &terms->rule.max))
		terms->rule.max = PG_INT64_MAX;
	if (take_datum(record, &datum))
	{
		int			count = brackets_read(DatumGetJsonbP(datum), brackets);

		if (count > 0)
		{
			PbBracket  *copy = palloc(sizeof(PbBracket) * count);

			memcpy(copy, brackets, sizeof(PbBracket) * count);
			terms->rule.brackets = copy;
			terms->rule.bracket_count = count;
		}
	}
	return found;
}

static PbFeeOf
fee_of_find(PbSlice name)
{
	if (pb_slice_equal(name, PB_LITERAL("commission")))
		return PB_FEE_OF_COMMISSION;
	if (pb_slice_equal(name, PB_LITERAL("value")))
		return PB_FEE_OF_VALUE;
	return PB_FEE_NONE;
}

/* When conversions that are opened now will approve themselves: by their offers' holds, else their brands'. */
void
holds_load(const Conversion *const *conversions, int count, TimestampTz *hold_until)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	Rows	   *rows = rows_begin(ST_HOLDS, count);
	uint64		found;

	for (int i = 0; i < count; i++)
	{
		rows_next(rows);
		put_int(rows, i);
		put_ulid(rows, &conversions[i]->brand_id);
		put_ulid(rows, conversions[i]->attribution != ATTRIBUTION_NONE ? &conversions[i]->offer_id : NULL);
	}
	found = rows_execute(rows);
	if (found != (uint64) count)
		elog(ERROR, "the brand of a conversion is missing");
	for (uint64 r = 0; r < found; r++)
	{
		Record		record = record_read(r);
		int			n = take_int(&record);
		Datum		hold;

		take_datum(&record, &hold);
		hold_until[n] = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), hold));
	}
}

static void
conversion_unprice(Conversion *c)
{
	c->priced = false;
	c->commission = 0;
	c->fee = 0;
}

/*
 * Sets sale_value, commission and fee from value and what is frozen on the conversion.  An unattributed one is priced
 * at nothing; one without terms (NULL) or without a needed rate stays unpriced.  PB_BAD_VALUE if a result is too large;
 * then nothing has changed.
 */
PbCode
conversion_price(Conversion *c, const Terms *terms)
{
	bool		same = pb_slice_equal(c->currency, c->commission_currency);
	int64		sale_value = c->value;
	int64		commission = 0;
	int64		fee = 0;

	if (!same && c->has_rate &&
		pb_money_convert(c->value, currency_exponent(c->currency), decimal_of_numeric(c->fx_rate),
						 currency_exponent(c->commission_currency), &sale_value) != PB_OK)
		return PB_BAD_VALUE;
	if (c->attribution != ATTRIBUTION_NONE && terms != NULL && (same || c->has_rate))
	{
		if (pb_price(&terms->rule, fee_of_find(c->fee_of), percent_of_numeric(c->fee_percent), sale_value,
					 &commission, &fee) != PB_OK)
			return PB_BAD_VALUE;
		c->has_terms = true;
		c->terms_id = terms->id;
	}
	else if (c->attribution != ATTRIBUTION_NONE)
	{
		c->has_sale_value = same || c->has_rate;
		c->sale_value = c->has_sale_value ? sale_value : 0;
		conversion_unprice(c);
		return PB_OK;
	}
	c->has_sale_value = same || c->has_rate;
	c->sale_value = c->has_sale_value ? sale_value : 0;
	c->priced = true;
	c->commission = commission;
	c->fee = fee;
	return PB_OK;
}
