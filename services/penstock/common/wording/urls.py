"""URLs in messages: where something is, without what is secret."""

from urllib.parse import urlsplit


def show_url(url: str) -> str:
    """Return a URL without user, password and query: `amqp://rabbit:5672/penstock`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
