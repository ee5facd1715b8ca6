"""Seals over the audit log and the ledger, and what came of verifying them.

Revision ID: 0009
"""

from db import schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0009_audit_seals.sql")
    schema.run_script("journal.sql")
