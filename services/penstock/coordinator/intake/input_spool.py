"""Pictures that were found, on their way through a file beside the process: all are seen before the first is named.

Their names depend on the folder that holds them all, and what their results are named after on who has the same. A
list of a million pictures waits on disk meanwhile; memory holds a table of a fixed bound (see stems.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from tempfile import SpooledTemporaryFile
from types import TracebackType

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.names import shorten
from penstock.coordinator.intake.file_names import folder_name, shown_key_part
from penstock.coordinator.intake.input_files import FoundFile
from penstock.coordinator.intake.stems import Stems, strip

_HELD_BYTES = 1024 * 1024
_LINES_AT_ONCE = 4_096
_SURELY_SHORT = 59
"""Characters that are within the bytes of a stem, whatever they are."""


class InputSpool:
    """Takes pictures one by one, `most` of them, and gives them back named. To be used with `with`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._lines: list[str] = []
        self._folder: str | None = None
        self._last: str | None = None
        self._file = SpooledTemporaryFile(_HELD_BYTES)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> InputSpool:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._file.close()

    def hold(self, folder: str) -> None:
        """Let names begin no deeper than in this folder (as `shown_folder` gives it)."""
        if self._folder is None:
            self._folder = folder
        while not folder.startswith(self._folder):
            parent, slash, _ = self._folder[:-1].rpartition("/")
            self._folder = parent + slash

    def add(self, folder: str, name: str, ref: str, size_bytes: int | None = None) -> None:
        """Take a picture called `name` in a folder (as `shown_folder` gives it).

        Raises:
            RequestError: 422 for one too many.
            UnavailableError: the disk is full.
        """
        if folder != self._last:
            self.hold(folder)
            self._last = folder
        self._lines.append(f"{folder}{name}\t{ref}\t{'' if size_bytes is None else size_bytes}\n")
        self._count += 1
        if self._count > self._most:
            raise RequestError(
                422, "too_many_images", f"more than {self._most} images; accepted are {self._most} a job", "/inputs"
            )
        if len(self._lines) == _LINES_AT_ONCE:
            self._flush()

    def files(self) -> Iterator[FoundFile]:
        """Yield all pictures in the order they came, none twice.

        Different ones may still have one name, where it was made of what cannot be shown: the database refuses them.
        """
        self._flush()
        stems = Stems(self._count)
        for line in self._rows():
            stems.note(line[: line.index(b"\t")])
        for line in self._rows():
            stems.compare(line[: line.index(b"\t")])
        start = len((self._folder or "").encode())
        taken: set[tuple[bytes, bytes]] = set()
        for line in self._rows():
            name, ref, size = line[:-1].split(b"\t")
            if stems.is_doubled(name):
                if (name, ref) in taken:
                    continue
                taken.add((name, ref))
            alone = stems.is_alone(name)
            shown, stem = name[start:].decode(), (strip(name) if alone else name)[start:].decode()
            if len(stem) > _SURELY_SHORT:
                stem = shorten(stem)
            yield FoundFile(shown, stem, ref.decode(), int(size) if size else None)

    def _flush(self) -> None:
        with _disk():
            self._file.write("".join(self._lines).encode())
        self._lines.clear()

    def _rows(self) -> Iterator[bytes]:
        with _disk():
            self._file.seek(0)
            yield from self._file


@lru_cache(maxsize=1024)
def shown_folder(folder: str) -> str:
    """Return a folder of a bucket (`s3://photos/delft`) as names begin with it: `s3/photos/delft/`."""
    scheme, _, path = folder.partition("://")
    parts = (shorten(shown_key_part(part)) for part in (scheme, *path.split("/")))
    return "".join(folder_name(part) for part in parts)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError("disk", f"the list of a job's pictures cannot wait on disk: {error.strerror}") from error
