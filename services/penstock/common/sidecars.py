"""Sidecars: files with the regions of an image, beside it and named after it.

The regions of `delft/x.jpg` are in `delft/x.jpg.regions.json` or, if there is no such file, in `delft/x.regions.json`.
Names that differ in case or in Unicode's composition alone are the same, unless several images have them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from penstock.common.model.names import fold, without_suffix
from penstock.common.model.regions import Regions
from penstock.common.wording.faults import first_fault

SUFFIX = ".regions.json"
ORPHAN = "a sidecar without its image"
MAX_BYTES = 256 * 1024
"""Largest sidecar, so that its regions fit into a message."""

_REGIONS: TypeAdapter[Regions] = TypeAdapter(Regions)

T = TypeVar("T")


def described_name(name: str) -> str | None:
    """Return the name of the image, with or without its suffix, whose sidecar this is; None if it is no sidecar."""
    described = name[: -len(SUFFIX)]
    if name[-len(SUFFIX) :].lower() != SUFFIX or described.endswith("/"):
        return None
    return described or None


def sidecar_names(name: str) -> tuple[str, ...]:
    """Return the names that an image's sidecar may have, the first of them first."""
    return tuple(dict.fromkeys((name + SUFFIX, without_suffix(name) + SUFFIX)))


class Sidecars(Generic[T]):
    """The sidecars of one folder, each by the name that it describes (`described_name`), for images of some names."""

    def __init__(self, sidecars: Iterable[tuple[str, T]], images: Iterable[str]) -> None:
        self._by_name = dict(sidecars)
        self._by_folded = {fold(name): name for name in reversed(self._by_name)}
        times = Counter(map(fold, images)) if self._by_name else Counter[str]()
        self._shared = {name for name, count in times.items() if count > 1}
        self._found: set[str] = set()

    def find(self, name: str) -> T | None:
        """Return the sidecar of an image; None if it has none."""
        if not self._by_name:
            return None
        described = next((each for each in self._candidates(name) if each in self._by_name), None)
        if described is None:
            return None
        self._found.add(described)
        return self._by_name[described]

    def _candidates(self, name: str) -> Iterator[str]:
        """Yield names under which the image's sidecar may be."""
        names = (name, without_suffix(name))
        yield from names
        if fold(name) not in self._shared:
            yield from (self._by_folded[key] for key in map(fold, names) if key in self._by_folded)

    def orphans(self) -> list[T]:
        """Return the sidecars that no image was found to have."""
        return [sidecar for name, sidecar in self._by_name.items() if name not in self._found]


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
        fault = first_fault(error)
        where = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in fault.path)
        raise ValueError(f"regions{where}: {fault.text}") from error


def stored_regions(text: str) -> Regions | str:
    """Return the regions that `write_regions` wrote; a reference to a sidecar stays one."""
    return _REGIONS.validate_json(text) if text.startswith("[") else text


def write_regions(regions: Regions) -> str:
    """Return regions as the JSON list that `read_regions` accepts once it is parsed."""
    return _REGIONS.dump_json(regions).decode()
