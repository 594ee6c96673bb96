"""Upload inputs: the files of an upload as a job's inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.common.model.errors import RequestError
from penstock.common.model.jobs import UploadRef
from penstock.common.settings import Limits
from penstock.coordinator.intake.input_files import FoundFile
from penstock.coordinator.intake.input_spool import InputSpool
from penstock.coordinator.intake.job_requests import no_images
from penstock.coordinator.ports.ids import is_id
from penstock.coordinator.ports.repository import Repository, Scope

_FILES_PER_PAGE = 1_000


def find_upload(repository: Repository, inputs: Sequence[object], scope: Scope) -> str | None:
    """Return the id of the upload that a job reads, None if it doesn't read one.

    Raises:
        RequestError: 422 if there are other inputs, or the upload doesn't exist or is empty; 415 if it has no image.
    """
    references = [(index, given.upload) for index, given in enumerate(inputs) if isinstance(given, UploadRef)]
    if not references:
        return None
    index, name = references[0]
    pointer = f"/inputs/{index}"
    if len(inputs) > 1:
        raise RequestError(422, "upload_not_alone", "an upload has to be the only input; send several jobs", pointer)
    upload = repository.get_upload(name, scope) if is_id(name) else None
    if upload is None:
        raise RequestError(422, "source_not_found", f"there is no upload {name[:40]!a}", pointer)
    if upload.files == 0:
        raise no_images()
    if upload.pictures == 0:
        raise RequestError(
            415, "unsupported_type", f"none of {upload.files} files is a JPEG or PNG by its first bytes", pointer
        )
    return upload.id


def uploaded_files(repository: Repository, upload: str, limits: Limits) -> Iterator[FoundFile]:
    """Yield an upload's files in the order of their names. Call it after the job was created: no file is added then."""
    with InputSpool(limits.max_images) as spool:
        spool.include_folder("")
        after = ""
        while page := repository.list_upload_files(upload, after=after, limit=_FILES_PER_PAGE):
            for file in page:
                folder, slash, name = file.name.rpartition("/")
                spool.add(folder + slash, name, file.key, file.size_bytes)
            after = page[-1].name
        yield from spool.files()
