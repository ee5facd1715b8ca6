"""Promise: the pages in docs/ name what the code has, and nothing in them leads nowhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase

from db.records import (
    AttemptState,
    DeliveryState,
    DisputeState,
    ProviderEventState,
    RefundStatus,
    TransactionStatus,
)
from gateway import cli, config, telemetry
from gateway.api.errors import CODES
from gateway.api.rule_documents import CreateRoutingRules, RuleConditions, RuleWay
from gateway.transactions.failures import ACTION_EXPIRED
from gateway.transactions.outcomes import NAMES as OUTCOME_NAMES
from gateway.transactions.representation import EVENT_TYPES
from gateway.transactions.unasked import CAPTURE_RETURNED, EXPIRED, REFUND_RETURNED
from providers import PROVIDERS, adyen, adyen_webhooks, contract, currency, paypal_events, stripe_events
from providers.simulator import CREDENTIALS, SIMULATORS, adyen_values, paypal_tokens, stripe_tokens
from providers.simulator.faults import FaultKind
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
    assert not missing([state.value for state in DisputeState], "reference/statuses.md")
    late = (ACTION_EXPIRED, CAPTURE_RETURNED, EXPIRED, REFUND_RETURNED)
    assert not missing([failure.error_code for failure in late], "reference/statuses.md")


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_described_as_it_is(name: str) -> None:
    able = PROVIDERS[name].capabilities
    columns = {title: cells[column(name)] for title, *cells in table("reference/providers.md")}
    assert set(words(columns["methods"])) == able.methods
    tokenless = set(words(columns["without token"]))
    assert tokenless == able.tokenless_methods or (columns["without token"] == "all" and able.offline)
    hours = {"hours": 1, "days": 24, "years": 365 * 24}
    number, unit = columns["key remembered"].split()
    assert int(number) * hours[unit] * 3600 == able.key_lifetime_seconds
    number, unit = columns["sent again within"].split()
    assert float(number) * hours[unit] * 3600 == pytest.approx(0.8 * able.key_lifetime_seconds, rel=0.02)
    kept, lag = able.events_kept_seconds, able.payments_listed_after_seconds
    assert columns["events listed for"] == ("no" if kept is None else f"{kept // 86_400} days")
    listed = "no" if lag is None else f"{lag // 3_600} hours"
    assert columns["payments listed after"] == ("at once" if lag == 0 else listed)


def table(page: str) -> list[list[str]]:
    """The cells of its first table, row by row."""
    block = read(page).partition("\n| ")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in f"| {block}".splitlines()]


def column(name: str) -> int:
    """Of a provider, behind the title of the row."""
    (head, *_) = table("reference/providers.md")
    return head[1:].index(f"`{name}`")


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def section(page: str, title: str) -> str:
    return read(page).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", SIMULATORS)
def test_credentials_are_described_as_the_adapter_reads_them(name: str) -> None:
    titles = {"adyen": "Adyen", "paypal": "PayPal", "stripe": "Stripe"}
    described = section("reference/providers.md", titles[name])
    example = json.loads(described.partition("```json\n")[2].partition("```")[0])
    source = (ROOT / f"providers/{name}.py").read_text(encoding="utf-8")
    read_by_adapter = set(re.findall(r'credentials(?:\.get\(|, )"(\w+)"', source))
    assert set(example) == read_by_adapter
    assert not {field for field in example if f"`{field}`" not in described}
    (row,) = re.findall(rf"^\| `{name}` \| `(\{{.+\}})` \|", read("how-to/test-your-integration.md"), re.MULTILINE)
    assert json.loads(row) == CREDENTIALS[name]


def test_every_refused_currency_is_described() -> None:
    for title, spelling in (("Stripe", currency.STRIPE), ("PayPal", currency.PAYPAL), ("Adyen", currency.ADYEN)):
        described = set(re.findall(r"\b[A-Z]{3}\b", section("reference/providers.md", title)))
        assert spelling.never | (spelling.only or frozenset()) <= described
        assert set(spelling.multiples) <= described


def test_what_adyens_redirects_are_is_described_as_it_is() -> None:
    described = section("reference/providers.md", "Adyen")
    example = json.loads(described.partition("```json\n")[2].partition("```")[0])
    assert example["payment_methods"] == adyen.PAYMENT_METHODS
    assert example["shopper_reference"] == adyen.SHOPPER_REFERENCE
    assert not {model for model in adyen.RECURRING_MODELS if f"`{model}`" not in described}


def test_every_state_and_event_of_a_notification_is_described() -> None:
    page = "how-to/receive-psp-notifications.md"
    assert not missing([state.value for state in ProviderEventState], page)
    assert not missing(stripe_events.READERS, page)
    assert not missing(paypal_events.READERS, page)
    events = set(re.findall(r"`([A-Z_]+)`", read(page).partition("**Adyen**")[2].partition("\n\n")[0]))
    assert events == {event for event in adyen_webhooks._READERS if not ignored(event)}


def ignored(event: str) -> bool:
    """Whether Adyen's event changes nothing, whatever it says."""
    item = {"eventCode": event, "pspReference": "A", "success": "false", "amount": {"value": 1, "currency": "EUR"}}
    try:
        told = adyen_webhooks.read(json.dumps(item).encode())
    except contract.Unreadable:
        return False
    return isinstance(told, contract.Irrelevant) and event != "CANCEL_OR_REFUND"


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


def test_every_condition_and_way_of_a_rule_is_described_and_the_example_is_one() -> None:
    page = "reference/routing-rules.md"
    assert not missing({*RuleConditions.model_fields, *RuleWay.model_fields}, page)
    example = json.loads(read(page).partition("```json\n")[2].partition("```")[0])
    assert CreateRoutingRules.model_validate(example).rules


def test_every_magic_token_and_fault_is_described() -> None:
    assert not missing(stripe_tokens.BEHAVIOURS, "how-to/test-your-integration.md")
    assert not missing(paypal_tokens._LISTED, "how-to/test-your-integration.md")
    rejections = {f"vault_CCREJECT-{name}" for name in paypal_tokens.PROCESSOR_CODES}
    assert not missing(rejections, "how-to/test-your-integration.md")
    adyens = section("how-to/test-your-integration.md", "Magic tokens at Adyen")
    assert set(re.findall(r"`([A-Z_]+)`", adyens)) <= adyen_values.BEHAVIOURS.keys()
    special = {name for name, does in adyen_values.BEHAVIOURS.items() if not does.code or does.challenge}
    assert special <= set(re.findall(r"`([A-Z_]+)`", adyens))
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
