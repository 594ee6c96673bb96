"""The files of an upload as a job's inputs."""

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

_FILES_AT_ONCE = 1_000


def find_upload(repository: Repository, inputs: Sequence[object], scope: Scope) -> str | None:
    """Return the upload that a job reads, None where it names none.

    Raises:
        RequestError: 422 where it is not alone, not there, or empty; 415 where nothing in it is a picture.
    """
    named = [(index, given.upload) for index, given in enumerate(inputs) if isinstance(given, UploadRef)]
    if not named:
        return None
    index, name = named[0]
    pointer = f"/inputs/{index}"
    if len(inputs) > 1:
        raise RequestError(422, "upload_not_alone", "an upload is a job's only input; send several jobs", pointer)
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
    """Yield an upload's files by name, as `find_inputs` does. To be asked for once its job has been created."""
    with InputSpool(limits.max_images) as listing:
        listing.include_folder("")
        after = ""
        while page := repository.list_upload_files(upload, after=after, limit=_FILES_AT_ONCE):
            for file in page:
                folder, slash, name = file.name.rpartition("/")
                listing.add(folder + slash, name, file.key, file.size_bytes)
            after = page[-1].name
        yield from listing.files()
