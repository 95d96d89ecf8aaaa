#!/usr/bin/env python3
"""Recomputes the cases of commission.c (standard input, one per line) in integers of any size, by the rules of money alone:

the order value times the rate into the brand's currency, the commission of that, the fee of that or of the value; each rounded
once, half away from zero; an amount that a bigint cannot hold is an error.  Prints each difference, then what the cases met,
as "name number" lines.  Ends with 1 if there was a difference.
"""

import collections
import sys

LARGEST = 2**63 - 1

# ISO 4217: digits of the minor unit, where they are not two.
DIGITS = {code: digits for digits, codes in {
    0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
    3: 'BHD IQD JOD KWD LYD OMR TND',
    4: 'CLF UYW',
}.items() for code in codes.split()}

met = collections.Counter()


def millionths(percent):
    """A percentage with six decimals in millionths."""
    whole, decimals = percent.split('.')
    return int(whole) * 10**6 + int(decimals.ljust(6, '0'))


def rounded(what, numerator, denominator):
    """The nearest integer, of two the larger; no amount here is below zero."""
    quotient, remainder = divmod(numerator, denominator)
    if remainder * 2 == denominator:
        met[what + '_half'] += 1
    elif abs(remainder * 2 - denominator) <= 2:
        met[what + '_beside_half'] += 1
    return quotient + (remainder * 2 >= denominator)


def checked(what, amount):
    if amount == LARGEST:
        met[what + '_largest'] += 1
    if amount > LARGEST:
        met[what + '_too_large'] += 1
        raise OverflowError
    return amount


def sale_value(value, currency, brand_currency, rate):
    if currency == brand_currency:
        return value
    whole, decimals = rate.split('.')
    numerator = value * int(whole + decimals) * 10**DIGITS.get(brand_currency, 2)
    return checked('value', rounded('value', numerator, 10**(len(decimals) + DIGITS.get(currency, 2))))


def commission(value, percent, fixed, least, most, brackets):
    for first, its_percent, its_fixed in brackets:
        if value == first:
            met['bracket_first'] += 1
        if value + 1 == first:
            met['bracket_before'] += 1
        if value >= first:
            percent, fixed = its_percent, its_fixed
    amount = checked('commission', rounded('commission', value * percent + fixed * 10**8, 10**8))
    if amount < least:
        met['least'] += 1
    if amount > most:
        met['most'] += 1
    return min(max(amount, least), most)


def items(array):
    return array[1:-1].split(',') if array != '{}' else []


def answer(fields):
    _, currency, brand_currency, value, rate, percent, fixed, least, most, froms, percents, fixeds, fee_of, fee_percent = fields
    value = sale_value(int(value), currency, brand_currency, rate)
    earned = commission(
        value,
        0 if percent == '\\N' else millionths(percent),
        0 if fixed == '\\N' else int(fixed),
        0 if least == '\\N' else int(least),
        LARGEST if most == '\\N' else int(most),
        [(int(first), millionths(p), int(f)) for first, p, f in zip(items(froms), items(percents), items(fixeds))])
    base = {'commission': earned, 'value': value, 'none': 0}[fee_of]
    fee = checked('fee', rounded('fee', base * millionths(fee_percent), 10**8))
    checked('sum', earned + fee)
    return [str(value), str(earned), str(fee)]


def main():
    differences = 0
    for line in sys.stdin:
        fields = line.rstrip('\n').split('\t')
        met['cases'] += 1
        try:
            want = answer(fields[:-3])
        except OverflowError:
            want = ['error', '\\N', '\\N']
            met['errors'] += 1
        if fields[-3:] != want:
            differences += 1
            if differences <= 20:
                print('case', line.rstrip('\n'), 'should give', *want)
    for name in sorted(met):
        print(name, met[name])
    return 1 if differences else 0


sys.exit(main())
