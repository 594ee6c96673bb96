"""One file of an upload that is sent file by file: streamed into the store, then noted, once however often it comes.

Every attempt writes an object of its own, and what counts is the one that the database names. Attempts at one time,
cut connections and a coordinator that dies in the middle leave objects that nobody reads; they go with the upload.
"""

from __future__ import annotations

import base64
import re
import time

from fastapi.responses import JSONResponse, Response

from penstock.common.model.errors import RequestError
from penstock.common.model.rest import UploadedFile
from penstock.common.store.keys import upload_file_key
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.form_parts import DiscardedUpload, FilePart, SentFile
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.refusals import conflict, not_found
from penstock.coordinator.ports.repository import ConflictError, UploadFile, UploadNotFoundError


class Arrival:
    """A recipient of one file's bytes; its methods run in threads, one at a time.

    Args:
        name: what the file is called, clean.
        digest: the SHA-256 that its bytes should have; None: whatever they have.
    """

    def __init__(self, services: Services, caller: Caller, upload: str, name: str, digest: bytes | None) -> None:
        self._services = services
        self._caller = caller
        self._upload = upload
        self._name = name
        self._digest = digest
        self._key = upload_file_key(upload, new_id())
        self._standing: UploadFile | None = None
        self._sent: list[SentFile] = []
        self._part: FilePart | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            RequestError: 404 no such upload; 413 too many files, or too large.
        """
        if self._part is None:
            self._part = self._open()
        self._part.write(memoryview(data))

    def finish(self, data: bytes) -> Response:
        """Take the last bytes; note the file and answer.

        Raises:
            RequestError: 400 for other bytes than the digest says; 409 where the name stands for other bytes, or a job
                reads the upload already; 404 where it is gone.
        """
        self.feed(data)
        assert self._part is not None
        self._part.commit()
        [sent] = self._sent
        assert sent.sha256 is not None
        if self._digest is not None and sent.sha256 != self._digest.hex():
            self._drop()
            raise RequestError(
                400, "digest_mismatch", f"the bytes that came have the SHA-256 {sent.sha256}; send again"
            )
        file = UploadFile(self._name, self._key, sent.size_bytes, sent.kind, sent.sha256)
        standing = self._standing or self._note(file)
        if standing.sha256 != file.sha256:
            raise conflict("file_differs", f"another file {self._name!r} has come before; begin another upload")
        return JSONResponse(view_file(standing).model_dump(), 201 if standing.key == self._key else 200)

    def abort(self) -> None:
        """Drop what came in."""
        if self._part is not None:
            self._part.abort()

    def _open(self) -> FilePart:
        repository, limits = self._services.repository, self._services.limits
        upload = repository.get_upload(self._upload, self._caller.scope)
        if upload is None:
            raise no_upload(self._upload)
        self._standing = repository.get_upload_file(self._upload, self._name)
        if self._standing is None and upload.files >= limits.max_images:
            raise RequestError(413, "too_many_files", f"the upload has {upload.files} files, as many as are accepted")
        writer = self._services.store.upload(self._key) if self._standing is None else DiscardedUpload()
        return FilePart(self._sent, self._name, limits, writer, digest=True)

    def _note(self, file: UploadFile) -> UploadFile:
        # Where the database is away nobody knows whether it has the file, so its bytes stay.
        try:
            standing = self._services.repository.add_upload_file(self._upload, file, time.time())
        except UploadNotFoundError as error:
            self._drop()
            raise no_upload(self._upload) from error
        except ConflictError as error:
            self._drop()
            raise conflict(
                "upload_in_use", "a job reads this upload, which takes no more files; begin another"
            ) from error
        if standing.key != self._key:
            self._drop()
        return standing

    def _drop(self) -> None:
        if self._standing is None:
            self._services.store.delete(self._key)


def view_file(file: UploadFile) -> UploadedFile:
    """Return a file as customers see it."""
    media_type = f"image/{file.kind}" if file.kind else None
    return UploadedFile(name=file.name, size=file.size_bytes, media_type=media_type, sha256=file.sha256)


def no_upload(upload: str) -> RequestError:
    """Return the refusal for an upload that is not there, or not any more."""
    return not_found(f"upload {upload[:40]!a}")


def read_digest(header: str | None) -> bytes | None:
    """Return the SHA-256 that a `Repr-Digest` (RFC 9530) or `Digest` (RFC 3230) header names; None where it has none.

    Raises:
        RequestError: 400 for what is no SHA-256.
    """
    found = re.search(r"(?:^|,)\s*sha-256=([^,\s]+)", header or "", re.IGNORECASE)
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1].strip(":"), validate=True)
    except ValueError:  # binascii.Error among them
        digest = b""
    if len(digest) != 32:
        raise RequestError(400, "invalid_digest", f"{found[1][:60]!a} is not a SHA-256; accepted is sha-256=:BASE64:")
    return digest
