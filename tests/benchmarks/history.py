"""Years of payments of many partners, as a support desk meets them, written by the million in the order of time.

Of two hundred partners the largest has three tenths of everything; names, prices and outcomes repeat as they do in
life; test mode is full of one card. Chance draws the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TypeAlias
from uuid import UUID

import asyncpg

from db import ids

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # the class takes parameters in its stubs alone

DAYS = 730
BATCH = 250_000
_ZIPF = 1.3
_FULL = 0.2
"""The share of payments, the newest, whose attempts, refunds, events, deliveries and PSP's notifications are there."""
_TABLES = ("transactions", "attempts", "refunds", "events", "webhook_deliveries", "provider_events")
_PROVIDERS = ("stripe", "adyen", "paypal", "manual")
_FIRST = (
    *("Anna", "Ben", "Carla", "David", "Elena", "Felix", "Greta", "Hugo", "Inés", "Jonas", "Katrin", "Leo", "Maria"),
    *("Noah", "Olga", "Paul", "Rosa", "Simon", "Tara", "Uwe"),
)
_LAST = (
    *("Smith", "Müller", "Jones", "Schmidt", "Garcia", "Rossi", "Novák", "Kowalski", "Silva", "Dubois", "Jensen"),
    *("Larsen", "Virtanen", "Horvat", "Ivanova", "Nagy", "Popescu", "Murphy", "Brown", "Wagner", "Becker", "Hoffmann"),
    *("Koch", "Bauer", "Richter", "Klein", "Wolf", "Neumann", "Schwarz", "Zimmermann", "Krüger"),
)

