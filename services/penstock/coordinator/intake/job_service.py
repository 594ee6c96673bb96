"""Jobs on their way in: admitted, written with all their images, accepted; or refused without a trace."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.common.model.errors import RETRY_MAY_HELP, ImageCode, RequestError, UnavailableError
from penstock.common.model.jobs import OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.names import distinct, unique_stems
from penstock.common.settings import Limits
from penstock.common.store.keys import upload_key
from penstock.coordinator.api.services import Services
from penstock.coordinator.auth.quotas import ANYBODY, Caller
from penstock.coordinator.intake.form_parts import SentFile
from penstock.coordinator.intake.input_files import FoundFile
from penstock.coordinator.intake.job_requests import JobRequest
from penstock.coordinator.ports.ids import new_id
from penstock.coordinator.ports.refusals import conflict
from penstock.coordinator.ports.repository import ConflictError, Image, Job, JobNotFoundError, StoredPlan, Usage

_REPLAY_SECS = 5.0
"""How long a request waits for an equal one that is on its way in at the same time."""

_RACES = 3
"""How often a request that loses its idempotency key to an equal one, which then fails, tries again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewJob:
    """A job that is not there yet, and its images."""

    job: Job
    images: Iterable[Image]


@dataclass(frozen=True)
class Idempotency:
    """What a client calls its request, and the digest of all that it asks for."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class _Turns:
    """What is done by one request at a time, so that each sees what the one before has taken."""

    creating: AbstractContextManager[Any] = field(default_factory=threading.Lock)
    reopening: AbstractContextManager[Any] = field(default_factory=threading.Lock)
    """Apart: a job of millions takes its time."""


class JobService:
    """Makes jobs. One of them per coordinator, and `of` it one for each request: they hold the bound on open jobs."""

    def __init__(self, services: Services, caller: Caller = ANYBODY, turns: _Turns | None = None) -> None:
        self._services = services
        self._repository = services.repository
        self._caller = caller
        self._turns = turns or _Turns()

    def of(self, caller: Caller) -> JobService:
        """Return the intake of a caller's jobs."""
        return JobService(self._services, caller, self._turns)

    def admit(self, count: int = 1) -> None:
        """Make sure that `count` more jobs fit, and with them at least an image more, all over and of this caller.

        Raises:
            RequestError: 429.
        """
        self._check_room(Usage(count, open_images=1, images_today=1))

    def knows(self, idempotency_key: str) -> bool:
        """Say whether a request of that key came before: its job may be the answer, however much is open."""
        return self._repository.find_by_key(self._caller.scoped_key(idempotency_key)) is not None

    def retry(self, job: Job, images: Sequence[int] | None) -> tuple[Job, int]:
        """Try failed images of a job again, all or those named; it is open again then. See Repository.retry_job.

        Raises:
            RequestError: 429 where that is more than may be open.
            ConflictError: the job was cancelled or has not ended.
            JobNotFoundError: no such job.
            ImageNotFailedError: one of the images has not failed.
        """
        with self._turns.reopening:
            if job.failed and job.state in (JobState.PARTIAL, JobState.FAILED):
                again = job.failed if images is None else len(set(images))
                self._check_room(Usage(1, open_images=again, images_today=0))
            return self._services.engine.retry(job.id, images)

    def _check_room(self, more: Usage) -> None:
        most = self._services.limits.max_open_jobs
        self._caller.check_quota(self._repository, more)
        if self._repository.count_open_jobs() + more.open_jobs > most:
            raise RequestError(429, "too_many_jobs", f"{most} jobs are open, as many as are accepted; try again later")

    def accept(self, drafts: Sequence[NewJob], created: Callable[[], None] = lambda: None) -> list[Job]:
        """Create jobs, all of them or none, and let them start; calls `created` in between.

        Raises:
            RequestError: 422 for a job with no images or too many, 429 where too many jobs are open, or more than the
                caller may have; 403 for what it may not ask for.
            ConflictError: a job's idempotency key is taken.
        """
        drafts = [replace(draft, job=self._caller.own(draft.job)) for draft in drafts]
        try:
            self._create(drafts)
            created()
            jobs = [self._repository.accept_job(draft.job.id) for draft in drafts]
        except BaseException:
            self._discard(drafts)
            raise
        self._services.engine.wake()
        return [self._end_if_failed(job) for job in jobs]

    def accept_once(
        self, draft: NewJob, idempotency: Idempotency, created: Callable[[], None] = lambda: None
    ) -> tuple[Job, bool]:
        """Create a job, or return the one that an equal request made before; and whether it is new.

        Raises:
            RequestError: as `accept`; 409 where the key stands for another request.
        """
        for _ in range(_RACES):
            earlier = self._earlier(idempotency)
            if earlier is not None:
                return earlier, False
            try:
                return self.accept([draft], created)[0], True
            except ConflictError:
                _log.debug("it lost the race for its idempotency key", extra={"job": draft.job.id})
            except JobNotFoundError as error:  # an equal request has taken this one for dead
                raise _in_progress() from error
        raise _in_progress()

    def _create(self, drafts: Sequence[NewJob]) -> None:
        with self._turns.creating:
            self.admit(len(drafts))
            for draft in drafts:
                self._repository.create_job(draft.job)
        for draft in drafts:
            images = bounded(draft.images, self._caller.most_images(self._services.limits))
            if self._add_images(draft.job.id, images) == 0:
                raise no_images()
        self._caller.check_quota(self._repository)

    def _add_images(self, job: str, images: Iterable[Image]) -> int:
        try:
            return self._repository.add_images(job, images)
        except ConflictError as error:  # names that differ, but not enough for results to be named after them
            raise RequestError(
                422, "equal_names", "two inputs would have results of the same name; send them as two jobs", "/inputs"
            ) from error

    def _discard(self, drafts: Sequence[NewJob]) -> None:
        try:
            for draft in drafts:
                self._repository.discard_receiving(draft.job.id)
        except UnavailableError as error:
            _log.warning("unaccepted jobs stay until the next start: %s", error.message)

    def _end_if_failed(self, job: Job) -> Job:
        """End a job that is to end at its first failure and came with one."""
        if job.on_failure == "cancel" and job.failed > 0 and job.state in OPEN_JOB_STATES:
            with suppress(ConflictError):
                return self._services.engine.cancel(job.id)
        return job

    def _earlier(self, idempotency: Idempotency) -> Job | None:
        """Return the job that an equal request has made; None where there is none, or it never got as far.

        A request that adds no image for so long has died with its coordinator, and this one takes its place. Should
        it live after all, it finds its job gone: there is never more than one.
        """
        deadline = time.monotonic() + _REPLAY_SECS
        key = self._caller.scoped_key(idempotency.key)
        first: Job | None = None
        while (job := self._repository.find_by_key(key)) is not None:
            if job.fingerprint != idempotency.fingerprint:
                raise conflict("idempotency_key_taken", "this Idempotency-Key was sent with another request before")
            if job.state is not JobState.RECEIVING:
                return job
            first = first or job
            if time.monotonic() > deadline:
                if job != first:
                    raise _in_progress()
                _log.warning("it came no further, and an equal request takes its place", extra={"job": job.id})
                self._repository.discard_receiving(job.id)
                return None
            time.sleep(0.05)
        return None


