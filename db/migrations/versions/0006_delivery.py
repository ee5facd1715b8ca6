"""Webhook delivery: fair queues, replays, manifests, headers, rate limits, public-key signatures, probes.

Revision ID: 0006
"""

from db import schema

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.run_script("0006_delivery.sql")
