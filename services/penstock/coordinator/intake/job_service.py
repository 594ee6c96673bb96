"""JobService: creates jobs with all their images, within the limits of the server and of the caller's API key."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.jobs import OPEN_JOB_STATES, ImageState, JobState
from penstock.common.model.plan import Layout, check_enabled, split_operations
from penstock.common.model.rest import Estimate, JobOutput, Skipped, StepEstimate
from penstock.common.settings import Limits
from penstock.common.store.bucket_allowlist import BucketAllowlist
from penstock.coordinator.auth.quotas import Caller
from penstock.coordinator.auth.storage_quota import check_stored_bytes
from penstock.coordinator.intake.bounds import check_bounds, view_outlook
from penstock.coordinator.intake.inputs.resolver import (
    find_earlier_job,
    find_inputs,
    find_upload,
    images_of_job,
    translate_errors,
    uploaded_files,
)
from penstock.coordinator.intake.job_requests import JobRequest, no_images
from penstock.coordinator.intake.new_job import NewJob, check_files, images_of_files, images_of_inputs
from penstock.coordinator.intake.open_jobs import OpenJobs
from penstock.coordinator.intake.received_files import ReceivedFiles
from penstock.coordinator.intake.skipped_files import SkippedFiles
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
        check_room: raises FullError if there is too little room for more jobs.
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
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._limits = limits
        self._input_root = input_root
        self._buckets = buckets or BucketAllowlist()
        self._webhooks = webhooks or WebhookRules()
        self._replay_secs = replay_secs
        self._check_room = check_room
        self._open_jobs = OpenJobs(lambda: repository.count_open_jobs() + scheduler.count_unstored())
        self._creation_lock = threading.Lock()
        self._retry_lock = threading.Lock()  # a retry of a million images should not delay new jobs

    def admit(self, caller: Caller, idempotency_key: str | None = None, jobs: int = 1) -> None:
        """Check, before anything is received, that more jobs fit: each with at least one image.

        A repeated request always passes, since it gets the job that it created before.

        Raises:
            RequestError: 429.
            FullError: the store or the database is nearly full.
        """
        if idempotency_key is not None and self._repository.find_by_key(caller.scoped_key(idempotency_key)) is not None:
            return
        self._check_room()
        self._check_capacity(caller, Usage(jobs, open_images=1, images_today=1))

    def prepare(
        self, caller: Caller, request: JobRequest, sent: ReceivedFiles | None = None, pointer: str = ""
    ) -> NewJob:
        """Check what a request asks for and find its images: the files that came with it, or else the request's inputs.

        Inputs are listed only when the job's images are read. `pointer` leads to the request in the sent document.

        Raises:
            RequestError: 403 for a priority above the caller's, or a place that jobs may not read or write; 415 or 422
                without images, or for inputs or a webhook that are not accepted.
            UnavailableError: the database or a bucket is unreachable.
        """
        inputs = request.document.inputs
        self._check(caller, request, pointer)
        if sent is None and not inputs:
            raise no_images()
        skipped = SkippedFiles()
        if sent is not None:
            check_files(request, sent.files)
            images = images_of_files(request, sent.files, sent.id, skipped)
            return NewJob(request, images, sent.id, sent, skipped)
        earlier = find_earlier_job(self._repository, inputs, caller.scope)
        if earlier is not None:
            files = images_of_job(self._repository, earlier, self._limits, request.names)
            return NewJob(request, images_of_inputs(request, files, self._limits), earlier.upload, earlier=earlier)
        upload = find_upload(self._repository, inputs, caller.scope, self._limits)
        if upload is not None:
            files = uploaded_files(self._repository, upload, self._limits, request.names, skipped)
        else:
            results = request.document.results
            files = find_inputs(inputs, self._input_root, self._buckets, self._limits, request.names, skipped, results)
        return NewJob(request, images_of_inputs(request, files, self._limits), upload, skipped=skipped)

    def _check(self, caller: Caller, request: JobRequest, pointer: str = "") -> None:
        """Check what a request asks for besides its images; raises as `prepare`."""
        caller.check_priority(request.document.priority, f"{pointer}/priority")
        if request.document.results is not None:
            with translate_errors(f"{pointer}/results"):
                self._buckets.locate_folder(request.document.results)
        if request.document.webhook is not None:
            self._webhooks.check(request.document.webhook, f"{pointer}/webhook")

    def submit(
        self, caller: Caller, new_jobs: Sequence[NewJob], idempotency_key: str | None = None
    ) -> tuple[list[Job], bool]:
        """Create jobs, all of them or none, and let them start; return them, and whether they are new.

        With an idempotency key, which is for one job, an equal request gets the job of the earlier one.

        Raises:
            RequestError: 409 if the idempotency key belongs to another request,
                or to one still being received; 422 for no images, too many, or two whose results would have the same
                name, or a deadline or price that cannot be kept; 429 above a limit of the server or of the caller.
        """
        jobs = [self._own(caller, new_job, idempotency_key) for new_job in new_jobs]
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
                    images = 0
                    for job, new_job in zip(jobs, new_jobs, strict=True):
                        counted = check_count(new_job.images, caller.most_images(self._limits))
                        count = self._repository.add_images(job.id, counted)
                        check_bounds(replace(job, total=count, pending=count), self._scheduler)
                        images += count
                    caller.check_quota(self._repository, Usage(len(jobs), images, images), is_counted=True)
                    return self._accept(jobs, new_jobs), True
            except ConflictError:
                _log.debug("another request took the idempotency key first", extra={"job": jobs[0].id})
        raise _in_progress()

    def submit_small(self, caller: Caller, new_job: NewJob) -> Job:
        """Create a job with few images in one transaction, and let it start; return it. Raises as `submit`."""
        if caller.has_quota:  # checked again between writing and acceptance, for requests to several coordinators
            [submitted], _ = self.submit(caller, [new_job])
            return submitted
        job = self._own(caller, new_job)
        images = [*check_count(new_job.images, caller.most_images(self._limits))]
        with self._creation_lock:
            self.admit(caller)
            if new_job.sent is not None:
                new_job.sent.keep()
            created = self._scheduler.create_small(job, images)
        self._scheduler.start_small(created, images)
        return created

    def _own(self, caller: Caller, new_job: NewJob, idempotency_key: str | None = None) -> Job:
        """Return the row of a caller's job, with how long it is kept."""
        kept_secs = caller.expire_after_secs(self._limits, new_job.request.document.expire_after)
        return replace(caller.own(new_job.job(idempotency_key)), expire_after_secs=kept_secs)

    def estimate(self, new_job: NewJob) -> Estimate:
        """Return what a job would do, without creating it. Raises RequestError: 422 for no images or too many."""
        total = failing = groups = 0
        for image in check_count(new_job.images, self._limits.max_images):
            total += 1
            failing += image.state is ImageState.FAILED
            groups += image.is_group
        return self._estimate(new_job, total, failing, groups)

    def estimate_sent(self, caller: Caller, request: JobRequest, images: int) -> Estimate:
        """Return what a job would do with images that will be sent; check everything that forbids them.

        Raises:
            RequestError: as `prepare` and `submit`, so that nobody sends images in vain.
        """
        self._check(caller, request)
        if request.document.inputs:
            raise RequestError(422, "inputs_and_files", "inputs and files cannot be sent together", "/inputs")
        most = caller.most_images(self._limits)
        images *= request.plan.layout.count
        if images > most:
            raise _too_many_images(most, f"{images} images")
        self._check_room()
        self._check_capacity(caller, Usage(1, images, images))
        return self._estimate(NewJob(request, ()), images)

    def _estimate(self, new_job: NewJob, total: int, failing: int = 0, groups: int = 0) -> Estimate:
        plan, good = new_job.request.plan, total - failing - groups
        count = plan.layout.count
        job = replace(new_job.job(None), total=total, pending=good + groups, open_groups=groups)
        check_bounds(job, self._scheduler)
        found = self._scheduler.forecast(job)
        stored = StoredPlan(plan.document())
        shared, own = split_operations(stored.operations)
        return Estimate(
            operations=shared,
            outputs=[
                JobOutput(name=branch.name, operations=operations)
                for branch, operations in zip(plan.layout.branches, own, strict=True)
            ],
            images=total,
            skipped=Skipped.model_validate(new_job.skipped.document() or {}),
            failing=failing,
            results_per_image=plan.parts,
            results=None if plan.parts is None or groups else good // count * plan.parts,
            steps=[
                StepEstimate(
                    step=step,
                    seconds_per_image=secs,
                    seconds=None if secs is None else secs * _count_passing(plan.layout, index, good, groups),
                )
                for index, (step, secs) in enumerate(
                    zip(plan.steps, self._scheduler.service_times(stored), strict=True)
                )
            ],
            seconds=found.eta_secs,
            forecast=view_outlook(found.outlook),
        )

    def retry(
        self,
        caller: Caller,
        job: Job,
        images: Sequence[int] | None,
        *,
        everything: bool = False,
        code: str | None = None,
    ) -> tuple[Job, int]:
        """Retry a job's failed images; return the job, which is open again, and how many.

        Those given; without any, those that a retry may help; with `everything`, all of them. With `code`, only those
        with this error code.

        Raises:
            RequestError: 422 if a step of its plan is disabled, or no image failed with the code; 429 above a limit of
                the server or of the caller.
            ConflictError: the job was cancelled or has not ended.
            JobNotFoundError: no such job.
            ImageNotFailedError: one of the images has not failed.
        """
        for step in job.plan.steps:
            check_enabled(step)
        with self._retry_lock:
            if job.failed and job.state in (JobState.PARTIAL, JobState.FAILED):
                count = _count_retried(job, images, everything, code)
                if count:
                    self._check_capacity(caller, Usage(1, open_images=count, images_today=0))
            return self._scheduler.retry(job.id, images, everything=everything, code=code)

    def _check_capacity(self, caller: Caller, more: Usage) -> None:
        most = self._limits.max_open_jobs
        caller.check_quota(self._repository, more)
        check_stored_bytes(caller, self._limits, self._repository)
        if not self._open_jobs.admit(more.open_jobs, most):
            message = f"the server's {most} open jobs are used (PENSTOCK_MAX_OPEN_JOBS); free again as they end"
            raise RequestError(429, "too_many_jobs", message)

    def _accept(self, jobs: Sequence[Job], new_jobs: Sequence[NewJob]) -> list[Job]:
        sent = new_jobs[0].sent
        if sent is not None:
            sent.keep()
        accepted = [
            self._repository.accept_job(job.id, new_job.skipped.document())
            for job, new_job in zip(jobs, new_jobs, strict=True)
        ]
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


