"""SharedFolder: the folder through which this process and a program exchange images.

The program is not trusted. Each result must be a regular file directly in the folder made for it, and links are not
followed.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from penstock.common.image_header import HEAD_BYTES as TYPE_BYTES
from penstock.common.image_header import ImageType, image_type, read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import FORMATS, MEDIA_TYPES, Encode
from penstock.common.model.regions import Regions
from penstock.common.model.stdio_protocol import MAX_LINE_BYTES, GroupMember, Request, Response, write_message
from penstock.common.settings import Limits
from penstock.common.store.base import Buffer
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Image, Shape
from penstock.steps.metadata.place import read_place
from penstock.steps.metadata.read import find_metadata
from penstock.worker.executors.base import File, check_made
from penstock.worker.executors.group_results import collect_files
from penstock.worker.executors.safetensors import (
    HEAD_BYTES,
    MAX_METADATA_BYTES,
    is_safetensors,
    pack_image,
    read_image,
    read_shape,
)

_MAX_PIXEL_BYTES = 3
"""Most bytes of pixels for each one that the limit counts: those of more bytes count more often."""
_MAX_FILE_PIXEL_BYTES = 8
"""Bytes of a pixel with four channels of 16 bits: no encoded one needs more."""


@dataclass(frozen=True)
class SharedImage:
    """An image in the folder: its path as the program sees it, and its shape; None for an image file of a `type`."""

    path: str
    shape: Shape | None
    type: ImageType | None = None


@dataclass(frozen=True)
class SharedGroup:
    """A group's images in the folder: how many, the file that lists them as the program sees it, and what it lists.

    `members` are None if there are too many for one line.
    """

    count: int
    listing: str
    members: list[GroupMember] | None


class SharedFolder:
    """The folder `path`, which the program sees as `mounted_as`. Nothing else may use it.

    Reading raises ImageError: `internal` if a result is missing or is no such image, `too_many_pixels` if it is too
    large, `parameter_not_applicable` if there are too many.
    """

    def __init__(self, path: Path, mounted_as: str, limits: Limits) -> None:
        self._path = path
        self._mounted_as = mounted_as
        self._limits = limits
        self._numbers = count()
        path.mkdir(parents=True, exist_ok=True)

    def put_file(self, data: bytes) -> SharedImage:
        """Write an image's file."""
        return SharedImage(self._put([data]), None, image_type(data[:TYPE_BYTES]))

    def put_image(self, image: Image) -> SharedImage:
        """Write an image's pixels, and what belongs to them."""
        return SharedImage(self._put(pack_image(image)), image.shape)

    def put_pixels(self, image: Image) -> SharedImage:
        """Write an image's pixels alone."""
        return self.put_image(Image(image.pixels))

    def put_group(self, images: Iterable[GroupImage], put: Callable[[GroupImage], str]) -> SharedGroup:
        """Write the images of a group with `put`, which returns a path, and the list of them."""
        name = f"{next(self._numbers)}.jsonl"
        members: list[GroupMember] = []
        count = listed_bytes = 0
        with open(self._path / name, "xb") as file:
            for image in images:
                member = _describe(image, put(image))
                count += 1
                listed_bytes += file.write(member.model_dump_json().encode() + b"\n")
                if listed_bytes <= MAX_LINE_BYTES:
                    members.append(member)
        fits = len(members) == count
        return SharedGroup(count, f"{self._mounted_as}/{name}", members if fits else None)

    def make_group_request(self, op: str, params: Mapping[str, object], group: SharedGroup) -> Request:
        """Return a request about a group with a new, empty folder for its results."""
        members = group.members or []
        request = self.make_request(op, params, [member.file for member in members])
        images = [member.model_copy(update={"file": ""}) for member in members]
        whole = request.model_copy(update={"images": images, "listing": group.listing})
        if group.members is not None and len(write_message(whole)) <= MAX_LINE_BYTES:
            return whole
        return whole.model_copy(update={"inputs": [], "images": []})

    def make_request(
        self, op: str, params: Mapping[str, object], inputs: Sequence[str], regions: Sequence[Regions] = ()
    ) -> Request:
        """Return a request with a new, empty folder for its results."""
        name = str(next(self._numbers))
        os.mkdir(self._path / name, 0o755)
        request = Request(op=op, params=dict(params), inputs=list(inputs), out=f"{self._mounted_as}/{name}")
        return request.model_copy(update={"regions": list(regions)}) if any(regions) else request

    def read_image(self, shared: SharedImage) -> Image:
        """Return an image in the folder, written by this process or by the program."""
        folder = shared.path.rpartition("/")[0]
        return self.read_images(folder, [shared.path])[0]

    def find_images(self, folder: str, paths: Sequence[str]) -> list[SharedImage]:
        """Return the images that a program says it made in a folder, without reading their pixels."""
        return [SharedImage(path, self._read_shape(folder, path)) for path in self._check_count(paths)]

    def read_images(self, folder: str, paths: Sequence[str]) -> list[Image]:
        """Return the images that a program says it made in a folder."""
        images: list[Image] = []
        left = self._limits.max_pixels
        for path in self._check_count(paths):
            data = self._read(folder, path, left * _MAX_PIXEL_BYTES + MAX_METADATA_BYTES + HEAD_BYTES)
            try:
                images.append(read_image(data))
            except ImageError as error:
                raise _violation(f"it made {error.message}") from error
            left -= images[-1].shape.counted_pixels
        return images

    def read_group_results(self, step: str, folder: str, response: Response) -> list[Image] | list[File]:
        """Return the results of a group that a program says it made in a folder: images, or files as they are."""
        paths = self._check_count(response.out)
        if all(map(partial(self._holds_pixels, folder), paths)):
            found = enumerate(self.read_images(folder, paths))
            images = [replace(image, regions=(*image.regions, *response.found(index))) for index, image in found]
            check_made(step, images, self._limits)
            return images
        most = self._limits.max_file_bytes
        return collect_files(
            step, ((path.rpartition("/")[2], self._read(folder, path, most)) for path in paths), self._limits
        )

    def _holds_pixels(self, folder: str, path: str) -> bool:
        return is_safetensors(self._read_head(folder, path, HEAD_BYTES)[0])

    def read_file(self, folder: str, response: Response, index: int, params: Encode) -> File:
        """Return the file that a program says it made in a folder of the part at `index`."""
        if index >= len(response.out):
            raise _violation(f"it made {len(response.out)} files; accepted is one for each part")
        path = response.out[index]
        data = self._read(folder, path, _MAX_FILE_PIXEL_BYTES * self._limits.max_pixels + HEAD_BYTES)
        try:
            header = read_header(data)
        except ImageError as error:
            raise _violation(f"it made a file that cannot be read: {error.message}") from error
        form = FORMATS.get(header.type)
        if form is None or params.format not in (form, "keep"):
            raise _violation(f"it made a {header.type} file; {params.format} was asked for")
        warnings = tuple(response.warnings[index]) if response.warnings else ()
        place = read_place(find_metadata(data, header.type).exif)
        return File(data, header.width, header.height, MEDIA_TYPES[form], form, response.found(index), warnings, place)

    def clear(self) -> None:
        """Remove everything in the folder."""
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)

    def _check_count(self, paths: Sequence[str]) -> Sequence[str]:
        if len(paths) > self._limits.max_parts:
            raise ImageError(
                ImageCode.PARAMETER_NOT_APPLICABLE,
                f"it made {len(paths)} parts; {self._limits.accepted('max_parts')}",
            )
        return paths

    def _put(self, pieces: Sequence[Buffer]) -> str:
        name = str(next(self._numbers))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        write_pieces(os.open(self._path / name, flags, 0o644), pieces)
        return f"{self._mounted_as}/{name}"

    def _read_shape(self, folder: str, path: str) -> Shape:
        head, size_bytes = self._read_head(folder, path, HEAD_BYTES)
        try:
            return read_shape(head, size_bytes)
        except ImageError as error:
            raise _violation(f"it made {error.message}") from error

    def _read(self, folder: str, path: str, max_bytes: int) -> bytes:
        data, size_bytes = self._read_head(folder, path, max_bytes)
        if size_bytes > max_bytes:
            raise ImageError(
                ImageCode.TOO_MANY_PIXELS, f"it made a file of {size_bytes} bytes; accepted are up to {max_bytes}"
            )
        return data

    def _read_head(self, folder: str, path: str, max_bytes: int) -> tuple[bytes, int]:
        """Return the first bytes of a result and its size; no link is followed."""
        name = path.removeprefix(f"{folder}/")
        if name == path or "/" in name or "\0" in name or name in ("", ".", ".."):
            raise _violation(f"it made {path[:80]!r}, which is not in the folder that was given")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        inside = os.fsencode(self._path / folder.removeprefix(self._mounted_as).lstrip("/"))
        try:
            descriptor = os.open(inside, flags | os.O_DIRECTORY)
            try:
                file = os.open(os.fsencode(name), flags, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            with open(file, "rb", buffering=0) as opened:
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    raise _violation(f"{name[:80]!r} is no regular file")
                return opened.read(min(status.st_size, max_bytes)), status.st_size
        except OSError as error:
            raise _violation(f"{name[:80]!r} cannot be read: {error.strerror}") from error


def _describe(image: GroupImage, file: str) -> GroupMember:
    return GroupMember(
        file=file,
        name=image.name,
        width=image.width,
        height=image.height,
        regions=image.regions,
        place=image.place,
        labels=dict(image.labels),
    )


def write_pieces(descriptor: int, pieces: Sequence[Buffer]) -> None:
    """Write all pieces to an open file, and close it."""
    with open(descriptor, "wb", buffering=0) as file:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            while view:
                view = view[file.write(view) :]


def _violation(message: str) -> ImageError:
    return ImageError(ImageCode.INTERNAL, f"the step's program violates the protocol: {message}")
