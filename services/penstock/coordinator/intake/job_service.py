"""JobService: creates jobs with all their images, within the limits of the server and of the caller's API key."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.jobs import OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.plan import check_enabled
from penstock.common.model.rest import Estimate, StepEstimate
from penstock.common.settings import Limits
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.intake.input_resolver import find_inputs, find_upload, translate_errors, uploaded_files
from penstock.coordinator.intake.job_requests import JobRequest, no_images
from penstock.coordinator.intake.new_job import NewJob, check_files, images_of_files, images_of_inputs
from penstock.coordinator.intake.received_files import ReceivedFiles
from penstock.coordinator.ports.refusals import conflict
from penstock.coordinator.ports.repository import (
    ConflictError,
    DuplicateImageError,
    Image,
    Job,
    JobNotFoundError,
    Repository,
    StoredPlan,
    Usage,
)
from penstock.coordinator.ports.scheduler import Scheduler
from penstock.coordinator.webhooks.rules import WebhookRules

_MAX_RACES = 3
"""Attempts of a request that loses its idempotency key to an equal one which then fails."""

_POLL_SECS = 0.05

_log = logging.getLogger(__name__)


class JobService:
    """Creates and retries jobs. One for each coordinator, because it serializes the checks of limits.

    Every method may block and may be called from any thread.

    Args:
        input_root: the folder below which jobs may name files; None: nowhere.
        buckets: the buckets that jobs may name.
        webhooks: which webhooks jobs may name.
        replay_secs: how long a request waits for an equal one that is being received at the same time.
    """

    def __init__(
        self,
        repository: Repository,
        scheduler: Scheduler,
        limits: Limits,
        *,
        input_root: InputRoot | None = None,
        buckets: BucketAllowlist | None = None,
        webhooks: WebhookRules | None = None,
        replay_secs: float = 5.0,
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._limits = limits
        self._input_root = input_root
        self._buckets = buckets or BucketAllowlist()
        self._webhooks = webhooks or WebhookRules()
        self._replay_secs = replay_secs
        self._creation_lock = threading.Lock()
        self._retry_lock = threading.Lock()  # a retry of a million images should not delay new jobs

    def admit(self, caller: Caller, idempotency_key: str | None = None, jobs: int = 1) -> None:
        """Check, before anything is received, that more jobs fit: each with at least one image.

        A repeated request always passes, since it gets the job that it created before.

        Raises:
            RequestError: 429.
        """
        if idempotency_key is not None and self._repository.find_by_key(caller.scoped_key(idempotency_key)) is not None:
            return
        self._check_capacity(caller, Usage(jobs, open_images=1, images_today=1))

    def prepare(
        self, caller: Caller, request: JobRequest, sent: ReceivedFiles | None = None, pointer: str = ""
    ) -> NewJob:
        """Check what a request asks for and find its images: the files that came with it, or else the request's inputs.

        Inputs are listed only when the job's images are read. `pointer` leads to the request in the sent document.

        Raises:
            RequestError: 403 for a place that jobs may not read or write; 415 or 422 without images, or for inputs or
                a webhook that are not accepted.
            UnavailableError: the database or a bucket is unreachable.
        """
        inputs = request.document.inputs
        if sent is None and not inputs:
            raise no_images()
        if request.document.results is not None:
            with translate_errors(f"{pointer}/results"):
                self._buckets.locate_folder(request.document.results)
        if request.document.webhook is not None:
            self._webhooks.check(request.document.webhook, f"{pointer}/webhook")
        if sent is not None:
            check_files(sent.files)
            return NewJob(request, images_of_files(request, sent.files, sent.id), sent.id, sent)
        upload = find_upload(self._repository, inputs, caller.scope, self._limits)
        if upload is not None:
            files = uploaded_files(self._repository, upload, self._limits, request.names)
        else:
            files = find_inputs(inputs, self._input_root, self._buckets, self._limits, request.names)
        return NewJob(request, images_of_inputs(request, files, self._limits), upload)

    def submit(
        self, caller: Caller, new_jobs: Sequence[NewJob], idempotency_key: str | None = None
    ) -> tuple[list[Job], bool]:
        """Create jobs, all of them or none, and let them start; return them, and whether they are new.

        With an idempotency key, which is for one job, an equal request gets the job of the earlier one.

        Raises:
            RequestError: 403 for a priority above the caller's; 409 if the idempotency key belongs to another request,
                or to one still being received; 422 for no images, too many, or two whose results would have the same
                name; 429 above a limit of the server or of the caller.
        """
        jobs = [caller.own(new_job.job(idempotency_key)) for new_job in new_jobs]
        for _ in range(_MAX_RACES):
            earlier = self._find_earlier(jobs[0])
            if earlier is not None:
                return [earlier], False
            try:
                with self._discard_on_error(jobs):
                    with self._creation_lock:
                        self.admit(caller, jobs=len(jobs))
                        for job in jobs:
                            self._repository.create_job(job)
                    for job, new_job in zip(jobs, new_jobs, strict=True):
                        self._repository.add_images(
                            job.id, check_count(new_job.images, caller.most_images(self._limits))
                        )
                    return self._accept(caller, jobs, new_jobs[0].sent), True
            except ConflictError:
                _log.debug("another request took the idempotency key first", extra={"job": jobs[0].id})
        raise _in_progress()

    def submit_small(self, caller: Caller, new_job: NewJob) -> Job:
        """Create a job with few images in one transaction, and let it start; return it. Raises as `submit`."""
        if caller.has_quota:  # checked again between writing and acceptance, for requests to several coordinators
            [submitted], _ = self.submit(caller, [new_job])
            return submitted
        job = caller.own(new_job.job(None))
        images = [*check_count(new_job.images, caller.most_images(self._limits))]
        with self._creation_lock:
            self.admit(caller)
            if new_job.sent is not None:
                new_job.sent.keep()
            accepted = self._repository.create_accepted(job, images)
        self._scheduler.wake()
        return accepted

    def estimate(self, new_job: NewJob) -> Estimate:
        """Return what a job would do, without creating it. Raises RequestError: 422 for no images or too many."""
        total = failing = 0
        for image in check_count(new_job.images, self._limits.max_images):
            total += 1
            failing += image.state is ImageState.FAILED
        good = total - failing
        plan = new_job.request.plan
        stored = StoredPlan(plan.document())
        return Estimate(
            operations=stored.operations,
            images=total,
            failing=failing,
            results_per_image=plan.parts,
            results=None if plan.parts is None else good * plan.parts,
            steps=[
                StepEstimate(step=step, seconds_per_image=secs, seconds=None if secs is None else secs * good)
                for step, secs in zip(plan.steps, self._scheduler.service_times(stored), strict=True)
            ],
        )

    def retry(self, caller: Caller, job: Job, images: Sequence[int] | None) -> tuple[Job, int]:
        """Retry a job's failed images, all or those given; return the job, which is open again, and how many.

        Raises:
            RequestError: 422 if a step of its plan is disabled; 429 above a limit of the server or of the caller.
            ConflictError: the job was cancelled or has not ended.
            JobNotFoundError: no such job.
            ImageNotFailedError: one of the images has not failed.
        """
        for step in job.plan.steps:
            check_enabled(step)
        with self._retry_lock:
            if job.failed and job.state in (JobState.PARTIAL, JobState.FAILED):
                count = job.failed if images is None else len(set(images))
                self._check_capacity(caller, Usage(1, open_images=count, images_today=0))
            return self._scheduler.retry(job.id, images)

    def _check_capacity(self, caller: Caller, more: Usage) -> None:
        most = self._limits.max_open_jobs
        caller.check_quota(self._repository, more)
        if self._repository.count_open_jobs() + more.open_jobs > most:
            message = f"{most} jobs are open, which is the server's limit; try again later"
            raise RequestError(429, "too_many_jobs", message)

    def _accept(self, caller: Caller, jobs: Sequence[Job], sent: ReceivedFiles | None) -> list[Job]:
        caller.check_quota(self._repository)
        if sent is not None:
            sent.keep()
        accepted = [self._repository.accept_job(job.id) for job in jobs]
        self._scheduler.wake()
        return [self._cancel_if_failed(job) for job in accepted]

    def _cancel_if_failed(self, job: Job) -> Job:
        """Cancel a job with `on_failure: cancel` that has images which failed before it started."""
        if job.on_failure == "cancel" and job.failed > 0 and job.state in OPEN_JOB_STATES:
            with suppress(ConflictError):
                return self._scheduler.cancel(job.id)
        return job

    @contextmanager
    def _discard_on_error(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Discard the jobs if they can't be accepted."""
        try:
            yield
        except BaseException as error:
            try:
                for job in jobs:
                    self._repository.discard_receiving(job.id)
            except UnavailableError as unavailable:
                _log.warning("jobs that were not accepted stay until the next start: %s", unavailable.message)
            if isinstance(error, DuplicateImageError):
                message = "two inputs would have results of the same name; send them as two jobs"
                raise RequestError(422, "equal_names", message, "/inputs") from error
            if isinstance(error, JobNotFoundError):  # an equal request took this one for abandoned
                raise _in_progress() from error
            raise

    def _find_earlier(self, job: Job) -> Job | None:
        """Return the job of an earlier equal request; None without one, or if it was abandoned.

        A request that adds no image for `replay_secs` has died with its coordinator, and this one replaces it. If it
        lives after all, it finds its job gone: there is never more than one.
        """
        if job.idempotency_key is None:
            return None
        deadline = time.monotonic() + self._replay_secs
        first: Job | None = None
        while (earlier := self._repository.find_by_key(job.idempotency_key)) is not None:
            if earlier.fingerprint != job.fingerprint:
                raise conflict("idempotency_key_taken", "this Idempotency-Key belongs to an earlier, different request")
            if earlier.state is not JobState.RECEIVING:
                return earlier
            first = first or earlier
            if time.monotonic() > deadline:
                if earlier != first:
                    raise _in_progress()
                _log.warning("discarding an abandoned job: an equal request replaces it", extra={"job": earlier.id})
                self._repository.discard_receiving(earlier.id)
                return None
            time.sleep(_POLL_SECS)
        return None


def check_count(images: Iterable[Image], most: int) -> Iterator[Image]:
    """Yield a job's images. Raises RequestError: 422 if there are none, or at the first one too many."""
    count = 0
    for count, image in enumerate(images, start=1):
        if count > most:
            raise RequestError(422, "too_many_images", f"more than {most} images; accepted are {most} a job", "/inputs")
        yield image
    if count == 0:
        raise no_images()


def _in_progress() -> RequestError:
    return conflict("request_in_progress", "an equal request is still being received; try again later")