# n: which payment; r: what chance says of it; who: which customer.
_DRAWN = """
CREATE TEMP TABLE drawn ON COMMIT DROP AS
SELECT *, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0')
        || '8' || left(md5('txn' || n), 15))::uuid AS id,
    first || CASE WHEN who % 9 = 0 THEN ' van der ' ELSE ' ' END || last AS name,
    lower(translate(first || '.' || last, 'üéáÜ', 'ueau')) || who || '@' || domain AS email
FROM (
    SELECT n, at, who, r, r[1] < 0.9 AS livemode, ($8::uuid[])[1 + width_bucket(r[2], $9::float8[])] AS partner_id,
        ($4::text[])[1 + who % cardinality($4::text[])] AS first,
        ($5::text[])[1 + who / 7 % cardinality($5::text[])] AS last,
        ('{example.com,mail.example,post.example,firm.example}'::text[])[1 + who % 4] AS domain,
        CASE WHEN r[3] < 0.8 THEN 'card' WHEN r[3] < 0.92 THEN 'e_wallet' ELSE 'bank_transfer' END AS method,
        CASE WHEN r[3] < 0.52 THEN 1 WHEN r[3] < 0.8 THEN 2 WHEN r[3] < 0.92 THEN 3 WHEN r[3] < 0.98 THEN 2 ELSE 4 END
            AS psp,
        CASE WHEN r[4] < 0.3 THEN ('{9.99,19.99,49.9,4.99,29,99,14.95,199}'::numeric[])[1 + floor(r[4] * 26)]
             ELSE round(exp(3.5 + 1.1 * sqrt(-2 * ln(1 - r[5] * 0.999999)) * cos(6.28318 * r[6]))::numeric, 2) + 0.5 END
            AS amount
    FROM (
        SELECT n, $1::timestamptz + n * ($2::interval / $3::float8) AS at,
            floor(power(random(), 2) * $3 / 4)::integer AS who,
            ARRAY[random(), random(), random(), random(), random(), random(), random(), random(), random(), random()]
                AS r
        FROM generate_series($6::integer, $7::integer) n) AS chance) AS told
"""
_TRANSACTIONS = """
INSERT INTO transactions (partner_id, id, livemode, version, published, status, amount, currency, amount_captured,
    amount_refunded, capture, payment_method, card_last4, provider, provider_account_id, provider_transaction_id,
    needs_review, review_reason, customer_id, customer_email, customer_name, reference, metadata, created_at,
    updated_at)
SELECT partner_id, id, livemode, 3, 2, status, amount,
    CASE WHEN r[7] < 0.55 THEN 'EUR' WHEN r[7] < 0.85 THEN 'USD' WHEN r[7] < 0.95 THEN 'GBP' ELSE 'CHF' END,
    CASE WHEN status IN ('completed', 'refunded', 'partially_refunded') THEN amount ELSE 0 END,
    CASE status WHEN 'refunded' THEN amount WHEN 'partially_refunded' THEN round(amount / 2, 2) ELSE 0 END,
    CASE WHEN r[9] < 0.1 THEN 'manual' ELSE 'automatic' END::capture_mode, method,
    CASE WHEN method <> 'card' THEN NULL WHEN NOT livemode AND r[9] < 0.6 THEN '4242'
         ELSE lpad((who % 10000)::text, 4, '0') END,
    ($2::text[])[psp], ($1::uuid[])[psp],
    CASE psp WHEN 1 THEN 'pi_3' || left(md5('pi' || n), 23) WHEN 2 THEN upper(left(md5('ps' || n), 16))
        WHEN 3 THEN upper(left(md5('or' || n), 17)) END,
    r[9] < 0.00002, CASE WHEN r[9] < 0.00002 THEN 'silence' END::review_reason,
    CASE WHEN r[10] > 0.8 THEN md5('customer' || who)::uuid END,
    CASE WHEN r[10] < 0.03 THEN 'guest@shop.example' WHEN r[10] < 0.9 THEN email END,
    CASE WHEN r[10] < 0.9 THEN name END, 'ORD-' || to_char(at, 'YYYYMM') || '-' || lpad(n::text, 8, '0'),
    CASE WHEN r[9] > 0.4 THEN jsonb_build_object('order_id', (1000000 + n)::text, 'channel',
        CASE WHEN r[9] > 0.7 THEN 'web' ELSE 'app' END) ELSE '{}' END, at, at
FROM (SELECT *, CASE WHEN r[8] < 0.8 OR psp = 4 THEN 'completed' WHEN r[8] < 0.89 THEN 'failed'
        WHEN r[8] < 0.93 THEN 'refunded' WHEN r[8] < 0.95 THEN 'partially_refunded' WHEN r[8] < 0.98 THEN 'cancelled'
        WHEN r[8] < 0.994 THEN 'authorized' WHEN r[8] < 0.9999 THEN 'requires_action' ELSE 'processing'
        END::transaction_status AS status FROM drawn) AS told
"""
_WITH_ALL = f"""
WITH written AS ({_TRANSACTIONS} RETURNING *),
made AS (SELECT * FROM written WHERE created_at >= $3),
tried AS (
    INSERT INTO attempts (partner_id, id, transaction_id, number, operation, amount, account_id, provider, state,
        provider_key, request, resend_until, provider_id, created_at, updated_at, finished_at, review_after)
    SELECT partner_id, overlay(id::text PLACING right(md5('att' || id), 12) FROM 25)::uuid, id, 1, 'charge', amount,
        provider_account_id, provider, 'succeeded', md5(id::text), '{{}}', created_at, provider_transaction_id,
        created_at, created_at, created_at, '22 hours' FROM made),
returned AS (
    INSERT INTO refunds (partner_id, id, transaction_id, livemode, amount, currency, reason, status, provider_refund_id,
        created_at, updated_at)
    SELECT partner_id, overlay(id::text PLACING right(md5('rfd' || id), 12) FROM 25)::uuid, id, livemode,
        amount_refunded, currency, 'other', 'completed', 're_' || md5(id::text), created_at, created_at
    FROM made WHERE amount_refunded > 0 RETURNING *),
given_back AS (
    INSERT INTO attempts (partner_id, id, transaction_id, refund_id, number, operation, amount, account_id, provider,
        state, provider_key, request, resend_until, provider_id, created_at, updated_at, finished_at, review_after)
    SELECT r.partner_id, overlay(r.id::text PLACING right(md5('att' || r.id), 12) FROM 25)::uuid, r.transaction_id,
        r.id, 2, 'refund', r.amount, t.provider_account_id, t.provider, 'succeeded', md5(r.id::text), '{{}}',
        r.created_at, r.provider_refund_id, r.created_at, r.created_at, r.created_at, '22 hours'
    FROM returned r JOIN made t ON t.id = r.transaction_id),
told AS (
    INSERT INTO events (partner_id, id, livemode, type, transaction_id, sequence, body, created_at)
    SELECT partner_id, overlay(id::text PLACING right(md5('evt' || id), 12) FROM 25)::uuid, livemode,
        'transaction.completed', id, 1, '{{}}', created_at FROM made RETURNING *),
notified AS (
    INSERT INTO provider_events (partner_id, id, account_id, transaction_id, provider, dedupe_key, headers, body, state,
        next_try_at, received_at)
    SELECT partner_id, overlay(id::text PLACING right(md5('ntf' || id), 12) FROM 25)::uuid, provider_account_id, id,
        provider, 'evt_1' || left(md5(id::text), 23), '{{}}', '{{}}', 'applied', NULL, created_at FROM made)
INSERT INTO webhook_deliveries (partner_id, id, endpoint_id, event_id, event_type, transaction_id, state, created_at,
    updated_at)
SELECT partner_id, overlay(id::text PLACING right(md5('whd' || id), 12) FROM 25)::uuid, partner_id, id, type,
    transaction_id, 'delivered', created_at, created_at FROM told
"""


