"""What the results of a million images are named after, told apart in memory of a fixed bound.

The rule is that of `penstock.common.names.unique_stems`: a name without its suffix where nobody else has the same, the
whole name otherwise. That takes knowing all names; here each leaves but three marks in a table.
"""

from __future__ import annotations

import hashlib
import struct

_SLOTS_PER_NAME = 64
_MAX_SLOTS = 1 << 26
_ONCE, _OFTEN = 1, 2
_SLOTS = struct.Struct("<III")


class Stems:
    """Counts stems as none, one or several in a table of at most 64 MiB (a counting Bloom filter).

    What it says is alone is alone. What it says is not may be so nevertheless, of a million names about twenty; their
    results are named after the whole name then, which is unique as well.
    """

    def __init__(self, names: int) -> None:
        slots = min(_MAX_SLOTS, 1 << (names * _SLOTS_PER_NAME).bit_length())
        self._mask = slots - 1
        self._seen = bytearray(slots)

    def note(self, name: bytes) -> None:
        """Count the stem of one of the names (UTF-8)."""
        seen, mask = self._seen, self._mask
        first, second, third = _SLOTS.unpack(hashlib.blake2b(strip(name), digest_size=12).digest())
        first, second, third = first & mask, second & mask, third & mask
        if seen[first] and seen[second] and seen[third]:
            seen[first] = seen[second] = seen[third] = _OFTEN
        else:
            seen[first] = seen[first] or _ONCE
            seen[second] = seen[second] or _ONCE
            seen[third] = seen[third] or _ONCE

    def is_alone(self, name: bytes) -> bool:
        """Say whether nobody else's results can be named after a name's stem.

        They can where another name has that stem, or is the stem itself and keeps its suffix; the latter only if
        there are two of what remains when more suffixes are taken off.
        """
        stem = strip(name)
        while not self._is_repeated(stem):
            shorter = strip(stem)
            if shorter == stem:
                return True
            stem = shorter
        return False

    def _is_repeated(self, stem: bytes) -> bool:
        first, second, third = _SLOTS.unpack(hashlib.blake2b(stem, digest_size=12).digest())
        seen, mask = self._seen, self._mask
        marks: tuple[int, int, int] = (seen[first & mask], seen[second & mask], seen[third & mask])
        return min(marks) == _OFTEN


def strip(name: bytes) -> bytes:
    """Return a name without its last suffix, as `names.without_suffix` does."""
    dot = name.rfind(b".")
    return name[:dot] if dot > name.rfind(b"/") + 1 else name
