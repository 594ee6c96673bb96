"""ICC profile: its tags, read within bounds and written; grey ones made into those of results, with three channels.

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
_ENTRY_BYTES = 12
_OF_CONVERSIONS = frozenset(
    (
        *(b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"wtpt", b"bkpt", b"chad"),
        *(b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2"),
    )
)
"""The tags by which colours are converted. Those of ICC.2 (D2B0 …) are programs without bounds."""
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
    entries = _read_table(profile)
    contents = {span: profile[span[0] : span[0] + span[1]] for span in {(offset, size) for _, offset, size in entries}}
    return {name: contents[offset, size] for name, offset, size in entries}


def for_conversion(profile: bytes) -> bytes:
    """Return a profile with only the tags by which colours are converted, for a library to read.

    Raises:
        ProfileError: the profile is damaged.
    """
    entries = _read_table(profile)
    kept = [struct.pack(">4sII", *entry) for entry in entries if entry[0] in _OF_CONVERSIONS]
    start = _HEADER_BYTES + 4 + _ENTRY_BYTES * len(entries)
    table = struct.pack(">I", len(kept)) + b"".join(kept)
    return profile[:_HEADER_BYTES] + table.ljust(start - _HEADER_BYTES, b"\0") + profile[start:]


def _read_table(profile: bytes) -> list[tuple[bytes, int, int]]:
    """Return name, offset and size of each tag. Several may share their bytes, but all have no more than the profile.

    Raises:
        ProfileError: the profile is damaged.
    """
    try:
        (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
        if count > _MAX_TAGS:
            raise ProfileError(f"the profile has {count} tags; accepted are up to {_MAX_TAGS}")
        table = profile[_HEADER_BYTES + 4 :][: _ENTRY_BYTES * count]
        entries = [struct.unpack_from(">4sII", table, _ENTRY_BYTES * number) for number in range(count)]
    except struct.error as error:
        raise ProfileError("the profile ends within its table of tags") from error
    start = _HEADER_BYTES + 4 + _ENTRY_BYTES * count
    if any(offset < start or offset + size > len(profile) for _, offset, size in entries):
        raise ProfileError("the profile has a tag beyond its end, or within its table")
    if sum(size for _, size in {(offset, size) for _, offset, size in entries}) > len(profile):
        raise ProfileError("the profile has tags that overlap")
    return entries


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
