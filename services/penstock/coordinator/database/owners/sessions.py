"""Sessions: browsers that are logged in."""

from sqlalchemy import Connection, bindparam, delete, insert, select

from penstock.coordinator.database.schema import sessions

_INSERT = insert(sessions)
_FIND = select(sessions.c.key_hash).where(
    sessions.c.id == bindparam("session"), sessions.c.expires_at > bindparam("at")
)
_DELETE = delete(sessions).where(sessions.c.id == bindparam("session"))
_OF_KEY = sessions.c.key_hash == bindparam("key_hash")
_NEWEST = select(sessions.c.id).where(_OF_KEY).order_by(sessions.c.expires_at.desc()).limit(bindparam("kept"))
_DELETE_OLDEST = delete(sessions).where(_OF_KEY, sessions.c.id.not_in(_NEWEST))
_DELETE_EXPIRED = delete(sessions).where(sessions.c.expires_at <= bindparam("at"))


def begin(connection: Connection, session: str, key_hash: str, at: float, expires_at: float, most: int) -> None:
    connection.execute(_DELETE_EXPIRED, {"at": at})
    connection.execute(_DELETE_OLDEST, {"key_hash": key_hash, "kept": most - 1})
    connection.execute(_INSERT, {"id": session, "key_hash": key_hash, "expires_at": expires_at})


def find(connection: Connection, session: str, at: float) -> str | None:
    key_hash: str | None = connection.execute(_FIND, {"session": session, "at": at}).scalar_one_or_none()
    return key_hash


def end(connection: Connection, session: str) -> None:
    connection.execute(_DELETE, {"session": session})
