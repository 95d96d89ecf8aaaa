-- The same cases on the way that orders take: set-up by its functions, orders by receive_batch(), in minor and in full units; then
-- partials, which are priced by what was frozen. What the extension answers is put where the lines of commission.c have their answer.

-- What goes through: as many lines as wanted, a third of them in the brand's own currency; a rate is of a pair of currencies, so of each
-- pair there is one.
CREATE TABLE oracle.way (number integer PRIMARY KEY, brand postback.ulid, token text, offer postback.ulid, click postback.ulid);

CREATE FUNCTION oracle.choose(wanted integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE chosen ON COMMIT DROP AS
        (SELECT * FROM oracle.line WHERE rate IS NULL ORDER BY number LIMIT wanted / 3)
        UNION ALL
        (SELECT DISTINCT ON (currency, brand_currency) * FROM oracle.line WHERE rate IS NOT NULL ORDER BY currency, brand_currency, number);
    TRUNCATE oracle.line;
    INSERT INTO oracle.line SELECT * FROM chosen ORDER BY rate IS NULL DESC, number LIMIT wanted;
    UPDATE oracle.line SET sale_value = NULL, commission = NULL, fee = NULL;
END
$$;

CREATE FUNCTION oracle.brackets(line oracle.line) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('from', f, 'percent', p, 'fixed', x) ORDER BY n)
    FROM unnest((line).bracket_from, (line).bracket_percent, (line).bracket_fixed) WITH ORDINALITY AS k (f, p, x, n)
$$;

CREATE FUNCTION oracle.set_up() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l oracle.line;
    w oracle.way;
    publisher postback.ulid := postback.create_publisher('Oracle');
BEGIN
    FOR l IN SELECT * FROM oracle.line LOOP
        w.number := l.number;
        -- Not by create_brand(), which looks after partitions and policies too: ten times the time of all the rest.
        INSERT INTO postback.brand (name, currency, fee_percent, fee_of)
        VALUES ('Oracle ' || l.number, l.brand_currency, l.fee_percent, l.fee_of) RETURNING id INTO w.brand;
        w.token := token FROM postback.issue_token(brand => w.brand);
        w.offer := postback.create_offer(brand => w.brand, name => 'Offer', landing_url => 'https://shop.example/');
        PERFORM postback.set_terms(offer => w.offer, percent => l.percent, fixed => l.fixed, min => l.min, max => l.max, brackets => oracle.brackets(l));
        IF l.rate IS NOT NULL THEN
            PERFORM postback.set_fx_rate(base => l.currency, quote => l.brand_currency, rate => l.rate);
        END IF;
        w.click := (postback.click((postback.create_link(offer => w.offer, publisher => publisher)).code)).click_id;
        INSERT INTO oracle.way SELECT w.*;
    END LOOP;
END
$$;

-- Sends each line's value in batches, every other one in full units; notes the answers in the lines. What is not answered 200 or
-- bad_value leaves no answer, and is a difference.
CREATE FUNCTION oracle.send(parameters text) RETURNS void LANGUAGE sql AS $$
    WITH call AS (
        SELECT l.number, w.token, l.number / 256 AS batch,
               format('order=O-1&click_id=%s%s&%s', w.click, parameters,
                      CASE WHEN l.number % 2 = 0 THEN 'value=' || l.value ELSE 'amount=' || l.value * c.unit END)
               || CASE WHEN parameters = '' THEN '&currency=' || l.currency ELSE '' END AS query
        FROM oracle.line l
        JOIN oracle.way w ON w.number = l.number
        JOIN oracle.currency c ON c.code = l.currency),
    batch AS (
        SELECT array_agg(number) AS numbers, array_agg(token) AS tokens, array_agg(query) AS queries, array_agg('GET'::text) AS methods,
               array_agg(NULL::text) AS nothing, array_agg(NULL::inet) AS remotes
        FROM call GROUP BY batch),
    answer AS MATERIALIZED (
        SELECT r.* FROM batch b, LATERAL postback.receive_batch(b.numbers, b.tokens, b.methods, b.queries, b.nothing, b.nothing, b.remotes) r)
    UPDATE oracle.line l
    SET sale_value = CASE WHEN a.code = 'bad_value' AND a.http_status = 400 THEN 'error' WHEN a.value = l.value THEN 'answered' END,
        commission = CASE WHEN a.ok THEN a.commission END, fee = CASE WHEN a.ok THEN a.fee END
    FROM answer a WHERE a.item = l.number
$$;

-- The order value in the brand's currency is not part of the answer.
CREATE FUNCTION oracle.look() RETURNS void LANGUAGE sql AS $$
    UPDATE oracle.line l SET sale_value = c.sale_value
    FROM oracle.way w JOIN postback.conversion c ON c.brand_id = w.brand AND c.order_ref = 'O-1'
    WHERE w.number = l.number AND l.sale_value = 'answered' AND c.commission = l.commission AND c.fee = l.fee AND c.value = l.value
$$;

-- Terms and rates change; the orders keep theirs.
CREATE FUNCTION oracle.change() RETURNS void LANGUAGE sql AS $$
    INSERT INTO postback.terms (brand_id, offer_id, percent) SELECT brand, offer, 1.5 FROM oracle.way;
    INSERT INTO postback.fx_rate (base, quote, rate) SELECT currency, brand_currency, 3 FROM oracle.line WHERE rate IS NOT NULL;
$$;

-- The orders that were taken, with a lower value.
CREATE FUNCTION oracle.lower() RETURNS void LANGUAGE sql AS $$
    DELETE FROM oracle.line WHERE sale_value = 'error' OR value = 0;
    UPDATE oracle.line SET value = CASE number % 3 WHEN 0 THEN value - 1 WHEN 1 THEN value / 2 ELSE value / 1000 END,
                           sale_value = NULL, commission = NULL, fee = NULL;
$$;
