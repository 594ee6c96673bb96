"""Container chain: one container per step of a plan; images pass from one to the next through a shared folder."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from penstock.common.model.errors import UnavailableError
from penstock.common.model.operations import DECODE, Decode, Encode
from penstock.common.model.plan import Planned
from penstock.common.model.regions import Regions
from penstock.common.model.stdio_protocol import Description, Request, Response
from penstock.common.settings import ContainerSettings, Limits, WorkerSettings
from penstock.local.docker.docker_cli import SHARED, Container
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Image
from penstock.worker.executors.base import File, Part, check_made, check_shapes
from penstock.worker.executors.external import inherit
from penstock.worker.executors.program import Program, ProgramStartError
from penstock.worker.executors.shared_folder import SharedFolder, SharedImage

log = logging.getLogger(__name__)

MAX_FAILED_STARTS = 3


class Chain:
    """A `StepExecutor` that runs steps in containers, which are reused for all images.

    This process decodes nothing: the container of the first step does, or that of `encode`.
    """

    def __init__(
        self,
        containers: Mapping[str, Container],
        folder: Path,
        limits: Limits,
        settings: WorkerSettings,
        container_settings: ContainerSettings,
    ) -> None:
        self.failed_starts = 0
        self._limits = limits
        self._settings = settings
        self._start_secs = container_settings.container_start_secs
        self._folder = SharedFolder(folder, SHARED, limits)
        self._programs = {
            step: Program(step, container.launch, self._start_secs) for step, container in containers.items()
        }

    def warm_up(self) -> None:
        """Start all containers concurrently."""
        self._each(lambda program: program.start())

    def time_limit_secs(self, step: str) -> float | None:  # noqa: ARG002 (any container can be killed)
        return self._settings.max_attempts * (self._settings.step_timeout_secs + self._start_secs)

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        step, params = operation.step, operation.params.model_dump(mode="json")
        if step == DECODE:
            files = [self._folder.put_file(data) for data in parts]
            return [*files] if operation.params == Decode() else self._decode(params, files)
        description = self._start(step)
        readable = self._readable(description, parts)
        if not description.metadata:
            return [*self._perform_on_pixels(step, params, readable)]
        folder, response = self._ask(step, params, readable)
        made = self._folder.find_images(folder, response.out)
        check_shapes(step, [image.shape for image in made if image.shape], self._limits)
        return [*made]

    def perform_on_group(self, operation: Planned, images: Iterable[GroupImage]) -> list[Part]:
        step, params = operation.step, operation.params.model_dump(mode="json")
        description = self._start(step)

        def put(image: GroupImage) -> str:
            [shared] = self._readable(description, [self._folder.put_file(image.data())])
            return shared.path

        group = self._folder.put_group(images, put)
        folder, response = self._send(step, partial(self._folder.make_group_request, step, params, group), group.count)
        made = self._folder.read_group_results(step, folder, response)
        return [self._folder.put_image(each) if isinstance(each, Image) else each for each in made]

    def encode(self, operation: Planned, parts: Sequence[Part]) -> Iterator[File]:
        assert isinstance(operation.params, Encode)
        folder, response = self._ask(operation.step, operation.params.model_dump(mode="json"), parts)
        for index in range(len(parts)):
            yield self._folder.read_file(folder, response, index, operation.params)

    def images(self, parts: Sequence[Part]) -> list[Image]:  # noqa: ARG002 (a run retries nothing)
        return []

    def reset(self) -> None:
        self._folder.clear()

    def close(self) -> None:
        self._each(Program.close)

    def kill(self) -> None:
        """Kill all containers."""
        self._each(Program.kill)

    def _readable(self, description: Description, parts: list[SharedImage]) -> list[SharedImage]:
        """Return the parts in a form that a program accepts: decoded, unless it accepts their files."""
        types = {part.type for part in parts if part.shape is None}
        return parts if types <= set(description.accepts) else self._decode({}, parts)

    def _perform_on_pixels(
        self, step: str, params: Mapping[str, object], parts: Sequence[SharedImage]
    ) -> Iterator[SharedImage]:
        """Run a step of a program that knows pixels alone; its results get what belonged to the parts."""
        decoded = parts if all(part.shape for part in parts) else self._decode({}, parts)
        images = [self._folder.read_image(part) for part in decoded]
        given = [
            self._folder.put_pixels(image) if part.shape else part for part, image in zip(parts, images, strict=True)
        ]
        folder, response = self._ask(step, params, given, regions=[image.regions for image in images])
        made = [*inherit(images, self._folder.read_images(folder, response.out), response)]
        check_made(step, made, self._limits)
        return map(self._folder.put_image, made)

    def _decode(self, params: Mapping[str, object], files: Sequence[SharedImage]) -> list[SharedImage]:
        """Decode files in the container of `encode`, which every plan has."""
        folder, response = self._ask("encode", params, files, DECODE)
        return self._folder.find_images(folder, response.out)

    def _start(self, step: str) -> Description:
        """Start the program of a step; return its description."""
        try:
            return self._programs[step].start()
        except ProgramStartError as error:
            raise self._start_failure(error) from error

    def _ask(
        self,
        step: str,
        params: Mapping[str, object],
        parts: Sequence[SharedImage],
        op: str | None = None,
        regions: Sequence[Regions] = (),
    ) -> tuple[str, Response]:
        """Send a request to a step's program; return the folder of its results, and its response."""
        paths = [part.path for part in parts]
        return self._send(step, partial(self._folder.make_request, op or step, params, paths, regions))

    def _send(self, step: str, make_request: Callable[[], Request], images: int = 1) -> tuple[str, Response]:
        """Send a request about some images to a step's program."""
        settings = self._settings
        limit_secs = settings.step_timeout_secs * max(1, images)
        try:
            made = self._programs[step].run(make_request, settings.max_attempts, limit_secs)
        except ProgramStartError as error:
            raise self._start_failure(error) from error
        except OSError as error:
            raise UnavailableError("store", f"the shared folder cannot be used: {error.strerror}") from error
        self.failed_starts = 0
        return made

    def _start_failure(self, error: ProgramStartError) -> UnavailableError:
        self.failed_starts += 1
        return UnavailableError("docker", f"the container of {error}")

    def _each(self, act: Callable[[Program], object]) -> None:
        threads = [threading.Thread(target=_call, args=(act, program)) for program in self._programs.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _call(act: Callable[[Program], object], program: Program) -> None:
    try:
        act(program)
    except ProgramStartError as error:
        log.warning("%s", error)
