"""What people answer: a parked notification is tried again, what history holds otherwise than sealed is accepted.

Revision ID: 0012
"""

from db import schema

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0012_answers.sql")
