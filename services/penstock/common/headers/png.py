"""PNG headers: https://www.w3.org/TR/png-3/#11IHDR"""

import struct

from penstock.common.headers.base import Header, corrupt, truncated

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_COMPONENTS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DATA_START = 33


def read_png_header(data: bytes) -> Header:
    """Read the header of a PNG file. Raises ImageError: `corrupt_image` or `truncated_image`."""
    if len(data) < _DATA_START:
        raise truncated(f"the PNG file ends after {len(data)} bytes, within its header")
    length, kind, width, height, depth, colour, compression, filtering, interlace = struct.unpack_from(
        ">I4sIIBBBBB", data, len(SIGNATURE)
    )
    if kind != b"IHDR" or length != 13:
        raise corrupt("the PNG file does not begin with an IHDR chunk")
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise corrupt(f"the PNG header has {width}x{height} pixels; accepted are 1 or more on each side")
    if depth not in _DEPTHS.get(colour, ()):
        raise corrupt(f"the PNG header has colour type {colour} with {depth} bits, which does not exist")
    if compression or filtering or interlace > 1:
        raise corrupt(f"the PNG header has methods {compression}, {filtering}, {interlace}, which do not exist")
    return Header("png", width, height, _COMPONENTS[colour], depth, data_start=_DATA_START)
