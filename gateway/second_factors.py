"""The second factor: one-time codes of an authenticator app (RFC 6238: SHA-1, 30 seconds, 6 digits). Pure."""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass, field

import pyotp
import segno

STEP_SECONDS = 30
DRIFT_STEPS = 1
"""A telephone's clock may be this much ahead or behind."""
SECRET_BYTES = 20
"""RFC 4226 recommends 160 bits."""
ISSUER = "Paygate"


@dataclass(frozen=True, slots=True)
class SecondFactor:
    secret: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> SecondFactor:
        return cls(secrets.token_bytes(SECRET_BYTES))

    @property
    def text(self) -> str:
        """As it is typed where no picture can be taken."""
        return base64.b32encode(self.secret).decode()

    def step(self, code: str, at: float) -> int | None:
        """Whose code this is, in steps since 1970; None: of none that counts now."""
        now = int(at) // STEP_SECONDS
        given, totp = code.encode(), pyotp.HOTP(self.text)
        steps = range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1)
        return next((one for one in steps if hmac.compare_digest(totp.at(one).encode(), given)), None)

    def code(self, at: float) -> str:
        return pyotp.HOTP(self.text).at(int(at) // STEP_SECONDS)

    def picture(self, name: str) -> str:
        """The QR code that apps scan, as an image's address: an SVG in itself."""
        address = pyotp.TOTP(self.text).provisioning_uri(name=name, issuer_name=ISSUER)
        return segno.make(address, error="m", micro=False).svg_data_uri(scale=5, border=4, light="#fff")
