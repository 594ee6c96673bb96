"""Result names: a job's template for the names of its results.

No two results of a job have the same name, whatever its images are called: from a result's name, the image's stem and
the number of the part can be read back. Templates that would make names ambiguous are refused.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from penstock.common.model.names import MAX_STEM_BYTES

PARTS = "{folder}/{stem}-{part}.{ext}"
"""The template of jobs with several results per image, and of all jobs before there were templates."""
SINGLE = "{folder}/{stem}.{ext}"
"""The template of jobs with one result per image."""

MAX_TEMPLATE = 200
"""Longest template, in characters."""

_DIGITS = {"part": 4, "width": 5, "height": 5}
"""The fields that are numbers, and how many digits they have at most."""
_EXTENSION_BYTES = 4
_PART_BYTES = len("-4095")
_FILE_NAME_BYTES = 255
_MAX_LAST_BYTES = 100
"""Bytes of a template's last component without the stem."""

_FIELDS = ("folder", "stem", "ext", *_DIGITS)
_FIELD = re.compile(r"\{folder\}/|\{(\w+)\}")
_LITERAL = re.compile(r"[A-Za-z0-9 _.+=@,()~-]*\Z")
_NUMBER = "|".join(_DIGITS)
_BESIDE_NUMBER = re.compile(rf"[0-9}}]\{{(?:{_NUMBER})\}}|\{{(?:{_NUMBER})\}}[0-9{{]")


@dataclass(frozen=True)
class ResultNames:
    """How the results of a job are named. `may_add_parts`: whether an image can have more results than planned."""

    template: str = PARTS
    may_add_parts: bool = False

    @property
    def max_stem_bytes(self) -> int:
        """How long the last part of a stem may be, so that the names are file names."""
        return min(MAX_STEM_BYTES, _FILE_NAME_BYTES - _last_bytes(self.template))

    @property
    def has_sizes(self) -> bool:
        """Whether names depend on the results' sizes."""
        return "{width}" in self.template or "{height}" in self.template

    @property
    def part_may_be_added(self) -> bool:
        """Whether the number of a part may be added to a stem because the template does not have it."""
        return self.may_add_parts and "{part}" not in self.template

    def name(self, stem: str, part: int, parts: int, extension: str, width: int = 0, height: int = 0) -> str:
        """Return the name of an image's result, the `part`-th of `parts`, from 0.

        The sizes are in pixels. If there are several and the template has no `{part}`, the number follows the stem.
        """
        folder, slash, last = stem.rpartition("/")
        if parts > 1 and "{part}" not in self.template:
            last = f"{last}-{part}"
        fields = {"stem": last, "part": part, "ext": extension, "width": width, "height": height}
        return _FIELD.sub(lambda found: str(fields[found[1]]) if found[1] else folder + slash, self.template)

    def own_name(self, stem: str, file: str) -> str:
        """Return the name of a result of a group that is called `file`: in a folder named as its only result would be.

        `north/cameras` and `poses.json` give `north/cameras/poses.json`.
        """
        return f"{self.name(stem, 0, 1, '').removesuffix('.')}/{file}"

    def group_stems(self, name: str) -> list[str]:
        """Return the stems of the groups that a result of this name may be of, whose file had a name of its own."""
        return self.stems(f"{name.rpartition('/')[0]}.ext")

    def stems(self, name: str) -> list[str]:
        """Return the stems that a result of this name may have."""
        found = _pattern(self.template).fullmatch(name)
        if found is None:
            return []
        stem = (found["folder"] or "") + found["stem"]
        shorter = re.sub(r"-[0-9]+\Z", "", stem)
        return [stem] if shorter == stem or "{part}" in self.template else [stem, shorter]


_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 _.+=@,()~-]{0,99}\.[A-Za-z0-9]{1,10}")


def check_file_name(name: str) -> str:
    """Return a valid name of a file that a group step made; raises ValueError for any other."""
    if not _FILE_NAME.fullmatch(name):
        accepted = "up to 100 letters A to Z, digits, space and _.+=@,()~-, no dot first, and a suffix such as .json"
        raise ValueError(f"{name[:40]!a}; accepted are names of {accepted}")
    return name


def check_template(template: str) -> str:
    """Return a valid template.

    Raises:
        ValueError: unknown fields, no relative path, or names that could be the same for two results.
    """
    texts, fields = _split(template)
    unknown = [field for field in fields if field not in _FIELDS]
    if unknown:
        accepted = ", ".join(f"{{{field}}}" for field in _FIELDS)
        raise ValueError(f"{{{unknown[0][:40]}}} is no field of a result's name; accepted are {accepted}")
    for text in texts:
        if not all(map(_LITERAL.match, text.split("/"))):
            raise ValueError(f"{text[:40]!a} has other characters than letters A to Z, digits, space and _.+=@,()~-")
    for part in template.split("/"):
        if not part or part.startswith(".") or part.endswith((".", " ")):
            raise ValueError(f"{part[:40]!r} is no part of a relative path without hidden folders")
    _check_unambiguous(template, fields)
    if _last_bytes(template) > _MAX_LAST_BYTES:
        raise ValueError(f"its last part is too long for file names; accepted are {_MAX_LAST_BYTES} bytes and {{stem}}")
    return template


def _check_unambiguous(template: str, fields: list[str]) -> None:
    *folders, last = template.split("/")
    if fields.count("folder") != 1 or "{folder}" not in folders:
        raise ValueError("it needs {folder}/ once, so that images of the same name in two folders have two results")
    if fields.count("stem") != 1 or "{stem}" not in last:
        raise ValueError("it needs {stem} once, after the last /, so that each image has results of its own")
    if fields.count("ext") != 1 or not last.endswith(".{ext}"):
        raise ValueError("it has to end in .{ext}, the suffix of the results' format")
    if _BESIDE_NUMBER.search(template.replace("{folder}/", "")):
        raise ValueError("a number needs something other than a digit on both sides, such as {stem}-{part}")


def _split(template: str) -> tuple[list[str], list[str]]:
    """Return the texts and the fields of a template, in turn."""
    parts = re.split(r"\{(\w*)\}", template)
    return parts[::2], parts[1::2]


@lru_cache(maxsize=256)
def _last_bytes(template: str) -> int:
    """Return how long a name's last part is at most without the stem, in bytes."""
    texts, fields = _split(template.rpartition("/")[2])
    numbers = sum(_DIGITS.get(field, 0) for field in fields)
    added = 0 if "{part}" in template else _PART_BYTES
    return sum(map(len, texts)) + numbers + _EXTENSION_BYTES + added


@lru_cache(maxsize=256)
def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of all names that a template makes."""
    patterns = {"stem": r"(?P<stem>[^/]+)", "ext": r"[A-Za-z0-9]+", **dict.fromkeys(_DIGITS, "[0-9]+")}
    pattern, end = "", 0
    for found in _FIELD.finditer(template):
        pattern += re.escape(template[end : found.start()])
        pattern += patterns[found[1]] if found[1] else "(?P<folder>.+/)?"
        end = found.end()
    return re.compile(pattern + re.escape(template[end:]), re.DOTALL)
