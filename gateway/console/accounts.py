"""Accounts at PSPs: added, tried, switched off; what they cost, and an operator's word about their breakers.

Credentials go in and never come out: no page, log or audit line repeats one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from starlette.responses import Response

from db import ids
from db import partners as stored_partners
from db.provider_accounts import ProviderAccount
from db.routing_records import BreakerOverride, Health
from gateway import partners
from gateway.api import body, fields
from gateway.api.body import RequestModel
from gateway.api.errors import Problem, invalid
from gateway.console import inputs
from gateway.console.inputs import Amounts, PartnerId, Whole
from gateway.console.visits import Visit
from gateway.partners import NAME_MAX, Refused
from gateway.routing import breaker
from gateway.routing.breaker import Standing
from gateway.transactions.commands import NotFound
from providers import PROVIDERS

PREFIX = "credential."
"""Before the names of credentials in a form."""
_LISTS = {"hmac_keys", "webhook_secrets"}
_VALUES = {"payment_methods", "ugx_hundredfold", "webhook_age_seconds_max"}
PRIORITY, PRIORITY_MAX = 100, 1_000_000
PARTNERS_MAX = 1_000
"""Offered as owners of a new account; of more the newest, and whoever's page led here."""


Line = Annotated[fields.Line, StringConstraints(max_length=NAME_MAX)]


def _known(provider: str) -> str:
    if provider not in PROVIDERS:
        raise ValueError(f"must be one of {', '.join(sorted(PROVIDERS))}")
    return provider


class NewAccount(RequestModel):
    provider: Annotated[str, AfterValidator(_known)]
    mode: Literal["test", "live"]
    label: Line | None = None
    partner: PartnerId | None = None
    base_url: fields.ReturnUrl | None = None
    priority: Annotated[Whole, Field(ge=0, le=PRIORITY_MAX)] = PRIORITY


class Fees(RequestModel):
    """Nothing: they are not known."""

    percent: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}(\.[0-9]{1,4})?$")] | None = None
    fixed: Amounts = Field(default_factory=dict)


