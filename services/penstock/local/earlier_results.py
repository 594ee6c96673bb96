"""Earlier results: what a manifest lists, compared with the files that are there.

An image's last entry counts. Results of its other entries are stale: such as `x-0.png` of `x.jpg`, whose results are
named `x.jpg-0.png` once there is an `x.png`. A file that was changed since it was written is never removed; it stays
listed, so that a result of that name can replace it.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.local.manifest_lines import Entry, ListedResult, ManifestFile
from penstock.local.results_folder import ResultsFolder


@dataclass
class EarlierResults:
    """The results that a manifest lists. `verify`: compare checksums always; `all_stale`: no entry counts any more."""

    manifest: ManifestFile
    folder: ResultsFolder
    verify: bool = False
    all_stale: bool = False
    done: set[int] = field(default_factory=set)
    """The sources of images that are done, once `kept_lines` has ended."""
    has_stale: bool = False

    def kept_lines(self) -> Iterator[bytes]:
        """Yield the lines of images that are done and whose results exist; of others, only those that are there."""
        last = _LastEntries()
        if not self.all_stale:
            for number, listed in enumerate(self.manifest.entries()):
                last.add(number, listed.entry)
        self.has_stale = self.all_stale or last.has_others
        names = self._names(last) if self.has_stale and not self.all_stale else set()
        for number, (entry, line) in enumerate(self.manifest.entries()):
            if not self.all_stale and last.is_last(number, entry):
                kept = self._keep(entry, line)
            else:
                kept = _outdated(entry, [each for each in self._changed(entry) if hash(each.name) not in names])
            if kept is not None:
                yield kept

    def remove_stale(self, listed: set[int]) -> None:
        """Remove the stale results that are unchanged, except names whose hash is in `listed`."""
        for entry, _ in self.manifest.entries():
            for result in entry.results:
                if hash(result.name) not in listed and self._check(result, trust_size=False):
                    self.folder.remove(result.name)

    def _names(self, last: "_LastEntries") -> set[int]:
        entries = enumerate(self.manifest.entries())
        return {
            hash(result.name)
            for number, (entry, _) in entries
            if last.is_last(number, entry)
            for result in entry.results
        }

    def _keep(self, entry: Entry, line: bytes) -> bytes | None:
        found = [self._check(result, trust_size=not self.verify) for result in entry.results]
        checked = [result for result in found if result is not None]
        if entry.state == "outdated" or len(checked) < len(found):
            return _outdated(entry, [result for result in entry.results if self.folder.status(result.name)])
        self.done.add(int(entry.source, 16))
        return line if checked == entry.results else _line(entry.model_copy(update={"results": checked}))

    def _changed(self, entry: Entry) -> list[ListedResult]:
        return [
            result
            for result in entry.results
            if self.folder.status(result.name) and not self._check(result, trust_size=False)
        ]

    def _check(self, result: ListedResult, *, trust_size: bool) -> ListedResult | None:
        """Return a result with the time of its file if that has not changed, else None.

        A file of another time has its content compared; with `trust_size`, one whose time is unknown has not.
        """
        status = self.folder.status(result.name)
        if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != result.size:
            return None
        is_same_time = result.mtime_ns == status.st_mtime_ns
        if not self.verify and (is_same_time or (trust_size and result.mtime_ns is None)):
            is_unchanged = True
        else:
            is_unchanged = self.folder.digest(result.name) == result.sha256
        if not is_unchanged:
            return None
        return result if is_same_time else result.model_copy(update={"mtime_ns": status.st_mtime_ns})


class _LastEntries:
    """The numbers of the entries that count: the last of each image, and the last that lists its first result."""

    def __init__(self) -> None:
        self._by_input: dict[int, int] = {}
        self._by_name: dict[int, int] = {}
        self._count = 0

    def add(self, number: int, entry: Entry) -> None:
        self._by_input[_input(entry)] = self._by_name[hash(entry.results[0].name)] = number
        self._count += 1

    @property
    def has_others(self) -> bool:
        """Whether there are entries that do not count."""
        return min(len(self._by_input), len(self._by_name)) < self._count

    def is_last(self, number: int, entry: Entry) -> bool:
        """Return whether an entry counts."""
        return self._by_input[_input(entry)] == self._by_name[hash(entry.results[0].name)] == number


def _input(entry: Entry) -> int:
    return int(entry.input or entry.source, 16)


def _outdated(entry: Entry, results: list[ListedResult]) -> bytes | None:
    if not results:
        return None
    return _line(entry.model_copy(update={"state": "outdated", "results": results}))


def _line(entry: Entry) -> bytes:
    return entry.model_dump_json(exclude_unset=True).encode() + b"\n"
