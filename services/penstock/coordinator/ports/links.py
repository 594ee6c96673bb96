"""Links: paths of URLs on the server, with names percent-encoded. `static_url` is a job's folder for browsers."""

from urllib.parse import quote, urlencode


def job_url(job: str) -> str:
    return f"/v1/jobs/{job}"


def deliveries_url(job: str) -> str:
    return f"{job_url(job)}/deliveries"


def upload_url(upload: str) -> str:
    return f"/v1/uploads/{upload}"


def static_url(job: str) -> str:
    return f"/static/{job}/"


def sent_url(job: str, name: str) -> str:
    return f"/static/{job}/sent/{quote(name)}"


def result_url(job: str, name: str) -> str:
    return f"/static/{job}/processed/{quote(name)}"


def page_url(path: str, **query: object) -> str:
    """Return a URL with a query; parameters that are None are left out."""
    given = {key: str(value) for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
