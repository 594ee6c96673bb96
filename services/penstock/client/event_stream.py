"""Server-sent events, line by line: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

import json

from penstock.client.errors import UnexpectedAnswerError
from penstock.client.models import Event

ENDED_EARLY = "the stream of events ended before the job did"


class EventReader:
    """Takes a stream's lines and gives its events; remembers the last id, from which another stream can go on."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._kind = ""
        self._data: list[str] = []

    def restart(self) -> dict[str, str]:
        """Begin with another stream; return the headers to ask for it with."""
        self._kind, self._data = "", []
        resuming = {"Last-Event-ID": self.last_id} if self.last_id is not None else {}
        return {"Accept": "text/event-stream", "Cache-Control": "no-store", **resuming}

    def take(self, line: str) -> Event | None:
        """Take one line without its end; return the event that it completes.

        Raises:
            UnexpectedAnswerError: an event's data is not a JSON object.
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
            raise UnexpectedAnswerError(f"an event of kind {kind[:40]!a} that holds no JSON object") from error
