"""ICC profile: which of them results carry. https://www.color.org/specification/ICC.2-2022-05.pdf, section 7.2."""

PROFILE_INVALID = "profile_invalid"
"""Warning: the colour profile was damaged or too large, and results don't have it."""

MAX_BYTES = 4 * 1024 * 1024
"""Most bytes of a profile; those of printers have about 2 MB."""

_HEADER_BYTES = 128


def clean_profile(data: bytes) -> tuple[bytes, bool]:
    """Return a profile without what follows it, and whether it was damaged or too large and is dropped."""
    if not data:
        return b"", False
    size = int.from_bytes(data[:4], "big")
    if not _HEADER_BYTES < size <= min(len(data), MAX_BYTES) or data[36:40] != b"acsp":
        return b"", True
    return data[:size], False


def colour_space(profile: bytes) -> str:
    """Return a profile's colour space: `RGB`, `GRAY`, `CMYK` or another."""
    return profile[16:20].decode("latin-1").strip()
