"""What building the console taught of its searches and counts.

Revision ID: 0011
"""

from db import schema

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0011_lookups.sql")
