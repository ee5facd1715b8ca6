"""Promise: the pages in docs/ name what the code has, and nothing in them leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase

from db.records import AttemptState, DeliveryState, RefundStatus, TransactionStatus
from gateway import cli, config, telemetry
from gateway.api.errors import CODES
from gateway.transactions.outcomes import NAMES as OUTCOME_NAMES
from gateway.transactions.representation import EVENT_TYPES
from providers.simulator.faults import FaultKind
from providers.simulator.stripe_tokens import BEHAVIOURS
from webhooks.schedule import TRIES_MAX

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def quoted(page: str) -> set[str]:
    """Every word that stands in backticks outside the blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)))


def missing(names: object, page: str) -> set[str]:
    assert isinstance(names, set | list | tuple | dict | frozenset)
    return set(map(str, names)) - quoted(page)


def test_every_variable_is_described_and_no_other() -> None:
    described = {
        name.removesuffix("_FILE") for name in re.findall(r"PAYGATE_[A-Z_]+", read("reference/configuration.md"))
    }
    assert described - {"PAYGATE_X"} == {f"PAYGATE_{name.upper()}" for name in config._VARIABLES}


def test_every_error_is_described_as_it_is_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \|", read("reference/errors.md"), re.MULTILINE)
    described = {code: (int(status), again == "yes") for code, status, again in rows}
    assert described == {name: (code.status, code.safe_to_retry) for name, code in CODES.items()}


def test_every_event_and_state_of_a_delivery_is_described() -> None:
    assert not missing(EVENT_TYPES, "reference/events.md")
    assert not missing([state.value for state in DeliveryState], "reference/events.md")
    schedule = re.search(r"^\| try \|(.+)\|$", read("reference/events.md"), re.MULTILINE)
    assert schedule is not None
    assert schedule[1].count("|") + 1 == TRIES_MAX


def test_every_status_and_outcome_is_described() -> None:
    for names in (TransactionStatus, RefundStatus, AttemptState):
        assert not missing([name.value for name in names], "reference/statuses.md")
    assert not missing(list(OUTCOME_NAMES.values()), "reference/statuses.md")


def test_every_metric_and_log_field_is_described_and_no_other_metric() -> None:
    described = {name for name in quoted("reference/metrics-and-logs.md") if name.startswith("paygate_")}
    assert described == set(metrics())
    assert not missing(telemetry.FIELDS, "reference/metrics-and-logs.md")


def metrics() -> Iterator[str]:
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            yield f"{family.name}_total" if family.type == "counter" else family.name


def test_every_command_and_option_is_described() -> None:
    page = read("reference/command-line.md")
    for path, command in commands(cli.main, "paygate"):
        (row, *more) = [line for line in page.splitlines() if line.startswith(f"| `{path}")]
        assert not more, path
        options = {option for param in command.params for option in param.opts if option.startswith("--")}
        assert not {option for option in options - {"--help"} if f"`{option}" not in row}, path


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_magic_token_and_fault_is_described() -> None:
    assert not missing(BEHAVIOURS, "how-to/test-your-integration.md")
    assert not missing([kind.value for kind in FaultKind], "how-to/test-your-integration.md")


def test_every_table_and_role_is_described() -> None:
    migrations = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "db/migrations/versions").glob("*.sql"))
    tables = re.findall(r"^CREATE TABLE (\w+) \(", migrations, re.MULTILINE)
    assert tables
    assert not missing(tables, "reference/database.md")
    assert not missing(re.findall(r"'(paygate_\w+)'", migrations), "reference/database.md")
    constraints = re.findall(r"CONSTRAINT (?:TRIGGER )?(\w+) (?:CHECK|UNIQUE|AFTER)|UNIQUE INDEX (\w+)", migrations)
    assert not missing({first or second for first, second in constraints}, "reference/database.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in headings(found), target


def headings(page: Path) -> set[str]:
    """As GitHub spells them in links."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_listed() -> None:
    index = DOCS / "README.md"
    listed = {
        (DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index.read_text(encoding="utf-8"))
    }
    assert {page.resolve() for page in DOCS.rglob("*.md")} - {index.resolve()} <= listed


def test_decisions_are_numbered_without_gaps_and_by_their_number() -> None:
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        assert path.read_text(encoding="utf-8").startswith(f"# {int(path.name[:4])}. ")
