"""Links: paths of URLs on the server, with names percent-encoded. `static_url` is a job's folder for browsers.

They begin with the path below which a proxy shows the server, while a request from there is answered.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote, urlencode, urlsplit

_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,8}")
_MAX_PREFIX_CHARS = 200
_prefix: ContextVar[str] = ContextVar("prefix", default="")


def read_prefix(path: str) -> str | None:
    """Return a path as links begin with it: without a slash at its end; None if it cannot be one."""
    path = path.rstrip("/")
    return path if len(path) <= _MAX_PREFIX_CHARS and _PREFIX.fullmatch(path) else None


def prefix_of(public_url: str | None) -> str:
    """Return the path of the server's public URL."""
    return read_prefix(urlsplit(public_url or "").path) or ""


@contextmanager
def links_below(prefix: str) -> Iterator[None]:
    """Begin the links that are made meanwhile, here or in threads that are started, with a path."""
    token = _prefix.set(prefix)
    try:
        yield
    finally:
        _prefix.reset(token)


def at(path: str) -> str:
    """Return the path of a route as clients see it."""
    return _prefix.get() + path


def jobs_url() -> str:
    return at("/v1/jobs")


def job_url(job: str) -> str:
    return at(f"/v1/jobs/{job}")


def deliveries_url(job: str) -> str:
    return f"{job_url(job)}/deliveries"


def upload_url(upload: str) -> str:
    return at(f"/v1/uploads/{upload}")


def folders_url() -> str:
    return at("/static/")


def preset_url(name: str) -> str:
    return at(f"/v1/presets/{quote(name)}")


def static_url(job: str) -> str:
    return at(f"/static/{job}/")


def sent_url(job: str, name: str) -> str:
    return at(f"/static/{job}/sent/{quote(name)}")


def result_url(job: str, name: str) -> str:
    return at(f"/static/{job}/processed/{quote(name)}")


def page_url(path: str, /, **query: object) -> str:
    """Return a URL with a query; parameters that are None are left out."""
    given = {key: str(value) for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
