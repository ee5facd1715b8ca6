"""Search: one index of words for everything that is known of a payment.

Revision ID: 0007
"""

from db import schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0007_search.sql")
