"""Sessions: browsers that are logged in."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from penstock.coordinator.database.schema import sessions

_INSERT = insert(sessions)
_FIND = select(sessions.c.key_hash).where(
    sessions.c.id == bindparam("session"), sessions.c.expires_at > bindparam("at")
)
_DELETE = delete(sessions).where(sessions.c.id == bindparam("session"))
_DELETE_EXPIRED = delete(sessions).where(sessions.c.expires_at <= bindparam("at"))


def begin(connection: Connection, session: str, key_hash: str, at: float, expires_at: float) -> None:
    connection.execute(_DELETE_EXPIRED, {"at": at})
    connection.execute(_INSERT, {"id": session, "key_hash": key_hash, "expires_at": expires_at})


def find(connection: Connection, session: str, at: float) -> str | None:
    key_hash: str | None = connection.execute(_FIND, {"session": session, "at": at}).scalar_one_or_none()
    return key_hash


def end(connection: Connection, session: str) -> None:
    connection.execute(_DELETE, {"session": session})
