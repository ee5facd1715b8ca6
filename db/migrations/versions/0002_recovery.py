"""Recovery: what PSPs were asked and answered, reviews by two people, findings, how far each account was read.

Revision ID: 0002
"""

from db import schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0002_recovery.sql")
    schema.run_script("journal.sql")
