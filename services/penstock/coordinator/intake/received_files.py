"""Received files: the files of one request, which go to the store while they arrive; a body that is one file."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.base import Store, Upload
from penstock.common.store.keys import upload_key
from penstock.coordinator.intake.file_names import clean_name
from penstock.coordinator.intake.form_parts import DiscardedUpload, FilePart, SentFile
from penstock.coordinator.ports.ids import new_id


class ReceivedFiles(ABC):
    """Base of what receives files. `close` removes them from the store unless a job keeps them.

    Args:
        dry_run: whether to check the files without storing them.
        digest: whether to compute the files' SHA-256.
        volatile: whether a power failure may lose the files.
    """

    def __init__(
        self, store: Store, limits: Limits, *, dry_run: bool = False, digest: bool = False, volatile: bool = False
    ) -> None:
        self.id = new_id()
        """The id under which the files are stored."""
        self.files: list[SentFile] = []
        self._store = store
        self._limits = limits
        self._dry_run = dry_run
        self._digest = digest
        self._volatile = volatile
        self._has_stored = False
        self._kept = False

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take the next bytes of the request's body."""

    @abstractmethod
    def finish(self, data: bytes) -> Self:
        """Take the last bytes; all files are complete then."""

    @abstractmethod
    def abort(self) -> None:
        """Drop everything: the body was refused, or the client left."""

    def open_file(self, filename: str) -> FilePart:
        """Return a file that can be written.

        Raises:
            RequestError: 413 for too many files; 422 for a name that is not accepted.
        """
        index = len(self.files)
        if index >= self._limits.max_files:
            raise RequestError(413, "too_many_files", f"too many files; {self._limits.accepted('max_files')}", "/files")
        name = clean_name(filename, self._limits.max_name_bytes)
        self._has_stored = not self._dry_run
        return FilePart(self.files, name, self._limits, self._open_upload(index), digest=self._digest)

    def _open_upload(self, index: int) -> Upload:
        if self._dry_run:
            return DiscardedUpload()
        return self._store.upload(upload_key(self.id, index), volatile=self._volatile)

    def keep(self) -> None:
        """Leave the files in the store from now on: a job reads them."""
        self._kept = True

    def close(self) -> None:
        """Remove the files unless they were kept."""
        if self._has_stored and not self._kept:
            self._store.delete_prefix(upload_prefix(self.id))
            self._has_stored = False


class BodyUpload(ReceivedFiles):
    """Receives a request's body, in chunks of any size, as one file with a given name.

    `admit` is called before the first byte is stored; it may raise to refuse the request.
    """

    def __init__(
        self, name: str, store: Store, limits: Limits, admit: Callable[[], None], *, volatile: bool = False
    ) -> None:
        super().__init__(store, limits, volatile=volatile)
        self._name = name
        self._admit = admit
        self._part: FilePart | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises RequestError: 413 for a file that is too large; 422 for its name."""
        if self._part is None:
            self._admit()
            self._part = self.open_file(self._name)
        self._part.write(memoryview(data))

    def finish(self, data: bytes) -> Self:
        """Take the last bytes and return the complete file.

        A file that came all at once is admitted only as a job: its bytes are there already.
        """
        self._part = self._part or self.open_file(self._name)
        self._part.write(memoryview(data))
        self._part.commit()
        return self

    def abort(self) -> None:
        """Drop an incomplete file."""
        if self._part is not None:
            self._part.abort()
        self.close()


def upload_prefix(upload: str) -> str:
    """Return the folder of an upload's files in the store."""
    return upload_key(upload, 0).rpartition("/")[0]
