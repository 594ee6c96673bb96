"""A program beside this process that performs a step: it is started, asked, ended when it hangs, and started again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import IO

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.stdio_protocol import (
    DESCRIBE,
    MAX_LINE_BYTES,
    Description,
    ProtocolError,
    Request,
    Response,
    read_description,
    read_response,
    write_message,
)

log = logging.getLogger(__name__)

_LEAVE_SECS = 5.0
_LAST_SECS = 1.0
_KEPT_LINES = 5
_SHOWN_BYTES = 400


class ProgramStartError(Exception):
    """A program cannot be started, or does not say what it is. `said` is the end of what it wrote to stderr."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class ProgramDiedError(Exception):
    """A program ended, or said something that is no answer, while it was asked."""


class ProgramTimedOutError(Exception):
    """A program took too long to answer, and was ended."""


@dataclass(frozen=True)
class Launch:
    """How a program is started once. `kill` ends what the death of the command alone would leave running."""

    command: Sequence[str]
    kill: Callable[[], None] = lambda: None


class Program:
    """One program, of which there is one process at a time. To be used by one thread; `close` may come from another."""

    def __init__(self, name: str, launch: Callable[[], Launch], start_secs: float) -> None:
        self.name = name
        self._launch = launch
        self._start_secs = start_secs
        self._running: _Running | None = None
        self._description: Description | None = None
        self._closed = False

    def start(self) -> Description:
        """Start it unless it runs; return what it is.

        Raises:
            ProgramStartError: it cannot be started.
        """
        if self._running is None or self._description is None:
            self._running = running = self._begin()
            try:
                line = running.exchange(write_message(Request(op=DESCRIBE)), self._start_secs)
                self._description = read_description(line)
            except ProgramTimedOutError as error:
                raise self._give_up(f"{self.name} said nothing within {self._start_secs:g} s") from error
            except ProgramDiedError as error:
                raise self._give_up(f"{self.name} cannot be started: {error}") from error
            except ProtocolError as error:
                message = f"{self.name} does not say what it is in the lines that steps speak: {error.message}"
                raise self._give_up(message) from error
        return self._description

    def ask(self, request: Request, limit_secs: float) -> Response:
        """Have one request answered. Whatever is raised, the program has ended, and the next call starts another.

        Raises:
            ProgramStartError: it cannot be started.
            ProgramDiedError: it ended, or said something that is no answer.
            ProgramTimedOutError: it took longer than `limit_secs`.
        """
        self.start()
        assert self._running is not None
        try:
            return read_response(self._running.exchange(write_message(request), limit_secs))
        except ProtocolError as error:
            self._end()
            raise ProgramDiedError(f"it said something that is no answer: {error.message}") from error
        except (ProgramDiedError, ProgramTimedOutError):
            self._end()
            raise

    def close(self) -> None:
        """Let it leave, and wait until it has; what does not is killed."""
        self._closed = True
        running = self._running
        if running is not None:
            running.leave()

    def kill(self) -> None:
        """End it at once; whoever waits for its answer is told that it died."""
        self._closed = True
        running = self._running
        if running is not None:
            running.kill()

    def _begin(self) -> _Running:
        if self._closed:
            raise ProgramStartError(f"{self.name} is not started any more")
        launch = self._launch()
        try:
            return _Running(self.name, launch)
        except OSError as error:
            raise ProgramStartError(f"{launch.command[0]} cannot be run: {error.strerror}") from error

    def _give_up(self, message: str) -> ProgramStartError:
        assert self._running is not None
        running = self._running
        self._end()
        return ProgramStartError(message, running.said)

    def _end(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.leave()
        self._running = None


class _Running:
    """One process, in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, name: str, launch: Launch) -> None:
        self._name = name
        self._launch = launch
        self._process = subprocess.Popen(  # noqa: S603 (it is what the operator named)
            launch.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._context = copy_context()
        """Of whoever asked last: what is written meanwhile is about the same image."""
        self._logs = threading.Thread(target=self._read_logs, name=f"{name}-logs", daemon=True)
        self._logs.start()

    def exchange(self, line: bytes, limit_secs: float) -> bytes:
        """Send a line and return the next one that comes.

        Raises:
            ProgramDiedError: none came.
            ProgramTimedOutError: none came in time.
        """
        self._context = copy_context()
        late = threading.Event()
        timer = threading.Timer(limit_secs, self._end_late, [late])
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(line)
        except ProgramDiedError as error:
            if late.is_set():
                raise ProgramTimedOutError from error
            raise
        finally:
            timer.cancel()

    @property
    def said(self) -> str:
        """The end of what it wrote to stderr."""
        self._logs.join(_LEAVE_SECS)
        return " ".join(self._last)

    def kill(self) -> None:
        """End it, and whatever it has started."""
        self._launch.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def leave(self) -> None:
        """Tell it by the end of its input to leave; kill it where it does not."""
        with suppress(OSError):
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(_LEAVE_SECS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._logs.join(_LEAVE_SECS)
        for pipe in (self._process.stdout, self._process.stderr):
            _pipe(pipe).close()

    def _exchange(self, line: bytes) -> bytes:
        requests, answers = _pipe(self._process.stdin), _pipe(self._process.stdout)
        try:
            requests.write(line)
            requests.flush()
            answer = answers.readline(MAX_LINE_BYTES)
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise ProgramDiedError(self._tell_end()) from error
        if not answer:
            raise ProgramDiedError(self._tell_end())
        if not answer.endswith(b"\n"):
            raise ProgramDiedError(f"it said a line of {len(answer)} bytes without an end")
        return answer

    def _tell_end(self) -> str:
        try:
            return f"it ended with status {self._process.wait(_LAST_SECS)}"
        except subprocess.TimeoutExpired:
            return "it closed its side"

    def _end_late(self, late: threading.Event) -> None:
        late.set()
        self.kill()

    def _read_logs(self) -> None:
        pipe = _pipe(self._process.stderr)
        with suppress(ValueError, OSError):
            while line := pipe.readline(_SHOWN_BYTES):
                text = line.decode("utf-8", "replace").strip()
                if text:
                    self._last.append(text)
                    self._context.run(log.info, "%s: %s", self._name, text)


def ask_until_it_answers(program: Program, make: Callable[[], Request], attempts: int, limit_secs: float) -> Response:
    """Have a request answered, once more where the program dies over it; `make` gives the request of each attempt.

    Raises:
        ImageError: what the program answered, `step_timeout`, or `step_crashed` after so many attempts.
        ProgramStartError: the program cannot be started.
    """
    for _ in range(attempts):
        try:
            answer = program.ask(make(), limit_secs)
        except ProgramTimedOutError as error:
            log.warning("%s took longer than %g s; it is ended", program.name, limit_secs)
            raise ImageError(ImageCode.STEP_TIMEOUT, f"the step took longer than {limit_secs:g} s") from error
        except ProgramDiedError as error:
            log.warning("%s died over an image: %s", program.name, error)
            continue
        if answer.error is not None and not answer.ok:
            raise ImageError(_code(answer.error.code), " ".join(answer.error.message.split())[:_SHOWN_BYTES])
        return answer
    raise ImageError(ImageCode.STEP_CRASHED, f"the step's program died {attempts} times over this image")


def _code(text: str) -> ImageCode:
    return ImageCode(text) if text in set(ImageCode) else ImageCode.INTERNAL


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
