"""One client for every provider: charge, look, refund, with any token. Needs httpx.

python pay.py http://127.0.0.1:8080 sk_test_… stripe pm_card_visa
python pay.py http://127.0.0.1:8080 sk_test_… adyen ada/APPROVED
python pay.py http://127.0.0.1:8080 sk_test_… paypal vault_card_visa
"""

import sys
import time
import uuid

import httpx

base_url, api_key, provider, token = sys.argv[1:]
client = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60)


def post(path: str, body: dict[str, object]) -> dict[str, str]:
    """Safe to repeat: one key never charges twice, so a lost answer is simply asked for again."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    while True:
        try:
            answer = client.post(path, json=body, headers=key)
        except httpx.TransportError:
            time.sleep(1)
            continue
        if answer.status_code not in {409, 429, 503}:
            return answer.raise_for_status().json()
        time.sleep(float(answer.headers["Retry-After"]))


def settled(path: str, found: dict[str, str]) -> dict[str, str]:
    """What is not known yet (202) is known soon; a webhook would tell without asking."""
    while found["status"] in {"pending", "processing"}:
        time.sleep(0.2)
        found = client.get(f"{path}/{found['id']}").json()
    return found


method = {"type": "card", "tokens": {provider: token}}
charge = post("/v1/transactions", {"amount": "19.99", "currency": "USD", "payment_method": method})
charge = settled("/v1/transactions", charge)
print("charge", charge["id"], charge["status"], "money moved:", charge["money_moved"])

refund = settled("/v1/refunds", post(f"/v1/transactions/{charge['id']}/refunds", {"amount": "5.00"}))
print("refund", refund["id"], refund["status"], refund["amount"])
