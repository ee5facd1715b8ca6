"""What a customer sees: the page of the bank or wallet where a payment is approved."""

from __future__ import annotations

import html

from providers.simulator.adyen_records import Payment

NOTHING = "<p>Nothing to approve here.</p>"


def bank(payment: Payment) -> str:
    return _BANK.format(amount=payment.amount, currency=html.escape(payment.currency), name=html.escape(payment.method))


_BANK = """<!doctype html>
<html lang="en">
<title>Simulated {name}</title>
<h1>Approve this payment?</h1>
<p>{amount} {currency}, in the smallest unit</p>
<form method="post">
  <button name="action" value="approve">Approve</button>
  <button name="action" value="refuse">Refuse</button>
</form>
</html>
"""
