"""The command `paygate`. This module knows only the commands' names; each is imported when it is called for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and what `paygate --help` says of it."""

    place: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "demo": Entry("gateway.cli_demo:demo", "Run everything on this machine, with simulated PSPs."),
    "serve": Entry("gateway.cli_processes:serve", "Serve the partner API."),
    "worker": Entry(
        "gateway.cli_processes:start_worker", "Deliver webhooks, apply PSP notifications, settle open payments."
    ),
    "console": Entry("gateway.cli_processes:serve_console", "Serve the support console."),
    "migrate": Entry("gateway.cli_processes:migrate", "Bring the database's schema up to date."),
    "doctor": Entry("gateway.cli_processes:see_doctor", "Examine this installation and say what to mend."),
    "simulator": Entry("gateway.cli_simulator:simulator", "Run the simulator of one PSP alone."),
    "listen": Entry("gateway.cli_listen:listen", "Forward a test account's events to a server on your machine."),
    "trigger": Entry("gateway.cli_trigger:trigger", "Make an event happen in test mode, by what causes it."),
    "partners": Entry("gateway.cli_operators:partners", "Create, list, deactivate partners."),
    "keys": Entry("gateway.cli_operators:keys", "Create, list, rotate, revoke a partner's API keys."),
    "support-users": Entry(
        "gateway.cli_support_users:commands", "Create, list, disable, reset the people of the support console."
    ),
    "secrets": Entry("gateway.cli_operators:secrets", "Show and reseal what the secret keys protect."),
    "signing-keys": Entry("gateway.cli_signing_keys:commands", "List and rotate the keys that sign webhooks publicly."),
    "manual": Entry("gateway.cli_manual:manual", "List, confirm, reject offline payments."),
    "reviews": Entry("gateway.cli_reviews:commands", "List, show, resolve what recovery could not settle."),
    "notifications": Entry(
        "gateway.cli_notifications:commands", "List, show, retry what PSPs told and nobody could apply."
    ),
    "findings": Entry("gateway.cli_findings:commands", "List, lift, close, accept what is held against our books."),
    "audit": Entry("gateway.cli_audit:commands", "List who did what; verify that history is as it was."),
    "accounts": Entry("gateway.cli_accounts:accounts", "Add, change, list, switch, disable accounts at PSPs."),
    "rules": Entry("gateway.cli_rules:commands", "Write, show, activate, roll back a partner's routing rules."),
}


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.place.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="paygate")
def main() -> None:
    """Paygate: one API over many payment service providers. Configured by PAYGATE_* variables."""
