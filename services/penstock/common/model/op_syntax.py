"""Operations as people write them on a command line."""

from __future__ import annotations

import json
from typing import Any


def read_op(text: str) -> list[Any]:
    """Read `resize=512x512`, `split`, or `brighten={"amount": 3}` into a job document's short form."""
    name, given, value = text.partition("=")
    if not given:
        return [name]
    try:
        read = json.loads(value)
    except ValueError:
        read = value
    return [name, read]
