-- Customers and stored payment methods: a customer's tokens at several PSPs under one id, so that a charge may go to any
-- of them. Only adds: the program before it runs on this schema too.

-- ── Customers ───────────────────────────────────────────────────────────────────────────────────────────────────
-- What is sealed is overwritten when a customer is erased. A key per customer would lie in this database, and so in the
-- same backups: destroying it would erase no more than this does.

ALTER TABLE customers
    ADD COLUMN reference varchar(255),
    ADD CONSTRAINT customer_erased CHECK (deleted_at IS NULL
        OR (personal = '' AND num_nonnulls(email_hash, reference) = 0 AND metadata = '{}'));
CREATE INDEX customers_list ON customers (partner_id, livemode, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX customers_reference ON customers (partner_id, reference) WHERE reference IS NOT NULL;
GRANT UPDATE (personal, email_hash, updated_at) ON customers TO paygate_operator;  -- to move them to another key

-- ── Stored payment methods ──────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE stored_payment_methods (
    partner_id  uuid NOT NULL REFERENCES partners (id),
    id          uuid NOT NULL,
    livemode    boolean NOT NULL,
    customer_id uuid,
    type        varchar(50) NOT NULL REFERENCES payment_methods (code),
    providers   varchar(30)[] NOT NULL CHECK (cardinality(providers) > 0),  -- which PSPs it holds a token of
    tokens      bytea NOT NULL,  -- sealed: PSP → token
    brand       varchar(30),
    last4       char(4),
    exp_month   smallint CHECK (exp_month BETWEEN 1 AND 12),
    exp_year    smallint,
    country     char(2),         -- of the issuer
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,
    PRIMARY KEY (partner_id, id),
    FOREIGN KEY (partner_id, customer_id) REFERENCES customers (partner_id, id),
    CONSTRAINT tokens_erased CHECK ((deleted_at IS NULL) = (tokens <> ''))
);
CREATE INDEX stored_payment_methods_list ON stored_payment_methods (partner_id, livemode, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX stored_payment_methods_customer ON stored_payment_methods (partner_id, customer_id, id DESC)
    WHERE deleted_at IS NULL;
CREATE TRIGGER updated_at BEFORE UPDATE ON stored_payment_methods FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CALL isolate_partners('stored_payment_methods');
GRANT SELECT, INSERT, UPDATE ON stored_payment_methods TO paygate_app;
GRANT SELECT, UPDATE (tokens, updated_at) ON stored_payment_methods TO paygate_operator;

-- ── What a charge is made with ──────────────────────────────────────────────────────────────────────────────────

ALTER TABLE transactions
    ADD COLUMN stored_payment_method_id uuid,
    ADD COLUMN card_country char(2),
    ADD COLUMN business_unit varchar(64),
    ADD FOREIGN KEY (partner_id, stored_payment_method_id) REFERENCES stored_payment_methods (partner_id, id);
