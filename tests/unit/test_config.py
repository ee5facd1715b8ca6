"""Promise: a process starts with settings that can work, or names what is wrong without repeating a secret."""

import base64
import hashlib
from pathlib import Path

import pytest

from gateway import config

KEY = base64.b64encode(hashlib.sha256(b"a key").digest()).decode()
GOOD = {
    "PAYGATE_DATABASE_URL": "postgresql://db/paygate",
    "PAYGATE_SECRET_KEYS": f"1:{KEY}",
}


def problems(**changed: str) -> list[str]:
    with pytest.raises(config.Invalid) as caught:
        config.read(GOOD | changed)
    return caught.value.problems


def test_two_variables_are_enough() -> None:
    settings = config.read(GOOD)
    assert settings.database_url == "postgresql://db/paygate"
    assert list(settings.secret_keys) == [1]


def test_every_variable_has_a_setting() -> None:
    assert set(config._VARIABLES) <= set(config.Settings.__dataclass_fields__)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(config.Invalid) as caught:
        config.read({"PAYGATE_PORT": "http"})
    assert [problem.split()[0] for problem in caught.value.problems] == [
        "PAYGATE_PORT",
        "PAYGATE_DATABASE_URL",
        "PAYGATE_SECRET_KEYS",
    ]


@pytest.mark.parametrize(
    "keys",
    [
        "secret",
        "1:" + base64.b64encode(b"short").decode(),
        "1:" + base64.b64encode(b"\x00" * 32).decode(),
        "1:" + base64.b64encode(bytes(range(32))).decode(),
        "1:" + base64.b64encode(b"changemechangemechangemechangeme").decode(),
        f"0:{KEY}",
        f"256:{KEY}",
        f"1:{KEY},1:{KEY}",
        "1:not base64!",
    ],
)
def test_a_key_that_is_short_known_or_typed_is_refused_and_not_repeated(keys: str) -> None:
    (problem,) = problems(PAYGATE_SECRET_KEYS=keys)
    assert problem.startswith("PAYGATE_SECRET_KEYS ")
    assert keys.partition(":")[2] not in problem or ":" not in keys


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("DATABASE_URL", "mysql://x"),
        ("REDIS_URL", "localhost"),
        ("TRUSTED_PROXIES", "everyone"),
        ("WEBHOOK_ALLOW_LOOPBACK", "maybe"),
        ("LEASE_SECONDS", "1"),
        ("LOG_LEVEL", "LOUD"),
        ("SECURITY_CONTACT", "me"),
    ],
)
def test_a_value_that_cannot_work_is_named(name: str, value: str) -> None:
    assert [problem.split()[0] for problem in problems(**{f"PAYGATE_{name}": value})] == [f"PAYGATE_{name}"]


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(GOOD["PAYGATE_SECRET_KEYS"] + "\n")
    environ = {
        "PAYGATE_DATABASE_URL": GOOD["PAYGATE_DATABASE_URL"],
        "PAYGATE_SECRET_KEYS_FILE": str(tmp_path / "keys"),
    }
    assert config.read(environ).secret_keys == config.read(GOOD).secret_keys


def test_settings_do_not_show_their_secrets() -> None:
    settings = config.read(GOOD | {"PAYGATE_REDIS_URL": "redis://:password@host"})
    assert "password" not in repr(settings)
    assert "postgresql" not in repr(settings)
    assert str(settings.secret_keys[1]) not in repr(settings)
