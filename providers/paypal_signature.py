"""Whether a notification is PayPal's: RSA-SHA256 over `id|time|webhook id|crc32(body)`, by a certificate it names.

The signature binds the body by a CRC32 only, which can be forged by whoever holds a genuine transmission: what a
notification says about money is asked for before it is believed.
"""

from __future__ import annotations

import binascii
import itertools
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from providers import http
from providers.contract import CannotVerify, Forged
from providers.paypal_json import as_object, parsed, text
from providers.paypal_session import Session, SignInFailed

ALGORITHM = "SHA256withRSA"
LIVE_HOSTS = frozenset({"api.paypal.com", "api-m.paypal.com"})
TEST_HOSTS = frozenset({"api.sandbox.paypal.com", "api-m.sandbox.paypal.com"})
SIGNERS = ".paypal.com"
VERIFY_PATH = "/v1/notifications/verify-webhook-signature"

AHEAD_SECONDS_MAX = 300.0
AGE_SECONDS_MAX = 3 * 86_400 + 3_600.0
"""PayPal sends again for three days, perhaps with the first time; a repeat of an old one changes nothing."""

KEY_BITS_MIN = 2048
CERTIFICATES_MAX = 8  # PayPal has one or two at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What makes a notification one for this account. `own_origin`: where a simulated PayPal serves its certificate."""

    webhook_id: str
    livemode: bool
    own_origin: str | None = None
    ask_paypal: bool = False
    age_seconds_max: float = AGE_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class Transmission:
    """What PayPal's headers say of one posting."""

    id: str
    time: str
    signature: str
    certificate_url: str

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Transmission:
        """Raises `Forged`."""
        found = [headers.get(f"paypal-{name}", "") for name in ("transmission-id", "transmission-time")]
        found += [headers.get(f"paypal-{name}", "") for name in ("transmission-sig", "cert-url")]
        if not all(found) or headers.get("paypal-auth-algo") != ALGORITHM:
            raise Forged("a signature header is missing")
        return cls(*found)

    def signed_text(self, webhook_id: str, body: bytes) -> bytes:
        return f"{self.id}|{self.time}|{webhook_id}|{binascii.crc32(body)}".encode()


class Notary:
    """Verifies, and remembers certificates."""

    def __init__(self, session: Session, trust: Trust) -> None:
        self._session = session
        self._trust = trust
        self._certificates: dict[str, x509.Certificate] = {}

    async def verify(self, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
        """Raises `Forged`, `CannotVerify`."""
        transmission = Transmission.of(headers)
        check_time(transmission.time, now, self._trust.age_seconds_max)
        check_address(transmission.certificate_url, self._trust)
        if self._trust.ask_paypal:
            await self._ask_paypal(transmission, body)
        else:
            certificate = await self._certificate(transmission.certificate_url, now)
            check_signature(certificate, transmission, self._trust.webhook_id, body)

    async def _certificate(self, url: str, now: float) -> x509.Certificate:
        known = self._certificates.get(url)
        if known is None:
            try:
                answer = await self._session.fetch(url)
            except (http.Unreachable, http.NoAnswer) as error:
                raise CannotVerify("the certificate cannot be fetched") from error
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise Forged("there is no such certificate")
            if answer.status_code != httpx.codes.OK:
                raise CannotVerify("the certificate cannot be fetched")
            known = read_certificate(answer.content)
        check_certificate(known, now)
        while len(self._certificates) >= CERTIFICATES_MAX:
            self._certificates.pop(next(iter(self._certificates)))
        self._certificates[url] = known
        return known

    async def _ask_paypal(self, transmission: Transmission, body: bytes) -> None:
        try:
            answer = await self._session.call("POST", VERIFY_PATH, spliced(transmission, self._trust.webhook_id, body))
        except (SignInFailed, http.Unreachable, http.NoAnswer) as error:
            raise CannotVerify("PayPal cannot be asked") from error
        match text(as_object(answer.body), "verification_status"):
            case "SUCCESS" if answer.status == httpx.codes.OK:
                return
            case "FAILURE":
                raise Forged("PayPal does not know it")
            case _:
                raise CannotVerify("PayPal gives no verdict")


def check_time(told: str, now: float, age_seconds_max: float) -> None:
    """Raises `Forged`."""
    try:
        moment = datetime.fromisoformat(told)
    except ValueError as error:
        raise Forged("not a time") from error
    if moment.tzinfo is None or not -AHEAD_SECONDS_MAX <= now - moment.timestamp() <= age_seconds_max:
        raise Forged("too old or too new")


def check_address(url: str, trust: Trust) -> None:
    """Only PayPal's own hosts, over TLS, are asked for a certificate. Raises `Forged`."""
    if not re.fullmatch(r"https?://[!-~]{1,500}", url) or "\\" in url:
        raise Forged("no address of a certificate")
    try:
        scheme, host = urlsplit(url)[:2]
    except ValueError as error:
        raise Forged("no address of a certificate") from error
    own = trust.own_origin is not None and (scheme, host) == urlsplit(trust.own_origin)[:2]
    if not own and (scheme != "https" or host not in (LIVE_HOSTS if trust.livemode else TEST_HOSTS)):
        raise Forged("the certificate is not at PayPal")


def read_certificate(pem: bytes) -> x509.Certificate:
    """The signer's certificate of a chain whose links hold. Raises `CannotVerify`.

    The chain needs no anchor of its own: it comes from PayPal's host over TLS.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for certificate, issuer in itertools.pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CannotVerify("not a certificate") from error
    return chain[0]


def check_certificate(certificate: x509.Certificate, now: float) -> None:
    """Raises `Forged`."""
    moment = datetime.fromtimestamp(now, UTC)
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise Forged("the certificate is not valid now")
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or not names[0].endswith(SIGNERS):
        raise Forged("the certificate is not PayPal's")


def check_signature(certificate: x509.Certificate, transmission: Transmission, webhook_id: str, body: bytes) -> None:
    """Raises `Forged`."""
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size < KEY_BITS_MIN:
        raise Forged("the certificate's key is of the wrong kind")
    try:
        signature = b64decode(transmission.signature, validate=True)
        if b64encode(signature).decode() != transmission.signature:
            raise Forged("the signature is spelled oddly")
        key.verify(signature, transmission.signed_text(webhook_id, body), PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature) as error:
        raise Forged("the signature is wrong") from error


def spliced(transmission: Transmission, webhook_id: str, body: bytes) -> bytes:
    """The question to PayPal with the very bytes of the notification: written anew they would have another CRC32.

    Raises `Forged` for a body that is not one JSON object, which could break out of its place.
    """
    if not isinstance(parsed(body), dict):
        raise Forged("not a JSON object")
    question = {
        "auth_algo": ALGORITHM,
        "cert_url": transmission.certificate_url,
        "transmission_id": transmission.id,
        "transmission_sig": transmission.signature,
        "transmission_time": transmission.time,
        "webhook_id": webhook_id,
    }
    return json.dumps(question).encode()[:-1] + b', "webhook_event": ' + body + b"}"
