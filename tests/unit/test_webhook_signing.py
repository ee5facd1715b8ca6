"""What we sign, every published Standard Webhooks library accepts."""

import base64
import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from webhooks import signing

BODY = b'{"id":"evt_1","type":"ping"}'


def headers(secrets: list[str], timestamp: int, body: bytes = BODY) -> dict[str, str]:
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.sign(secrets, "evt_1", timestamp, body),
    }


def test_a_secret_is_whsec_and_32_random_bytes() -> None:
    first, second = signing.new_secret(), signing.new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32


def test_the_published_library_accepts_our_signature() -> None:
    secret = signing.new_secret()
    signed = headers([secret], int(time.time()))
    assert standardwebhooks.Webhook(secret).verify(BODY, signed) == {"id": "evt_1", "type": "ping"}


def test_we_accept_the_published_librarys_signature() -> None:
    secret, now = signing.new_secret(), datetime.now(UTC)
    signature = standardwebhooks.Webhook(secret).sign("evt_1", now, BODY.decode())
    signed = headers([secret], int(now.timestamp())) | {"webhook-signature": signature}
    assert signing.verify(secret, signed, BODY, now=now.timestamp())


def test_the_specifications_own_example_verifies() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = signing.sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_during_a_rotation_both_secrets_verify_and_the_new_one_comes_first() -> None:
    new, old = signing.new_secret(), signing.new_secret()
    signed = headers([new, old], int(time.time()))
    for secret in (new, old):
        standardwebhooks.Webhook(secret).verify(BODY, signed)
        assert signing.verify(secret, signed, BODY, now=time.time())
    assert (
        signed["webhook-signature"].split(" ")[0]
        == headers([new], int(signed["webhook-timestamp"]))["webhook-signature"]
    )


@given(keys=st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=2), body=st.text(max_size=200))
def test_the_published_library_accepts_any_body_under_every_secret_that_is_valid(keys: list[bytes], body: str) -> None:
    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    signed = headers(secrets, int(time.time()), body.encode())
    for secret in secrets:
        standardwebhooks.Webhook(secret).verify(body.encode(), signed, json_parse=False)


@pytest.mark.parametrize(("offset", "accepted"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_a_timestamp_counts_within_five_minutes_on_both_sides(offset: int, accepted: bool) -> None:
    secret = signing.new_secret()
    assert signing.verify(secret, headers([secret], 1_800_000_000), BODY, now=1_800_000_000 - offset) is accepted


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_does_not_verify(header: str) -> None:
    secret = signing.new_secret()
    signed = headers([secret], 1_800_000_000)
    del signed[header]
    assert not signing.verify(secret, signed, BODY, now=1_800_000_000)


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1e9", "１８", "1800000000.0"])
def test_a_timestamp_that_is_no_number_does_not_verify(timestamp: str) -> None:
    secret = signing.new_secret()
    signed = headers([secret], 1_800_000_000) | {"webhook-timestamp": timestamp}
    assert not signing.verify(secret, signed, BODY, now=1_800_000_000)


def test_another_version_or_rubbish_beside_it_does_not_disturb() -> None:
    secret = signing.new_secret()
    signed = headers([secret], 1_800_000_000)
    signed["webhook-signature"] = "v1a,abc é v1, " + signed["webhook-signature"]
    assert signing.verify(secret, signed, BODY, now=1_800_000_000)


def test_a_secret_that_is_not_base64_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a signing secret is whsec_ and base64$"):
        signing.sign(["whsec_***"], "evt_1", 1, BODY)


@given(body=st.binary(max_size=200), changed=st.binary(max_size=200))
def test_only_the_signed_bytes_verify(body: bytes, changed: bytes) -> None:
    secret = signing.new_secret()
    signed = headers([secret], 1_800_000_000, body)
    assert signing.verify(secret, signed, body, now=1_800_000_000)
    assert signing.verify(secret, signed, changed, now=1_800_000_000) is (changed == body)


# ── ed25519 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def verified(published: str, signature: str, signed: bytes) -> bool:
    """As a partner would, with what is published alone."""
    assert published.startswith("whpk_")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(published.removeprefix("whpk_"), validate=True))
    scheme, _, encoded = signature.partition(",")
    assert scheme == "v1a"
    try:
        public.verify(base64.b64decode(encoded, validate=True), signed)
    except InvalidSignature:
        return False
    return True


def published(private: Ed25519PrivateKey) -> str:
    return signing.public_text(private.public_key().public_bytes_raw())


def test_a_public_signature_verifies_by_the_published_key_alone() -> None:
    private, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    signature = signing.sign_publicly([private], "evt_1", 1_800_000_000, BODY)
    assert verified(published(private), signature, b"evt_1.1800000000." + BODY)
    assert not verified(published(other), signature, b"evt_1.1800000000." + BODY)


@pytest.mark.parametrize("changed", [b"evt_2.1800000000." + BODY, b"evt_1.1800000001." + BODY, b"evt_1.1800000000.{}"])
def test_a_public_signature_covers_id_time_and_body(changed: bytes) -> None:
    private = Ed25519PrivateKey.generate()
    signature = signing.sign_publicly([private], "evt_1", 1_800_000_000, BODY)
    assert not verified(published(private), signature, changed)


def test_each_of_several_keys_signs_in_their_order() -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    signatures = signing.sign_publicly(keys, "evt_1", 1, BODY).split(" ")
    assert [verified(published(key), one, b"evt_1.1." + BODY) for key, one in zip(keys, signatures, strict=True)] == [
        True,
        True,
    ]
