"""NewJob: a job that is to be created, with the images that its request's files or inputs become."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.common.model.errors import RETRY_MAY_HELP, ImageCode, RequestError
from penstock.common.model.groups import Groups
from penstock.common.model.jobs import ImageState, JobState
from penstock.common.model.names import distinct, exact_stems, exactly_distinct, unique_stems
from penstock.common.model.plan import GROUP_IDS, Layout, Plan
from penstock.common.settings import Limits
from penstock.common.sidecars import ORPHAN, Sidecars, described_name, sidecar_names
from penstock.common.store.keys import upload_key
from penstock.common.wording.durations import read_deadline
from penstock.coordinator.intake.form_parts import SentFile
from penstock.coordinator.intake.inputs.files import FoundFile
from penstock.coordinator.intake.job_requests import JobRequest, no_images
from penstock.coordinator.intake.received_files import ReceivedFiles
from penstock.coordinator.intake.skipped_files import SkippedFiles
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.repository import DEADLINE, Image, Job, StoredPlan


@dataclass(frozen=True)
class NewJob:
    """A checked request and its images. `upload` has their files; None for inputs elsewhere."""

    request: JobRequest
    images: Iterable[Image]
    upload: str | None = None
    sent: ReceivedFiles | None = None
    """What brought the files, if they came with the request."""
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    """What is left out, once the images have been read."""
    earlier: Job | None = None
    """The job whose images it reads."""

    def job(self, idempotency_key: str | None) -> Job:
        """Return the job's row, with a new id."""
        document = self.request.document
        webhook = document.webhook
        created_at = time.time()
        stored = self.request.stored_document()
        if document.deadline is not None:
            stored[DEADLINE] = read_deadline(document.deadline, created_at)
        return Job(
            id=new_id(),
            state=JobState.RECEIVING,
            plan=StoredPlan(self.request.plan.document()),
            document=stored,
            created_at=created_at,
            name=document.name,
            labels=document.labels,
            priority=document.priority,
            weight=document.weight,
            chunk_size=None if document.chunk_size == "auto" else document.chunk_size,
            on_failure=document.on_failure,
            upload=self.upload,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(self.request, self.sent.files if self.sent else ()) if idempotency_key else None,
            upload_bytes=self._upload_bytes,
            source_job=self.earlier.id if self.earlier else None,
            webhook_url=webhook.url if webhook else None,
            webhook_secret=webhook.secret.get_secret_value() if webhook and webhook.secret else None,
        )

    @property
    def _upload_bytes(self) -> int:
        """Bytes of the files that came with it, or with the earlier job; the database knows those of uploads."""
        if self.sent is not None:
            return sum(file.size_bytes for file in self.sent.files)
        return self.earlier.upload_bytes if self.earlier else 0


def check_files(request: JobRequest, files: Sequence[SentFile]) -> None:
    """Refuse a form without any image.

    Raises:
        RequestError: 422 without files; 415 if none is of an accepted type.
    """
    images = [file for file in files if not _is_sidecar(request, file)]
    if not images:
        raise no_images()
    if all(file.kind is None and file.size_bytes > 0 for file in images):
        message = f"{images[0].name!r} is {images[0].refusal}"
        raise RequestError(415, "unsupported_type", message, "/files")


def images_of_files(request: JobRequest, files: Sequence[SentFile], upload: str, skipped: SkippedFiles) -> list[Image]:
    """Return a job's images for the files of a form. Those that can't be processed have failed already."""
    sent = [(file, upload_key(upload, index)) for index, file in enumerate(files) if not _is_sidecar(request, file)]
    sidecars = _FormSidecars(request, files, upload)
    names, stems = _name_files(request, [file for file, _ in sent])
    step = request.plan.reading_step
    images = [
        _image(
            index,
            name,
            stem,
            ref,
            file.size_bytes,
            _file_error(file, step) or sidecars.error(file.name, step),
            sidecars.find(file.name),
        )
        for index, ((file, ref), name, stem) in enumerate(zip(sent, names, stems, strict=True))
    ]
    for orphan in sidecars.orphans():
        skipped.add(orphan, ORPHAN)
    return [*_as_planned(request.plan, images)]


def _name_files(request: JobRequest, files: Sequence[SentFile]) -> tuple[list[str], list[str]]:
    """Return a name and a stem for each file of a form; `/process` names them as version 0.1.0 did."""
    if request.exact_names:
        names = exactly_distinct(file.name for file in files)
        return names, exact_stems(names)
    names = distinct(file.name for file in files)
    results = request.names
    return names, unique_stems(names, results.max_stem_bytes, may_add_parts=results.part_may_be_added)


def images_of_inputs(request: JobRequest, files: Iterable[FoundFile], limits: Limits) -> Iterator[Image]:
    """Yield a job's images for its inputs. Those that can't be processed have failed already."""
    return _as_planned(request.plan, _images_of_inputs(request, files, limits))


