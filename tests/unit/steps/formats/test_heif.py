"""HEIC: read where the extra `heif` is installed, and named where it is not."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Decode
from penstock.common.settings import Limits
from penstock.steps.decode import decode

pytest.importorskip("pi_heif", reason="the extra heif is not installed")

LIMITS = Limits()

# Quarters in red, green, blue and black, by pillow-heif with x265: 128×64 pixels in 8 bits; 64×48 with transparency
# on the left, in 10 bits, and with EXIF
EIGHT = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAJMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoBAgQWW6kkprm4CGgwIAAAMAMgAAAwACEGIAAQAHRAHBcrAiQAAAABNjb2xy"
    "bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAACAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAAJtt"
    "ZGF0AAAAjygBrwngxxk2oj//+9F9//7cx6H+tbOQaRf//x1vDv9SWD//kFMDNCKKxH3SopxOHvao6rQQwI+52qVipgs9qgaHZWFJ"
    "Tfe9W4f56XYwqfZCLzyt5e4QiUxzFiXWH8Rt8xp5HGHgPfPKj9f636f5NUp+ptP/85dHf9kat/+UdC2AW8H/4iFOn4Ed4vz+TU7w"
)
TRANSPARENT = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAmttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAACjwABAAAAAAAAAJUAAgAAAAADJAABAAAAAAAAAOgAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAABqmlwcnAAAAGCaXBjbwAAAHZodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAHBodmNDAQQIAAAAn/gAAAAAHvAA/Pz4"
    "+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQABACVCAQEECAAAAwCf+AAAAwAAHsCCBBZbq5Ka5sCAAAAMgAAAAwCE"
    "YgABAAZEAcFzwIkAAAAOcGl4aQAAAAABCAAAACdhdXhDAAAAAHVybjptcGVnOmhldmM6MjAxNTphdXhpZDoxAAAAACBpcG1hAAAA"
    "AAAAAAIAAQWBAgMFhAACBYYDB4iEAAAAGmlyZWYAAAAAAAAADmF1eGwAAgABAAEAAAGFbWRhdAAAAJEoAa8J4CM1Lf/u2f/+/W8h"
    "7CekdO7v1KP/YmO74Db/+q9tffo7kJid/jl+cav+33YbRETczZ/xqy8DcVdR+M6L7Xu71k46w6mZrOu9C7Uj6LB1p/EL5ZOG4tei"
    "EiF7SaRMzbIB5puE/HBvzHLSlgBW0UUwTFsN0+mZFueutJkwv1359vYEH6Na85szM/8RgKKAAAAA5CgBrhPAO4zF//+KEUUX/mnD"
    "tAfTFWbcIIoRdkVW7B+gzGpSpKnHb20P0/Oezavl4FoFd33flTzIS4y7fmqN+HFoiKgNV83OTtn1XDtCgEcXW8Fm0/uCHt58kjNH"
    "CEbGArAAdfDS4NViGHD7IEcStDoiw+9O4Rj17+qC2UIiO1iddNfZaSj5qicTSCIlJAbA15RnMP+2wcXbdNI8/FZ2oEBzBQFg21+v"
    "yq3Ec8DdKhrGIB5pQdWKspWgwfJgQYrdmsT/sI0SrCNe04u8H/8/pX4fl83/o1grMgYOEQI+OeaGHT+cSA=="
)
TEN = (
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAHYAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQQIAAAAnbgAAAAAHvAA/P36+gAADwNgAAEAF0ABDAH//wQIAAADAJ24AAAD"
    "AAAeugJAYQABACpCAQEECAAAAwCduAAAAwAAHqAggQTZbq5Ka5uAhoMCAAADADIAAAMAAhBiAAEABkQBwXPAiQAAABNjb2xybmNs"
    "eAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAQAAAAAEAAAAwAAAAAQAAAAAAAAAC////8AAAAAIAAAAQcGl4"
    "aQAAAAADCgoKAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAfm1kYXQAAAByKAGvCeAjNcT//Hv//8hhyHx2V1ykZYGr/0r8V9ol"
    "R/oy/Gjva8hMT0ZWb9plX/i5ypZ+TO+/+4tb84gqO9us0Eqm5AbL557NB2PD5XpgbrDe7YFhKDf9MAOZ8to61V4Dq9hF6v6BeU5z"
    "tvvQVjclobuA"
)
WITH_EXIF = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAb5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAAB4gABAAAAAAAAAJUAAgAAAAACdwABAAAAAAAAADYAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAA"
    "ABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAA021kYXQAAACRKAGvCeAjNS3/7tn//v1vIewnpHTu79Sj/2Jju+A2//qvbX36O5CY"
    "nf45fnGr/t92G0RE3M2f8asvA3FXUfjOi+17u9ZOOsOpmazrvQu1I+iwdafxC+WThuLXohIhe0mkTM2yAeabhPxwb8xy0pYAVtFF"
    "MExbDdPpmRbnrrSZML9d+fb2BB+jWvObMzP/EYCigAAAAAZFeGlmAABNTQAqAAAACAACAQ8AAgAAAAYAAAAmARIAAwAAAAEAAQAA"
    "AAAAAE1ha2VyAA=="
)


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as refused:
        decode(data, limits)
    return refused.value


def colours(pixels: np.ndarray) -> list[list[int]]:
    """The colours in the middle of the quarters, from left-top to right-bottom, of 0 and 1."""
    height, width = pixels.shape[:2]
    places = [(y * height // 4, x * width // 4) for y in (1, 3) for x in (1, 3)]
    full = np.iinfo(pixels.dtype).max
    return [[round(int(value) / full) for value in pixels[place][:3]] for place in places]


RED, GREEN, BLUE, BLACK = [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]


def test_a_heic_shows_its_image_in_8_and_in_16_bits() -> None:
    eight = decode(base64.b64decode(EIGHT), LIMITS)
    assert eight.pixels.shape == (64, 128, 3)
    assert eight.metadata.type == "heic"
    assert colours(eight.pixels) == [RED, GREEN, BLUE, BLACK]
    ten = decode(base64.b64decode(TEN), LIMITS).pixels
    assert ten.dtype == np.uint16
    assert ten.max() == 65_535
    assert colours(ten) == [RED, GREEN, BLUE, BLACK]
    assert decode(base64.b64decode(TEN), LIMITS, Decode(depth="8")).pixels.dtype == np.uint8


def test_transparency_is_kept_or_flattened() -> None:
    data = base64.b64decode(TRANSPARENT)
    kept = decode(data, LIMITS, Decode(alpha="keep")).pixels
    assert kept[24, 4, 3] < 20
    assert kept[24, 60, 3] > 235
    assert decode(data, LIMITS).pixels[24, 4].min() > 235
    assert read_header(data).components == 4


def test_metadata_is_found() -> None:
    assert b"Maker" in decode(base64.b64decode(WITH_EXIF), LIMITS).metadata.exif


@pytest.mark.parametrize(("turns", "shown"), [(1, [GREEN, BLACK, RED, BLUE]), (2, [BLACK, BLUE, GREEN, RED])])
def test_a_turn_is_applied_once(turns: int, shown: list[list[int]]) -> None:
    data = base64.b64decode(EIGHT)
    at = data.index(b"pixi") - 4
    turned = data[:at] + b"\0\0\0\x10irot" + bytes([turns]) + bytes(7) + data[at + 16 :]
    ipma = turned.index(b"ipma")
    turned = turned[: ipma + 18] + b"\x84" + turned[ipma + 19 :]
    image = decode(turned, LIMITS)
    assert read_header(turned).orientation == {1: 8, 2: 3}[turns]
    assert image.pixels.shape[:2] == ((128, 64) if turns == 1 else (64, 128))
    assert colours(image.pixels) == shown


def test_a_heic_that_declares_too_many_pixels_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    import pi_heif

    monkeypatch.setattr(pi_heif, "open_heif", None)
    data = bytearray(base64.b64decode(EIGHT))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = (30_000).to_bytes(4, "big") * 2
    assert refusal(bytes(data)).code is ImageCode.TOO_MANY_PIXELS


def test_a_heic_is_named_where_its_type_is_not_enabled() -> None:
    error = refusal(base64.b64decode(EIGHT), Limits(formats="jpeg,png"))
    assert error.code is ImageCode.UNSUPPORTED_TYPE
    assert error.message == "the file is HEIC; accepted are JPEG and PNG (PENSTOCK_FORMATS)"


def test_a_heic_cut_anywhere_is_refused() -> None:
    data = base64.b64decode(EIGHT)
    for length in range(28, len(data) - 4, 9):
        assert refusal(data[:length]).code in (ImageCode.TRUNCATED_IMAGE, ImageCode.CORRUPT_IMAGE), length


def test_an_item_whose_type_is_no_text_is_refused_before_it_crashes_the_decoder() -> None:
    data = base64.b64decode(WITH_EXIF)
    assert data.count(b"Exif\0\0\0\0") == 1
    assert refusal(data.replace(b"Exif\0\0\0\0", b"\xa6xif\0\0\0\0")).code is ImageCode.CORRUPT_IMAGE


def test_damaged_heics_decode_within_the_size_of_their_header_or_are_refused_quietly(
    seeded: np.random.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    data, decoded = base64.b64decode(EIGHT), 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in seeded.integers(4, len(data), seeded.integers(1, 4)):
            damaged[at] = seeded.integers(256)
        try:
            image = decode(bytes(damaged), LIMITS)
        except ImageError:
            continue
        decoded += 1
        header = read_header(bytes(damaged))
        assert image.width * image.height <= header.width * header.height
    assert 0 < decoded < 300
    assert capfd.readouterr().err == ""
