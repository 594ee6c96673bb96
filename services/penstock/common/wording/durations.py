"""Durations and times as people write them: `90s`, `1h30m`, `2026-12-01T18:00:00Z`."""

import re
from datetime import datetime

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_MAX_DAYS = 3_650
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_secs(text: str) -> float:
    """Return the seconds of a duration: `90`, `90s`, `30m`, `2h`, `1h30m`, `1.5d`.

    Raises:
        ValueError: it is not a duration, or not between 0 and ten years.
    """
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text[:40]!r} is not a time; accepted is a number with s, m, h or d, such as 2h or 1h30m")
    secs = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not 0 < secs <= _MAX_DAYS * _UNITS["d"]:
        raise ValueError(f"{text[:40]!r} is out of range; accepted is more than 0 and up to {_MAX_DAYS}d")
    return secs


def read_deadline(text: str, now: float) -> float:
    """Return a deadline, a time of RFC 3339 or a duration from `now` on, in seconds since the epoch.

    Raises:
        ValueError: it is neither.
    """
    if re.match(r"\d+-", text):
        try:
            if _RFC_3339.fullmatch(text):
                return datetime.fromisoformat(text.upper()).timestamp()
        except (ValueError, OverflowError):
            pass
        raise ValueError(
            f"{text[:40]!r} is not a time of RFC 3339; accepted is one with its offset, such as 2026-12-01T18:00:00Z"
        )
    try:
        return now + read_secs(text)
    except ValueError as error:
        raise ValueError(f"{error}; or a time, such as 2026-12-01T18:00:00Z") from error


def format_secs(secs: float) -> str:
    """Format a duration: `4.1 ms`, `12.3 s`, `5.0 min`, `2.0 h`."""
    for limit, unit, name in ((1.0, 0.001, "ms"), (100.0, 1.0, "s"), (6_000.0, 60.0, "min")):
        if secs < limit:
            return f"{secs / unit:.1f} {name}"
    return f"{secs / 3_600:,.1f} h"
