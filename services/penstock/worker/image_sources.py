"""ImageSources: reads the files of images: uploads in the store, objects in buckets, files below an allowed folder."""

from urllib.parse import unquote, unquote_to_bytes, urlsplit

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.regions import Regions
from penstock.common.settings import Limits
from penstock.common.sidecars import MAX_BYTES, read_sidecar
from penstock.common.store.base import ObjectNotFoundError, Store
from penstock.common.store.bucket_allowlist import (
    BucketAllowlist,
    SourceForbiddenError,
    SourceNotFoundError,
    SourceTooLargeError,
)
from penstock.common.store.composite import is_url


class ImageSources:
    """Reads images' files. Files must be below `root` and URLs in `buckets`; None: no files, or no URLs."""

    def __init__(
        self, store: Store, limits: Limits, root: InputRoot | None, buckets: BucketAllowlist | None = None
    ) -> None:
        self.limits = limits
        self._store = store
        self._buckets = buckets or BucketAllowlist()
        self._root = root

    def read(self, ref: str) -> bytes:
        """Return the bytes of a store key, a `file://` URL or a bucket's URL.

        Raises:
            ImageError: source_not_found, source_forbidden or too_large_file.
            UnavailableError: the store or a bucket is unreachable.
        """
        return self._read(ref, self.limits)

    def read_regions(self, ref: str) -> Regions:
        """Return the regions in an image's sidecar.

        Raises:
            ImageError: source_not_found, source_forbidden or invalid_regions.
            UnavailableError: the store or a bucket is unreachable.
        """
        name = ascii(unquote(ref.rpartition("/")[2])[:80]) if is_url(ref) else "the regions' file"
        try:
            return read_sidecar(self._read(ref, self.limits.model_copy(update={"max_file_bytes": MAX_BYTES})))
        except ImageError as error:
            if error.code is ImageCode.TOO_LARGE_FILE:
                message = f"{name}: the file is larger than {MAX_BYTES} bytes, which is the limit"
                raise ImageError(ImageCode.INVALID_REGIONS, message) from error
            raise ImageError(error.code, f"{name}: {error.message}") from error
        except ValueError as error:
            raise ImageError(ImageCode.INVALID_REGIONS, f"{name}: {error}") from error

    def _read(self, ref: str, limits: Limits) -> bytes:
        if ref.startswith("file://"):
            return self._read_file(unquote_to_bytes(urlsplit(ref).path), limits)
        if is_url(ref):
            return self._read_object(ref, limits)
        try:
            size = self._store.size(ref)
            if size is not None:
                check_size(size, limits)
            return self._store.get(ref)
        except ObjectNotFoundError as error:
            raise ImageError(ImageCode.SOURCE_NOT_FOUND, "the uploaded file was removed") from error

    def _read_object(self, url: str, limits: Limits) -> bytes:
        try:
            return self._buckets.read(url, limits.max_file_bytes)
        except (SourceNotFoundError, SourceForbiddenError, SourceTooLargeError) as error:
            raise ImageError(ImageCode(error.code), error.message) from error

    def _read_file(self, path: bytes, limits: Limits) -> bytes:
        if self._root is None:
            raise ImageError(ImageCode.SOURCE_FORBIDDEN, "this worker may read no files; PENSTOCK_INPUT_ROOT is unset")
        with self._root.open(path) as (file, status):
            check_size(status.st_size, limits)
            return file.read()


def check_size(size_bytes: int, limits: Limits) -> None:
    """Raise ImageError, `too_large_file`, if an image's file is too large."""
    if size_bytes > limits.max_file_bytes:
        raise ImageError(
            ImageCode.TOO_LARGE_FILE, f"the file has {size_bytes} bytes; {limits.accepted('max_file_bytes')}"
        )
