-- One inbound postback: what is read, what is answered, what is kept. Every case is a query and the answer that the manual
-- promises: HTTP status, result or code, then value and currency as sent, or the parameter that is to blame, then warnings.
-- Only differences are printed.
\set SHOW_CONTEXT never
SET timezone = 'UTC';

SELECT postback.create_brand(name => 'Receive', currency => 'EUR') AS brand \gset
SELECT token FROM postback.issue_token(brand => :'brand', label => 'shop') \gset

CREATE TEMP TABLE cases (n serial, query text, want text);
CREATE FUNCTION pg_temp.answer(r postback.reply) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.http_status, r.outcome, r.parameter, CASE WHEN r.ok THEN r.value END, CASE WHEN r.ok THEN r.currency END, r.warning)
$$;
-- Makes the calls of the cases one after another and forgets them.
CREATE FUNCTION pg_temp.differences(token text) RETURNS TABLE (query text, want text, got text) LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    RAISE NOTICE '% cases', (SELECT count(*) FROM cases);
    FOR c IN SELECT k.query, k.want FROM cases k ORDER BY k.n LOOP
        query := c.query;
        want := c.want;
        got := pg_temp.answer(postback.receive(token, c.query));
        IF got IS DISTINCT FROM want THEN
            RETURN NEXT;
        END IF;
    END LOOP;
    DELETE FROM cases;
END
$$;

-- order: every name, 1 to 255 bytes of UTF-8, kept as it is
INSERT INTO cases (query, want) VALUES
    ('order=O-1&value=1',                    '200 created 1 EUR'),
    ('order_id=O-2&value=1',                 '200 created 1 EUR'),
    ('transaction_id=O-3&value=1',           '200 created 1 EUR'),
    ('txid=O-4&value=1',                     '200 created 1 EUR'),
    ('txn_id=O-5&value=1',                   '200 created 1 EUR'),
    ('action_id=O-6&value=1',                '200 created 1 EUR'),
    ('ORDER=O-7&Value=1',                    '200 created 1 EUR'),
    ('order_ID=O-7&vALUE=1',                 '200 duplicate 1 EUR'),
    ('order=o-7&value=1',                    '200 created 1 EUR'),
    ('order=' || repeat('x', 255) || '&value=1',             '200 created 1 EUR'),
    ('order=' || repeat('x', 256) || '&value=1',             '400 too_long order'),
    ('order=' || repeat('%C3%A9', 127) || '&value=1',        '200 created 1 EUR'),
    ('order=' || repeat('%C3%A9', 128) || '&value=1',        '400 too_long order'),
    ('order=' || repeat('+', 300) || 'O-8&value=1',          '200 created 1 EUR'),
    ('value=1',                              '400 missing_parameter order'),
    ('order=&value=1',                       '400 missing_parameter order'),
    ('order&value=1',                        '400 missing_parameter order'),
    ('order=+%20+&value=1',                  '400 missing_parameter order'),
    ('',                                     '400 missing_parameter order'),
    ('status=approved',                      '400 missing_parameter order');
SELECT * FROM pg_temp.differences(:'token');

-- given twice: may agree, not differ; empty is absent, spaces around do not count
INSERT INTO cases (query, want) VALUES
    ('order=T-1&order=T-1&value=1',          '200 created 1 EUR'),
    ('order=T-2&txid=T-2&value=1',           '200 created 1 EUR'),
    ('order=T-3&txid=%20T-3+&value=1',       '200 created 1 EUR'),
    ('order=T-4&txid=&value=1&value=',       '200 created 1 EUR'),
    ('order=&order_id=T-5&value=1',          '200 created 1 EUR'),
    ('order=T-6&order=T-7&value=1',          '400 ambiguous_parameter order'),
    ('order=T-6&txid=T-7&value=1',           '400 ambiguous_parameter order'),
    ('order=T-6&value=1&value=2',            '400 ambiguous_parameter value'),
    ('order=T-6&value=1&click_id=a&clickid=b', '400 ambiguous_parameter click_id'),
    ('order=T-6&value=1&status=new&conversion_status=approved', '400 ambiguous_parameter status'),
    ('order=T-6&value=1&currency=EUR&currency=USD', '400 ambiguous_parameter currency'),
    ('order=T-6&value=1&amount=0.01&sale_amount=0.02', '400 ambiguous_parameter amount');
SELECT * FROM pg_temp.differences(:'token');
SELECT count(*) AS of_refused FROM postback.conversion WHERE brand_id = :'brand' AND order_ref IN ('T-6', 'T-7');

