"""Logs on stderr: lines of text on a terminal, JSON objects elsewhere.

Debug is every message, info lifecycle, warning degraded but handled, error an unexpected failure. Records logged during
the work on a chunk carry its job, step and chunk, wherever in the code they come from.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from penstock.common.model.errors import UnavailableError
from penstock.common.settings import LogSettings, load

FIELDS = ("job", "step", "chunk")
_CONTEXT: ContextVar[dict[str, str]] = ContextVar("log_context")
_EMPTY: dict[str, str] = {}
_CHATTY = ("asyncio", "kubernetes", "pika", "urllib3")
"""Libraries whose debug messages are of no use here."""


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add `job`, `step` or `chunk` to every record of this context, and of contexts within it."""
    token = _CONTEXT.set({**_CONTEXT.get(_EMPTY), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def update_log_context(**fields: str) -> None:
    """Replace fields of the innermost `log_context` from here on."""
    _CONTEXT.set({**_CONTEXT.get(_EMPTY), **fields})


def set_up_logs(component: str) -> None:
    """Log to stderr, with Python's warnings and unhandled exceptions. Raises SettingsError if a setting is invalid."""
    settings = load(LogSettings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component) if writes_json(settings) else TextFormatter(component))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for other in _CHATTY:
        logging.getLogger(other).setLevel(max(logging.INFO, logging.getLogger().level))
    sys.excepthook = _log_exception
    threading.excepthook = _log_thread_exception


def writes_json(settings: LogSettings) -> bool:
    """Return whether logs are JSON; with `auto` they are, unless stderr is a terminal."""
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())


class TextFormatter(logging.Formatter):
    """`12:00:00 worker WARNING what happened (job 1f, step blur)`."""

    def __init__(self, component: str) -> None:
        shown = component.replace("%", "%%")
        super().__init__(f"%(asctime)s {shown} %(levelname)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        context = ", ".join(f"{name} {value}" for name, value in fields_of(record).items())
        line = super().formatMessage(record)
        return f"{line} ({context})" if context else line


class JsonFormatter(logging.Formatter):
    """One JSON object per record, with `time`, `severity` and `message` as log collectors such as Google's expect."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "severity": record.levelname,
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """Return the job, step and chunk of a record: its own (`extra=`), or those of the context."""
    context = _CONTEXT.get(_EMPTY)
    found = {name: getattr(record, name, None) or context.get(name) for name in FIELDS}
    return {name: str(value) for name, value in found.items() if value}


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger("penstock").critical("unhandled exception; process ends", exc_info=(kind, error, trace))


def _log_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    logging.getLogger("penstock").critical("unhandled exception; thread %s ends", name, exc_info=error)


class OutageLog:
    """The outage that `who` waits for, if any. May be used from any thread.

    Several tasks of a process may share it: its log has one line when the first of them meets the outage, and one when
    all go on.
    """

    def __init__(self, log: logging.Logger, who: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._who = who
        self._clock = clock
        self._lock = threading.Lock()
        self._errors: dict[str, UnavailableError] = {}
        """The last error of each task that waits, the latest task last."""
        self._named: list[str] = []
        """The dependencies that were logged."""
        self._began_at = 0.0

    @property
    def error(self) -> UnavailableError | None:
        """The last error of the outage; None if there is none."""
        with self._lock:
            return next(reversed(self._errors.values()), None)

    @property
    def waiting_for(self) -> str | None:
        """What is waited for, such as `store full (12 kB free)`; None if nothing is."""
        error = self.error
        return None if error is None else error.waiting_for

    def begin(self, error: UnavailableError, task: str = "") -> None:
        """Note that a task failed. It is logged if it is the first failure of the outage because of a dependency."""
        with self._lock:
            if not self._errors:
                self._began_at = self._clock()
            self._errors.pop(task, None)
            self._errors[task] = error
            is_new = error.what not in self._named
            if is_new:
                self._named.append(error.what)
        if is_new:
            self._log.warning("%s is waiting for the %s: %s", self._who, error.what, error.message)

    def end(self, task: str = "") -> bool:
        """Note that a task succeeded. If that ends the outage, it is logged; return whether it does."""
        with self._lock:
            if self._errors.pop(task, None) is None or self._errors:
                return False
            named, self._named = self._named, []
        found = " and the ".join(named)
        self._log.info("the %s can be used again after %.0f s", found, self._clock() - self._began_at)
        return True

    def drop(self) -> None:
        """Forget the outage, because nobody waits any more for it to end."""
        with self._lock:
            self._errors, self._named = {}, []


def announce(line: str) -> None:
    """Write a line about the start of a process to stderr for people, or to the log if that is JSON."""
    if writes_json(load(LogSettings)):
        logging.getLogger("penstock").info("%s", line)
    else:
        sys.stderr.write(f"{line}\n")
