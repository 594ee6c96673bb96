"""TIFF: read from strips, tiles and BigTIFF, decompressed by libtiff and others; written in strips."""

from penstock.common.headers.tiff import read_first_directory
from penstock.common.image_header import Header
from penstock.common.model.operations import Decode, Encode
from penstock.steps.colour.icc import ColourSpace
from penstock.steps.formats.raw import RawImage
from penstock.steps.image import Image
from penstock.steps.metadata.result import result_metadata
from penstock.steps.tiff.file import make_tiff
from penstock.steps.tiff.layout import MIN_IS_BLACK, MIN_IS_WHITE, SEPARATED, read_layout
from penstock.steps.tiff.samples import read_pixels


def read_tiff(data: bytes, header: Header, params: Decode) -> RawImage:  # noqa: ARG001 (as every reader)
    """Return the pixels of a TIFF file's first page.

    Raises:
        ImageError: `unsupported_type` for more or fewer bits, `unsupported_colorspace`, or as `Reader` says.
    """
    directory = read_first_directory(data)
    layout = read_layout(directory)
    warnings = ("pages_dropped",) if header.images == "several" else ()
    if layout.samples > layout.colours + (layout.alpha is not None):
        warnings = (*warnings, "channels_dropped")
    space = _SPACES.get(layout.photometric, "RGB")
    return RawImage(read_pixels(directory, layout), header.orientation, warnings, space)


_SPACES: dict[int, ColourSpace] = {MIN_IS_WHITE: "GRAY", MIN_IS_BLACK: "GRAY", SEPARATED: "CMYK"}


def write_tiff(image: Image, params: Encode) -> bytes:  # noqa: ARG001 (as every writer)
    """Return an image, 8 or 16 bits, with or without alpha, as a TIFF file with its metadata."""
    return make_tiff(image.pixels, result_metadata(image), image.transform)
