"""Promise: operators write and switch a partner's rules, price accounts and overrule breakers, and leave a trace."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db import ids
from db.database import Database, Role
from db.partners import Partner
from db.provider_accounts import ProviderAccount
from db.records import Scope
from db.routing_records import BreakerOverride
from db.vault import Vault
from gateway import runtime
from gateway.config import Settings
from gateway.partners import Desk, Refused
from gateway.routing.breaker import Standing
from gateway.routing.decisions import Candidate
from gateway.routing.switchboard import Routes
from providers import PROVIDERS
from providers.simulator import CREDENTIALS
from tests.integration.commands import paygate, told

ADYEN_FIRST = {"name": "all", "when": {}, "then": {"priority": ["adyen", "stripe"]}}


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, secret_keys={1: os.urandom(32)})


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    database = await Database.open(settings.database_url, Role.OPERATOR)
    yield Desk(database, Vault(settings.secret_keys), "test")
    await database.close()


@pytest.fixture
async def partner(desk: Desk) -> Partner:
    return await desk.create_partner(name="Ada", email="ada@example.com")


@pytest.fixture
async def account(desk: Desk) -> ProviderAccount:
    """Adyen takes several methods."""
    return await desk.add_account(provider="adyen", livemode=False, credentials=CREDENTIALS["adyen"])


@pytest.fixture
def whose(partner: Partner) -> list[str]:
    return ["--partner", ids.encode("prt", partner.id), "--mode", "test"]


async def routes(settings: Settings, partner: Partner, method: str = "card") -> tuple[Routes, list[Candidate]]:
    """What a process that starts now would route by."""
    async with runtime.opened(settings, Role.APP) as opened:
        found = await opened.switchboard.routes(Scope(partner.id, livemode=False))
        return found, list(opened.switchboard.candidates(found, method))


async def live(settings: Settings, partner: Partner) -> tuple[int | None, int | None]:
    """The versions that are live and shadow."""
    found, _ = await routes(settings, partner)
    return found.live.version if found.live else None, found.shadow.version if found.shadow else None


async def audited(settings: Settings, kind: str) -> list[Any]:
    connection = await asyncpg.connect(settings.database_url)
    query = "SELECT action, actor, changes FROM audit_logs WHERE resource_type = $1 ORDER BY id"
    rows = await connection.fetch(query, kind)
    await connection.close()
    return [
        (row["action"].partition(".")[2], row["actor"].partition(":")[0], json.loads(row["changes"])) for row in rows
    ]


def written(tmp_path: Path, *rules: object) -> str:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"description": "From a file", "rules": list(rules)}))
    return str(path)


async def refusal(settings: Settings, *arguments: str) -> list[str]:
    done = await asyncio.to_thread(paygate, settings, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


# ── Rules ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rules_are_written_switched_and_taken_back(
    settings: Settings, partner: Partner, account: ProviderAccount, whose: list[str], tmp_path: Path
) -> None:
    file = written(tmp_path, ADYEN_FIRST)
    first, second = [await told(settings, "rules", "create", file, *whose) for _ in range(2)]
    assert (first["rules"], first["description"], first["live"]) == ([ADYEN_FIRST], "From a file", False)
    assert await live(settings, partner) == (None, None)
    assert (await told(settings, "rules", "activate", first["id"], *whose))["live"] is True
    assert (await told(settings, "rules", "shadow", second["id"], *whose))["shadow"] is True
    assert await live(settings, partner) == (1, 2)
    await told(settings, "rules", "activate", second["id"], *whose)
    assert (await told(settings, "rules", "rollback", *whose))["live"]["version"] == 1
    listed = await told(settings, "rules", "list", *whose)
    assert [(one["version"], one["live"], one["shadow"]) for one in listed] == [(2, False, True), (1, True, False)]
    assert await told(settings, "rules", "show", second["id"], *whose) == listed[0]
    await told(settings, "rules", "deactivate", "--lane", "shadow", *whose)
    await told(settings, "rules", "deactivate", *whose)
    assert await live(settings, partner) == (None, None)
    acts = [(action, actor) for action, actor, _ in await audited(settings, "routing_rules")]
    names = ("created", "created", "activated", "activated", "activated", "rolled_back", "deactivated", "deactivated")
    assert acts == [(name, "cli") for name in names]


async def test_what_a_person_reads_shows_the_rules_and_what_is_live(
    settings: Settings, whose: list[str], tmp_path: Path
) -> None:
    made = await told(settings, "rules", "create", written(tmp_path, ADYEN_FIRST), *whose)
    shown = await asyncio.to_thread(paygate, settings, "rules", "show", made["id"], *whose)
    assert json.loads(shown.stdout[shown.stdout.index("\n[") :]) == [ADYEN_FIRST]
    await told(settings, "rules", "activate", made["id"], *whose)
    rolled_back = await asyncio.to_thread(paygate, settings, "rules", "rollback", *whose)
    assert rolled_back.stdout.split() == ["live", "-", "shadow", "-"]
    assert await refusal(settings, "rules", "rollback", *whose) == ["Error: no rules are live, and none were before"]


async def test_a_draft_is_put_to_past_decisions(settings: Settings, whose: list[str], tmp_path: Path) -> None:
    answer = await told(settings, "rules", "backtest", written(tmp_path, ADYEN_FIRST), "--days", "7", *whose)
    assert datetime.fromisoformat(answer["until"]) - datetime.fromisoformat(answer["since"]) == timedelta(days=7)
    assert (answer["decisions"], answer["complete"], answer["segments"]) == (0, True, [])


async def test_a_wrong_file_names_every_mistake_in_its_line(
    settings: Settings, whose: list[str], tmp_path: Path
) -> None:
    wrong = {"name": "b", "when": {"currency": ["XXX"]}, "then": {"priority": [f"pac_{'0' * 26}"]}}
    lines = await refusal(settings, "rules", "create", written(tmp_path, ADYEN_FIRST, wrong), *whose)
    assert [line.removeprefix("Error: ").partition(":")[0] for line in lines] == [
        "rules.1.when.currency.0",
        "rules.1.then.priority.0",
    ]
    (tmp_path / "rules.json").write_text("{")
    assert len(await refusal(settings, "rules", "create", str(tmp_path / "rules.json"), *whose)) == 1


async def test_rules_are_of_one_partner_and_mode(
    desk: Desk, settings: Settings, account: ProviderAccount, whose: list[str], tmp_path: Path
) -> None:
    rule = {"name": "ours", "then": {"priority": [ids.encode("pac", account.id)]}}
    file = written(tmp_path, rule)
    made = await told(settings, "rules", "create", file, *whose)
    other = await desk.create_partner(name="Bob", email="bob@example.com")
    theirs = ["--partner", ids.encode("prt", other.id), "--mode", "test"]
    in_live_mode = [*whose[:-1], "live"]
    assert await told(settings, "rules", "list", *theirs) == []
    assert len(await refusal(settings, "rules", "show", made["id"], *theirs)) == 1
    assert len(await refusal(settings, "rules", "activate", made["id"], *in_live_mode)) == 1
    (line,) = await refusal(settings, "rules", "create", file, *in_live_mode)
    assert "rules.0.then.priority.0" in line
    nobody = ["--partner", f"prt_{'0' * 26}", "--mode", "test"]
    assert await refusal(settings, "rules", "create", file, *nobody) == ["Error: there is no such partner"]


# ── Accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_fees_are_set_and_taken_back(settings: Settings, partner: Partner, account: ProviderAccount) -> None:
    account_id = ids.encode("pac", account.id)
    changed = await told(
        settings, "accounts", "fees", account_id, "--percent", "1.4", "--fixed", "EUR=0.25", "--fixed", "JPY=30"
    )
    assert changed["fees"] == {"percent": "1.4", "fixed": {"EUR": "0.25", "JPY": "30"}}
    _, (candidate,) = await routes(settings, partner)
    assert candidate.account.fees is not None
    assert (candidate.account.fees.percent, candidate.account.fees.fixed["EUR"]) == (Decimal("1.4"), Decimal("0.25"))
    assert (await told(settings, "accounts", "fees", account_id, "--none"))["fees"] is None
    acts = await audited(settings, "provider_account")
    assert [(action, changes.get("fees")) for action, _, changes in acts] == [
        ("added", None),
        ("fees_set", changed["fees"]),
        ("fees_set", None),
    ]


async def test_fees_in_no_known_currency_are_refused(desk: Desk, account: ProviderAccount) -> None:
    with pytest.raises(Refused, match="XXX"):
        await desk.set_fees(account.id, {"percent": "1", "fixed": {"EUR": "1", "XXX": "1"}})


async def test_an_operators_word_overrules_a_breaker_until_it_is_taken_back(
    settings: Settings, partner: Partner, account: ProviderAccount
) -> None:
    account_id = ids.encode("pac", account.id)
    setting = ("accounts", "breaker", account_id)
    changed = await told(settings, *setting, "open", "--method", "card", "--reason", "their incident 42")
    assert changed["breakers"] == {"card": "open"}
    _, (card,) = await routes(settings, partner)
    _, (wallet,) = await routes(settings, partner, "e_wallet")
    assert (card.switched_off, wallet.switched_off) == (True, False)
    (listed,) = await told(settings, "accounts", "list")
    assert listed["breakers"] == {"card": "open"}
    shown = await told(settings, "accounts", "show", account_id)
    assert (shown["health"][0]["reason"], shown["health"][0]["set to"]) == ("their incident 42", "open")
    await told(settings, *setting, "auto", "--reason", "it is over")
    _, (card,) = await routes(settings, partner)
    assert (card.switched_off, card.account.standing) == (False, Standing.CLOSED)
    (_, _, opened), (action, actor, taken_back) = (await audited(settings, "provider_account"))[1:]
    assert (opened["breaker"], opened["methods"]) == ("open", ["card"])
    assert (action, actor, taken_back["breaker"], taken_back["reason"]) == ("breaker_set", "cli", "auto", "it is over")


async def test_without_a_method_all_of_the_account_is_switched(
    desk: Desk, settings: Settings, partner: Partner, account: ProviderAccount
) -> None:
    await desk.override_breaker(account.id, BreakerOverride.OPEN, method=None, reason="their incident 42")
    for method in PROVIDERS["adyen"].capabilities.methods:
        _, (candidate,) = await routes(settings, partner, method)
        assert candidate.switched_off, method
    shown = await asyncio.to_thread(paygate, settings, "accounts", "show", ids.encode("pac", account.id))
    assert "their incident 42" in shown.stdout


async def test_a_method_that_a_psp_does_not_take_and_an_empty_reason_are_refused(
    desk: Desk, account: ProviderAccount
) -> None:
    for method, reason in (("crypto", "why not"), ("card", ""), ("card", "x" * 256)):
        with pytest.raises(Refused):
            await desk.override_breaker(account.id, None, method=method, reason=reason)
