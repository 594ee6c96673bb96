"""StdioServer: answers requests of the stdio protocol by running their operations in this process."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from penstock import __version__
from penstock.common.input_root import is_below, open_beneath, open_regular_file, real_path
from penstock.common.model.errors import RETRY_MAY_HELP, ImageCode, ImageError, PlanError
from penstock.common.model.operations import DECODE, Decode, Encode
from penstock.common.model.plan import Planned, read_operation
from penstock.common.model.regions import Region
from penstock.common.model.stdio_protocol import (
    BAD_REQUEST,
    DESCRIBE,
    FILE_TYPES,
    MAX_LINE_BYTES,
    RAW,
    Description,
    GroupMember,
    ProtocolError,
    Request,
    Response,
    ResponseError,
    read_message,
    write_message,
)
from penstock.common.registry import group_steps, operations
from penstock.common.settings import Limits
from penstock.common.store.base import Buffer
from penstock.steps.decode import decode
from penstock.steps.groups.image import GroupImage
from penstock.steps.image import Image
from penstock.worker.executors.base import File, as_image_error
from penstock.worker.executors.group_results import own_files
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.executors.safetensors import (
    HEAD_BYTES,
    SUFFIX,
    is_safetensors,
    pack_image,
    read_image,
    read_shape,
)
from penstock.worker.executors.shared_folder import write_pieces
from penstock.worker.image_sources import check_size


class StdioServer:
    """Runs `steps`, of which it describes itself as the first. Files must be below `root`, unless that is None.

    `gpu` says that this process uses one.
    """

    def __init__(self, steps: Sequence[str], limits: Limits, root: Path | None, *, gpu: bool = False) -> None:
        self._steps = tuple(steps)
        self._gpu = gpu
        self._limits = limits
        self._root = None if root is None else os.fsencode(root.resolve())
        self._executor = InProcessExecutor(limits)

    def serve(self, requests: BinaryIO, answers: BinaryIO) -> None:
        """Answer every line, in order, until the input ends."""
        for line in read_lines(requests):
            answers.write(self.answer(line))
            answers.flush()

    def answer(self, line: bytes | None) -> bytes:
        """Return the answer to a line; None stands for one that was too long."""
        try:
            if line is None:
                raise ProtocolError("unreadable_line", f"more than {MAX_LINE_BYTES} bytes")
            request = read_message(Request, line)
            if request.op == DESCRIBE:
                return write_message(self.describe())
            return write_message(self._run(request))
        except ProtocolError as error:
            return _refuse(BAD_REQUEST, error.message, retry=False)
        except Exception as error:
            failure = as_image_error(error)
            return _refuse(failure.code, failure.message, retry=failure.code in RETRY_MAY_HELP, step=failure.step)

    def describe(self) -> Description:
        """Return the answer to `describe`."""
        schemas = {step: operations()[step].model_json_schema() for step in self._steps}
        first = self._steps[0]
        return Description(
            step=first,
            version=__version__,
            params=schemas[first],
            operations=schemas,
            accepts=[RAW, *FILE_TYPES],
            group=first in group_steps(),
            gpu=self._gpu,
            metadata=True,
        )

    def _run(self, request: Request) -> Response:
        """Run a request's operation; return the paths of its results, and the regions of files."""
        if request.op != DECODE and request.op not in self._steps:
            accepted = ", ".join((*self._steps, DECODE, DESCRIBE))
            raise ProtocolError("unreadable_line", f"op: no operation {request.op!r} here; accepted are {accepted}")
        if request.op in group_steps():
            return self._run_on_group(request)
        if not 1 <= len(request.inputs) <= self._limits.max_parts:
            raise ProtocolError(
                "unreadable_line", f"in: {len(request.inputs)} files; {self._limits.accepted('max_parts')}"
            )
        operation = _read_operation(request)
        if isinstance(operation.params, Decode):
            return self._write_images(request.out, self._read_all(request.inputs, operation.params))
        parts: list[Image] = [*self._with_regions(request)]
        if isinstance(operation.params, Encode):
            return self._write_files(request.out, self._executor.encode(operation, parts))
        return self._write_images(request.out, self._executor.perform(operation, parts))

    def _run_on_group(self, request: Request) -> Response:
        """Run a group step; return the paths of images, or of files as they are."""
        made = self._executor.perform_on_group(_read_operation(request), self._group(request))
        if files := own_files(made):
            return Response(ok=True, out=self._write(request.out, ((file.name, [file.data]) for file in files)))
        return self._write_images(request.out, made)

    def _group(self, request: Request) -> Iterator[GroupImage]:
        """Yield the images that a request lists."""
        for member in self._members(request):
            yield GroupImage(
                name=member.name,
                width=member.width,
                height=member.height,
                regions=member.regions,
                place=member.place,
                labels=member.labels,
                data=partial(self._read_file, member.file),
                limits=self._limits,
            )

    def _members(self, request: Request) -> Iterator[GroupMember]:
        """Yield what a request says of each image, in its line or in the file that it names."""
        if not request.listing:
            if len(request.inputs) != len(request.images):
                message = f"images: {len(request.images)} for {len(request.inputs)} files; accepted is one for each"
                raise ProtocolError("unreadable_line", message)
            for path, member in zip(request.inputs, request.images, strict=True):
                yield member.model_copy(update={"file": path})
            return
        with self._open(request.listing) as (file, _), BufferedReader(file) as lines:
            yield from (read_message(GroupMember, line) for line in lines)

    def _read_file(self, path: str) -> bytes:
        """Return the bytes of an image's file."""
        with self._open(path) as (file, status):
            check_size(status.st_size, self._limits)
            return file.read()

    def _write_images(self, folder: str, images: Iterable[Image]) -> Response:
        named = ((f"{number}{SUFFIX}", pack_image(image)) for number, image in enumerate(images))
        return Response(ok=True, out=self._write(folder, named))

    def _with_regions(self, request: Request) -> Iterator[Image]:
        """Yield a request's images with the regions that it gives, unless their files have some."""
        images = self._read_all(request.inputs, Decode())
        given = [*request.regions, *[()] * len(images)]
        for image, regions in zip(images, given, strict=False):
            yield image if image.regions else replace(image, regions=regions)

    def _write_files(self, folder: str, files: Iterator[File]) -> Response:
        """Write each file before the next one is made."""
        regions: list[tuple[Region, ...]] = []
        warnings: list[list[str]] = []

        def pieces() -> Iterator[tuple[str, list[Buffer]]]:
            for number, file in enumerate(files):
                regions.append(file.regions)
                warnings.append([*file.warnings])
                yield f"{number}.{file.extension}", [file.data]

        response = Response(ok=True, out=self._write(folder, pieces()))
        if any(regions):
            response.regions = [*regions]
        if any(warnings):
            response.warnings = warnings
        return response

    def _read_all(self, paths: Sequence[str], params: Decode) -> list[Image]:
        """Return the images of some files, which together have no more pixels than one image may have."""
        parts: list[Image] = []
        left = self._limits.max_pixels
        for path in paths:
            try:
                parts.append(self._read(path, left, params))
            except ImageError as error:
                error.step = DECODE
                raise
            left -= parts[-1].shape.counted_pixels
        return parts

    def _read(self, path: str, max_pixels: int, params: Decode) -> Image:
        with self._open(path) as (file, status):
            size_bytes = status.st_size
            head = file.read(min(HEAD_BYTES, size_bytes))
            if not is_safetensors(head):
                limits = self._limits.model_copy(update={"max_pixels": max(1, max_pixels)})
                check_size(size_bytes, self._limits)
                file.seek(0)
                return decode(file.read(size_bytes), limits, params)
            if read_shape(head, size_bytes).counted_pixels > max_pixels:
                raise ImageError(
                    ImageCode.TOO_MANY_PIXELS,
                    f"too many pixels in all parts; {self._limits.accepted('max_pixels')}",
                )
            file.seek(0)
            return read_image(file.read(size_bytes))

    def _open(self, path: str) -> AbstractContextManager[tuple[FileIO, os.stat_result]]:
        """Open a file to read; no other than below the root."""
        raw = _encode_path(path)
        return open_regular_file(raw) if self._root is None else open_beneath(raw, self._root)

    def _write(self, folder: str, files: Iterable[tuple[str, Sequence[Buffer]]]) -> list[str]:
        """Write files with their names, all of them or none; return their paths."""
        with self._open_folder(folder) as descriptor:
            names: list[str] = []
            try:
                for name, pieces in files:
                    write_atomically(descriptor, name, pieces)
                    names.append(name)
            except BaseException:
                for name in names:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=descriptor)
                raise
        return [f"{folder.rstrip('/')}/{name}" for name in names]

    @contextmanager
    def _open_folder(self, path: str) -> Iterator[int]:
        raw = _encode_path(path)
        try:
            descriptor = os.open(raw, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ProtocolError("unreadable_line", f"out: the folder cannot be used: {error.strerror}") from error
        try:
            real = real_path(descriptor, raw)
            if self._root is not None and real != self._root and not is_below(real, self._root):
                raise ImageError(ImageCode.SOURCE_FORBIDDEN, "the folder for results is outside the shared folder")
            yield descriptor
        except OSError as error:
            raise ImageError(ImageCode.INTERNAL, f"results cannot be written: {error.strerror}") from error
        finally:
            os.close(descriptor)


def read_lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Yield each line; None for one that is too long, which is discarded."""
    while line := source.readline(MAX_LINE_BYTES):
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = source.readline(MAX_LINE_BYTES)
        yield None


def write_atomically(folder: int, name: str, pieces: Sequence[Buffer]) -> None:
    """Write a file in an open folder, replacing any of that name: whole, or not at all."""
    temporary = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        write_pieces(os.open(temporary, flags, 0o644, dir_fd=folder), pieces)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _read_operation(request: Request) -> Planned:
    try:
        return read_operation({"op": request.op, **request.params}, "params", is_own=True)
    except PlanError as error:
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, error.message) from error


def _encode_path(path: str) -> bytes:
    raw = os.fsencode(path)
    if not raw.startswith(b"/") or b"\0" in raw:
        raise ProtocolError("unreadable_line", f"{path[:200]!r} is not accepted; accepted are absolute paths")
    return raw


def _refuse(code: str, message: str, *, retry: bool, step: str | None = None) -> bytes:
    error = ResponseError(code=code, message=" ".join(message.split()), retry=retry)
    return write_message(Response(ok=False, error=error.model_copy(update={"step": step} if step else None)))
