"""Routing: rule sets and their activations, breakers, what approvals taught, fees, failover in a transaction's history.

Revision ID: 0004
"""

from db import schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0004_routing.sql")
    schema.run_script("journal.sql")