def _images_of_inputs(request: JobRequest, files: Iterable[FoundFile], limits: Limits) -> Iterator[Image]:
    step, max_bytes = request.plan.reading_step, limits.max_file_bytes
    for index, (name, stem, ref, size_bytes, regions, labels) in enumerate(files):
        if size_bytes is None or 0 < size_bytes <= max_bytes:
            yield Image(index, name, stem, ref, size=size_bytes, regions=regions, labels=labels)
        else:
            yield _image(index, name, stem, ref, size_bytes, _input_error(size_bytes, step, limits), regions, labels)


def _as_planned(plan: Plan, images: Iterable[Image]) -> Iterator[Image]:
    """Return the images of a job: those given, all outputs of each if there are several, or with groups those, too."""
    if plan.branches:
        return _each_output(plan.layout, images)
    return _with_groups(plan, images) if plan.by else iter(images)


def _each_output(layout: Layout, images: Iterable[Image]) -> Iterator[Image]:
    """Yield every output of each image, which are images of their own."""
    for image in images:
        for number, branch in enumerate(layout.branches, image.id * layout.count):
            yield replace(
                image,
                id=number,
                name=f"{branch.name}/{image.name}",
                stem=f"{branch.name}/{image.stem}",
                resume_step=layout.first(number) if image.error else 0,
            )


def _with_groups(plan: Plan, images: Iterable[Image]) -> Iterator[Image]:
    """Yield images with their groups, then the groups. Images that have failed already are not waited for."""
    gather = plan.layout.gather
    assert gather is not None
    groups, pending = Groups(plan.by, plan.steps[gather.start]), list[int]()
    for image in images:
        number = groups.add(image.name, image.stem, json.loads(image.labels) if image.labels else None)
        pending += [0] * (number == len(pending))
        pending[number] += image.state is ImageState.PENDING
        yield replace(image, group=GROUP_IDS + number)
    for group, (name, count) in enumerate(zip(groups.names(), pending, strict=True), GROUP_IDS):
        yield Image(group, name, name, "", resume_step=gather.start, waits_for=count)


def fingerprint(request: JobRequest, files: Sequence[SentFile] = ()) -> str:
    """Return a digest of everything that a request asks for, the same however it is written."""
    sent = [[file.name, file.size_bytes, file.sha256] for file in files]
    text = json.dumps([request.canonical(), sent], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class _FormSidecars:
    """The sidecars among the files of a form, whose names need not be unique."""

    def __init__(self, request: JobRequest, files: Sequence[SentFile], upload: str) -> None:
        keys = [
            (file.name, upload_key(upload, index)) for index, file in enumerate(files) if _is_sidecar(request, file)
        ]
        self._names = {key: name for name, key in keys}
        described = ((described_name(name) or "", key) for name, key in keys)
        names = {file.name for file in files if not _is_sidecar(request, file)}
        self._sidecars = Sidecars(described, names)
        self._times = Counter(file.name for file in files)

    def find(self, name: str) -> str | None:
        """Return the key of an image's sidecar; None if it has none."""
        return self._sidecars.find(name)

    def orphans(self) -> list[str]:
        """Return the names of the sidecars without an image, after `find` of each image."""
        return [self._names[key] for key in self._sidecars.orphans()]

    def error(self, name: str, step: str) -> dict[str, Any] | None:
        """Return the error of an image with a sidecar if several files have the name of either."""
        if self.find(name) is None:
            return None
        repeated = [each for each in (name, *sidecar_names(name)) if self._times[each] > 1]
        if not repeated:
            return None
        message = f"{self._times[repeated[0]]} files are called {repeated[0]!a}; accepted is one, with its regions"
        return _error(ImageCode.INVALID_REGIONS, message, step)


def _is_sidecar(request: JobRequest, file: SentFile) -> bool:
    return request.has_sidecars and described_name(file.name) is not None


def _image(
    index: int,
    name: str,
    stem: str,
    ref: str,
    size_bytes: int,
    error: dict[str, Any] | None,
    regions: str | None,
    labels: str | None = None,
) -> Image:
    state = ImageState.PENDING if error is None else ImageState.FAILED
    return Image(index, name, stem, ref, state=state, size=size_bytes, error=error, regions=regions, labels=labels)


def _file_error(file: SentFile, step: str) -> dict[str, Any] | None:
    if file.size_bytes == 0:
        return _error(ImageCode.EMPTY_FILE, "the file is empty", step)
    if file.kind is None:
        return _error(ImageCode.UNSUPPORTED_TYPE, f"the file is {file.refusal}", step)
    return None


def _input_error(size_bytes: int, step: str, limits: Limits) -> dict[str, Any] | None:
    if size_bytes == 0:
        return _error(ImageCode.EMPTY_FILE, "the file is empty", step)
    if size_bytes > limits.max_file_bytes:
        message = f"the file has {size_bytes} bytes; {limits.accepted('max_file_bytes')}"
        return _error(ImageCode.TOO_LARGE_FILE, message, step)
    return None


def _error(code: ImageCode, message: str, step: str) -> dict[str, Any]:
    return {"code": code.value, "message": message, "step": step, "retry": code in RETRY_MAY_HELP}