def draft_job(
    order: JobRequest, images: Iterable[Image], upload: str | None = None, idempotency: Idempotency | None = None
) -> NewJob:
    """Return the job that an order becomes."""
    document = order.document
    webhook = document.webhook
    job = Job(
        id=new_id(),
        state=JobState.RECEIVING,
        plan=StoredPlan.read(order.plan.document()),
        document=order.remembered(),
        created_at=time.time(),
        name=document.name,
        labels=document.labels,
        priority=document.priority,
        weight=document.weight,
        chunk_size=None if document.chunk_size == "auto" else document.chunk_size,
        on_failure=document.on_failure,
        upload=upload,
        idempotency_key=idempotency.key if idempotency else None,
        fingerprint=idempotency.fingerprint if idempotency else None,
        webhook_url=webhook.url if webhook else None,
        webhook_secret=webhook.secret.get_secret_value() if webhook and webhook.secret else None,
    )
    return NewJob(job, images)


def check_files(files: Sequence[SentFile]) -> None:
    """Refuse an upload with nothing in it that could be processed.

    Raises:
        RequestError: 422 without files; 415 where all are of a type that is not accepted.
    """
    if not files:
        raise no_images()
    if all(file.kind is None and file.size_bytes > 0 for file in files):
        raise RequestError(
            415,
            "unsupported_type",
            f"{files[0].name!r} is neither JPEG nor PNG by its first bytes; accepted are JPEG and PNG",
            "/files",
        )


