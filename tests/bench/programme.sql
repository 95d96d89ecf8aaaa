-- What every benchmarked database holds: one brand with an offer, terms, a publisher, a link and a token, and clicks to
-- attribute orders to. psql variables: clicks (how many, rounded up to batches of 256).

CREATE EXTENSION postback;
CREATE SCHEMA bench;

CREATE TABLE bench.programme AS
    SELECT brand, offer, publisher, (link).code AS link, (token).token AS token
    FROM (SELECT b.brand, o.offer, p.publisher,
                 postback.create_link(offer => o.offer, publisher => p.publisher) AS link,
                 postback.issue_token(brand => b.brand, label => 'bench') AS token
          FROM (SELECT postback.create_brand(name => 'Bench', currency => 'EUR') AS brand OFFSET 0) b,
               LATERAL (SELECT postback.create_offer(brand => b.brand, name => 'Shop',
                                                     landing_url => 'https://shop.example/landing') AS offer OFFSET 0) o,
               LATERAL (SELECT postback.create_publisher(name => 'Blog') AS publisher OFFSET 0) p
          OFFSET 0) s;
SELECT postback.set_terms(offer => offer, percent => 8) FROM bench.programme;

SELECT count(*) FILTER (WHERE r.http_status = 302) AS clicks
FROM bench.programme,
     generate_series(0, :clicks / 256) AS batch,
     LATERAL postback.click_batch(
         items => ARRAY(SELECT generate_series(1, 256)),
         links => array_fill(link, ARRAY[256]),
         queries => ARRAY(SELECT format('sub_id=s%s&external_transaction_id=ext-%s', i, batch * 256 + i)
                          FROM generate_series(1, 256) AS i),
         remotes => array_fill('192.0.2.1'::inet, ARRAY[256])) AS r;

CREATE TABLE bench.click AS
    SELECT (row_number() OVER (ORDER BY id))::int - 1 AS no, id::text AS id FROM postback.click;
ALTER TABLE bench.click ADD PRIMARY KEY (no);

-- Makes new orders PREFIX1 .. PREFIXn of 256 per call, each transaction one call, as the daemon would.
CREATE PROCEDURE bench.make_orders(prefix text, batches int) LANGUAGE plpgsql AS $$
DECLARE
    programme bench.programme;
    clicks int;
    good int;
BEGIN
    SELECT * INTO STRICT programme FROM bench.programme;
    SELECT count(*) INTO clicks FROM bench.click;
    FOR batch IN 0 .. batches - 1 LOOP
        SELECT count(*) FILTER (WHERE http_status = 200 AND outcome = 'created') INTO good
        FROM postback.receive_batch(
            items => ARRAY(SELECT generate_series(1, 256)),
            tokens => array_fill(programme.token, ARRAY[256]),
            methods => array_fill('GET'::text, ARRAY[256]),
            queries => ARRAY(SELECT format('order=%s%s&value=4999&click_id=clk_%s', prefix, n, c.id)
                             FROM generate_series(batch * 256 + 1, batch * 256 + 256) AS n
                                  JOIN bench.click c ON c.no = n % clicks),
            bodies => array_fill(NULL::text, ARRAY[256]),
            content_types => array_fill(NULL::text, ARRAY[256]),
            remotes => array_fill('192.0.2.1'::inet, ARRAY[256]));
        COMMIT;
        IF good <> 256 THEN
            RAISE EXCEPTION 'only % of 256 orders were created', good;
        END IF;
    END LOOP;
END
$$;

-- As autovacuum would soon: the only tables with more than a few rows.
VACUUM ANALYZE postback.click, bench.click;
