"""Names of results: every image of a job gets a stem of its own, so that no two results ever meet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

MAX_STEM_BYTES = 236
"""A stem's last part, in UTF-8: with `-4095.png` or a temporary suffix it still fits the 255 bytes of a file name."""


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return what the results of each of `names` are named after: no two alike, in linear time.

    A name without its suffix where nobody else has the same or is called so, the whole name otherwise: `a.jpg`,
    `x.jpg` and `x.png` give `a`, `x.jpg` and `x.png`. Folders before the last `/` stay. What is too long for a file
    name is cut and ends in a digest.
    """
    stems = [shorten(without_suffix(name)) for name in names]
    wholes = [shorten(name) for name in names]
    common = {stem for stem, count in Counter(stems).items() if count > 1}
    taken = common.union(whole for whole, stem in zip(wholes, stems, strict=True) if whole != stem)
    return distinct(whole if stem in taken else stem for stem, whole in zip(stems, wholes, strict=True))


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names with equal ones told apart: `x.jpg`, `x.jpg` give `x.jpg`, `x~2.jpg`. The first one stays."""
    given = list(names)
    if len(set(given)) == len(given):
        return given
    taken = set(given)
    seen: Counter[str] = Counter()
    return [_told_apart(name, seen, taken) for name in given]


def without_suffix(name: str) -> str:
    """Return a name without its last suffix: `a/x.tar.gz` gives `a/x.tar`; `.hidden` has none."""
    start = name.rfind("/") + 1
    dot = name.rfind(".")
    return name[:dot] if dot > start else name


def _told_apart(name: str, seen: Counter[str], taken: set[str]) -> str:
    seen[name] += 1
    if seen[name] == 1:
        return name
    stem = without_suffix(name)
    while (candidate := f"{stem}~{seen[name]}{name[len(stem) :]}") in taken:
        seen[name] += 1
    taken.add(candidate)
    return candidate


def shorten(path: str) -> str:
    """Return a path whose last part fits a file's name, cut and with a digest at its end where it did not."""
    folder, slash, name = path.rpartition("/")
    raw = name.encode()
    if len(raw) <= MAX_STEM_BYTES:
        return path
    kept = raw[: MAX_STEM_BYTES - 17].decode(errors="ignore")
    return f"{folder}{slash}{kept}~{hashlib.sha256(raw).hexdigest()[:16]}"
