"""What a customer sees: the bank's page where a payment is approved."""

from __future__ import annotations

import html

from providers.simulator.stripe_records import Payment


def bank(payment: Payment) -> str:
    return _BANK.format(amount=payment.amount, currency=html.escape(payment.currency.upper()))


_BANK = """<!doctype html>
<html lang="en">
<title>Simulated bank</title>
<h1>Approve this payment?</h1>
<p>{amount} {currency}, in the smallest unit</p>
<form method="post">
  <button name="action" value="approve">Approve</button>
  <button name="action" value="refuse">Refuse</button>
</form>
</html>
"""
