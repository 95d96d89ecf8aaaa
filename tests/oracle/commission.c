/*
 * commission.c: random orders and terms, and what the core makes of them: what commission.py and commission.sql recompute.
 *
 * commission SEED COUNT prints a line per case, fields separated by tabs, \N for what is not there:
 * number, currency, brand's currency, value, rate, percent, fixed, min, max, brackets' from, percent and fixed ({1,2}),
 * fee_of, fee_percent, and the answer: order value in the brand's currency, commission, fee; error \N \N if one is too large.
 * Many are made so that an amount falls on or beside a half, a limit or the largest amount.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "currency.h"
#include "money.h"
#include "terms.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BRACKETS_MAX 4
#define PERCENT_WHOLE (100 * PB_PERCENT_ONE)
#define PERCENT_MAX (999 * PB_PERCENT_ONE)
#define RATE_SCALE 10
#define RATE_MAX INT64_C(999999999999999999)

typedef struct Case
{
	const PbCurrency *currency;
	const PbCurrency *brand_currency;
	int64_t		value;
	int64_t		rate;			/* 10 decimals; 0: none, for the currencies are the same */
	bool		has_percent;
	bool		has_fixed;
	PbTerms		terms;
	PbBracket	brackets[BRACKETS_MAX];
	PbFeeOf		fee_of;
	int64_t		fee_percent;
} Case;

typedef struct Price
{
	int64_t		sale_value;
	int64_t		commission;
	int64_t		fee;
} Price;

static const char *const fee_names[] = {
	[PB_FEE_NONE] = "none",
	[PB_FEE_OF_COMMISSION] = "commission",
	[PB_FEE_OF_VALUE] = "value",
};

/* ---- randomness: splitmix64 ---- */

static uint64_t state;

