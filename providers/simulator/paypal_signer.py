"""The simulated PayPal's signature: a certificate of its own making, and the headers of a notification."""

from __future__ import annotations

import binascii
import functools
import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from providers.simulator.paypal_wire import timestamp

ALGORITHM = "SHA256withRSA"
NAME = "messageverificationcerts.simulator.paypal.com"
VALID = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Signer:
    key: rsa.RSAPrivateKey
    certificate: bytes

    @classmethod
    def made(cls, name: str = NAME, *, not_before: datetime | None = None) -> Signer:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begins = not_before or datetime(2020, 1, 1, tzinfo=UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + VALID)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate.public_bytes(serialization.Encoding.PEM))

    def headers(self, body: bytes, webhook_id: str, certificate_url: str, moment: float) -> dict[str, str]:
        transmission_id, at = f"{secrets.token_hex(4)}-{secrets.token_hex(8)}", timestamp(moment)
        return {
            "Content-Type": "application/json",
            "PAYPAL-TRANSMISSION-ID": transmission_id,
            "PAYPAL-TRANSMISSION-TIME": at,
            "PAYPAL-TRANSMISSION-SIG": self.sign(signed_text(transmission_id, at, webhook_id, body)),
            "PAYPAL-CERT-URL": certificate_url,
            "PAYPAL-AUTH-ALGO": ALGORITHM,
        }

    def sign(self, text: bytes) -> str:
        return b64encode(self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()

    def signed(self, signature: str, text: bytes) -> bool:
        return secrets.compare_digest(self.sign(text), signature)  # PKCS1v15 signs the same text the same way


def signed_text(transmission_id: str, at: str, webhook_id: str, body: bytes) -> bytes:
    return f"{transmission_id}|{at}|{webhook_id}|{binascii.crc32(body)}".encode()


@functools.cache
def shared() -> Signer:
    """One for the process: making a key takes a tenth of a second."""
    return Signer.made()
