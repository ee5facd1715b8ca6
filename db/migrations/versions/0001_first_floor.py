"""Identities, partners, payments and their history, ledger, outbox, inbox, audit.

Revision ID: 0001
"""

from db import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0001_first_floor.sql")
    schema.run_script("0001_currencies.sql")
    schema.run_script("journal.sql")
