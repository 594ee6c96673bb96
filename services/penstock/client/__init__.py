"""Client library: `Client` and `AsyncClient`, the models they return and the errors they raise.

Names are imported on first use: the command line imports this package for `--help`, which must be fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.client.async_client import AsyncClient as AsyncClient
    from penstock.client.async_client import AsyncJob as AsyncJob
    from penstock.client.errors import DamagedError as DamagedError
    from penstock.client.errors import LocalFileError as LocalFileError
    from penstock.client.errors import PenstockClientError as PenstockClientError
    from penstock.client.errors import RefusedError as RefusedError
    from penstock.client.errors import UnavailableError as UnavailableError
    from penstock.client.errors import UnexpectedAnswerError as UnexpectedAnswerError
    from penstock.client.event_stream import Event as Event
    from penstock.client.local_files import Photo as Photo
    from penstock.client.local_files import find_photos as find_photos
    from penstock.client.one_image import ResultFile as ResultFile
    from penstock.client.sync_client import Client as Client
    from penstock.client.sync_client import Job as Job
    from penstock.common.model.effects import Adjust as Adjust
    from penstock.common.model.effects import Blur as Blur
    from penstock.common.model.geometry import Crop as Crop
    from penstock.common.model.geometry import Rotate as Rotate
    from penstock.common.model.geometry import Tile as Tile
    from penstock.common.model.operations import Encode as Encode
    from penstock.common.model.operations import Resize as Resize
    from penstock.common.model.operations import Split as Split
    from penstock.common.model.rest import Image as Image
    from penstock.common.model.rest import Notice as Notice
    from penstock.common.model.rest import Operation as Operation
    from penstock.common.model.rest import Result as Result
    from penstock.common.model.rest import Retried as Retried
    from penstock.common.model.rest import Step as Step
    from penstock.common.model.rest import System as System
    from penstock.common.model.rest import Upload as Upload
    from penstock.common.model.rest import UploadedFile as UploadedFile
    from penstock.common.model.rest import Usage as Usage

_NAMES = {
    "penstock.client.async_client": "AsyncClient AsyncJob",
    "penstock.client.errors": "DamagedError LocalFileError PenstockClientError RefusedError UnavailableError"
    " UnexpectedAnswerError",
    "penstock.client.event_stream": "Event",
    "penstock.client.local_files": "Photo find_photos",
    "penstock.client.one_image": "ResultFile",
    "penstock.client.sync_client": "Client Job",
    "penstock.common.model.effects": "Adjust Blur",
    "penstock.common.model.geometry": "Crop Rotate Tile",
    "penstock.common.model.operations": "Encode Resize Split",
    "penstock.common.model.rest": "Image Notice Operation Result Retried Step System Upload UploadedFile Usage",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
