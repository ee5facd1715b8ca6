"""Every list that can be exported, by the name that it has in the address and in the audit log."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.console import operator_listings, payment_listings, webhook_listings
from gateway.console.listing import Listing

LISTINGS: Mapping[str, Listing] = {
    "payments": payment_listings.PAYMENTS,
    "refunds": payment_listings.REFUNDS,
    "reviews": payment_listings.REVIEWS,
    "approvals": payment_listings.APPROVALS,
    "findings": payment_listings.FINDINGS,
    "notifications": payment_listings.NOTIFICATIONS,
    "endpoints": webhook_listings.ENDPOINTS,
    "deliveries": webhook_listings.DELIVERIES,
    "partners": operator_listings.PARTNERS,
    "keys": operator_listings.KEYS,
    "accounts": operator_listings.ACCOUNTS,
    "rules": operator_listings.RULES,
    "people": operator_listings.PEOPLE,
    "audit": operator_listings.AUDIT,
}
