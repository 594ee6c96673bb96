"""Server-sent events, parsed line by line: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from penstock.client.errors import UnexpectedAnswerError


class Event(BaseModel):
    """One event of a job: `progress`, `image-failed` or `end`, and its data."""

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str | None = None
    data: dict[str, Any] = {}


class EventReader:
    """Parses the lines of a stream into events, and keeps the last id, from which another stream can continue."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._kind = ""
        self._data: list[str] = []

    def restart(self) -> dict[str, str]:
        """Drop an incomplete event; return the headers that request the stream after the last id."""
        self._kind, self._data = "", []
        last_id = {"Last-Event-ID": self.last_id} if self.last_id is not None else {}
        return {"Accept": "text/event-stream", "Cache-Control": "no-store", **last_id}

    def feed(self, line: str) -> Event | None:
        """Parse a line without its end; return the event that it completes.

        Raises:
            UnexpectedAnswerError: the event's data is not a JSON object.
        """
        if not line:
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._kind = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self.last_id = value
        return None

    def _complete(self) -> Event | None:
        kind, data = self._kind, "\n".join(self._data)
        self._kind, self._data = "", []
        if not data:
            return None
        try:
            return Event(kind=kind or "message", id=self.last_id, data=json.loads(data))
        except ValueError as error:
            raise UnexpectedAnswerError(f"event {kind[:40]!a}: its data is not a JSON object") from error