static uint64_t
random_bits(void)
{
	uint64_t	z = (state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

/* from 0 to n - 1 */
static int
below(int n)
{
	return (int) (random_bits() % (uint64_t) n);
}

static bool
one_in(int n)
{
	return below(n) == 0;
}

/* from 0 to max, all magnitudes alike */
static int64_t
any_up_to(int64_t max)
{
	int			shift = 1 + below(63);

	return (int64_t) ((random_bits() >> shift) % ((uint64_t) max + 1));
}

/* from -n to n */
static int
near(int n)
{
	return below(2 * n + 1) - n;
}

static int64_t
within(PbInt128 n, int64_t min, int64_t max)
{
	return n < min ? min : n > max ? max : (int64_t) n;
}

/* ---- numbers that meet a limit ---- */

static int64_t
power_of_ten(int exponent)
{
	int64_t		power = 1;

	while (exponent-- > 0)
		power *= 10;
	return power;
}

/* x with factor * x = residue modulo modulus; -1 if factor has none (it shares a divisor with the modulus). */
static int64_t
divide_modulo(int64_t residue, int64_t factor, int64_t modulus)
{
	int64_t		a = modulus;
	int64_t		b = factor % modulus;
	int64_t		s = 0;
	int64_t		t = 1;

	while (b != 0)
	{
		int64_t		quotient = a / b;
		int64_t		next = a - quotient * b;

		a = b;
		b = next;
		next = s - quotient * t;
		s = t;
		t = next;
	}
	if (a != 1)
		return -1;
	if (s < 0)
		s += modulus;
	return (int64_t) ((PbInt128) residue * s % modulus);
}

/* A factor up to max such that base * factor / divisor ends with a half, or the least there is beside it; -1: there is none. */
static int64_t
factor_of_half(int64_t base, int64_t divisor, int64_t max)
{
	int64_t		factor = divide_modulo(divisor / 2 + near(1), base, divisor);

	if (factor < 0 || factor > max)
		return -1;
	return factor + any_up_to((max - factor) / divisor) * divisor;
}

static int64_t
any_value(void)
{
	static const int64_t special[] = {0, 1, 2, 49, 50, 51, 99, 100, 101, 4999, 5000, PB_VALUE_MAX - 1, PB_VALUE_MAX};

	if (one_in(10))
		return special[below(COUNT(special))];
	return any_up_to(PB_VALUE_MAX);
}

static int64_t
any_percent(void)
{
	static const int64_t special[] = {0, 1, 500000, 5000000, 8000000, 33333333, 50000000, 100000000, PERCENT_MAX};

	switch (below(4))
	{
		case 0:
			return special[below(COUNT(special))];
		case 1:
			return below(1000) * PB_PERCENT_ONE;
		case 2:
			return below(10000) * (PB_PERCENT_ONE / 100);
		default:
			return any_up_to(PERCENT_MAX);
	}
}

/* A percentage of base, often one that ends with a half. */
static int64_t
percent_of(int64_t base)
{
	int64_t		percent = one_in(3) ? factor_of_half(base, PERCENT_WHOLE, PERCENT_MAX) : -1;

	return percent >= 0 ? percent : any_percent();
}

/* ---- cases ---- */

static const PbCurrency *
any_currency(void)
{
	static const char *const special[] = {"JPY", "KWD", "EUR", "CLF", "KRW", "TND", "USD"};

	if (one_in(3))
		return pb_currency_find(pb_slice(special[below(COUNT(special))]));
	return &pb_currencies[below((int) pb_currency_count)];
}

static void
choose_rate(Case *c)
{
	int			decimals = RATE_SCALE + c->currency->exponent - c->brand_currency->exponent;
	int64_t		unit = power_of_ten(decimals);
	int64_t		rate = -1;

	switch (below(8))
	{
		case 0:
		case 1:
		case 2:
			rate = factor_of_half(c->value, unit, RATE_MAX);
			break;
		case 3:
			/* about the largest amount, or more */
			if (c->value > 0)
				rate = within((PbInt128) INT64_MAX * unit / c->value + near(2), 1, RATE_MAX);
			break;
		case 4:
			/* exactly that: INT64_MAX = 4398048608257 * 2097151 */
			c->value = INT64_C(4398048608257);
			rate = within((PbInt128) 2097151 * unit + near(1), 1, RATE_MAX);
			break;
	}
	if (rate <= 0)
	{
		/* with decimals or without */
		unit = power_of_ten(below(RATE_SCALE + 8));
		rate = 1 + any_up_to(RATE_MAX - 1);
		rate -= rate > unit ? rate % unit : 0;
	}
	c->rate = rate;
}

static void
choose_brackets(Case *c, int64_t sale_value)
{
	int64_t		from = one_in(2) ? within((PbInt128) sale_value - near(1), 0, PB_VALUE_MAX) : any_up_to(PB_VALUE_MAX);
	int			count = one_in(3) ? 1 + below(BRACKETS_MAX) : 0;

	for (int i = 0; i < count; i++)
	{
		c->brackets[i].from = from;
		c->brackets[i].percent = one_in(5) ? 0 : percent_of(sale_value);
		c->brackets[i].fixed = one_in(2) ? any_up_to(PB_VALUE_MAX) : 0;
		from += 1 + (one_in(2) ? below(3) : any_up_to(PB_VALUE_MAX));
	}
	c->terms.brackets = c->brackets;
	c->terms.bracket_count = (size_t) count;
}

static void
choose_terms(Case *c, int64_t sale_value)
{
	int64_t		largest;

	c->has_percent = !one_in(5);
	c->has_fixed = !c->has_percent || one_in(3);
	if (c->has_percent)
		c->terms.percent = percent_of(sale_value);
	if (c->has_fixed)
	{
		largest = within(INT64_MAX - (PbInt128) sale_value * c->terms.percent / PERCENT_WHOLE + near(2), 0, INT64_MAX);
		c->terms.fixed = one_in(8) ? largest : any_up_to(PB_VALUE_MAX);
	}
	choose_brackets(c, sale_value);
	c->terms.min = one_in(4) ? any_up_to(one_in(4) ? INT64_MAX : PB_VALUE_MAX) : 0;
	c->terms.max = one_in(4) ? c->terms.min + any_up_to(INT64_MAX - c->terms.min) : INT64_MAX;
}

/* Limits on and beside the commission, and a fee that meets a half or takes the sum over the largest amount. */
static void
choose_fee(Case *c, int64_t sale_value, int64_t commission)
{
	if (one_in(8))
		c->terms.min = within((PbInt128) commission + near(1), 0, c->terms.max);
	if (one_in(8))
		c->terms.max = within((PbInt128) commission + near(1), c->terms.min, INT64_MAX);
	if (pb_commission(&c->terms, sale_value, &commission) != PB_OK)
		abort();
	c->fee_of = (PbFeeOf) below(3);
	c->fee_percent = one_in(4) ? 35 * PB_PERCENT_ONE : percent_of(c->fee_of == PB_FEE_OF_VALUE ? sale_value : commission);
}

/* A decimal as it stands in a row. */
static const char *
decimal_text(int64_t mantissa, int scale)
{
	static char text[48];
	int64_t		unit = power_of_ten(scale);

	snprintf(text, sizeof(text), "%" PRId64 ".%0*" PRId64, mantissa / unit, scale, mantissa % unit);
	return text;
}

static PbCode
convert(const Case *c, int64_t *sale_value)
{
	PbDecimal	rate;

	*sale_value = c->value;
	if (c->rate == 0)
		return PB_OK;
	if (pb_decimal_parse(pb_slice(decimal_text(c->rate, RATE_SCALE)), &rate) != PB_OK)
		abort();
	return pb_money_convert(c->value, c->currency->exponent, rate, c->brand_currency->exponent, sale_value);
}

static void
choose(Case *c)
{
	int64_t		sale_value;
	int64_t		commission;

	memset(c, 0, sizeof(*c));
	c->currency = any_currency();
	c->brand_currency = one_in(3) ? c->currency : any_currency();
	c->value = any_value();
	if (c->currency != c->brand_currency)
		choose_rate(c);
	if (convert(c, &sale_value) != PB_OK)
		sale_value = PB_VALUE_MAX;
	choose_terms(c, sale_value);
	if (pb_commission(&c->terms, sale_value, &commission) == PB_OK)
		choose_fee(c, sale_value, commission);
}

static bool
price(const Case *c, Price *result)
{
	return convert(c, &result->sale_value) == PB_OK &&
		pb_price(&c->terms, c->fee_of, c->fee_percent, result->sale_value, &result->commission, &result->fee) == PB_OK;
}

/* ---- lines ---- */

static void
print_amount(bool given, int64_t amount)
{
	if (given)
		printf("\t%" PRId64, amount);
	else
		fputs("\t\\N", stdout);
}

static void
print_decimal(const char *before, bool given, int64_t mantissa, int scale)
{
	printf("%s%s", before, given ? decimal_text(mantissa, scale) : "\\N");
}

static void
print_brackets(const PbTerms *terms)
{
	fputs("\t{", stdout);
	for (size_t i = 0; i < terms->bracket_count; i++)
		printf("%s%" PRId64, i > 0 ? "," : "", terms->brackets[i].from);
	fputs("}\t{", stdout);
	for (size_t i = 0; i < terms->bracket_count; i++)
		print_decimal(i > 0 ? "," : "", true, terms->brackets[i].percent, 6);
	fputs("}\t{", stdout);
	for (size_t i = 0; i < terms->bracket_count; i++)
		printf("%s%" PRId64, i > 0 ? "," : "", terms->brackets[i].fixed);
	putchar('}');
}

static void
print_case(long number, const Case *c)
{
	Price		result;

	printf("%ld\t%s\t%s\t%" PRId64, number, c->currency->code, c->brand_currency->code, c->value);
	print_decimal("\t", c->rate > 0, c->rate, RATE_SCALE);
	print_decimal("\t", c->has_percent, c->terms.percent, 6);
	print_amount(c->has_fixed, c->terms.fixed);
	print_amount(c->terms.min > 0, c->terms.min);
	print_amount(c->terms.max < INT64_MAX, c->terms.max);
	print_brackets(&c->terms);
	printf("\t%s", fee_names[c->fee_of]);
	print_decimal("\t", true, c->fee_percent, 6);
	if (price(c, &result))
		printf("\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n", result.sale_value, result.commission, result.fee);
	else
		puts("\terror\t\\N\t\\N");
}

int
main(int argc, char **argv)
{
	Case		c;
	long		count;

	if (argc != 3)
	{
		fputs("usage: commission SEED COUNT\n", stderr);
		return 1;
	}
	state = strtoull(argv[1], NULL, 10);
	count = strtol(argv[2], NULL, 10);
	for (long i = 1; i <= count; i++)
	{
		choose(&c);
		print_case(i, &c);
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
