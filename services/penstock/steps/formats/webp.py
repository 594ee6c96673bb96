"""WebP: read and written by OpenCV's libwebp."""

from penstock.common.image_header import Header
from penstock.common.model.operations import Decode
from penstock.steps.formats.opencv import imdecode_unchanged
from penstock.steps.formats.raw import RawImage


def read_webp(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of a WebP file, of an animation's first frame. Raises ImageError as `Reader` does."""
    warnings = ("frames_dropped",) if header.images == "several" else ()
    return RawImage(imdecode_unchanged(data), header.orientation, warnings)
