"""Everything that lies sealed in the database, for moving it to another key. As the operator, over all partners."""

from __future__ import annotations

from db import customers, endpoints, payment_methods, provider_accounts, signing_keys, support_users
from db.database import Connection
from db.vault import Vault


async def versions_in_use(connection: Connection) -> list[tuple[int, str, int]]:
    """(key version, what, how many): what could not be opened, or not be recognised, without that version."""
    rows = await connection.fetch(
        "SELECT version, what, count(*) AS count FROM ("
        " SELECT get_byte(credentials, 0) AS version, 'provider account' AS what FROM provider_accounts"
        " UNION ALL SELECT get_byte(secret, 0), 'webhook secret' FROM webhook_endpoints WHERE deleted_at IS NULL"
        " UNION ALL SELECT get_byte(previous_secret, 0), 'webhook secret' FROM webhook_endpoints"
        "  WHERE deleted_at IS NULL AND previous_secret_expires_at > now()"
        " UNION ALL SELECT get_byte(headers, 0), 'webhook headers' FROM webhook_endpoints WHERE headers IS NOT NULL"
        " UNION ALL SELECT get_byte(private_key, 0), 'signing key' FROM signing_keys"
        "  WHERE retires_at IS NULL OR retires_at > now()"
        " UNION ALL SELECT get_byte(personal, 0), 'customer' FROM customers WHERE deleted_at IS NULL"
        " UNION ALL SELECT get_byte(tokens, 0), 'stored payment method' FROM stored_payment_methods"
        "  WHERE deleted_at IS NULL"
        " UNION ALL SELECT get_byte(totp_secret, 0), 'second factor' FROM support_users WHERE totp_secret IS NOT NULL"
        " UNION ALL SELECT pepper_id, 'API key' FROM api_keys"
        "  WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
        ") used GROUP BY version, what ORDER BY version, what"
    )
    return [(row["version"], row["what"], row["count"]) for row in rows]


async def reseal(connection: Connection, vault: Vault) -> int:
    """Seal with the vault's sealing key what another version sealed; how many. Raises `vault.CannotOpen`.

    API keys are hashed, not sealed: one leaves its version when it is rotated.
    """
    changed = 0
    for account in await provider_accounts.all_accounts(connection):
        context = provider_accounts.credentials_context(account.id)
        if account.credentials[0] != vault.sealing:
            sealed = vault.seal(vault.open(account.credentials, context), context)
            await provider_accounts.replace_credentials(connection, account.id, sealed)
            changed += 1
    for family in (endpoints, customers, payment_methods, signing_keys, support_users):
        changed += await family.reseal(connection, vault)
    return changed
