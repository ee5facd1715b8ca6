"""Whether an account at a PSP can be worked with: the form of its credentials, and a call that moves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from db import ids
from db.provider_accounts import ProviderAccount
from db.vault import CannotOpen, Vault
from gateway.runtime import open_adapter
from providers import PROVIDERS, contract
from providers.http import Doorway

SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How it went, and where it is not `ok` how to mend it."""

    ok: bool
    told: str
    mend: str = ""


async def mistake(account: ProviderAccount, credentials: Mapping[str, object]) -> str | None:
    """What is wrong with credentials for this account; repeats none. Nothing is sent: the adapter looks at their form.

    The account is one to be, so its provider may be none of ours.
    """
    adapter = PROVIDERS.get(account.provider)
    if adapter is None:
        return f"providers are {', '.join(sorted(PROVIDERS))}"
    for name in sorted(set(credentials) - adapter.credential_fields):
        known = ", ".join(sorted(adapter.credential_fields))
        return f"{name}: is no field of {account.provider}'s credentials; {known}"
    async with Doorway() as way:
        try:
            adapter.open(credentials, base_url=account.base_url, livemode=account.livemode, doorway=way)
        except contract.BadCredentials as error:
            return f"{error.field}: {error.message}"
    return None


def doorway() -> Doorway:
    """For trials: a PSP that takes longer is as good as away."""
    return Doorway(deadline_seconds=SECONDS)


async def tried(account: ProviderAccount, vault: Vault, way: Doorway) -> Trial:
    """Opens the credentials and asks the PSP for a payment that does not exist."""
    name = f"{account.provider} {ids.encode('pac', account.id)}"
    try:
        adapter = open_adapter(account, vault, way)
        if not adapter.capabilities.readable:
            return Trial(ok=True, told=f"{name}: opens; there is no call to try it with")
        outcome = await adapter.look_up(adapter.prepare(_question()), provider_id=None, sent_at=datetime.now(UTC))
    except CannotOpen as error:
        mend = "add the missing version to PAYGATE_SECRET_KEYS, or disable the account and add it again"
        return Trial(ok=False, told=f"{name}: {error}", mend=mend)
    except (contract.BadCredentials, contract.Unsupported, KeyError) as error:
        return Trial(ok=False, told=f"{name}: {type(error).__name__}", mend="disable the account and add it again")
    return Trial(
        ok=not isinstance(outcome, contract.Unknown | contract.NotSent),
        told=f"{name}: {_answer(outcome)}",
        mend="check the account's credentials and the way to the PSP",
    )


def _question() -> contract.Charge:
    return contract.Charge(
        reference=f"pg1_doctor_{ids.bare(ids.new())}",
        amount=Decimal("1.00"),
        currency="USD",
        method="card",
        token="doctor",  # noqa: S106 - never sent: this charge is only looked up
        capture=True,
        return_url="https://paygate.invalid/",
    )


def _answer(outcome: contract.Outcome) -> str:
    match outcome:
        case contract.Unknown(reason=reason):
            return f"no usable answer ({reason})"
        case contract.NotSent(reason=reason):
            return f"not reached ({reason})"
        case _:
            return "answers"
