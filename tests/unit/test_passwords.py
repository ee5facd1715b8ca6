"""Promise: what guessers try first is refused, what people make up is not."""

from __future__ import annotations

import pytest

from gateway import passwords

OWN = ("robin.hood@sherwood.example", "Robin Hood")


@pytest.mark.parametrize(
    "password",
    [
        *("password1234", "Password123456!", "P@ssw0rd1234", "MyPassword2026", "passwordpassword", "iloveyou12345"),
        *(
            "qwertyuiop12",
            "123456789012",
            "1qaz2wsx3edc",
            "q1w2e3r4t5y6",
            "123qweasdzxc",
            "0987654321098",
            "zyxwvutsrqpo",
        ),
        *(
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "hunter2hunter2",
            "Summer2026!!!",
            "administrator1",
            "correcthorsebatterystaple",
        ),
        *("robin-sherwood", "Robin.Hood.2026", "paygate-console", "support1234567"),
        *("short", "elevenchars", "x7!Kp" * 52),
    ],
)
def test_what_is_tried_first_is_refused(password: str) -> None:
    assert passwords.weakness(password, OWN)


@pytest.mark.parametrize(
    "password", ["tigers eat lavender", "kx7Rm2vTq9pL", "zwei Esel im Garten", "8fK2-xx91-Lmq0", "пять рыб в лодке"]
)
def test_what_people_make_up_is_taken(password: str) -> None:
    assert passwords.weakness(password, OWN) is None


def test_what_is_handed_over_is_random() -> None:
    assert len({passwords.random() for _ in range(100)}) == 100
    assert len(passwords.random()) == 20


async def test_a_hash_fits_its_password_only() -> None:
    stored = await passwords.hashed("tigers eat lavender")
    assert stored.startswith("$argon2id$")
    assert await passwords.fits("tigers eat lavender", stored)
    assert not await passwords.fits("tigers eat lavende", stored)
    assert not await passwords.fits("tigers eat lavender", None)
    assert not await passwords.fits("tigers eat lavender", "not a hash")
    assert not passwords.is_outdated(stored)
