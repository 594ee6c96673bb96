"""Presets: job documents that owners keep under a name."""

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from penstock.coordinator.database.schema import presets
from penstock.coordinator.ports.repository import Preset

_OF_OWNER = presets.c.owner == bindparam("of_owner")
_THIS = _OF_OWNER & (presets.c.name == bindparam("named"))
_COLUMNS = (presets.c.name, presets.c.document, presets.c.changed_at)
_LIST = select(*_COLUMNS).where(_OF_OWNER).order_by(presets.c.name)
_GET = select(*_COLUMNS).where(_THIS)
_COUNT = select(func.count()).select_from(presets).where(_OF_OWNER)
_INSERT = insert(presets)
_UPDATE = update(presets).where(_THIS)
_DELETE = delete(presets).where(_THIS)


def list_all(connection: Connection, owner: str) -> list[Preset]:
    return [Preset(*row) for row in connection.execute(_LIST, {"of_owner": owner})]


def get(connection: Connection, owner: str, name: str) -> Preset | None:
    row = connection.execute(_GET, {"of_owner": owner, "named": name}).one_or_none()
    return None if row is None else Preset(*row)


def put(connection: Connection, owner: str, preset: Preset, most: int) -> bool | None:
    values = {"document": preset.document, "changed_at": preset.changed_at}
    if connection.execute(_UPDATE, {"of_owner": owner, "named": preset.name, **values}).rowcount:
        return False
    if connection.execute(_COUNT, {"of_owner": owner}).scalar_one() >= most:
        return None
    connection.execute(_INSERT, {"owner": owner, "name": preset.name, **values})
    return True


def remove(connection: Connection, owner: str, name: str) -> bool:
    return connection.execute(_DELETE, {"of_owner": owner, "named": name}).rowcount > 0