class Word(RequestModel):
    """An operator's, about a breaker; `method` absent: of all that the PSP takes."""

    state: Literal["open", "closed", "auto"]
    method: Annotated[str, StringConstraints(max_length=40)] | None = None
    reason: Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An account as the list shows it."""

    account: ProviderAccount
    partner_name: str | None
    breakers: Sequence[tuple[str, Standing, Health | None]]


async def everything(visit: Visit) -> Response:
    return visit.page("accounts.html", rows=await rows(visit, await visit.desk.list_accounts()))


async def ask(visit: Visit) -> Response:
    provider = visit.query.get("provider", "stripe")
    if provider not in PROVIDERS:
        raise NotFound
    return await _asking(visit, provider, {"partner": str(visit.query.get("partner", ""))})


async def add(visit: Visit) -> Response:
    given, credentials = inputs.apart(visit.form, PREFIX)
    provider = given.get("provider", "")
    try:
        wanted = body.validate(NewAccount, given)
        made = await visit.desk.add_account(
            provider=wanted.provider,
            livemode=wanted.mode == "live",
            credentials=_read(credentials),
            base_url=wanted.base_url,
            partner_id=wanted.partner,
            label=wanted.label,
            priority=wanted.priority,
        )
    except (Problem, Refused) as error:
        return await _asking(visit, provider if provider in PROVIDERS else "stripe", given, _wrong(error))
    except partners.NotFound:
        return await _asking(visit, provider, given, {"partner": "There is no such partner"})
    return await visit.back(path_of(made.id), f"{made.label} is added. Try the connection before charges go there.")


async def show(visit: Visit) -> Response:
    return await _shown(visit, visit.id("pac"))


async def attempt(visit: Visit) -> Response:
    account_id = visit.id("pac")
    with _found():
        tried = await visit.desk.try_account(account_id)
    return await visit.back(path_of(account_id), tried.told if tried.ok else f"{tried.told}: {tried.mend}.")


async def replace_credentials(visit: Visit) -> Response:
    account_id = visit.id("pac")
    _, credentials = inputs.apart(visit.form, PREFIX)
    try:
        with _found():
            changed = await visit.desk.change_account(account_id, credentials=_read(credentials))
    except (Problem, Refused) as error:
        return await _shown(visit, account_id, _wrong(error))
    return await visit.back(path_of(account_id), f"{changed.label} uses the new credentials within a second.")


async def disable(visit: Visit) -> Response:
    account_id = visit.id("pac")
    with _found():
        left = await visit.desk.disable_account(account_id)
    return await visit.back(path_of(account_id), f"{left.label} gets no new attempt; what is under way ends there.")


async def set_breaker(visit: Visit) -> Response:
    account_id = visit.id("pac")
    try:
        wanted = visit.read(Word)
        override = None if wanted.state == "auto" else BreakerOverride(wanted.state)
        with _found():
            await visit.desk.override_breaker(account_id, override, method=wanted.method, reason=wanted.reason)
    except (Problem, Refused) as error:
        return await _shown(visit, account_id, inputs.wrong_of(error))
    return await visit.back(path_of(account_id), f"The breaker is set to {wanted.state}, everywhere within a second.")


async def set_fees(visit: Visit) -> Response:
    account_id = visit.id("pac")
    try:
        wanted = visit.read(Fees)
        each = {code: f"{amount:f}" for code, amount in wanted.fixed.items()}
        known = wanted.percent is not None or bool(each)
        with _found():
            await visit.desk.set_fees(account_id, {"percent": wanted.percent or "0", "fixed": each} if known else None)
    except (Problem, Refused) as error:
        return await _shown(visit, account_id, inputs.wrong_of(error))
    return await visit.back(path_of(account_id), "The fees are set." if known else "The fees are not known any more.")


def path_of(account_id: UUID) -> str:
    return f"/console/accounts/{ids.encode('pac', account_id)}"


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except partners.NotFound:
        raise NotFound from None


def _read(texts: Mapping[str, str]) -> dict[str, object]:
    """Credentials as adapters take them. Raises `Problem`, which repeats none of them."""
    credentials: dict[str, object] = {}
    for name, text in texts.items():
        if name in _LISTS:
            credentials[name] = [one for one in text.replace(",", " ").split() if one]
        elif name in _VALUES:
            try:
                credentials[name] = json.loads(text)
            except ValueError:
                raise invalid(name, "must be a JSON value") from None
        else:
            credentials[name] = text.strip()
    return credentials


def _wrong(error: Problem | Refused) -> dict[str, str]:
    """An adapter names the credential before what is wrong with it."""
    name, separator, _ = str(error).partition(": ")
    if isinstance(error, Refused) and separator:
        return {name: str(error), "form": "These credentials cannot be used: give all of them again."}
    return inputs.wrong_of(error)


async def _asking(
    visit: Visit, provider: str, given: Mapping[str, str], wrong: Mapping[str, str] | None = None
) -> Response:
    """What was typed is kept but for the credentials. Whose it is to be is offered, however many partners there are."""
    chosen = ids.decode("prt", given.get("partner", ""))
    async with visit.console.reading.as_system() as connection:
        known = {one.id: one.name for one in await stored_partners.newest(connection, PARTNERS_MAX)}
        known |= await stored_partners.names(connection, [chosen] if chosen else [])
    return visit.page(
        "account_new.html",
        422 if wrong else 200,
        provider=provider,
        providers=sorted(PROVIDERS),
        names=sorted(PROVIDERS[provider].credential_fields),
        partners=[(ids.encode("prt", partner_id), name) for partner_id, name in known.items()],
        given=given,
        wrong=wrong or {},
        priority=PRIORITY,
    )


async def _shown(visit: Visit, account_id: UUID, wrong: Mapping[str, str] | None = None) -> Response:
    with _found():
        account = await visit.desk.show_account(account_id)
    (row,) = await rows(visit, [account])
    adapter = PROVIDERS[account.provider]
    return visit.page(
        "provider_account.html",
        422 if wrong else 200,
        row=row,
        names=sorted(adapter.credential_fields),
        methods=[(method, method) for method in sorted(adapter.capabilities.methods)],
        fixed="\n".join(f"{code}={amount}" for code, amount in sorted((account.fees or {}).get("fixed", {}).items())),
        wrong=wrong or {},
    )


async def rows(visit: Visit, accounts: Sequence[ProviderAccount]) -> list[Row]:
    now = visit.console.acting.clock()
    async with visit.console.reading.as_system() as connection:
        owners = await stored_partners.names(connection, {one.partner_id for one in accounts if one.partner_id})
    health = {(one.account_id, one.method): one for one in await visit.desk.health_of(accounts)}

    def breakers(account: ProviderAccount) -> Iterator[tuple[str, Standing, Health | None]]:
        for method in sorted(PROVIDERS[account.provider].capabilities.methods):
            known = health.get((account.id, method))
            yield method, breaker.standing(known, now), known

    return [
        Row(
            account=one,
            partner_name=owners.get(one.partner_id) if one.partner_id else None,
            breakers=list(breakers(one)),
        )
        for one in accounts
    ]
