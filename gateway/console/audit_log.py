"""The audit log as admins read it: who did what to what, people by their names."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from pydantic import StringConstraints
from starlette.responses import Response

from db import audit, ids, partners, support_users
from db.audit import AuditLog, Wanted
from gateway.api.body import RequestModel
from gateway.api.errors import Problem
from gateway.console import actors, inputs
from gateway.console.inputs import Moment, PartnerId
from gateway.console.visits import Visit, mistakes

PATH = "/console/audit"
PAGE, PEOPLE_MAX = 50, 1_000
_Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)]


class Filters(RequestModel):
    partner: PartnerId | None = None
    actor: _Text | None = None
    action: _Text | None = None
    resource: _Text | None = None
    since: Moment | None = None
    until: Moment | None = None

    def wanted(self) -> Wanted:
        return Wanted(
            partner_id=self.partner,
            actor=self.actor,
            action=self.action,
            resource_id=self.resource,
            since=self.since,
            until=self.until,
        )


class Query(Filters):
    before: Annotated[UUID, inputs.id_of("aud")] | None = None


async def show(visit: Visit) -> Response:
    try:
        query = visit.read_query(Query)
    except Problem as problem:
        return await _page(visit, [], wrong=mistakes(problem))
    async with visit.console.operating.as_system() as connection:
        found = await audit.page(connection, query.wanted(), before=query.before, limit=PAGE + 1)
    return await _page(visit, found)


async def _page(visit: Visit, found: list[AuditLog], *, wrong: dict[str, str] | None = None) -> Response:
    shown = found[:PAGE]
    async with visit.console.reading.as_system() as connection:
        people = await support_users.all_users(connection, PEOPLE_MAX)
        names = await actors.names(connection, [one.actor for one in shown])
        known = await partners.names(connection, {one.partner_id for one in shown if one.partner_id})
    given = {name: text for name, text in visit.query.items() if name in Filters.model_fields and text}
    older = {**given, "before": ids.encode("aud", shown[-1].id)} if len(found) > PAGE else {}
    return visit.page(
        "audit.html",
        422 if wrong else 200,
        found=[(one, json.dumps(one.changes, ensure_ascii=False, sort_keys=True)) for one in shown],
        names=names,
        partners=known,
        people=[(f"support:{ids.encode('sup', one.id)}", one.name) for one in people],
        given=given,
        chosen=urlencode(given),
        older=urlencode(older),
        wrong=wrong or {},
    )
