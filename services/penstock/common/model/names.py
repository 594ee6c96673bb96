"""Result names: every image of a job gets a unique stem, so that no result overwrites another."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

MAX_STEM_BYTES = 236
"""Limit for the last part of a stem, in UTF-8. With `-4095.png` it still fits the 255 bytes of a file name."""


def unique_stems(names: Sequence[str]) -> list[str]:
    """Return a unique stem for each name, in linear time.

    It is the name without its suffix, or the whole name if that would not be unique: `a.jpg`, `x.jpg` and `x.png` give
    `a`, `x.jpg` and `x.png`. Folders before the last `/` are kept. A name that is too long is cut and ends in a digest.
    """
    stems = [shorten(without_suffix(name)) for name in names]
    wholes = [shorten(name) for name in names]
    common = {stem for stem, count in Counter(stems).items() if count > 1}
    taken = common.union(whole for whole, stem in zip(wholes, stems, strict=True) if whole != stem)
    return distinct(whole if stem in taken else stem for stem, whole in zip(stems, wholes, strict=True))


def distinct(names: Iterable[str]) -> list[str]:
    """Return names with a number added to duplicates: `x.jpg`, `x.jpg` give `x.jpg`, `x~2.jpg`."""
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


def without_suffix(name: str) -> str:
    """Return a name without its last suffix: `a/x.tar.gz` gives `a/x.tar`; `.hidden` has none."""
    start = name.rfind("/") + 1
    dot = name.rfind(".")
    return name[:dot] if dot > start else name


def shorten(path: str) -> str:
    """Return a path whose last part fits a file name; if it is too long, it is cut and ends in a digest."""
    folder, slash, name = path.rpartition("/")
    raw = name.encode()
    if len(raw) <= MAX_STEM_BYTES:
        return path
    kept = raw[: MAX_STEM_BYTES - 17].decode(errors="ignore")
    return f"{folder}{slash}{kept}~{hashlib.sha256(raw).hexdigest()[:16]}"
