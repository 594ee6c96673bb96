"""Syntax of `--op` on the command line."""

from __future__ import annotations

import json
from typing import Any


def read_op(text: str) -> list[Any]:
    """Read `resize=512x512`, `split`, or `brighten={"amount": 3}` into a job document's short form."""
    name, equals, value = text.partition("=")
    if not equals:
        return [name]
    try:
        return [name, json.loads(value)]
    except ValueError:
        return [name, value]
