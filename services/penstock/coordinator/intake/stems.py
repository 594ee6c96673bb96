"""What the results of a million images are named after, told apart without holding a million names.

The rule is that of `common.model.names.unique_stems`: a name without its suffix where nobody else has the same, the
whole name otherwise. That takes going through all names twice before the first answer.
"""

from __future__ import annotations

_SLOTS_PER_NAME = 16
_MAX_SLOTS = 1 << 26


class Stems:
    """Finds what is there more than once: `note` all names, then `compare` all of them, then ask.

    Noting leaves two marks in a table of at most 64 MiB (a Bloom filter). Only names whose stem seems to have been
    noted before, hardly any of which was not, are then held and compared.
    """

    def __init__(self, names: int) -> None:
        slots = min(_MAX_SLOTS, 1 << (names * _SLOTS_PER_NAME).bit_length())
        self._mask = slots - 1
        self._seen = bytearray(slots)
        self._named: dict[bytes, int] = {}
        """For each stem that seems to be there twice, how many different names have it."""
        self._held: set[bytes] = set()
        self._doubled: set[bytes] = set()

    def note(self, name: bytes) -> None:
        """Note one of the names (UTF-8)."""
        seen, stem = self._seen, strip(name)
        mark = hash(stem)
        first, second = mark & self._mask, mark >> 32 & self._mask
        if seen[first] and seen[second]:
            self._named[stem] = 0
        seen[first] = seen[second] = 1

    def compare(self, name: bytes) -> None:
        """Look at one of the names again."""
        stem = strip(name)
        if stem not in self._named:
            return
        if name in self._held:
            self._doubled.add(name)
        else:
            self._held.add(name)
            self._named[stem] += 1

    def is_doubled(self, name: bytes) -> bool:
        """Say whether a name is there twice."""
        return name in self._doubled

    def is_alone(self, name: bytes) -> bool:
        """Say whether nobody else's results can be named after a name's stem.

        They can where another name has that stem, or is called so and keeps its suffix. The latter is only where
        another one has what remains when a further suffix is taken off, so all that can remain is looked up.
        """
        stem = strip(name)
        while self._named.get(stem, 0) < 2:
            shorter = strip(stem)
            if shorter == stem:
                return True
            stem = shorter
        return False


def strip(name: bytes) -> bytes:
    """Return a name without its last suffix, as `names.without_suffix` does."""
    dot = name.rfind(b".")
    return name[:dot] if dot > name.rfind(b"/") + 1 else name