def sent_images(order: JobRequest, files: Sequence[SentFile], upload: str) -> list[Image]:
    """Return a job's images for uploaded files, those that cannot be processed failed already."""
    names = distinct(file.name for file in files)
    step = order.plan.steps[0]
    return [
        _image(index, name, stem, upload_key(upload, index), file.size_bytes, _sent_fault(file, step))
        for index, (file, name, stem) in enumerate(zip(files, names, unique_stems(names), strict=True))
    ]


def found_images(order: JobRequest, files: Iterable[FoundFile], limits: Limits) -> Iterator[Image]:
    """Yield a job's images for inputs, those that are known to be of no use failed already."""
    step = order.plan.steps[0]
    for index, (name, stem, ref, size_bytes) in enumerate(files):
        if size_bytes is None:
            yield Image(index, name, stem, ref)
        else:
            yield _image(index, name, stem, ref, size_bytes, _found_fault(size_bytes, step, limits))


def fingerprint(order: JobRequest, files: Sequence[SentFile] = ()) -> str:
    """Return the digest of all that a request asks for, however it was written."""
    sent = [[file.name, file.size_bytes, file.sha256] for file in files]
    text = json.dumps([order.canonical(), sent], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def no_images() -> RequestError:
    """Return the refusal of a job without pictures."""
    return RequestError(422, "no_images", "no pictures were given; accepted are files of a form, or inputs")


def _in_progress() -> RequestError:
    return conflict("request_in_progress", "an equal request is still on its way in; try again later")


def bounded(images: Iterable[Image], most: int) -> Iterator[Image]:
    """Yield images, no more than are accepted for one job.

    Raises:
        RequestError: 422 at the first one too many.
    """
    for count, image in enumerate(images, start=1):
        if count > most:
            raise RequestError(422, "too_many_images", f"more than {most} images; accepted are {most} a job", "/inputs")
        yield image


def _image(index: int, name: str, stem: str, ref: str, size_bytes: int, error: dict[str, Any] | None) -> Image:
    state = ImageState.PENDING if error is None else ImageState.FAILED
    return Image(index, name, stem, ref, state=state, size=size_bytes, error=error)


def _sent_fault(file: SentFile, step: str) -> dict[str, Any] | None:
    if file.size_bytes == 0:
        return _fault(ImageCode.EMPTY_FILE, "the file is empty", step)
    if file.kind is None:
        return _fault(ImageCode.UNSUPPORTED_TYPE, "neither JPEG nor PNG by its first bytes", step)
    return None


def _found_fault(size_bytes: int, step: str, limits: Limits) -> dict[str, Any] | None:
    if size_bytes == 0:
        return _fault(ImageCode.EMPTY_FILE, "the file is empty", step)
    if size_bytes > limits.max_file_bytes:
        message = f"the file has {size_bytes} bytes; accepted are {limits.max_file_bytes}"
        return _fault(ImageCode.TOO_LARGE_FILE, message, step)
    return None


def _fault(code: ImageCode, message: str, step: str) -> dict[str, Any]:
    return {"code": code.value, "message": message, "step": step, "retry": code in RETRY_MAY_HELP}
