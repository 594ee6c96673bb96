"""A worker whose declared steps are performed by a program, and all others by itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from penstock.common.model.errors import UnavailableError
from penstock.common.model.plan import Planned
from penstock.common.model.stdio_protocol import Request
from penstock.common.registry import declared_steps
from penstock.common.settings import Limits, SettingsError, WorkerSettings
from penstock.worker.executors.base import StepExecutor, check_parts
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.executors.program import Launch, Program, ProgramStartError, ask_until_it_answers
from penstock.worker.executors.safetensors import Picture
from penstock.worker.executors.shared_folder import SharedFolder

START_SECS = 60.0


def make_performer(settings: WorkerSettings, limits: Limits, served: Collection[str]) -> StepExecutor:
    """Return who performs the operations that a worker serves; a program is started where one is among them.

    Raises:
        SettingsError: the program cannot be started, or does not perform a step that is declared.
    """
    programs = declared_steps().intersection(served)
    return ExternalExecutor(settings, limits, programs) if settings.program and programs else InProcessExecutor(limits)


class ExternalExecutor(InProcessExecutor):
    """Gives some steps' pictures to a program, in a folder that only the two of them know."""

    def __init__(self, settings: WorkerSettings, limits: Limits, steps: frozenset[str]) -> None:
        super().__init__(limits)
        self._settings = settings
        self._steps = steps
        self._shared_limits = limits
        self._program = Program("the step's program", lambda: Launch(settings.program), START_SECS)
        _check(self._program, settings.program[0], steps)
        here = Path(tempfile.mkdtemp(prefix="penstock-"))
        self._folder = SharedFolder(here, str(here), limits)
        self._remove: Callable[[], None] = lambda: shutil.rmtree(here, ignore_errors=True)

    def patience_secs(self, step: str) -> float | None:
        if step not in self._steps:
            return None
        return self._settings.max_attempts * (self._settings.step_timeout_secs + START_SECS)

    def perform(self, planned: Planned, parts: list[Picture]) -> list[Picture]:
        if planned.step not in self._steps:
            return super().perform(planned, parts)
        try:
            return self._perform(planned, parts)
        except ProgramStartError as error:
            raise UnavailableError("program", str(error)) from error
        except OSError as error:
            raise UnavailableError("store", f"the shared folder cannot be used: {error.strerror}") from error
        finally:
            self._folder.clear()

    def close(self) -> None:
        """Let the program leave, and remove the folder."""
        self._program.close()
        self._remove()

    def _perform(self, planned: Planned, parts: Sequence[Picture]) -> list[Picture]:
        inputs = [self._folder.put_picture(part).path for part in parts]
        params = planned.params.model_dump(mode="json")
        folder = ""

        def make() -> Request:
            nonlocal folder
            folder = self._folder.make_folder()
            return Request(op=planned.step, params=params, inputs=inputs, out=folder)

        settings = self._settings
        answer = ask_until_it_answers(self._program, make, settings.max_attempts, settings.step_timeout_secs)
        made = self._folder.read_pictures(folder, answer.out)
        check_parts(planned.step, [part.shape for part in made], self._shared_limits)
        return made


def _check(program: Program, command: str, steps: frozenset[str]) -> None:
    try:
        description = program.start()
    except ProgramStartError as error:
        said = f"; it said: {error.said}" if error.said else ""
        raise SettingsError("invalid_settings", f"PENSTOCK_PROGRAM={command}: {error}{said}") from error
    for step in steps:
        if description.schema_of(step) is None:
            program.close()
            raise SettingsError(
                "invalid_settings",
                f"PENSTOCK_PROGRAM={command}: it performs {description.step}, and not {step}",
            )
