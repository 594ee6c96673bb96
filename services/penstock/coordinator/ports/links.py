"""Where everything of a job is found: URLs relative to the server, names percent-encoded."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def job_url(job: str) -> str:
    """Return the URL of a job."""
    return f"/v1/jobs/{job}"


def deliveries_url(job: str) -> str:
    """Return the URL of what a job's webhook was told, and when."""
    return f"{job_url(job)}/deliveries"


def upload_url(upload: str) -> str:
    """Return the URL of an upload."""
    return f"/v1/uploads/{upload}"


def static_url(job: str) -> str:
    """Return the URL of a job's folder for browsers."""
    return f"/static/{job}/"


def sent_url(job: str, name: str) -> str:
    """Return the URL of a file as it was sent."""
    return f"/static/{job}/sent/{quote(name)}"


def result_url(job: str, name: str) -> str:
    """Return the URL of a result."""
    return f"/static/{job}/processed/{quote(name)}"


def page_url(path: str, **query: object) -> str:
    """Return a URL with a query; what is None is left out."""
    given = {key: str(value) for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
