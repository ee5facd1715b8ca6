"""What people answer: a parked notification is tried again, what history holds otherwise than sealed is accepted.

Revision ID: 0011
"""

from db import schema

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0011_answers.sql")
