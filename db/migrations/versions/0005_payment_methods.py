"""Stored payment methods, customers' references, and what routing may know of a charge.

Revision ID: 0005
"""

from db import schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0005_payment_methods.sql")
