"""Program: an external program that runs a step. It is started, sent requests, killed if it hangs, and restarted."""

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
from penstock.common.model.operations import DECODE
from penstock.common.model.stdio_protocol import (
    DESCRIBE,
    MAX_LINE_BYTES,
    Description,
    ProtocolError,
    Request,
    Response,
    ResponseError,
    read_message,
    write_message,
)

log = logging.getLogger(__name__)

_EXIT_SECS = 5.0
_STATUS_SECS = 1.0
_KEPT_LINES = 5
_MAX_SHOWN_BYTES = 400


class ProgramStartError(Exception):
    """A program cannot be started, or does not describe itself. `output` is the end of what it wrote to stderr."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(f"{message}; it wrote: {output}" if output else message)
        self.output = output


class ProgramDiedError(Exception):
    """A program ended, or wrote an invalid answer, during a request."""


class ProgramTimedOutError(Exception):
    """A program took too long to answer, and was killed."""


@dataclass(frozen=True)
class Launch:
    """How to start a program once. `kill` ends what survives the command itself, such as a container."""

    command: Sequence[str]
    kill: Callable[[], None] = lambda: None


class Program:
    """One program, with at most one process at a time. For one thread; `close` and `kill` may come from another."""

    def __init__(self, name: str, launch: Callable[[], Launch], start_secs: float) -> None:
        self.name = name
        self._launch = launch
        self._start_secs = start_secs
        self._process: _Process | None = None
        self._description: Description | None = None
        self._closed = False

    def start(self) -> Description:
        """Start the program unless it runs; return its description. Raises ProgramStartError."""
        if self._process is None or self._description is None:
            self._process = process = self._spawn()
            try:
                line = process.exchange(write_message(Request(op=DESCRIBE)), self._start_secs)
                self._description = read_message(Description, line)
            except ProgramTimedOutError as error:
                raise self._abandon_start(f"{self.name} did not answer within {self._start_secs:g} s") from error
            except ProgramDiedError as error:
                raise self._abandon_start(f"{self.name} cannot be started: {error}") from error
            except ProtocolError as error:
                message = f"{self.name} does not describe itself as a step's program must: {error.message}"
                raise self._abandon_start(message) from error
        return self._description

    def run(self, make_request: Callable[[], Request], attempts: int, limit_secs: float) -> tuple[str, Response]:
        """Send a request, again if the program dies during it; return the folder of its results, and its response.

        `make_request` makes the request of each attempt.

        Raises:
            ImageError: the program's own error, `step_timeout`, or `step_crashed` after the last attempt.
            ProgramStartError: the program cannot be started.
        """
        for _ in range(attempts):
            request = make_request()
            try:
                answer = self._ask(request, limit_secs)
            except ProgramTimedOutError as error:
                log.warning("%s exceeded %g s and was killed", self.name, limit_secs)
                raise ImageError(ImageCode.STEP_TIMEOUT, f"the step took longer than {limit_secs:g} s") from error
            except ProgramDiedError as error:
                log.warning("%s died while it processed an image: %s", self.name, error)
                continue
            if answer.error is not None and not answer.ok:
                raise _image_error(answer.error)
            return request.out, answer
        raise ImageError(
            ImageCode.STEP_CRASHED, f"the step's program died {attempts} times while it processed this image"
        )

    def close(self) -> None:
        """Let the program exit, and wait until it has; kill it if it does not."""
        self._closed = True
        if (process := self._process) is not None:
            process.close()

    def kill(self) -> None:
        """Kill the program at once; a request in progress fails."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()

    def _ask(self, request: Request, limit_secs: float) -> Response:
        """Send one request. After any error the process has ended, and the next call starts another."""
        self.start()
        assert self._process is not None
        try:
            return read_message(Response, self._process.exchange(write_message(request), limit_secs))
        except ProtocolError as error:
            self._end()
            raise ProgramDiedError(f"it wrote an invalid answer: {error.message}") from error
        except (ProgramDiedError, ProgramTimedOutError):
            self._end()
            raise

    def _spawn(self) -> "_Process":
        if self._closed:
            raise ProgramStartError(f"{self.name} was stopped")
        launch = self._launch()
        try:
            return _Process(self.name, launch)
        except OSError as error:
            raise ProgramStartError(f"{launch.command[0]} cannot be run: {error.strerror}") from error

    def _abandon_start(self, message: str) -> ProgramStartError:
        assert self._process is not None
        process = self._process
        self._end()
        return ProgramStartError(message, process.output)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.close()
        self._process = None


class _Process:
    """One process, in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, name: str, launch: Launch) -> None:
        self._name = name
        self._launch = launch
        self._process = subprocess.Popen(  # noqa: S603 (the operator named the command)
            launch.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._context = copy_context()
        """The log context of the last request: what the program writes to stderr is about that image."""
        self._stderr_reader = threading.Thread(target=self._read_stderr, name=f"{name}-stderr", daemon=True)
        self._stderr_reader.start()

    def exchange(self, line: bytes, limit_secs: float) -> bytes:
        """Write a line and return the next one; raises ProgramDiedError or ProgramTimedOutError if none comes."""
        self._context = copy_context()
        timed_out = threading.Event()
        timer = threading.Timer(limit_secs, self._time_out, [timed_out])
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(line)
        except ProgramDiedError as error:
            if timed_out.is_set():
                raise ProgramTimedOutError from error
            raise
        finally:
            timer.cancel()

    @property
    def output(self) -> str:
        """The end of what it wrote to stderr."""
        self._stderr_reader.join(_EXIT_SECS)
        return " ".join(self._last_lines)

    def kill(self) -> None:
        """Kill it, and whatever it has started."""
        self._launch.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close its input, which tells it to exit; kill it if it does not."""
        with suppress(OSError):
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(_EXIT_SECS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._stderr_reader.join(_EXIT_SECS)
        for pipe in (self._process.stdout, self._process.stderr):
            _pipe(pipe).close()

    def _exchange(self, line: bytes) -> bytes:
        requests, answers = _pipe(self._process.stdin), _pipe(self._process.stdout)
        try:
            requests.write(line)
            requests.flush()
            answer = answers.readline(MAX_LINE_BYTES)
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise ProgramDiedError(self._describe_end()) from error
        if not answer:
            raise ProgramDiedError(self._describe_end())
        if not answer.endswith(b"\n"):
            raise ProgramDiedError(f"it wrote a line of {len(answer)} bytes without an end")
        return answer

    def _describe_end(self) -> str:
        try:
            return f"it ended with status {self._process.wait(_STATUS_SECS)}"
        except subprocess.TimeoutExpired:
            return "it closed its output"

    def _time_out(self, timed_out: threading.Event) -> None:
        timed_out.set()
        self.kill()

    def _read_stderr(self) -> None:
        pipe = _pipe(self._process.stderr)
        with suppress(ValueError, OSError):
            while line := pipe.readline(_MAX_SHOWN_BYTES):
                text = line.decode("utf-8", "replace").strip()
                if text:
                    self._last_lines.append(text)
                    self._context.run(log.info, "%s: %s", self._name, text)


def _image_error(error: ResponseError) -> ImageError:
    code = ImageCode(error.code) if error.code in set(ImageCode) else ImageCode.INTERNAL
    return ImageError(code, _one_line(error.message), DECODE if error.step == DECODE else None)


def _one_line(message: str) -> str:
    return " ".join(message.split())[:_MAX_SHOWN_BYTES]


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
