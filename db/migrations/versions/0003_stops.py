"""Stops: no new refund of a partner whose books are found broken; when people look at what is unknown.

Revision ID: 0003
"""

from db import schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0003_stops.sql")
    schema.run_script("journal.sql")
