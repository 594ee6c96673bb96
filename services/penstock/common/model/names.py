"""Names: when two of them are the same, and a unique stem for each image, so that no result overwrites another.

Two names are the same if they differ in case or in Unicode's composition alone: on Windows and on macOS, they are one
file. `/process` keeps the names of version 0.1.0, for which case mattered.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from unicodedata import category, normalize

MAX_STEM_BYTES = 236
"""Limit for the last part of a stem, in UTF-8. With `-4095.png` it still fits the 255 bytes of a file name."""

INVISIBLE = frozenset({"Cf", "Zl", "Zp"})
"""Categories of invisible characters that change the reading direction or break lines, and so could disguise a name."""
_BYTES_PER_CHARACTER = 4
"""At most, in UTF-8."""

CONTROL = frozenset({"Cc", "Cs"})
"""Categories of control characters, and of bytes that are no text."""

_LIKE_RESULT = re.compile(r"\.(?:jpe?g|png|webp|avif|tiff?)\Z", re.IGNORECASE)
"""The suffixes of results."""
_PART_NUMBER = re.compile(r"-[0-9]+\Z")


def fold(name: str) -> str:
    """Return the form in which names are compared: composed (NFC) and case-folded.

    It is the canonical caseless match of Unicode: https://www.unicode.org/versions/Unicode16.0.0/core-spec/chapter-3/,
    definition D145.
    """
    if name.isascii():
        return name.lower()
    return normalize("NFC", normalize("NFD", name).casefold())


def distinct(names: Iterable[str]) -> list[str]:
    """Return names with a number added to all but the first of those that are the same.

    `x.jpg`, `X.jpg` give `x.jpg`, `X~2.jpg`. With the number, a name's stem is new as well.
    """
    given = list(names)
    keys = [fold(name) for name in given]
    if len(set(keys)) == len(keys):
        return given
    numbering = Numbering({*keys, *map(without_suffix, keys)}.__contains__)
    first: set[str] = set()
    found = []
    for name, key in zip(given, keys, strict=True):
        found.append(numbering.number_name(name) if key in first else name)
        first.add(key)
    return found


class Numbering:
    """Adds numbers to names that others have already; `is_taken` says whether a folded name or stem exists."""

    def __init__(self, is_taken: Callable[[str], bool]) -> None:
        self._is_taken = is_taken
        self._last: dict[str, int] = {}

    def number_name(self, name: str) -> str:
        """Return a name with a number before its suffix: `x~2.jpg`."""
        stem = without_suffix(name)
        return self.number_stem(stem) + name[len(stem) :]

    def number_stem(self, stem: str) -> str:
        """Return a stem with a number at its end: `x~2`."""
        key = fold(stem)
        number = self._last.get(key, 1) + 1
        while self._is_taken(f"{key}~{number}"):
            number += 1
        self._last[key] = number
        return f"{stem}~{number}"


class Stems:
    """Chooses the stem of each of many names, all distinct.

    It is the name without its suffix. Where another name has the same, it is the whole name: `a.jpg`, `x.jpg` and
    `x.png` give `a`, `x.jpg` and `x.png`. Folders before the last `/` are kept.

    Args:
        shared: folded stems that more than one of the names have.
        numbering: numbers for names that would be ambiguous.
        is_taken: whether a folded name or stem exists; None if no image can have more results than planned. Otherwise
            `x-0` is numbered beside `x`, whose results may be called `x-0`, `x-1`.
    """

    def __init__(self, shared: Set[str], numbering: Numbering, is_taken: Callable[[str], bool] | None = None) -> None:
        self._shared = shared
        self._numbering = numbering
        self._is_taken = is_taken

    def choose(self, name: str, key: str) -> str:
        """Return the stem of a name; `key` is its folded stem."""
        stem = name if self._shared and self._may_collide(key) else without_suffix(name)
        if (
            self._is_taken is not None
            and _PART_NUMBER.search(stem)
            and self._is_taken(_PART_NUMBER.sub("", fold(stem)))
        ):
            return self._numbering.number_stem(stem)
        return stem

    def _may_collide(self, stem: str) -> bool:
        """Return whether another image's result may be named after this stem.

        So it is if another name has the same stem, or if a name that keeps its suffix is equal to the stem. The latter
        needs a shared stem among what remains when more suffixes are removed.
        """
        while stem not in self._shared:
            shorter = without_suffix(stem)
            if shorter == stem:
                return False
            stem = shorter
        return True


def unique_stems(names: Sequence[str], max_bytes: int = MAX_STEM_BYTES, *, may_add_parts: bool = False) -> list[str]:
    """Return a unique stem for each name, chosen by `Stems`, in linear time; names that are the same are numbered.

    The last part of a stem has at most `max_bytes`; a longer one is cut and ends in a digest. `may_add_parts` says
    whether an image can have more results than planned.
    """
    given, folded = names, [fold(name) for name in names]
    if len(set(folded)) < len(folded):
        given = distinct(names)
        folded = [fold(name) for name in given]
    keys = [without_suffix(name) for name in folded]
    if len(set(keys)) == len(keys) and not may_add_parts:
        return [shorten(without_suffix(name), max_bytes) for name in given]
    shared = {key for key, count in Counter(keys).items() if count > 1}
    is_taken = {*folded, *keys}.__contains__ if may_add_parts else None
    stems = Stems(shared, Numbering(is_taken or shared.__contains__), is_taken)
    return [shorten(stems.choose(name, key), max_bytes) for name, key in zip(given, keys, strict=True)]


def without_suffix(name: str) -> str:
    """Return a name without its last suffix: `a/x.tar.gz` gives `a/x.tar`; `.hidden` has none."""
    start = name.rfind("/") + 1
    dot = name.rfind(".")
    return name[:dot] if dot > start else name


def shorten(path: str, max_bytes: int = MAX_STEM_BYTES) -> str:
    """Return a path whose last part has at most `max_bytes`; if it is longer, it is cut and ends in a digest."""
    if len(path) * _BYTES_PER_CHARACTER <= max_bytes:
        return path
    folder, slash, name = path.rpartition("/")
    raw = name.encode()
    if len(raw) <= max_bytes:
        return path
    kept = raw[: max_bytes - 17].decode(errors="ignore")
    return f"{folder}{slash}{kept}~{hashlib.sha256(raw).hexdigest()[:16]}"


def shown_name(raw: str) -> str:
    """Return a component of a path on disk as a printable name. A changed name gets a digest to stay unique."""
    if raw.isascii() and raw.isprintable() and "\\" not in raw:
        return raw
    composed = normalize("NFC", raw)
    name = replace_characters(composed, INVISIBLE | CONTROL).replace("\\", "_")
    return name if name == composed else with_digest(name, raw)


def folder_name(name: str) -> str:
    """Return a folder's name as part of its files' names; renamed if a result could have the same name."""
    return f"{name}~" if _LIKE_RESULT.search(name) else name


def with_digest(name: str, raw: str) -> str:
    """Return a name with a digest of what it was made from before its suffix."""
    stem = without_suffix(name)
    digest = hashlib.sha256(raw.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{stem}~{digest}{name[len(stem) :]}"


def replace_characters(name: str, categories: Set[str]) -> str:
    """Return a name with `_` for every character of some Unicode categories."""
    if name.isascii() and name.isprintable():
        return name
    return "".join("_" if category(character) in categories else character for character in name)


def exact_stems(names: Sequence[str]) -> list[str]:
    """Return a unique stem for each name as version 0.1.0 did, where names that differ in case are different."""
    stems = [shorten(without_suffix(name)) for name in names]
    wholes = [shorten(name) for name in names]
    common = {stem for stem, count in Counter(stems).items() if count > 1}
    taken = common.union(whole for whole, stem in zip(wholes, stems, strict=True) if whole != stem)
    return exactly_distinct(whole if stem in taken else stem for stem, whole in zip(stems, wholes, strict=True))


def exactly_distinct(names: Iterable[str]) -> list[str]:
    """Return names with a number added to duplicates as version 0.1.0 did: `x.jpg` twice gives `x.jpg`, `x~2.jpg`."""
    given = list(names)
    taken = set(given)
    if len(taken) == len(given):
        return given
    seen: Counter[str] = Counter()
    found = []
    for name in given:
        seen[name] += 1
        stem, candidate = without_suffix(name), name
        while seen[name] > 1 and (candidate := f"{stem}~{seen[name]}{name[len(stem) :]}") in taken:
            seen[name] += 1
        taken.add(candidate)
        found.append(candidate)
    return found