-- decoding, as the WHATWG's form-urlencoded parser has it: a bad escape stays what it is
CREATE TEMP TABLE decoded (n serial, query text, want text);
INSERT INTO decoded (query, want) VALUES
    ('order=%44-1', 'D-1'),
    ('%6f%72%64%65%72=D-2', 'D-2'),
    ('order=D+3', 'D 3'),
    ('order=D%2B4', 'D+4'),
    ('order=D%205', 'D 5'),
    ('order=D%', 'D%'),
    ('order=D%2', 'D%2'),
    ('order=D%zz', 'D%zz'),
    ('order=D%2zD', 'D%2zD'),
    ('order=D%%34', 'D%4'),
    ('order=D%2541', 'D%41'),
    ('order=D=6', 'D=6'),
    ('order=D;7', 'D;7'),
    ('order=D%267', 'D&7'),
    ('order=D?8#9', 'D?8#9'),
    ('&&order=D-10&', 'D-10'),
    ('order=D-%c3%a9', 'D-é'),
    ('order=D-é', 'D-é'),
    ('order=%C2%A0D', E'\u00a0D'),
    ('order=%F0%9F%92%B6', E'\U0001F4B6'),
    ('order=++D+11++', 'D 11'),
    ('order=''; DROP TABLE x; --', '''; DROP TABLE x; --'),
    ('order=$1{payout}\', '$1{payout}\');
SELECT d.query, d.want, r."order" AS got, c.order_ref AS kept
FROM decoded d
CROSS JOIN LATERAL postback.receive(:'token', d.query || '&value=1') r
LEFT JOIN postback.conversion c ON c.id = r.conversion_id
WHERE r."order" IS DISTINCT FROM d.want;
SELECT d.query AS not_kept FROM decoded d
WHERE NOT EXISTS (SELECT FROM postback.conversion c WHERE c.brand_id = :'brand' AND c.order_ref = d.want);

-- not UTF-8, or NUL: refused in a parameter that we know, ignored in others
INSERT INTO cases (query, want) VALUES
    ('order=%FF&value=1',                    '400 bad_encoding order'),
    ('order=%C0%80&value=1',                 '400 bad_encoding order'),
    ('order=%ED%A0%80&value=1',              '400 bad_encoding order'),
    ('order=%F4%90%80%80&value=1',           '400 bad_encoding order'),
    ('order=a%C3&value=1',                   '400 bad_encoding order'),
    ('order=a%00b&value=1',                  '400 bad_encoding order'),
    ('order=E-1&value=1%00',                 '400 bad_encoding value'),
    ('order=E-1&value=1&notice=%FF',         '400 bad_encoding notice'),
    ('order=E-1&value=1&sub_id=%FF',         '400 bad_encoding sub_id'),
    ('order=E-2&value=1&utm=%FF%00',         '200 created 1 EUR'),
    ('order=E-3&value=1&%FF=%FF',            '200 created 1 EUR'),
    ('order=E-4&value=1&price=9&utm_source=x&utm_source=y', '200 created 1 EUR');
SELECT * FROM pg_temp.differences(:'token');

-- value: digits, smallest unit, at most 10^15
INSERT INTO cases (query, want) VALUES
    ('order=V-1&value=4999',                 '200 created 4999 EUR'),
    ('order=V-2&value=0',                    '200 created 0 EUR'),
    ('order=V-3&value=00100',                '200 created 100 EUR'),
    ('order=V-4&value=+7+',                  '200 created 7 EUR'),
    ('order=V-5&value=1000000000000000',     '200 created 1000000000000000 EUR'),
    ('order=V-6&value=1000000000000001',     '400 bad_value value'),
    ('order=V-6&value=9223372036854775808',  '400 bad_value value'),
    ('order=V-6&value=99999999999999999999999999999', '400 bad_value value'),
    ('order=V-6&value=49.99',                '400 bad_value value'),
    ('order=V-6&value=49,99',                '400 bad_value value'),
    ('order=V-6&value=1,000',                '400 bad_value value'),
    ('order=V-6&value=1%20000',              '400 bad_value value'),
    ('order=V-6&value=-1',                   '400 bad_value value'),
    ('order=V-6&value=%2B1',                 '400 bad_value value'),
    ('order=V-6&value=1e3',                  '400 bad_value value'),
    ('order=V-6&value=0x10',                 '400 bad_value value'),
    ('order=V-6&value=NaN',                  '400 bad_value value'),
    ('order=V-6&value=%EF%BC%91',            '400 bad_value value'),
    ('order=V-6&value=%E2%82%AC1',           '400 bad_value value'),
    ('order=V-6&value=',                     '400 missing_parameter value'),
    ('order=V-6',                            '400 missing_parameter value'),
    ('order=V-6&status=partial',             '400 missing_parameter value');
SELECT * FROM pg_temp.differences(:'token');

-- value_format=currency and amount: full units by the currency's exponent; more decimals only if they are zeros
INSERT INTO cases (query, want) VALUES
    ('order=F-1&value=49.99&value_format=currency',       '200 created 4999 EUR'),
    ('order=F-2&value=49&value_format=currency',          '200 created 4900 EUR'),
    ('order=F-3&value=49.9&value_format=currency',        '200 created 4990 EUR'),
    ('order=F-4&value=49.99000&value_format=currency',    '200 created 4999 EUR'),
    ('order=F-5&value=0.01&value_format=currency',        '200 created 1 EUR'),
    ('order=F-6&value=0&value_format=currency',           '200 created 0 EUR'),
    ('order=F-7&value=10000000000000&value_format=currency',      '200 created 1000000000000000 EUR'),
    ('order=F-8&value=4999&value_format=',                '200 created 4999 EUR'),
    ('order=F-9&amount=49.99',                            '200 created 4999 EUR'),
    ('order=F-10&sale_amount=49.99',                      '200 created 4999 EUR'),
    ('order=F-11&amount=4999',                            '200 created 499900 EUR'),
    ('order=F-12&value=4999&amount=49.99',                '200 created 4999 EUR'),
    ('order=F-13&value=49.99&value_format=currency&amount=49.990', '200 created 4999 EUR'),
    ('order=F-14&value=1234&currency=JPY&amount=1234',    '200 created 1234 JPY'),
    ('order=F-15&amount=1234&currency=JPY',               '200 created 1234 JPY'),
    ('order=F-16&amount=1234.00&currency=JPY',            '200 created 1234 JPY'),
    ('order=F-17&amount=1.234&currency=KWD',              '200 created 1234 KWD'),
    ('order=F-18&value=1.2340&value_format=currency&currency=KWD', '200 created 1234 KWD'),
    ('order=F-19&amount=1000000000000&currency=KWD',      '200 created 1000000000000000 KWD'),
    ('order=F-20&amount=1000000000000000&currency=JPY',   '200 created 1000000000000000 JPY'),
    ('order=F-0&value=49.991&value_format=currency',      '400 bad_value value'),
    ('order=F-0&value=10000000000000.01&value_format=currency', '400 bad_value value'),
    ('order=F-0&value=49.9.9&value_format=currency',      '400 bad_value value'),
    ('order=F-0&value=49,99&value_format=currency',       '400 bad_value value'),
    ('order=F-0&value=1,000.00&value_format=currency',    '400 bad_value value'),
    ('order=F-0&value=-49.99&value_format=currency',      '400 bad_value value'),
    ('order=F-0&value=4.9e1&value_format=currency',       '400 bad_value value'),
    ('order=F-0&value=.&value_format=currency',           '400 bad_value value'),
    ('order=F-0&amount=49.991',                           '400 bad_value amount'),
    ('order=F-0&amount=12.5&currency=JPY',                '400 bad_value amount'),
    ('order=F-0&amount=1.2345&currency=KWD',              '400 bad_value amount'),
    ('order=F-0&amount=1000000000000.001&currency=KWD',   '400 bad_value amount'),
    ('order=F-0&amount=1000000000000001&currency=JPY',    '400 bad_value amount'),
    ('order=F-0&value=4999&amount=50.00',                 '400 ambiguous_parameter amount'),
    ('order=F-0&value=4999&value_format=cents',           '400 bad_value_format value_format');
SELECT * FROM pg_temp.differences(:'token');

-- currency: ISO 4217, in any case; the brand's unless given
INSERT INTO cases (query, want) VALUES
    ('order=C-1&value=1&currency=EUR',       '200 created 1 EUR'),
    ('order=C-2&value=1&currency=usd',       '200 created 1 USD'),
    ('order=C-3&value=1&currency=',          '200 created 1 EUR'),
    ('order=C-4&value=1&currency=EURO',      '400 bad_currency currency'),
    ('order=C-4&value=1&currency=ZZZ',       '400 bad_currency currency'),
    ('order=C-4&value=1&currency=E',         '400 bad_currency currency'),
    ('order=C-4&value=1&currency=978',       '400 bad_currency currency'),
    ('order=C-4&value=1&currency=%E2%82%AC', '400 bad_currency currency');
SELECT * FROM pg_temp.differences(:'token');

-- status words, in any case; a follow-up needs no value
INSERT INTO cases (query, want)
SELECT format('order=W-%s&value=1&%s=%s', word, CASE n % 2 WHEN 0 THEN 'status' ELSE 'conversion_status' END, word), '200 created 1 EUR'
FROM unnest('{new,pending,NEW,Pending}'::text[]) WITH ORDINALITY AS k (word, n);
INSERT INTO cases (query, want)
SELECT q.query, q.want
FROM unnest('{approved,approve,done,confirmed,accepted,APPROVED,Done}'::text[]) AS k (word),
     LATERAL (VALUES (format('order=W-%s&value=1', word), '200 created 1 EUR'),
                     (format('order=W-%s&status=%s', word, word), '200 approved 1 EUR')) AS q (query, want);
INSERT INTO cases (query, want)
SELECT q.query, q.want
FROM unnest('{reversed,cancelled,canceled,denied,rejected,declined,refunded,chargeback,Reversed,CHARGEBACK}'::text[]) AS k (word),
     LATERAL (VALUES (format('order=W-%s&value=1', word), '200 created 1 EUR'),
                     (format('order=W-%s&status=%s', word, word), '200 reversed 1 EUR')) AS q (query, want);
INSERT INTO cases (query, want)
SELECT q.query, q.want
FROM unnest('{partial,adjusted,Partial}'::text[]) AS k (word),
     LATERAL (VALUES (format('order=W-%s&value=2', word), '200 created 2 EUR'),
                     (format('order=W-%s&status=%s&value=1', word, word), '200 adjusted 1 EUR')) AS q (query, want);
INSERT INTO cases (query, want) VALUES
    ('order=W-0&value=1&status=',            '200 created 1 EUR'),
    ('order=W-1&value=1&status=paid',        '400 bad_status status'),
    ('order=W-1&value=1&status=approved2',   '400 bad_status status'),
    ('order=W-1&value=1&status=1',           '400 bad_status status');
SELECT * FROM pg_temp.differences(:'token');

-- errors of content come before errors of state
INSERT INTO cases (query, want) VALUES
    ('order=S-1&status=reversed',                         '404 unknown_order order'),
    ('order=S-1&status=reversed&currency=ZZZ',            '400 bad_currency currency'),
    ('order=S-1&status=reversed&value=x',                 '400 bad_value value'),
    ('order=S-1&status=reversed&value=1&value_format=x',  '400 bad_value_format value_format'),
    ('order=S-1&status=revoked',                          '400 bad_status status'),
    ('order=W-approved&status=reversed',                  '409 locked status'),
    ('order=W-approved&status=reversed&currency=ZZZ',     '400 bad_currency currency'),
    ('order=W-approved&status=partial',                   '400 missing_parameter value');
SELECT * FROM pg_temp.differences(:'token');
SELECT count(*) AS parked FROM postback.parked WHERE brand_id = :'brand';

-- too long, beyond what is cut
INSERT INTO cases (query, want) VALUES
    ('order=L-1&value=1&goal=' || repeat('g', 64),        '200 created 1 EUR'),
    ('order=L-2&value=1&goal=' || repeat('g', 65),        '400 too_long goal');
SELECT * FROM pg_temp.differences(:'token');

-- what else is kept
SELECT pg_temp.answer(r) AS answer
FROM postback.receive(:'token', 'order=K-1&value=1&aff_sub=summer&comment=gift+%26+card&voucher=NOPE&goal_name=Sale') r;
SELECT sub_id, notice, promo_code, goal, goal_given, test FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'K-1';
SELECT pg_temp.answer(r) AS answer FROM postback.receive(:'token', 'order=K-1&status=declined&rejection_reason=fraud&notice=bot') r;
SELECT status, reason, notice FROM postback.conversion WHERE brand_id = :'brand' AND order_ref = 'K-1';
-- test orders: marked by the parameter, by the order's name, by the token; others are none
SELECT token AS testing FROM postback.issue_token(:'brand', 'testing', test => true) \gset
SELECT k.query, r.test
FROM (VALUES ('order=TEST-1&value=1'), ('order=K-2&value=1&test=1'), ('order=K-3&value=1&test=0'), ('order=K-TEST-1&value=1')) AS k (query)
CROSS JOIN LATERAL postback.receive(:'token', k.query) r;
SELECT r.test FROM postback.receive(:'testing', 'order=K-4&value=1') r;

-- GET and POST: query and body are read together
SELECT k.what, pg_temp.answer(r) AS answer
FROM (VALUES ('form', 'order=P-1', 'value=4999&currency=EUR', 'application/x-www-form-urlencoded'),
             ('form with charset', '', 'order=P-2&value=4999', 'Application/X-WWW-Form-urlencoded; charset=UTF-8'),
             ('empty body', 'order=P-3&value=4999', '', NULL),
             ('both agree', 'order=P-4&value=1', 'order=P-4', 'application/x-www-form-urlencoded'),
             ('they differ', 'order=P-5&value=1', 'order=P-6', 'application/x-www-form-urlencoded'),
             ('another type', 'order=P-7&value=1', 'x', 'text/plain')) AS k (what, query, body, content_type)
CROSS JOIN LATERAL postback.receive(:'token', k.query, method => 'POST', body => k.body, content_type => k.content_type) r;

-- tokens
SELECT token AS old FROM postback.issue_token(:'brand', 'old') \gset
SELECT token AS gone FROM postback.issue_token(:'brand', 'gone', expires_at => now() - interval '1 second') \gset
SELECT token AS later FROM postback.issue_token(:'brand', 'later', expires_at => now() + interval '1 hour') \gset
SELECT postback.revoke_token(:'old');
SELECT count(*) AS receipts FROM postback.receipt WHERE brand_id = :'brand' \gset
SELECT k.what, pg_temp.answer(r) AS answer
FROM (VALUES ('good', :'token'), ('not yet expired', :'later'), ('revoked', :'old'), ('expired', :'gone'),
             ('another secret', split_part(:'token', '_', 1) || '_' || repeat('a', 32)),
             ('another key', 'aaaaaaaa_' || split_part(:'token', '_', 2)),
             ('a secret cut short', left(:'token', -1)),
             ('key alone', split_part(:'token', '_', 1) || '_'),
             ('upper case', upper(:'token')),
             ('none', ''), ('null', NULL), ('nonsense', repeat('_', 5000))) AS k (what, token)
CROSS JOIN LATERAL postback.receive(k.token, 'order=N-' || replace(k.what, ' ', '') || '&value=1') r;
-- a known token leaves a receipt, an unknown one cannot
SELECT count(*) - :receipts AS new_receipts FROM postback.receipt WHERE brand_id = :'brand';
-- another brand's orders are others
SELECT postback.create_brand('Receive too', 'JPY') AS other \gset
SELECT token AS others FROM postback.issue_token(:'other') \gset
SELECT pg_temp.answer(r) AS answer FROM postback.receive(:'others', 'order=O-1&value=1') r;
SELECT pg_temp.answer(r) AS answer FROM postback.receive(:'others', 'order=O-2&status=approved') r;
SELECT count(DISTINCT brand_id) AS brands FROM postback.conversion WHERE order_ref = 'O-1' AND brand_id IN (:'brand', :'other');

-- a token's own names and words come before ours
SELECT token AS mapped FROM postback.issue_token(:'brand', 'mapped',
    param_map => '{"transaction_id": "click_id", "Ref": "order", "sum": "value", "nr": "TXID", "value_format": ""}',
    status_map => '{"paid": "approved", "approved": "reversed", "1": "new", "lost": "CHARGEBACK"}') \gset
INSERT INTO cases (query, want) VALUES
    ('ref=M-1&sum=5&status=1',                            '200 created 5 EUR'),
    ('REF=M-1&status=PAID',                               '200 approved 5 EUR'),
    ('ref=M-2&value=5',                                   '200 created 5 EUR'),
    ('order=M-2&status=approved',                         '200 reversed 5 EUR'),
    ('ref=M-3&sum=5&transaction_id=abc',                  '200 created 5 EUR bad_click_id'),
    ('transaction_id=M-4&sum=5',                          '400 missing_parameter order'),
    ('ref=M-5&order=M-6&sum=5',                           '400 ambiguous_parameter order'),
    ('nr=M-7&sum=5&value_format=euro',                    '200 created 5 EUR'), -- the map leaves value_format out
    ('nr=M-7&status=lost',                                '200 reversed 5 EUR');
SELECT * FROM pg_temp.differences(:'mapped');

-- reply styles
SELECT token AS text FROM postback.issue_token(:'brand', 'text', reply_style => 'text') \gset
SELECT token AS always FROM postback.issue_token(:'brand', 'always', reply_style => 'always200') \gset
SELECT r.http_status, r.content_type, r.body
FROM (VALUES (1, 'order=Y-1&value=5'), (2, 'order=Y-1&value=5'), (3, 'order=Y-1&status=approved'), (4, 'order=Y-1&status=reversed'),
             (5, 'order=Y-1&value=x'), (6, 'order=Y-2&status=approved')) AS k (n, query)
CROSS JOIN LATERAL postback.receive(:'text', k.query) r;
SELECT r.http_status, r.content_type, r.ok, r.body::jsonb - 'message' - 'receipt' - 'conversion_id' - 'hold_until' AS body
FROM (VALUES (1, 'order=Y-3&value=5'), (2, 'order=Y-3&value=x'), (3, 'order=Y-4&status=approved')) AS k (n, query)
CROSS JOIN LATERAL postback.receive(:'always', k.query) r;
SELECT postback.revoke_token(:'always');
SELECT r.http_status, r.body::jsonb ->> 'code' AS code FROM postback.receive(:'always', 'order=Y-5&value=5') r;

-- who may call from where
SELECT token AS guarded FROM postback.issue_token(:'brand', 'guarded', allow_ips => '{192.0.2.0/24,198.51.100.7,2001:db8::/32}') \gset
SELECT k.remote, pg_temp.answer(r) AS answer
FROM (VALUES (inet '192.0.2.77'), ('192.0.3.77'), ('198.51.100.7'), ('198.51.100.8'), ('2001:db8:ff::1'), ('2001:db9::1'), (NULL)) AS k (remote)
CROSS JOIN LATERAL postback.receive(:'guarded', 'order=A-' || replace(coalesce(host(k.remote), 'none'), ':', '.') || '&value=1', remote => k.remote) r;

-- signatures. The literals are made by: printf '%s' 'order=SIG-1&value=4999' | openssl dgst -sha256 -hmac sesame-open
SELECT token AS signed FROM postback.issue_token(:'brand', 'signed', hmac_secret => 'sesame-open') \gset
INSERT INTO cases (query, want) VALUES
    ('order=SIG-1&value=4999&sig=33752c540be14dd8888f36f1da67eb3b6640015b25299b8975d419a83dd46d5b', '200 created 4999 EUR'),
    ('value=4999&order=SIG%2D2&sig=bb210aee213c73a28201318770930b4c1759e129ce0acfe32895f3e5d4d463c7', '200 created 4999 EUR'),
    -- sent otherwise than it was signed: other bytes, another order of parameters, something changed, something after it
    ('value=4999&order=SIG-2&sig=bb210aee213c73a28201318770930b4c1759e129ce0acfe32895f3e5d4d463c7', '401 bad_signature sig'),
    ('value=4999&order=SIG-3&sig=c1985ee4957fea5bccafc70e09b745d1040943d88f2d95c7b1d4842e3d921e38', '401 bad_signature sig'),
    ('order=SIG-3&value=4998&sig=c1985ee4957fea5bccafc70e09b745d1040943d88f2d95c7b1d4842e3d921e38', '401 bad_signature sig'),
    ('order=SIG-3&value=4999&sig=c1985ee4957fea5bccafc70e09b745d1040943d88f2d95c7b1d4842e3d921e38&status=approved', '401 bad_signature sig'),
    ('sig=c1985ee4957fea5bccafc70e09b745d1040943d88f2d95c7b1d4842e3d921e38&order=SIG-3&value=4999', '401 bad_signature sig'),
    ('order=SIG-3&value=4999&sig=c1985ee4957fea5bccafc70e09b745d1040943d88f2d95c7b1d4842e3d921e3',  '401 bad_signature sig'),
    ('order=SIG-3&value=4999&sig=',          '401 bad_signature sig'),
    ('order=SIG-3&value=4999',               '401 bad_signature sig'),
    ('order=SIG-3',                          '401 bad_signature sig');
SELECT * FROM pg_temp.differences(:'signed');
-- without a secret it is somebody else's parameter
INSERT INTO cases (query, want) VALUES
    ('order=SIG-5&value=1&sig=' || repeat('x', 344),                '200 created 1 EUR'),
    ('order=SIG-6&value=1&sig=a&SIG=b',                             '200 created 1 EUR'),
    ('sig=%FF%00&order=SIG-7&value=1',                              '200 created 1 EUR');
SELECT * FROM pg_temp.differences(:'token');
SELECT k.what, pg_temp.answer(r) AS answer
FROM (VALUES ('in the query', 'sig=c1985ee4957fea5bccafc70e09b745d1040943d88f2d95c7b1d4842e3d921e38', 'order=SIG-3&value=4999', NULL),
             ('in the header', NULL, 'order=SIG-4&value=1', '8f25d7b9277995c72139616759d751c186c267c864f35d8f74b034a8bda0bb5f'),
             ('another body', NULL, 'order=SIG-4&value=2', '8f25d7b9277995c72139616759d751c186c267c864f35d8f74b034a8bda0bb5f'),
             ('something else in the query', 'status=approved&sig=8f25d7b9277995c72139616759d751c186c267c864f35d8f74b034a8bda0bb5f', 'order=SIG-4&value=1', NULL),
             ('no signature', NULL, 'order=SIG-4&value=1', NULL)) AS k (what, query, body, signature)
CROSS JOIN LATERAL postback.receive(:'signed', k.query, 'POST', k.body, 'application/x-www-form-urlencoded', signature => k.signature) r;

-- attribution, and the warnings: 49.99 at 8 % are 399.92, so 400; the fee is 35 % of that, 140
SELECT postback.create_offer(:'brand', 'Shop', 'https://shop.example/') AS offer \gset
SELECT postback.create_offer(:'brand', 'Without terms', 'https://shop.example/', attribution_window => '2 days') AS bare \gset
SELECT postback.create_goal(:'offer', 'Sale') AS sale \gset
SELECT postback.create_publisher('Receive blog') AS publisher \gset
SELECT postback.set_terms(:'offer', percent => 8) AS terms \gset
SELECT code FROM postback.create_link(:'offer', :'publisher') \gset
SELECT code AS bare_code FROM postback.create_link(:'bare', :'publisher') \gset
SELECT click_id AS click FROM postback.click(:'code') \gset
SELECT click_id AS bare_click FROM postback.click(:'bare_code') \gset
SELECT postback.ulid_floor(now() - interval '30 days 1 minute') AS too_old, postback.ulid_floor(now() - interval '29 days 23 hours') AS old_enough,
       postback.ulid_floor(now() - interval '2 days 1 minute') AS bare_too_old, postback.ulid_floor(now() + interval '1 hour') AS unheard_of \gset
INSERT INTO postback.click (id, brand_id, offer_id, publisher_id)
VALUES (:'too_old', :'brand', :'offer', :'publisher'), (:'old_enough', :'brand', :'offer', :'publisher'), (:'bare_too_old', :'brand', :'bare', :'publisher');
SELECT r.body::jsonb - 'conversion_id' - 'receipt' - 'hold_until' AS body,
       r.body::jsonb ->> 'conversion_id' = r.conversion_id::text AS id,
       r.body::jsonb ->> 'hold_until' = to_char(now() + interval '14 days', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS hold_until
FROM postback.receive(:'token', 'order=ORDER-12345&value=4999&click_id=clk_' || :'click' || '&status=new') r;
-- the end of a hold is of what is pending, in the columns as in the body
SELECT r.outcome, r.status, r.hold_until IS NOT NULL AS hold_until, r.body::jsonb ? 'hold_until' AS in_body
FROM (VALUES ('order=H-1&value=1'), ('order=H-1&value=1'), ('order=H-1&status=approved'), ('order=H-1&value=1'), ('order=H-2&value=1&status=approved'),
             ('order=H-3&value=1'), ('order=H-3&status=reversed')) AS k (query)
CROSS JOIN LATERAL postback.receive(:'token', k.query || '&click_id=' || :'click') r;
SELECT f.name, r.outcome, r.status, r.hold_until IS NOT NULL AS hold_until
FROM (VALUES (1, 'reopen'), (2, 'approve'), (3, 'reverse')) AS f (n, name)
CROSS JOIN LATERAL (SELECT c.id FROM postback.conversion c WHERE c.brand_id = :'brand' AND c.order_ref = 'H-3') c
CROSS JOIN LATERAL (SELECT x.* FROM postback.reopen(c.id) x WHERE f.name = 'reopen' UNION ALL SELECT x.* FROM postback.approve(c.id) x WHERE f.name = 'approve'
                    UNION ALL SELECT x.* FROM postback.reverse(c.id) x WHERE f.name = 'reverse') r
ORDER BY f.n;
SELECT k.what, pg_temp.answer(r) AS answer, r.attribution, r.commission, r.fee
FROM (VALUES (1, 'without prefix, lower case', 'order=B-1&value=4999&click_id=' || lower(:'click')),
             (2, 'alias', 'order=B-2&value=4999&clickid=clk_' || :'click'),
             (3, 'malformed', 'order=B-3&value=4999&click_id=clk_123'),
             (4, 'unknown', 'order=B-4&value=4999&click_id=' || :'unheard_of'),
             (5, 'inside the window', 'order=B-5&value=4999&click_id=' || :'old_enough'),
             (6, 'outside the window', 'order=B-6&value=4999&click_id=' || :'too_old'),
             (7, 'outside of the offer''s window', 'order=B-7&value=4999&click_id=' || :'bare_too_old'),
             (8, 'a goal of the offer', 'order=B-8&value=4999&goal=sALE&click_id=' || :'click'),
             (9, 'a goal that it does not define', 'order=B-9&value=4999&goal=Upsell&click_id=' || :'click'),
             (10, 'no terms', 'order=B-10&value=4999&click_id=' || :'bare_click'),
             (11, 'no rate', 'order=B-11&value=4999&currency=XPF&click_id=' || :'click'),
             (12, 'the last click', 'order=B-12&value=4999')) AS k (n, what, query)
CROSS JOIN LATERAL postback.receive(:'token', k.query) r
ORDER BY k.n;
SELECT pg_temp.answer(r) AS another_brands, r.attribution FROM postback.receive(:'others', 'order=B-13&value=4999&click_id=' || :'click') r;
-- what is odd about a duplicate
INSERT INTO cases (query, want) VALUES
    ('order=ORDER-12345&value=4999',                      '200 duplicate 4999 EUR'),
    ('order=ORDER-12345&value=5000',                      '200 duplicate 4999 EUR value_differs'),
    ('order=ORDER-12345&value=1',                         '200 duplicate 4999 EUR value_differs'),
    ('order=ORDER-12345&value=4999&currency=USD',         '200 duplicate 4999 EUR value_differs'),
    ('order=ORDER-12345&amount=49.99&currency=EUR',       '200 duplicate 4999 EUR');
SELECT * FROM pg_temp.differences(:'token');
-- the click's own sub id is the one that counts
SELECT click_id AS tracked FROM postback.click(:'code', 'sub_id=of-click&external_transaction_id=ext-1&sub2=two') \gset
SELECT pg_temp.answer(r) AS answer
FROM (VALUES ('order=B-14&value=1&sub_id=of-call&click_id=' || :'tracked'), ('order=B-15&value=1&sub_id=of-call&click_id=' || :'click')) AS k (query)
CROSS JOIN LATERAL postback.receive(:'token', k.query) r;
SELECT order_ref, sub_id, external_transaction_id, subs FROM postback.conversion
WHERE brand_id = :'brand' AND order_ref IN ('B-14', 'B-15') ORDER BY order_ref;

-- events: no money, no status; with an order once, without as often as they are sent
SELECT k.query, r.http_status, r.outcome, r.event_id IS NOT NULL AS event, r.conversion_id IS NOT NULL AS conversion
FROM (VALUES (1, 'event=install&order=I-1'), (2, 'event_name=Install&order=I-1'), (3, 'event=open&order=I-1'), (4, 'event=install'), (5, 'event=install'),
             (6, 'event=install&order=I-2&value=100&status=approved')) AS k (n, query)
CROSS JOIN LATERAL postback.receive(:'token', k.query) r
ORDER BY k.n;
SELECT lower(name) AS name, order_ref, count(*) FROM postback.event WHERE brand_id = :'brand' GROUP BY 1, 2 ORDER BY order_ref, 1;

-- receipts: every call as it came and what was answered, refused ones too
SELECT r.method, r.query, r.body, r.content_type, r.remote, r.http_status, r.result, r.code, r.parameter, r.warning, r.order_ref,
       r.conversion_id IS NOT NULL AS conversion, r.milliseconds >= 0 AS milliseconds
FROM postback.receipt r
WHERE r.brand_id = :'brand'
  AND (r.query IN ('order=E-2&value=1&utm=%FF%00', 'order=D%2&value=1', 'order=%FF&value=1', 'order=P-1', 'order=SIG-3', 'order=B-3&value=4999&click_id=clk_123',
                   'order=A-192.0.3.77&value=1', 'order=O-2&status=approved', 'order=S-1&status=reversed', 'event=open&order=I-1', 'order=Y-3&value=x'))
ORDER BY r.query COLLATE "C", r.id;
SELECT count(*) AS token_of_another_brand
FROM postback.receipt r LEFT JOIN postback.token t ON t.id = r.token_id AND t.brand_id = r.brand_id
WHERE r.brand_id IN (:'brand', :'other') AND t.id IS NULL;
-- one per call, and the answer names it
SELECT count(*) AS receipts FROM postback.receipt WHERE brand_id = :'brand' \gset
SELECT receipt_id, conversion_id, body::jsonb ->> 'receipt' = receipt_id::text AS told FROM postback.receive(:'token', 'order=R-1&value=1') \gset
SELECT :'told' AS told, r.result, r.order_ref, r.conversion_id = :'conversion_id' AS conversion,
       (SELECT count(*) - :receipts FROM postback.receipt x WHERE x.brand_id = :'brand') AS receipts
FROM postback.receipt r WHERE r.id = :'receipt_id';

SELECT * FROM postback.audit();
