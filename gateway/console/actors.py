"""Who acted, as people read it: the audit log names people by id, for it outlives their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from db import ids, support_users
from db.database import Connection

_PERSON = "support:"


async def names(connection: Connection, actors: Iterable[str]) -> Mapping[str, str]:
    """Actor → name, of every one given; whoever is no person of the console goes by what the log says."""
    told = {actor: actor for actor in actors}
    people = {actor: ids.decode("sup", actor.removeprefix(_PERSON)) for actor in told if actor.startswith(_PERSON)}
    wanted = [person for person in people.values() if person is not None]
    known = await support_users.names(connection, wanted)
    return told | {actor: known[person] for actor, person in people.items() if person in known}
