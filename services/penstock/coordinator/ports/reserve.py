"""Reserve: the free bytes that new work must leave on the volumes of the store and the database."""

from dataclasses import dataclass
from pathlib import Path

from penstock.common.store.base import Room, Store
from penstock.common.store.local import measure_room


@dataclass(frozen=True)
class Reserve:
    """Measures the volumes at each call. Deleting needs room in the database, so some of it is never given away.

    `data` is the folder of the database; None: it is elsewhere. `reserve_bytes` are those of its volume, at most a
    twentieth of it; the store has its own.
    """

    store: Store
    data: Path | None = None
    reserve_bytes: int = 0

    def rooms(self) -> dict[str, Room]:
        """Return the room of the `store` and the `database`, as far as they tell.

        Raises:
            UnavailableError: the store's folder cannot be read.
        """
        found = {"store": self.store.room(), "database": self._database()}
        return {what: room for what, room in found.items() if room is not None}

    def check(self) -> None:
        """Raise FullError if new work would use the reserve."""
        for what, room in self.rooms().items():
            room.check(what)

    def _database(self) -> Room | None:
        if self.data is None:
            return None
        try:
            return measure_room(self.data, self.reserve_bytes)
        except OSError:
            return None
