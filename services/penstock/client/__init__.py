"""Penstock's client library: `Client`, `AsyncClient`, what they answer with and what they raise.

Loaded when first asked for: the command line imports this package to tell what commands there are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.client.async_client import AsyncClient as AsyncClient
    from penstock.client.errors import DamagedError as DamagedError
    from penstock.client.errors import LocalFileError as LocalFileError
    from penstock.client.errors import PenstockClientError as PenstockClientError
    from penstock.client.errors import RefusedError as RefusedError
    from penstock.client.errors import UnavailableError as UnavailableError
    from penstock.client.errors import UnexpectedAnswerError as UnexpectedAnswerError
    from penstock.client.local_files import Photo as Photo
    from penstock.client.local_files import find_photos as find_photos
    from penstock.client.models import Event as Event
    from penstock.client.models import Image as Image
    from penstock.client.models import Job as Job
    from penstock.client.models import Notice as Notice
    from penstock.client.models import Operation as Operation
    from penstock.client.models import Result as Result
    from penstock.client.models import Retried as Retried
    from penstock.client.models import Step as Step
    from penstock.client.models import System as System
    from penstock.client.models import Upload as Upload
    from penstock.client.models import UploadedFile as UploadedFile
    from penstock.client.sync_client import Client as Client

_ERRORS = (
    "DamagedError",
    "LocalFileError",
    "PenstockClientError",
    "RefusedError",
    "UnavailableError",
    "UnexpectedAnswerError",
)
_MODELS = (
    "Event",
    "Image",
    "Job",
    "Notice",
    "Operation",
    "Result",
    "Retried",
    "Step",
    "System",
    "Upload",
    "UploadedFile",
)
_FILES = ("Photo", "find_photos")
_PLACES = {
    "Client": "sync_client",
    "AsyncClient": "async_client",
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(_MODELS, "models"),
    **dict.fromkeys(_FILES, "local_files"),
}

__all__ = ["AsyncClient", "Client", *_ERRORS, *_MODELS, *_FILES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
