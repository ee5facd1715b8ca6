"""Whether this installation is fit to work: what `paygate doctor` reports, and what a process checks first of all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from db import feed, inspection, provider_accounts, schema
from db.database import CommitUncertain, Database, Role, Unavailable
from db.provider_accounts import ProviderAccount
from db.vault import Vault
from gateway import config, trials
from gateway.config import Settings
from gateway.runtime import Runtime
from providers.http import Doorway

CLOCK_SKEW_MAX = timedelta(seconds=5)
"""More than this is a mistake, even where it does no harm: leases run on the database's clock alone."""
SERVER_VERSION_MIN = 150_003
"""PostgreSQL 15.3 mends CVE-2023-2455: row policies of the wrong role in cached plans."""
_MOVED = "the data came from another server: new events would stand before old ones and their readers miss them"
FEED_LAG_MAX_SECONDS = 60.0
"""Our own transactions end within seconds: whatever holds the feed back for longer is somebody else's."""
_THIS_MACHINE = {"127.0.0.1", "::1", "localhost"}
REDIS_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at, and where it is not `ok` how to mend it.

    `fatal` forbids serving, `advice` is no failure.
    """

    check: str
    ok: bool
    told: str
    mend: str = ""
    weight: Literal["fatal", "failure", "advice"] = "failure"

    @property
    def failed(self) -> bool:
        return not self.ok and self.weight != "advice"


class Unfit(Exception):
    """Serving would be unsafe; the message names every reason and what to do."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(f"{finding.told}: {finding.mend}" for finding in findings))
        self.findings = findings


async def refuse_if_unfit(runtime: Runtime) -> None:
    """Raises `Unfit`."""
    findings = [_rehearsal(runtime.settings), *await inspect_database(runtime.database)]
    wrong = [found for found in findings if found.weight == "fatal" and not found.ok]
    if wrong:
        raise Unfit(wrong)


