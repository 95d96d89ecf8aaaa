-- The rules of money in SQL's numeric, which rounds half away from zero and has room for all digits: what the lines of
-- commission.c, and what the extension made of the same orders, are compared with.

CREATE SCHEMA oracle;

-- The lines; error stands in sale_value, so it is text
CREATE UNLOGGED TABLE oracle.line (
    number integer, currency text, brand_currency text, value bigint, rate numeric, percent numeric, fixed bigint, min bigint, max bigint,
    bracket_from bigint[], bracket_percent numeric[], bracket_fixed bigint[], fee_of text, fee_percent numeric,
    sale_value text, commission bigint, fee bigint);

-- ISO 4217: what one minor unit is in full units, and how many there are of it.
CREATE TABLE oracle.currency (code text PRIMARY KEY, unit numeric, units numeric);
INSERT INTO oracle.currency
SELECT code, CASE digits WHEN 0 THEN 1 WHEN 2 THEN 0.01 WHEN 3 THEN 0.001 WHEN 4 THEN 0.0001 END,
       CASE digits WHEN 0 THEN 1 WHEN 2 THEN 100 WHEN 3 THEN 1000 WHEN 4 THEN 10000 END
FROM (SELECT c.code,
             CASE WHEN c.code IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
                  WHEN c.code IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
                  WHEN c.code IN ('CLF', 'UYW') THEN 4
                  ELSE 2 END AS digits
      FROM postback.currency c) d;

-- What each line comes to: the order value in the brand's currency, the commission, the fee, each rounded once; null if one of them,
-- or the sum of commission and fee, is larger than a bigint. OFFSET 0: each step is computed once per line.
CREATE VIEW oracle.price AS
SELECT f.*, CASE WHEN fits THEN in_brand_currency END AS want_sale_value, CASE WHEN fits THEN held END AS want_commission,
       CASE WHEN fits THEN charged END AS want_fee
FROM (SELECT e.*, greatest(in_brand_currency, earned, charged, held + charged) <= 9223372036854775807 AS fits
      FROM (SELECT d.*, CASE fee_of WHEN 'commission' THEN round(held * fee_percent * 0.01)
                                    WHEN 'value' THEN round(in_brand_currency * fee_percent * 0.01)
                                    WHEN 'none' THEN 0 END AS charged
            FROM (SELECT c.*, least(greatest(earned, min), max) AS held
                  FROM (SELECT b.*, CASE WHEN bracket = 0 THEN round(in_brand_currency * coalesce(percent, 0) * 0.01 + coalesce(fixed, 0))
                                         ELSE round(in_brand_currency * bracket_percent[bracket] * 0.01 + bracket_fixed[bracket]) END AS earned
                        FROM (SELECT a.*, (SELECT count(*) FROM unnest(bracket_from) first WHERE first <= in_brand_currency) AS bracket
                              FROM (SELECT l.*, CASE WHEN l.currency = l.brand_currency THEN l.value
                                                     ELSE round(l.value * its.unit * l.rate * brands.units) END AS in_brand_currency
                                    FROM oracle.line l
                                    JOIN oracle.currency its ON its.code = l.currency
                                    JOIN oracle.currency brands ON brands.code = l.brand_currency
                                    OFFSET 0) a OFFSET 0) b OFFSET 0) c OFFSET 0) d OFFSET 0) e OFFSET 0) f;

-- Lines that say something else.
CREATE VIEW oracle.difference AS
SELECT * FROM oracle.price
WHERE sale_value IS DISTINCT FROM coalesce(want_sale_value::text, 'error') OR commission IS DISTINCT FROM want_commission OR fee IS DISTINCT FROM want_fee;
