"""Group: images of a job whose results one step sees together; the listing that tells a worker which these are.

A listing is an object of the store, with a line of JSON for each image of the group that succeeded.
"""

import operator
import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, Field

from penstock.common.model.messages import Result
from penstock.common.model.names import Numbering, fold, folder_name, shorten, shown_name, without_suffix

_SOURCE = "group:"
_LABEL = "label:"
_PART_NUMBER = re.compile(r"-[0-9]+\Z")


class Groups:
    """Puts the images of a job into groups, by what `Gather.by` says, and gives the groups names.

    A group is called as its step, in the folder of its images or in one that is called as their label. Results of
    groups have names that no others have: a name that the result of an image could have, or a folder, is numbered.
    """

    def __init__(self, by: str, step: str) -> None:
        self._by = by
        self._step = step
        self._numbers: dict[str, int] = {}
        self._like_step = _PART_NUMBER.sub("", fold(step))
        self._taken: set[str] = set()
        """Names of images and folders that begin like the step's, folded, with and without suffix and part number."""

    def add(self, name: str, stem: str, labels: Mapping[str, str] | None = None) -> int:
        """Return the number of the group of an image, from 0 on in the order in which they first appear."""
        for path in {name, stem}:
            if self._like_step in fold(path):
                self._note(fold(path))
        return self._numbers.setdefault(self._key(name, labels or {}), len(self._numbers))

    def names(self) -> Iterator[str]:
        """Yield the name of each group, which is also its stem, once all images were added."""
        numbering = Numbering(self._taken.__contains__)
        for key in self._numbers:
            name = (key if self._by == "folder" else _shown_folder(key)) + self._step
            if not self._taken.isdisjoint((fold(name), _PART_NUMBER.sub("", fold(name)))):
                name = numbering.number_stem(name)
            self._note(fold(name))
            yield name

    def _key(self, name: str, labels: Mapping[str, str]) -> str:
        if self._by == "folder":
            return name[: name.rfind("/") + 1]
        return labels.get(self._by.removeprefix(_LABEL), "") if self._by.startswith(_LABEL) else ""

    def _note(self, path: str) -> None:
        parts = path.split("/")
        for count, part in enumerate(parts, 1):
            if part.startswith(self._like_step):
                whole = "/".join(parts[:count])
                for each in (whole, without_suffix(whole)):
                    self._taken |= {each, _PART_NUMBER.sub("", each)}


def _shown_folder(label: str) -> str:
    """Return the folder that is called as a label, with its slash; empty without a label."""
    if not label:
        return ""
    name = shown_name(label.replace("/", "_"))
    return f"{shorten(folder_name(f'_{name[1:]}' if name[0] == '.' else name))}/"


class Member(BaseModel, extra="ignore"):
    """An image of a group: its name in the job, its results in order, and the labels that came with it."""

    name: str
    results: list[Result] = []
    labels: dict[str, str] = Field(default={}, exclude_if=operator.not_)


def group_source(listing: str) -> str:
    """Return what messages have as the source of a group, given the store key of its listing."""
    return _SOURCE + listing


def listing_key(source: str) -> str | None:
    """Return the store key of the listing of a group; None for the source of an image."""
    return source.removeprefix(_SOURCE) if source.startswith(_SOURCE) else None


def write_member(member: Member) -> bytes:
    """Return an image's line in the listing of its group."""
    return member.model_dump_json().encode() + b"\n"


def read_members(pieces: Iterable[bytes]) -> Iterator[Member]:
    """Yield the images of a group from its listing, whose pieces may end anywhere.

    Raises:
        ValueError: a line cannot be read.
    """
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(Member.model_validate_json, lines)
    if rest:
        raise ValueError(f"a listing whose last line is cut off after {len(rest)} bytes")