async def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Everything, as far as one finding does not make the next impossible."""
    try:
        settings = config.read(environ)
    except config.Invalid as error:
        return [
            Finding(check="configuration", ok=False, told=problem, mend="set the variable", weight="fatal")
            for problem in error.problems
        ]
    findings = [Finding(check="configuration", ok=True, told="the settings can be read")]
    findings += [_hosts(settings), _rehearsal(settings), _second_factor(settings)]
    for role in Role:
        findings += await _examine_role(settings, role)
    if settings.redis_url is not None:
        findings.append(await _examine_redis(settings.redis_url))
    if not any(finding.failed and finding.weight == "fatal" for finding in findings):
        findings += [await _examine_feed(settings), *await _examine_accounts(settings)]
    return findings


async def inspect_database(database: Database) -> list[Finding]:
    began = datetime.now(UTC)
    async with database.as_system() as connection:
        facts = await inspection.facts(connection)
    skew = abs(facts.now - began - (datetime.now(UTC) - began) / 2)
    return [
        _finding(
            "migrations",
            facts.revision == schema.HEAD,
            f"{facts.role}: the schema is at {facts.revision}, this program needs {schema.HEAD}",
            "run `paygate migrate`",
        ),
        _finding(
            "feed",
            not facts.moved,
            f"{facts.role}: {_MOVED if facts.moved else 'it counts as this server does'}",
            "run `paygate migrate`",
        ),
        _finding(
            "search",
            not facts.search_is_blind,
            f"{facts.role}: what searches look into {'shows no row' if facts.search_is_blind else 'shows every row'}",
            "run `paygate migrate`",
        ),
        _finding(
            "database role",
            not facts.role_bypasses_policies,
            f"{facts.role}: the role {'can' if facts.role_bypasses_policies else 'cannot'} bypass row-level security",
            f"ALTER ROLE {facts.role} NOSUPERUSER NOBYPASSRLS",
        ),
        _finding(
            "row-level security",
            not facts.tables_without_forced_policies,
            f"{facts.role}: {_tables(facts.tables_without_forced_policies)}",
            "ALTER TABLE … ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        ),
        _finding(
            "clocks",
            skew <= CLOCK_SKEW_MAX,
            f"{facts.role}: this clock and the database's differ by {skew.total_seconds():.3f} s",
            "synchronise both machines (chrony, systemd-timesyncd)",
        ),
        _finding(
            "database version",
            facts.server_version >= SERVER_VERSION_MIN,
            f"{facts.role}: PostgreSQL {facts.server_version // 10000}.{facts.server_version % 10000}",
            "upgrade PostgreSQL to the newest minor version of 15 or later",
        ),
        Finding(
            check="database login",
            ok=not facts.login_is_superuser,
            told=f"{facts.role}: logs in as {facts.login}{', a superuser' if facts.login_is_superuser else ''}",
            mend="outside the demo, log in as a role that is only a member of the paygate roles",
            weight="advice",
        ),
    ]


async def _examine_role(settings: Settings, role: Role) -> list[Finding]:
    try:
        database = await Database.open(settings.database_url, role, pool_max=1)
        try:
            return await inspect_database(database)
        finally:
            await database.close()
    except (Unavailable, CommitUncertain, asyncpg.PostgresError) as error:
        told = f"{role.value}: {error}"
        mend = "check PAYGATE_DATABASE_URL, that the server runs, and that `paygate migrate` was run"
        return [Finding(check="database", ok=False, told=told, mend=mend, weight="fatal")]


async def _examine_redis(url: str) -> Finding:
    client = Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        told = f"Redis does not answer: {type(error).__name__}; each process counts rate limits for itself"
        return Finding(check="redis", ok=False, told=told, mend="check PAYGATE_REDIS_URL and that the server runs")
    finally:
        await client.aclose()
    return Finding(check="redis", ok=True, told="Redis answers")


async def _examine_feed(settings: Settings) -> Finding:
    database = await Database.open(settings.database_url, Role.OPERATOR, pool_max=1)
    try:
        async with database.as_system() as connection:
            lag = await feed.lag_seconds(connection)
    finally:
        await database.close()
    return Finding(
        check="feed",
        ok=lag <= FEED_LAG_MAX_SECONDS,
        told=f"the oldest event that readers do not get yet has waited {lag:.0f} s for a transaction that still writes",
        mend="end it: see backend_xid and xact_start in pg_stat_activity, of every database, and pg_prepared_xacts",
    )


async def _examine_accounts(settings: Settings) -> list[Finding]:
    database = await Database.open(settings.database_url, Role.OPERATOR, pool_max=1)
    try:
        async with database.as_system() as connection:
            accounts = [row for row in await provider_accounts.all_accounts(connection) if row.enabled]
    finally:
        await database.close()
    if not accounts:
        mend = "add one: paygate accounts add --help"
        told = "there is no enabled account"
        return [Finding(check="provider accounts", ok=False, told=told, mend=mend, weight="advice")]
    vault = Vault(settings.secret_keys)
    async with trials.doorway() as doorway:
        return list(await asyncio.gather(*(_examine_account(account, vault, doorway) for account in accounts)))


async def _examine_account(account: ProviderAccount, vault: Vault, doorway: Doorway) -> Finding:
    tried = await trials.tried(account, vault, doorway)
    return Finding(check="provider accounts", ok=tried.ok, told=tried.told, mend=tried.mend)


def _hosts(settings: Settings) -> Finding:
    return Finding(
        check="allowed hosts",
        ok=bool(settings.allowed_hosts),
        told="the server goes by " + (", ".join(sorted(settings.allowed_hosts)) or "any name"),
        mend="name its hosts in PAYGATE_ALLOWED_HOSTS",
        weight="advice",
    )


def _rehearsal(settings: Settings) -> Finding:
    """Whoever can be reached from elsewhere has customers."""
    reached_as = {settings.host} | ({urlsplit(settings.public_url).hostname} if settings.public_url else set())
    return _finding(
        "failpoints",
        not settings.failpoints or reached_as <= _THIS_MACHINE,
        "this process is told to crash or pause itself" if settings.failpoints else "none is armed",
        "unset PAYGATE_FAILPOINTS, or listen on 127.0.0.1",
    )


def _second_factor(settings: Settings) -> Finding:
    asked = settings.console_second_factor
    return Finding(
        check="second factor",
        ok=asked or settings.console_host in _THIS_MACHINE,
        told=f"the support console {'asks' if asked else 'does not ask'} everybody for a second factor",
        mend="unset PAYGATE_CONSOLE_SECOND_FACTOR",
        weight="advice",
    )


def _finding(check: str, ok: bool, told: str, mend: str) -> Finding:  # noqa: FBT001 - private, read beside its call
    return Finding(check=check, ok=ok, told=told, mend=mend, weight="fatal")


def _tables(names: list[str]) -> str:
    return f"not forced on {', '.join(names)}" if names else "forced on every table with a partner_id"
