"""Open what a URL names: a folder of this host, a bucket, or a web server.

Buckets are spoken to by obstore, which is imported only when one is opened. It keeps threads of its own, so processes
that use a bucket are spawned or open it after the fork. It reads credentials, region and endpoint itself, from the
environment variables that the clouds' own tools take (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AWS_REGION`,
`GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …) or from the machine's own identity.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from penstock.common.settings import SettingsError, StoreSettings
from penstock.common.store.base import Store
from penstock.common.store.local import LocalStore

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

SCHEMES = (
    "file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, http://host:port/prefix, memory://"
)

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<place>[^/]*)/?(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WEB = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<folder>(/[A-Za-z0-9._~-]+)*)/?",
    re.IGNORECASE,
)
_DOTS = re.compile(r"/\.{1,2}(/|$)")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_FIRST_PAUSE_SECS = 0.1
_CONNECT_SECS = 5.0


def open_store(settings: StoreSettings, data: Path | None) -> Store:
    """Open the store that the settings name; without a URL, the folder `store` in `data`.

    Nothing is asked of a bucket yet (`Store.check` does); a folder is made where there is none. Each `memory://` is a
    store of its own, which nobody else sees.

    Raises:
        SettingsError: the URL, or what the environment says of its cloud, cannot be, or there is no URL and no `data`.
        UnavailableError: the folder cannot be made.
    """
    url = settings.store_url
    if url is None:
        if data is None:
            raise SettingsError("invalid_settings", f"PENSTOCK_STORE_URL is not set; accepted is one of {SCHEMES}")
        return LocalStore(data / "store")
    if url.lower().startswith("file:"):
        return LocalStore(_folder(url))
    if re.match("https?:", url, re.IGNORECASE):
        return _open_web(url, settings)
    bucket = open_bucket(url, settings)
    from penstock.common.store.bucket import BucketStore

    return BucketStore(bucket)


def _folder(url: str) -> Path:
    parts = _URL.fullmatch(url)
    if parts is None or parts["place"] not in ("", "localhost") or not parts["rest"] or "%00" in url:
        raise _refuse(url, "it names no folder of this host; accepted is file:///folder")
    return Path("/" + unquote(parts["rest"]))


def open_bucket(url: str, settings: StoreSettings) -> ObjectStore:
    """Open the bucket of an `s3://`, `gs://`, `az://` (a container) or `memory://` URL, for use with obstore.

    A path in the URL becomes the store's prefix: paths given to it, and those it lists, are relative to that. It is
    taken as it is, without percent-encoding. Nothing is asked of the bucket yet. Each call opens connections of its
    own, so keep what it returns; any thread may use it.

    A request is tried again with growing pauses after 408, 429, 5xx and lost connections, and has failed after
    `store_timeout_secs` at the latest.

    Raises:
        SettingsError: the URL, or what the environment says of its cloud, cannot be.
    """
    scheme, bucket, prefix = _split_bucket(url)
    try:
        import obstore.store as kinds
        from obstore.exceptions import BaseError
    except ImportError as error:
        raise _refuse(url, "the library for buckets is missing; pip install obstore brings it") from error
    if scheme == "memory":
        return kinds.MemoryStore()
    options: Any = {"config": _client(settings), "retry_config": _retries(settings), "prefix": prefix or None}
    try:
        if scheme == "s3":
            return kinds.S3Store(bucket, **options)
        if scheme == "gs":
            return kinds.GCSStore(bucket, **options)
        return kinds.AzureStore(bucket, **options)
    except (BaseError, ValueError, OSError) as error:
        raise _refuse(url, f"the environment does not do: {_first_line(error)}") from error


def _open_web(url: str, settings: StoreSettings) -> Store:
    """Open a web server's folder. Only settings name one: the URLs that jobs may name are those of buckets."""
    parts = _WEB.fullmatch(url)
    if parts is None or _DOTS.search(parts["folder"]):
        raise _refuse(url, "it names no store; accepted is http://host:port/prefix with letters, digits, '.-_~'")
    token = settings.store_token
    if token is not None and not _TOKEN.fullmatch(token):
        raise SettingsError("invalid_settings", "PENSTOCK_STORE_TOKEN: accepted are letters, digits and -._~+/=")
    try:
        from obstore.exceptions import BaseError
        from obstore.store import HTTPStore

        from penstock.common.store.webdav import WebDavStore
        from penstock.common.store.webdav_client import WebDavClient
    except ImportError as error:
        raise _refuse(url, "the library for it is missing; pip install obstore brings it") from error
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    folder = parts["folder"].rstrip("/")
    line = WebDavClient(
        secure=parts["scheme"].lower() == "https",
        host=parts["host"].strip("[]"),
        port=int(parts["port"]) if parts["port"] else None,
        folder=folder,
        attempt_secs=settings.store_timeout_secs * _ATTEMPT,
        retry_secs=settings.store_timeout_secs * _RETRY,
        headers=headers,
    )
    options: Any = {**_client(settings), "allow_http": not line.secure, "default_headers": headers}
    try:
        bucket = HTTPStore(url.rstrip("/"), client_options=options, retry_config=_retries(settings))
    except (BaseError, ValueError) as error:
        raise _refuse(url, "it names no store; accepted is http://host:port/prefix") from error
    return WebDavStore(bucket, line)


def _split_bucket(url: str) -> tuple[str, str, str]:
    parts = _URL.fullmatch(url)
    scheme = parts["scheme"].lower() if parts else ""
    if parts is None or scheme not in ("s3", "gs", "az", "memory"):
        raise _refuse(url, f"accepted is one of {SCHEMES}")
    bucket, prefix = parts["place"], parts["rest"].strip("/")
    if scheme == "memory":
        if bucket or prefix:
            raise _refuse(url, "accepted is memory:// alone")
    elif not _BUCKET.fullmatch(bucket):
        raise _refuse(url, f"it names no bucket; accepted is {scheme}://bucket/prefix with letters, digits, '.-_'")
    return scheme, bucket, prefix


_ATTEMPT = 0.3
_RETRY = 0.6
# An attempt may take 0.3 of `store_timeout_secs`, and none is decided on after 0.6 of it: with a pause of 0.1 at most
# before it, the last one ends in time, and even a request that nobody answers is sent a second time.


def _client(settings: StoreSettings) -> dict[str, str]:
    """In this form, options leave those of the environment as they are; as `client_options` they switch them off."""
    attempt_secs = settings.store_timeout_secs * _ATTEMPT
    return {"timeout": _duration(attempt_secs), "connect_timeout": _duration(min(_CONNECT_SECS, attempt_secs))}


def _retries(settings: StoreSettings) -> RetryConfig:
    longest_pause_secs = settings.store_timeout_secs * 0.1
    return {
        "max_retries": 1_000,
        "retry_timeout": timedelta(seconds=settings.store_timeout_secs * _RETRY),
        "backoff": {
            "init_backoff": timedelta(seconds=min(_FIRST_PAUSE_SECS, longest_pause_secs)),
            "max_backoff": timedelta(seconds=longest_pause_secs),
            "base": 2,
        },
    }


def _duration(secs: float) -> str:
    return f"{max(1, round(secs * 1000))}ms"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _refuse(url: str, reason: str) -> SettingsError:
    shown = re.sub(r"//[^/]*@", "//…@", url)  # a password that does not belong there
    return SettingsError("invalid_settings", f"{shown!r}: {reason}")
