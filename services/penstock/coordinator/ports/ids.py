"""Ids of jobs and uploads: they sort by time of creation and are safe in URLs, file names and labels."""

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, without i, l, o and u."""

_PATTERN = re.compile(f"[{_ALPHABET}]{{26}}")


def new_id() -> str:
    """Return a new id: 48 bits of milliseconds since the epoch and 80 random bits, 26 characters."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return _PATTERN.fullmatch(text) is not None


def created_at(text: str) -> float:
    """Return when an id was created, in seconds since the epoch."""
    number = 0
    for letter in text:
        number = number << 5 | _ALPHABET.index(letter)
    return (number >> 80) / 1000
