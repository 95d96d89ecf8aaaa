-- Money: the ledger of transfers and the balances rolled up from it.

CREATE TABLE postback.ledger (
    id            postback.ulid NOT NULL DEFAULT postback.new_ulid(),
    brand_id      postback.ulid NOT NULL,
    publisher_id  postback.ulid,
    from_account  text NOT NULL,
    to_account    text NOT NULL,
    amount        bigint NOT NULL,
    currency      text NOT NULL,
    kind          text NOT NULL,
    conversion_id postback.ulid,
    reference     text,
    CONSTRAINT ledger_amount_check CHECK (amount > 0),
    CONSTRAINT ledger_account_check CHECK (
        from_account <> to_account
        AND from_account IN ('available', 'held', 'payable', 'fees', 'topup', 'payout')
        AND to_account IN ('available', 'held', 'payable', 'fees', 'topup', 'payout')),
    CONSTRAINT ledger_publisher_check CHECK ((publisher_id IS NOT NULL) = ('payable' IN (from_account, to_account))),
    CONSTRAINT ledger_document_check CHECK ((conversion_id IS NULL) = (kind IN ('topup', 'payout')))
) PARTITION BY RANGE (id);
CREATE TABLE postback.ledger_default PARTITION OF postback.ledger DEFAULT;
ALTER TABLE postback.ledger_default ADD PRIMARY KEY (id);
CREATE INDEX ON postback.ledger_default (conversion_id);
CREATE INDEX ON postback.ledger_default (brand_id, id);
COMMENT ON TABLE postback.ledger IS
    'Append-only double entry: each row moves amount from one account to another; the id carries the time';
COMMENT ON COLUMN postback.ledger.publisher_id IS 'Whose payable account is meant, on rows that touch one';
COMMENT ON COLUMN postback.ledger.from_account IS
    'available and held (the brand''s), payable (a publisher''s, per brand), fees (the network''s), topup and payout (outside)';
COMMENT ON COLUMN postback.ledger.amount IS 'Minor units of currency, always above 0';
COMMENT ON COLUMN postback.ledger.kind IS
    'commission_held, fee_held, commission_released, fee_released, commission_approved, fee_approved, commission_clawback, fee_clawback, topup, payout';
COMMENT ON COLUMN postback.ledger.reference IS 'Document of a top-up or payout';

CREATE TABLE postback.balance (
    id           postback.ulid PRIMARY KEY DEFAULT postback.new_ulid(),
    brand_id     postback.ulid NOT NULL,
    account      text NOT NULL,
    publisher_id postback.ulid,
    currency     text NOT NULL,
    amount       bigint NOT NULL
);
CREATE INDEX balance_account_idx ON postback.balance (brand_id, account, publisher_id, currency);
COMMENT ON TABLE postback.balance IS
    'Roll-up of the ledger: one row per account plus one per later transaction that touched it; see balances. fold_balances() folds them';

CREATE VIEW postback.balances AS
    SELECT brand_id, account, publisher_id, currency, sum(amount)::bigint AS amount
    FROM postback.balance
    GROUP BY brand_id, account, publisher_id, currency;
COMMENT ON VIEW postback.balances IS 'What is on each account now, minor units of currency: exact at every moment';
