"""ICC profile: its tags, read and written; one for grey images made into one for results, which have three channels.

https://www.color.org/specification/ICC.1-2022-05.pdf, sections 7.2 (header), 7.3 (tags) and 8.3 (grey profiles)
"""

import struct
from collections.abc import Mapping
from typing import Literal

ColourSpace = Literal["RGB", "GRAY", "CMYK"]
"""What the channels of a file are, as a profile's header names it."""


class ProfileError(ValueError):
    """A profile that cannot be used."""


Colorants = Mapping[bytes, tuple[float, float, float]]
"""Red, green and blue as XYZ under D50, by the tags that hold them."""

PRIMARIES: Colorants = {
    b"rXYZ": (0.43606567, 0.22248840, 0.01391602),
    b"gXYZ": (0.38514709, 0.71687317, 0.09707642),
    b"bXYZ": (0.14306641, 0.06060791, 0.71409607),
}
"""Those of sRGB, as its own profile has them."""

_HEADER_BYTES = 128
_MAX_TAGS = 100
_COPIED = (b"desc", b"cprt", b"wtpt")
CURVES = (b"rTRC", b"gTRC", b"bTRC")


def make_rgb_profile(profile: bytes) -> bytes:
    """Return a profile by which three equal channels look as one does by a grey profile.

    Raises:
        ProfileError: the profile is damaged, or has no tone curve.
    """
    tags = read_tags(profile)
    if tags.get(b"kTRC", b"")[:4] not in (b"curv", b"para") or profile[20:24] != b"XYZ ":
        raise ProfileError("the grey profile has no tone curve")
    contents = {name: tags[name] for name in _COPIED if name in tags}
    for name, values in PRIMARIES.items():
        contents[name] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))
    contents |= dict.fromkeys(CURVES, tags[b"kTRC"])
    return write_profile(profile[:_HEADER_BYTES], contents)


def read_tags(profile: bytes) -> dict[bytes, bytes]:
    """Return the contents of a profile's tags by their names. Raises ProfileError: the profile is damaged."""
    try:
        (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
        entries = [
            struct.unpack_from(">4sII", profile, _HEADER_BYTES + 4 + 12 * number)
            for number in range(min(count, _MAX_TAGS))
        ]
    except struct.error as error:
        raise ProfileError("the profile ends within its table of tags") from error
    if any(offset + size > len(profile) for _, offset, size in entries):
        raise ProfileError("the profile has a tag beyond its end")
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def write_profile(header: bytes, contents: Mapping[bytes, bytes]) -> bytes:
    """Return the profile of a display with RGB: the header of another, and the contents of its tags."""
    table, body = [], b""
    start = _HEADER_BYTES + 4 + 12 * len(contents)
    offsets: dict[bytes, int] = {}
    for name, content in contents.items():
        if content not in offsets:  # the three curves are one
            offsets[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table.append(struct.pack(">4sII", name, offsets[content], len(content)))
    size, without_id = struct.pack(">I", start + len(body)), bytes(16)
    changed = size + header[4:12] + b"mntrRGB " + header[20:84] + without_id + header[100:]
    return changed + struct.pack(">I", len(contents)) + b"".join(table) + body