def _count_passing(layout: Layout, index: int, images: int, groups: int) -> int:
    """Return how many of a job's images pass the operation with an index."""
    branch = layout.branch_at(index)
    return images if branch is None else groups if branch is layout.gather else images // layout.count


def _count_retried(job: Job, images: Sequence[int] | None, everything: bool, code: str | None) -> int:
    """Return how many of an ended job's failed images a retry would set to pending.

    Raises:
        RequestError: 422 if no image failed with the code.
    """
    if images is not None:
        return len(set(images))
    if code is None:
        return job.failed if everything else job.retryable
    failures = {failure.code: failure for failure in job.failures}
    if code not in failures:
        accepted = ", ".join(sorted(failures))
        raise RequestError(
            422, "not_failed", f"no image failed with {code!a}; this job's failures are {accepted}", "/code"
        )
    return failures[code].images if everything else failures[code].retryable


def check_count(images: Iterable[Image], most: int) -> Iterator[Image]:
    """Yield a job's images. Raises RequestError: 422 if there are none, or at the first one too many."""
    count = 0
    for count, image in enumerate(images, start=1):
        if count > most:
            raise _too_many_images(most, f"more than {most} images")
        yield image
    if count == 0:
        raise no_images()


def _too_many_images(most: int, found: str) -> RequestError:
    return RequestError(422, "too_many_images", f"{found}; accepted are {most} a job", "/inputs")


def _in_progress() -> RequestError:
    return conflict("request_in_progress", "an equal request is still being received; try again later")
