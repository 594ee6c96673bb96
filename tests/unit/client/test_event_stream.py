"""Server-sent events, parsed line by line."""

from __future__ import annotations

import pytest

from penstock.client.errors import UnexpectedAnswerError
from penstock.client.event_stream import EventReader


def read(reader: EventReader, text: str) -> list[tuple[str, str | None, dict[str, object]]]:
    events = [event for line in text.split("\n") if (event := reader.feed(line)) is not None]
    return [(event.kind, event.id, event.data) for event in events]


def test_a_blank_line_completes_an_event() -> None:
    text = ': ping\n\nevent: progress\ndata: {"a":\ndata: 1}\n\nid: 7\nevent:image-failed\ndata:{}\nretry: 5\n\n'
    assert read(EventReader(), text) == [("progress", None, {"a": 1}), ("image-failed", "7", {})]


def test_another_stream_continues_after_the_last_id_without_the_incomplete_event() -> None:
    reader = EventReader()
    assert "Last-Event-ID" not in reader.restart()
    assert read(reader, "id: 3\ndata: {}\n\nevent: half\ndata: {") == [("message", "3", {})]
    assert reader.restart()["Last-Event-ID"] == "3"
    assert read(reader, 'data: {"b": 2}\n\n') == [("message", "3", {"b": 2})]


@pytest.mark.parametrize("data", ["nonsense", "[]", "1"])
def test_data_that_is_not_an_object_is_refused(data: str) -> None:
    with pytest.raises(UnexpectedAnswerError):
        read(EventReader(), f"data: {data}\n\n")
