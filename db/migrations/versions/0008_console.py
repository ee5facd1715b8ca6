"""The support console: its role, its people and their sessions, approvals by a second person, notes.

Revision ID: 0008
"""

from db import schema

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0008_console.sql")
