"""WebP chunks with metadata, found in a file. https://developers.google.com/speed/webp/docs/riff_container"""

from penstock.common.headers.exif import EXIF_PREFIX
from penstock.common.headers.webp import webp_chunks
from penstock.steps.image import Metadata


def find_in_webp(data: bytes) -> Metadata:
    """Return what a WebP file's chunks hold, as it is; of each kind the first. Raises ImageError as `webp_chunks`."""
    found: dict[bytes, bytes] = {}
    for kind, start, end in webp_chunks(data):
        if kind in _KINDS:
            found.setdefault(kind, data[start:end])
    exif = found.get(b"EXIF", b"").removeprefix(EXIF_PREFIX)
    return Metadata(exif=exif, xmp=found.get(b"XMP ", b""), icc=found.get(b"ICCP", b""))


_KINDS = {b"ICCP", b"EXIF", b"XMP "}
