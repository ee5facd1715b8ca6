"""Charges counted by the hour, for the console's overview.

Revision ID: 0010
"""

from db import schema

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0010_rollups.sql")
