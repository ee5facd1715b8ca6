"""What most Python services are: Starlette, pydantic, the SQLAlchemy ORM and one shared httpx.AsyncClient.

    python -m tests.benchmarks.naive <database url> <psp url> <partner> <account>      prints its port

It writes the rows a charge of ours writes, into the same tables with the same indexes and triggers; as the tables'
owner, so row-level security costs it nothing. One row, one object, one INSERT each; it calls the PSP between two
transactions, as it should.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import uvicorn
import uvloop
from pydantic import BaseModel
from sqlalchemy import MetaData, select
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from db import ids

TABLES = (
    "partners",
    "transactions",
    "attempts",
    "transaction_events",
    "ledger_accounts",
    "ledger_entries",
    "events",
    "audit_logs",
    "idempotency_keys",
)


class ChargeBody(BaseModel):
    amount: Decimal
    currency: str
    payment_method: dict[str, Any]
    reference: str
    description: str
    customer: dict[str, str]
    metadata: dict[str, str]


class Base(DeclarativeBase):
    pass


class Service:
    def __init__(
        self,
        models: dict[str, Any],
        sessions: async_sessionmaker[AsyncSession],
        psp: httpx.AsyncClient,
        partner_id: UUID,
        account_id: UUID,
    ) -> None:
        self._models, self._sessions, self._psp = models, sessions, psp
        self._partner_id, self._account_id = partner_id, account_id

    async def charge(self, request: Request) -> JSONResponse:
        body, key = ChargeBody.model_validate_json(await request.body()), request.headers["idempotency-key"]
        async with self._sessions() as session:
            partner = await session.get(self._models["partners"], self._partner_id)
            assert partner is not None
            taken = await session.scalar(
                select(self._models["idempotency_keys"]).filter_by(partner_id=self._partner_id, livemode=False, key=key)
            )
            if taken is not None:
                return JSONResponse({"error": "this key was used"}, status_code=409)
            transaction, attempt = await self._open(session, body, key, request)
            transaction_id, attempt_id = transaction.id, attempt.id
            await session.commit()
        payment = (await self._psp.post("/v1/payment_intents", data=_form(body, attempt_id))).json()
        async with self._sessions() as session:
            answer = await self._conclude(session, transaction_id, attempt_id, payment)
            await session.commit()
        return JSONResponse(answer, status_code=201)

    async def _open(self, session: AsyncSession, body: ChargeBody, key: str, request: Request) -> tuple[Any, Any]:
        at, models, mine = datetime.now(UTC), self._models, {"partner_id": self._partner_id}
        transaction = models["transactions"](
            **mine, id=ids.new(), livemode=False, version=2, published=1, idempotency_key=key, status="processing",
            amount=body.amount, currency=body.currency, capture="automatic",
            payment_method=body.payment_method["type"], provider="stripe", provider_account_id=self._account_id,
            customer_email=body.customer["email"], customer_name=body.customer["name"], reference=body.reference,
            description=body.description, metadata_=body.metadata, created_at=at, updated_at=at,
        )  # fmt: skip
        attempt = models["attempts"](
            **mine, id=ids.new(), transaction_id=transaction.id, number=1, operation="charge", amount=body.amount,
            account_id=self._account_id, provider="stripe", state="sending", provider_key=key[:44],
            request=str(_form(body, transaction.id)), idempotency_key=key, lease_until=at + timedelta(seconds=60),
            resend_until=at + timedelta(hours=19), next_check_at=at + timedelta(seconds=60), created_at=at,
            updated_at=at,
        )  # fmt: skip
        session.add(
            models["idempotency_keys"](
                **mine, livemode=False, key=key, fingerprint=bytes(32), transaction_id=transaction.id,
                attempt_id=attempt.id, created_at=at, updated_at=at, expires_at=at + timedelta(days=30),
            )
        )  # fmt: skip
        session.add(transaction)
        await session.flush()
        session.add(attempt)
        for sequence, (event_type, status) in enumerate(
            [("created", "pending"), ("payment_initiated", "processing")], 1
        ):
            session.add(self._history(transaction.id, attempt.id, sequence, event_type, status, at))
        session.add(self._event(transaction, 1, "transaction.created", at))
        session.add(
            models["audit_logs"](
                **mine, id=ids.new(), actor="partner", action="transaction.charge", resource_type="transaction",
                resource_id=str(transaction.id), ip_address="127.0.0.1", request_id=key[:64],
                user_agent=request.headers.get("user-agent"), changes={"amount": str(body.amount)}, created_at=at,
            )
        )  # fmt: skip
        return transaction, attempt

    async def _conclude(
        self, session: AsyncSession, transaction_id: UUID, attempt_id: UUID, payment: dict[str, Any]
    ) -> dict[str, Any]:
        at, models, mine = datetime.now(UTC), self._models, {"partner_id": self._partner_id}
        transaction = await session.get(models["transactions"], {**mine, "id": transaction_id}, with_for_update=True)
        attempt = await session.get(models["attempts"], {**mine, "id": attempt_id}, with_for_update=True)
        assert transaction is not None
        assert attempt is not None
        session.add(self._history(transaction_id, attempt_id, 3, "payment_completed", "completed", at))
        card = payment["latest_charge"]["payment_method_details"]["card"]
        transaction.status, transaction.version, transaction.published = "completed", 3, 2
        transaction.amount_captured, transaction.provider_transaction_id = transaction.amount, payment["id"]
        transaction.card_brand, transaction.card_last4 = card["brand"], card["last4"]
        transaction.updated_at = transaction.processed_at = at
        attempt.state, attempt.provider_id, attempt.outcome = "succeeded", payment["id"], {"outcome": "approved"}
        attempt.updated_at = attempt.finished_at = at
        attempt.next_check_at = None
        receivable = f"psp_receivable:{ids.encode('pac', self._account_id)}"
        for account, amount in ((receivable, transaction.amount), ("partner_payable", -transaction.amount)):
            known = await session.get(
                models["ledger_accounts"], {**mine, "currency": transaction.currency, "name": account}
            )
            if known is None:
                session.add(models["ledger_accounts"](**mine, currency=transaction.currency, name=account))
                await session.flush()
            session.add(
                models["ledger_entries"](
                    **mine, transaction_id=transaction_id, sequence=3, account=account, currency=transaction.currency,
                    amount=amount, id=ids.new(), livemode=False, created_at=at,
                )
            )  # fmt: skip
        session.add(self._event(transaction, 2, "transaction.completed", at))
        held = await session.get(
            models["idempotency_keys"], {**mine, "livemode": False, "key": transaction.idempotency_key}
        )
        assert held is not None
        answer = _shown(transaction)
        held.response_status, held.response_body = 201, _text(answer)
        return answer

    def _history(
        self, transaction_id: UUID, attempt_id: UUID, sequence: int, event_type: str, status: str, at: datetime
    ) -> Any:
        return self._models["transaction_events"](
            partner_id=self._partner_id, transaction_id=transaction_id, sequence=sequence, event_type=event_type,
            status=status, attempt_id=attempt_id, created_by="partner", created_at=at,
        )  # fmt: skip

    def _event(self, transaction: Any, sequence: int, event_type: str, at: datetime) -> Any:
        return self._models["events"](
            partner_id=self._partner_id, id=ids.new(), livemode=False, type=event_type, transaction_id=transaction.id,
            sequence=sequence, body=_text({"type": event_type, "data": _shown(transaction)}),
            created_at=at,
        )  # fmt: skip


def _text(body: dict[str, Any]) -> str:
    return bytes(JSONResponse(body).body).decode()


def _shown(transaction: Any) -> dict[str, Any]:
    table = transaction.__table__
    return {
        column.name: None if value is None else str(value)
        for column in table.columns
        for value in [getattr(transaction, "metadata_" if column.name == "metadata" else column.name)]
    }


def _form(body: ChargeBody, reference: UUID) -> dict[str, str]:
    return {
        "amount": str(int(body.amount * 100)),
        "currency": body.currency.lower(),
        "payment_method": body.payment_method["tokens"]["stripe"],
        "confirm": "true",
        "metadata[gateway_reference]": str(reference),
        "expand[0]": "latest_charge",
    }


def _models(database_url: str) -> dict[str, Any]:
    """One class per table, its columns read from the database."""
    warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)  # events.xid, which the database fills
    metadata = MetaData()

    async def read() -> None:
        engine = create_async_engine(_sqlalchemy_url(database_url))
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: metadata.reflect(sync, only=TABLES))
        await engine.dispose()

    asyncio.run(read())
    return {name: _model(metadata, name) for name in TABLES}


def _model(metadata: MetaData, name: str) -> Any:
    table = metadata.tables[name]
    columns = {"metadata_": table.c["metadata"]} if "metadata" in table.c else {}
    return type(name.title().replace("_", ""), (Base,), {"__table__": table, **columns})


def _sqlalchemy_url(database_url: str) -> str:
    return database_url.replace("postgresql://", "postgresql+asyncpg://", 1)


async def _serve(models: dict[str, Any]) -> None:
    database_url, psp_url, partner, account = sys.argv[1:5]
    engine = create_async_engine(_sqlalchemy_url(database_url), pool_size=20, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with httpx.AsyncClient(base_url=psp_url, timeout=30) as psp:
        service = Service(models, sessions, psp, UUID(partner), UUID(account))
        app = Starlette(routes=[Route("/v1/transactions", service.charge, methods=["POST"])])
        listening = socket.create_server(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    uvloop.run(_serve(_models(sys.argv[1])))