@dataclass(frozen=True, slots=True)
class History:
    """The partners, the largest first."""

    partners: tuple[UUID, ...]


async def remember(owner: Owner, count: int, *, partners: int) -> History:
    """`count` payments of the last two years, the newest fifth with what belongs to them; analysed."""
    made, accounts = [ids.new() for _ in range(partners)], [ids.new() for _ in _PROVIDERS]
    await owner.executemany(
        "INSERT INTO partners (id, name, email) VALUES ($1, $2, $3)",
        [(one, f"Partner {number}", f"{one}@bench.example") for number, one in enumerate(made)],
    )
    await owner.executemany(
        "INSERT INTO provider_accounts (id, provider, livemode, label, credentials) VALUES ($1, $2, true, $2, '')",
        list(zip(accounts, _PROVIDERS, strict=True)),
    )
    indexes = await owner.fetch(
        "SELECT indexrelid::regclass::text AS name, replace(pg_get_indexdef(indexrelid), 'ON ONLY', 'ON') AS text"
        " FROM pg_index WHERE indrelid = ANY ($1::text[]::regclass[]) AND NOT indisunique",
        _TABLES,
    )
    for index in indexes:
        await owner.execute(f"DROP INDEX {index['name']}")
    await owner.execute("SELECT setseed(0.42)")
    begin = datetime.now(UTC) - timedelta(days=DAYS)
    for first in range(1, count + 1, BATCH):
        await _write(owner, begin, count, range(first, min(first + BATCH, count + 1)), made, accounts)
    await owner.execute("SET maintenance_work_mem = '1GB'")
    for index in indexes:
        await owner.execute(index["text"])
    await owner.execute("VACUUM ANALYZE")
    return History(tuple(made))


async def _write(
    owner: Owner, begin: datetime, count: int, numbers: range, partners: list[UUID], accounts: list[UUID]
) -> None:
    shares = [1 / (rank + 1) ** _ZIPF for rank in range(len(partners))]
    steps = [sum_ / sum(shares) for sum_ in accumulate(shares[:-1])]
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")  # foreign keys are known to hold
        await owner.execute(
            _DRAWN,
            *(begin, timedelta(days=DAYS), count, _FIRST, _LAST, numbers.start, numbers.stop - 1, partners, steps),
        )
        await owner.execute(_WITH_ALL, accounts, list(_PROVIDERS), begin + (1 - _FULL) * timedelta(days=DAYS))
