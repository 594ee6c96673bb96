"""Durations and times: read in the usual notations, refused in one line, and formatted briefly."""

from __future__ import annotations

import pytest

from penstock.common.wording.durations import format_secs, read_deadline, read_secs


@pytest.mark.parametrize(
    ("text", "secs"), [("90", 90), ("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1h30m", 5_400), ("1.5d", 129_600)]
)
def test_durations_are_read_in_the_usual_notations(text: str, secs: float) -> None:
    assert read_secs(text) == secs


@pytest.mark.parametrize("text", ["", "h", "2 h", "2h!", "-2h", "soon", "0", "0h", "3651d", "9" * 400])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="accepted is"):
        read_secs(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", 8_200),
        ("1970-01-01T00:30:00Z", 1_800),
        ("1970-01-01t01:00:00.5+01:00", 0.5),
        ("2026-12-01 18:00:00Z", 1_796_148_000),
    ],
)
def test_a_deadline_is_a_duration_from_now_or_a_time(text: str, at: float) -> None:
    assert read_deadline(text, 1_000.0) == at


@pytest.mark.parametrize(
    "text", ["2026-12-01T18:00:00", "2026-12-01", "2026-13-01T18:00:00Z", "0000-01-01T00:00:00Z", "soon", "-2h"]
)
def test_an_invalid_deadline_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"accepted is.* such as 2026-12-01T18:00:00Z$"):
        read_deadline(text, 1_000.0)


@pytest.mark.parametrize(
    ("secs", "said"), [(0.0041, "4.1 ms"), (12.34, "12.3 s"), (300, "5.0 min"), (7_200, "2.0 h"), (1e7, "2,777.8 h")]
)
def test_durations_are_formatted_briefly(secs: float, said: str) -> None:
    assert format_secs(secs) == said
