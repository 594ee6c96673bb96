"""FileUpload: receives one file of an upload into the store and records it once, however often it is sent.

Every attempt writes an object of its own; the one in the database counts. Objects of concurrent attempts, lost
connections and crashed coordinators are unused and are deleted with the upload.
"""

import base64
import re
import time
from dataclasses import dataclass

from penstock.common.model.errors import RequestError
from penstock.common.settings import Limits
from penstock.common.store.base import Store
from penstock.common.store.keys import upload_key
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.form_parts import DiscardedUpload, FilePart, SentFile
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.refusals import conflict, not_found
from penstock.coordinator.ports.repository import ConflictError, Repository, UploadFile, UploadNotFoundError


@dataclass
class FileUpload:
    """Receives one file in chunks. Its methods run in threads, one at a time.

    `name` is the file's name, cleaned; `digest` the SHA-256 that it must have (None: any).
    """

    repository: Repository
    store: Store
    limits: Limits
    caller: Caller
    upload: str
    name: str
    digest: bytes | None

    def __post_init__(self) -> None:
        self._key = upload_key(self.upload, new_id())
        self._existing: UploadFile | None = None
        self._sent: list[SentFile] = []
        self._part: FilePart | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RequestError: 404 for an unknown upload; 413 for too many files or a file that is too large.
        """
        if self._part is None:
            self._part = self._open()
        self._part.write(memoryview(data))

    def finish(self, data: bytes) -> tuple[UploadFile, bool]:
        """Take the last bytes and record the file; return it, and whether it is new.

        Raises:
            RequestError: 400 if the digest differs; 409 if another file has the name, or a job reads the upload
                already; 404 if the upload no longer exists.
        """
        self.feed(data)
        assert self._part is not None
        self._part.commit()
        [sent] = self._sent
        assert sent.sha256 is not None
        if self.digest is not None and sent.sha256 != self.digest.hex():
            self._delete()
            message = f"the file has SHA-256 {sent.sha256}, not that of the header; send it again"
            raise RequestError(400, "digest_mismatch", message)
        file = UploadFile(self.name, self._key, sent.size_bytes, sent.kind, sent.sha256)
        recorded = self._existing or self._record(file)
        if recorded.sha256 != file.sha256:
            raise conflict("file_differs", f"the upload has a different file {self.name!r}; create another upload")
        return recorded, recorded.key == self._key

    def abort(self) -> None:
        """Drop an incomplete file."""
        if self._part is not None:
            self._part.abort()

    def _open(self) -> FilePart:
        upload = self.repository.get_upload(self.upload, self.caller.scope)
        if upload is None:
            raise no_upload(self.upload)
        self._existing = self.repository.get_upload_file(self.upload, self.name)
        if self._existing is None and upload.files >= self.limits.max_images:
            raise RequestError(413, "too_many_files", f"the upload has {upload.files} files, which is the limit")
        writer = self.store.upload(self._key) if self._existing is None else DiscardedUpload()
        return FilePart(self._sent, self.name, self.limits, writer, digest=True)

    def _record(self, file: UploadFile) -> UploadFile:
        # If the database is unreachable, it may or may not have recorded the file: the object stays.
        try:
            recorded = self.repository.add_upload_file(self.upload, file, time.time())
        except UploadNotFoundError as error:
            self._delete()
            raise no_upload(self.upload) from error
        except ConflictError as error:
            self._delete()
            message = "a job reads this upload, so it takes no more files; create another upload"
            raise conflict("upload_in_use", message) from error
        if recorded.key != self._key:
            self._delete()
        return recorded

    def _delete(self) -> None:
        if self._existing is None:
            self.store.delete(self._key)


def no_upload(upload: str) -> RequestError:
    """Return the refusal for an upload that does not exist or no longer exists."""
    return not_found(f"upload {upload[:40]!a}")


def read_digest(header: str | None) -> bytes | None:
    """Return the SHA-256 in a `Repr-Digest` (RFC 9530) or `Digest` (RFC 3230) header; None if there is none.

    Raises:
        RequestError: 400 for an invalid one.
    """
    found = re.search(r"(?:^|,)\s*sha-256=([^,\s]+)", header or "", re.IGNORECASE)
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1].strip(":"), validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise RequestError(400, "invalid_digest", f"{found[1][:60]!a} is not a SHA-256; accepted is sha-256=:BASE64:")
    return digest
