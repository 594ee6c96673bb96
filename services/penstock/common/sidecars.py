"""Sidecars: files with the regions of an image, beside it and named after it.

The regions of `delft/x.jpg` are in `delft/x.jpg.regions.json` or, if there is no such file, in `delft/x.regions.json`.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from penstock.common.model.names import without_suffix
from penstock.common.model.regions import Regions

SUFFIX = ".regions.json"
MAX_BYTES = 256 * 1024
"""Largest sidecar, so that its regions fit into a message."""

_REGIONS: TypeAdapter[Regions] = TypeAdapter(Regions)

T = TypeVar("T")


def described_name(name: str) -> str | None:
    """Return the name of the image, with or without its suffix, whose sidecar this is; None if it is no sidecar."""
    described = name.removesuffix(SUFFIX)
    return None if described == name or described.endswith("/") else described or None


def sidecar_names(name: str) -> tuple[str, ...]:
    """Return the names that an image's sidecar may have, the first of them first."""
    return tuple(dict.fromkeys((name + SUFFIX, without_suffix(name) + SUFFIX)))


def find_sidecar(name: str, sidecars: Mapping[str, T]) -> T | None:
    """Return the sidecar of an image from those by `described_name`; None if it has none."""
    found = sidecars.get(name)
    return sidecars.get(without_suffix(name)) if found is None else found


def read_sidecar(data: bytes) -> Regions:
    """Return the regions of a sidecar's content: a JSON list, or an object that has it as `regions`.

    Raises:
        ValueError: it is too large, no JSON, or has no valid regions; the text is one line.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes, which is the limit")
    try:
        document = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if isinstance(document, dict):
        if "regions" not in document:
            raise ValueError('it has no "regions"; accepted are {"regions": […]} and a list of regions')
        document = document["regions"]
    return read_regions(document)


def read_regions(document: object) -> Regions:
    """Return the regions of a parsed JSON list.

    Raises:
        ValueError: it is no list of regions; the text is one line.
    """
    if not isinstance(document, list):
        raise ValueError(f"regions are a list, not {type(document).__name__}")
    try:
        return _REGIONS.validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ValueError(f"regions{where}: {' '.join(first['msg'].split())}") from error


def stored_regions(text: str) -> Regions | str:
    """Return the regions that `write_regions` wrote; a reference to a sidecar stays one."""
    return _REGIONS.validate_json(text) if text.startswith("[") else text


def write_regions(regions: Regions) -> str:
    """Return regions as the JSON list that `read_regions` accepts once it is parsed."""
    return _REGIONS.dump_json(regions).decode()
