-- Bodies of POSTs: JSON and multipart forms are read by the same rules as a query. Every case is a body and the answer that the
-- manual promises, with the order as it was read. Only differences are printed.
SELECT postback.create_brand(name => 'Bodies', currency => 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(brand => :'brand', label => 'shop') \gset

CREATE TEMP TABLE cases (n serial, body text, want text, query text);
-- Makes the calls of the cases one after another and forgets them; <FF> in a body stands for a byte that is no UTF-8, <NUL> for NUL.
CREATE FUNCTION pg_temp.differences(token text, content_type text) RETURNS TABLE (body text, want text, got text) LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    RAISE NOTICE '% cases', (SELECT count(*) FROM cases);
    FOR c IN SELECT * FROM cases k ORDER BY k.n LOOP
        body := c.body;
        want := c.want;
        SELECT concat_ws(' ', r.http_status, r.outcome, r.parameter, CASE WHEN r.ok THEN r."order" END, CASE WHEN r.ok THEN r.value END)
        INTO got
        FROM postback.receive_batch(ARRAY[1], ARRAY[token], ARRAY['POST'], ARRAY[c.query], NULL, ARRAY[content_type], NULL,
            raw_bodies => ARRAY[decode(replace(replace(encode(convert_to(replace(c.body, E'\n', E'\r\n'), 'UTF8'), 'hex'),
                                                       encode('<FF>', 'hex'), 'ff'), encode('<NUL>', 'hex'), '00'), 'hex')]) r;
        IF got IS DISTINCT FROM want THEN
            RETURN NEXT;
        END IF;
    END LOOP;
    DELETE FROM cases;
END
$$;

-- JSON: strings and numbers by the grammar of text, exact; null is absent
INSERT INTO cases (body, want) VALUES
    ('{"order":"J-1","value":4999}',                          '200 created J-1 4999'),
    ('{"order":"J-2","value":"4999"}',                        '200 created J-2 4999'),
    (' { "ORDER" : " J-3 " , " Value " : 1 } ',               '200 created J-3 1'),
    ('{"order":12345678901234567890123,"value":1}',           '200 created 12345678901234567890123 1'),
    ('{"order":1.50,"value":1}',                              '200 created 1.50 1'),
    ('{"order":"J-4","amount":9007199254740.93}',             '200 created J-4 900719925474093'),
    ('{"order":"J-5","value":1e3}',                           '400 bad_value value'),
    ('{"order":"J-5","value":1.0}',                           '400 bad_value value'),
    ('{"order":"J-5","value":-1}',                            '400 bad_value value'),
    ('{"order":"J-5","value":true}',                          '400 bad_value value'),
    ('{"order":"J-6","value":1,"status":null,"goal":null}',   '200 created J-6 1'),
    ('{"order":null,"value":1}',                              '400 missing_parameter order'),
    ('{"order":"J%20+7","value":1}',                          '200 created J%20+7 1'),
    ('{"\u006frder":"J-\u20ac\ud83d\ude00","value":1}',       '200 created J-€😀 1'),
    ('{}',                                                    '400 missing_parameter order');
SELECT * FROM pg_temp.differences(:'token', 'application/json');
-- repeats and aliases may agree, also with the query
INSERT INTO cases (body, want, query) VALUES
    ('{"order":"J-10","order_id":"J-10","value":1,"value":"1"}', '200 created J-10 1', 'txid=J-10&value=1'),
    ('{"order":"J-11","order":"J-12","value":1}',             '400 ambiguous_parameter order', NULL),
    ('{"order":"J-11","value":1}',                            '400 ambiguous_parameter value', 'value=2');
SELECT * FROM pg_temp.differences(:'token', 'application/json; charset=utf-8');
-- nested values matter under names that are ours, and nowhere else
INSERT INTO cases (body, want) VALUES
    ('{"order":{"id":1},"value":1}',                          '400 bad_json order'),
    ('{"order":"J-20","value":[1]}',                          '400 bad_json value'),
    ('{"order":"J-20","value":1,"clickid":[]}',               '400 bad_json click_id'),
    ('{"lines":[{"order":"x","value":[1,{"order":null}]}],"order":"J-21","value":1}', '200 created J-21 1'),
    ('{"order":"J-22","value":1,"x":' || repeat('[', 31) || repeat(']', 31) || '}', '200 created J-22 1'),
    ('{"order":"J-23","value":1,"x":' || repeat('[', 9999) || repeat(']', 9999) || '}', '400 bad_json');
SELECT * FROM pg_temp.differences(:'token', 'application/json');
-- what is no character, or NUL, is refused under names that are ours, and no matter elsewhere: half an emoji in somebody's address
INSERT INTO cases (body, want) VALUES
    ('{"order":"J-\ud83d","value":1}',                        '400 bad_encoding order'),
    ('{"order":"J-\ude00","value":1}',                        '400 bad_encoding order'),
    ('{"order":"J-\ud83d\ud83d\ude00","value":1}',            '400 bad_encoding order'),
    ('{"order":"J-30","value":1,"comment":"cut: \uD83D"}',    '400 bad_encoding notice'),
    ('{"order":"J-\u0000","value":1}',                        '400 bad_encoding order'),
    ('{"order":"J-<FF>","value":1}',                          '400 bad_encoding order'),
    ('{"order":"J-<NUL>","value":1}',                         '400 bad_encoding order'),
    ('{"order":"J-31","value":1,"name":"cut: \ud83d"}',       '200 created J-31 1'),
    ('{"order":"J-32","value":1,"name":"\u0000"}',            '200 created J-32 1'),
    ('{"order":"J-33","value":1,"name":"<FF>"}',              '200 created J-33 1'),
    ('{"order":"J-34","value":1,"\ud83d":1,"<FF>":2}',        '200 created J-34 1'),
    ('{"order":"J-35","value":1,"to":{"name":["\ud83d","\u0000","<FF>"]}}', '200 created J-35 1'),
    ('{"order":"J-\\u0000\\ud83d","value":1}',                '200 created J-\u0000\ud83d 1'),
    ('{"order":"\"\ud83d\ude00\"","value":1}',                '200 created "😀" 1');
SELECT * FROM pg_temp.differences(:'token', 'application/json');
-- and what is no JSON object
INSERT INTO cases (body, want) SELECT k, '400 bad_json' FROM unnest(ARRAY[
    ' ', '[]', '"x"', '1', 'null', '{"order":"J-40"', '{"order":"J-40","value":1,}', '{"order":"J-40","value":1} x', '{''order'':''J-40''}',
    '{order:"J-40"}', '{"order":"J-40","value":007}', '{"order":"J-40","amount":.5}', '{"order":"J-40
","value":1}', '{"order":"J-\u12","value":1}', '{"order":"J-\u', '{"order":"J-\', '{"order":"J-\x","value":1}', '{<FF>}', '{<NUL>}', '<FF>',
    'order=J-40&value=1']) k;
SELECT * FROM pg_temp.differences(:'token', 'application/json');

-- multipart/form-data: values as they are, whatever their part says of itself
INSERT INTO cases (body, want)
SELECT replace(replace(k.body, '<', E'--B\nContent-Disposition: form-data; name='), '>', E'\n\n'), k.want
FROM (VALUES
    (E'<"order">M-1\n<"value">4999\n--B--\n',                '200 created M-1 4999'),
    (E'<order>M-2\n<VALUE>1\n--B--',                         '200 created M-2 1'),
    (E'<"order"; filename="a.txt"\nContent-Type: text/plain>M-3\n<"value">1\n<"x"; filename="y">\n--\n--\n--B--\n', '200 created M-3 1'),
    (E'<"order">M%2D4+\n<"value">1\n--B--\n',                '200 created M%2D4+ 1'),
    (E'<"order"> M-5 \n<"order_id">M-5\n<"value">1\n<"goal">\n--B--\n', '200 created M-5 1'),
    (E'<"order">M-6\n<"order">M-7\n<"value">1\n--B--\n',     '400 ambiguous_parameter order'),
    (E'\n<"order">M-8\n<"value">1\n--B--\nbye',              '200 created M-8 1'),
    (E'--B--\n',                                             '400 missing_parameter order'),
    (E'<"order">M-9\n<"value">1\n',                          '400 bad_encoding'),
    (E'--B\n\nM-9\n--B--\n',                                 '400 bad_encoding'),
    ('order=M-9&value=1',                                    '400 bad_encoding')) AS k (body, want);
SELECT * FROM pg_temp.differences(:'token', 'multipart/form-data; boundary="B"');

-- explain() shows bytes that are no text
SELECT e.step, e.detail, e.outcome
FROM postback.receipt r CROSS JOIN LATERAL postback.explain(r.id) e
WHERE r.brand_id = :'brand' AND r.order_ref = 'J-31' AND e.step = 'parameter';
