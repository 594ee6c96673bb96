"""ExternalExecutor: runs declared steps in a program, and all others in this process."""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from penstock.common.image_header import HEAD_BYTES as TYPE_BYTES
from penstock.common.image_header import image_type
from penstock.common.model.errors import UnavailableError
from penstock.common.model.plan import Planned
from penstock.common.model.stdio_protocol import Response
from penstock.common.registry import declared_steps
from penstock.common.settings import Limits, SettingsError, WorkerSettings
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Image, StepOutput
from penstock.worker.executors.base import Part, StepExecutor, check_made
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.executors.program import Launch, Program, ProgramStartError
from penstock.worker.executors.shared_folder import SharedFolder
from penstock.worker.memory import WorkerMemory

START_SECS = 60.0


def make_executor(
    settings: WorkerSettings, limits: Limits, served: Collection[str], memory: WorkerMemory | None = None
) -> StepExecutor:
    """Return the executor of a worker that serves some steps; it starts the program if one of them needs it.

    Raises:
        SettingsError: the program cannot be started, or does not perform a declared step.
    """
    external = declared_steps().intersection(served)
    if settings.program and external:
        return ExternalExecutor(settings, limits, external, memory)
    return InProcessExecutor(limits, memory)


class ExternalExecutor(InProcessExecutor):
    """Exchanges the images of `steps` with a program through a private temporary folder."""

    def __init__(
        self, settings: WorkerSettings, limits: Limits, steps: frozenset[str], memory: WorkerMemory | None = None
    ) -> None:
        super().__init__(limits, memory)
        self._settings = settings
        self._steps = steps
        self._program = Program("the step's program", lambda: Launch(settings.program), START_SECS)
        _check_program(self._program, settings.program[0], steps)
        self._path = Path(tempfile.mkdtemp(prefix="penstock-"))
        self._folder = SharedFolder(self._path, str(self._path), limits)

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        if operation.step not in self._steps:
            return super().perform(operation, parts)
        settings = self._settings
        with self._request():
            carries_metadata = self._program.start().metadata
            put = self._folder.put_image if carries_metadata else self._folder.put_pixels
            regions = [] if carries_metadata else [part.regions for part in parts]
            params = operation.params.model_dump(mode="json")
            inputs = [put(part).path for part in parts]
            make_request = partial(self._folder.make_request, operation.step, params, inputs, regions)
            folder, response = self._program.run(make_request, settings.max_attempts, settings.step_timeout_secs)
            made = self._folder.read_images(folder, response.out)
            if not carries_metadata:
                made = [*inherit(parts, made, response)]
        check_made(operation.step, made, self._limits)
        return list(made)

    def perform_on_group(self, operation: Planned, images: Iterable[GroupImage]) -> list[Part]:
        if operation.step not in self._steps:
            return super().perform_on_group(operation, images)
        settings, step = self._settings, operation.step
        with self._request():
            accepted = self._program.start().accepts
            group = self._folder.put_group(images, partial(self._put_for_program, accepted))
            params = operation.params.model_dump(mode="json")
            make_request = partial(self._folder.make_group_request, step, params, group)
            limit_secs = settings.step_timeout_secs * max(1, group.count)
            folder, response = self._program.run(make_request, settings.max_attempts, limit_secs)
            return [*self._folder.read_group_results(step, folder, response)]

    def _put_for_program(self, accepted: Collection[str], image: GroupImage) -> str:
        """Write an image of a group: its file if the program accepts that, or else its pixels."""
        data = image.data()
        if image_type(data[:TYPE_BYTES]) in accepted:
            return self._folder.put_file(data).path
        return self._folder.put_pixels(Image(replace(image, data=lambda: data).read())).path

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Clear the shared folder after a request to the program, and say what could not be used for it."""
        try:
            yield
        except ProgramStartError as error:
            raise UnavailableError("program", str(error)) from error
        except OSError as error:
            raise UnavailableError("store", f"the shared folder cannot be used: {error.strerror}") from error
        finally:
            self._folder.clear()

    def time_limit_secs(self, step: str) -> float | None:
        if step not in self._steps:
            return None
        return self._settings.max_attempts * (self._settings.step_timeout_secs + START_SECS)

    def kill(self) -> None:
        """Kill the program, and remove the folder."""
        self._program.kill()
        shutil.rmtree(self._path, ignore_errors=True)

    def close(self) -> None:
        """Stop the program, and remove the folder."""
        self._program.close()
        shutil.rmtree(self._path, ignore_errors=True)


def inherit(parts: Sequence[Image], made: Sequence[Image], response: Response) -> Iterator[Image]:
    """Yield the pixels that a program made with what belonged to the parts it was given, and the regions it found.

    If it made several of each part, those of the first part come first. If it changed the size, it alone can know where
    the part's regions are now.
    """
    for index, image in enumerate(made):
        source = parts[index * len(parts) // len(made)]
        if response.regions and image.pixels.shape[:2] != source.pixels.shape[:2]:
            source = replace(source, regions=())
        yield source.derive(StepOutput(image.pixels, regions=response.found(index)))


def _check_program(program: Program, command: str, steps: frozenset[str]) -> None:
    try:
        description = program.start()
    except ProgramStartError as error:
        raise SettingsError("invalid_settings", f"PENSTOCK_PROGRAM={command}: {error}") from error
    for step in steps:
        if description.schema_of(step) is None:
            program.close()
            raise SettingsError(
                "invalid_settings", f"PENSTOCK_PROGRAM={command}: it runs {description.step}, not {step}"
            )
