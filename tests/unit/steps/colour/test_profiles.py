from __future__ import annotations

import io
import struct
from itertools import product

import cv2
import numpy as np
import pytest
from icc_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB,
    colour_difference,
    from_light,
    gamma,
    grey_profile,
    press_profile,
    rgb_profile,
    srgb_curve,
    table_profile,
    to_display_p3,
    to_lab,
    to_light,
    to_xyz,
)
from PIL import Image, ImageCms

from penstock.common.model.operations import Decode
from penstock.steps.colour.icc import make_rgb_profile
from penstock.steps.colour.normalise import Normalised, normalise
from penstock.steps.colour.profile import is_srgb

TO_SRGB = Decode(profile="srgb")
ADOBE_PROFILE = rgb_profile(ADOBE_RGB, gamma(2.19921875))
P3_PROFILE = rgb_profile(DISPLAY_P3, srgb_curve())
PRESS_PROFILE = press_profile()


def normalised(pixels: np.ndarray, profile: bytes, params: Decode = TO_SRGB, space: str = "RGB") -> Normalised:
    return normalise(pixels, profile, space, params)  # type: ignore[arg-type]


def bgr(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array([colours], np.uint8)[:, :, ::-1].copy()


def by_littlecms(image: Image.Image, profile: bytes) -> np.ndarray:
    """Convert as Pillow's own function does."""
    converted = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None
    return np.asarray(converted)[:, :, ::-1]


def test_wide_colours_become_those_of_srgb() -> None:
    result = normalised(bgr((200, 60, 30), (250, 220, 10), (255, 255, 255), (0, 0, 0)), ADOBE_PROFILE)
    assert result.pixels[0, :, ::-1].tolist() == [[231, 57, 21], [255, 221, 0], [255, 255, 255], [0, 0, 0]]
    assert (result.profile, result.warnings) == (b"", ())


def test_a_profile_with_swapped_channels_swaps_them() -> None:
    swapped = rgb_profile((SRGB[1], SRGB[0], SRGB[2]), srgb_curve())
    assert normalised(bgr((199, 60, 29)), swapped).pixels[0, 0, ::-1].tolist() == [60, 199, 29]


def test_a_display_p3_image_looks_the_same_in_srgb(drawing: np.ndarray) -> None:
    wide = to_display_p3(drawing)
    source = to_lab(wide, DISPLAY_P3)
    difference = colour_difference(to_lab(normalised(wide, P3_PROFILE).pixels, SRGB), source)
    untouched = colour_difference(to_lab(wide, SRGB), source)
    assert difference.mean() < 0.5
    assert difference.max() < 2
    assert untouched.max() > 10, "the profile makes no difference to this drawing"


def test_conversion_equals_that_of_littlecms_at_once(photos: list[np.ndarray]) -> None:
    photo = photos[0]
    image = Image.fromarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB))
    assert np.array_equal(normalised(photo, ADOBE_PROFILE).pixels, by_littlecms(image, ADOBE_PROFILE))


def test_pixels_whose_profile_is_srgb_stay_as_they_are(drawing: np.ndarray) -> None:
    for profile in (
        rgb_profile(SRGB, srgb_curve()),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ):
        assert is_srgb(profile)
        result = normalised(drawing, profile)
        assert result.pixels is drawing
        assert result.profile == b""
    assert not is_srgb(P3_PROFILE)


@pytest.mark.parametrize("profile", [ADOBE_PROFILE, P3_PROFILE, b"", b"damaged" * 40])
def test_a_dropped_profile_changes_nothing(drawing: np.ndarray, profile: bytes) -> None:
    assert normalised(drawing, profile, Decode(profile="drop")) == Normalised(drawing)


def test_a_kept_profile_comes_with_unchanged_pixels(drawing: np.ndarray) -> None:
    assert normalised(drawing, ADOBE_PROFILE, Decode()) == Normalised(drawing, ADOBE_PROFILE)


@pytest.mark.parametrize("profile", [ADOBE_PROFILE[:300], ADOBE_PROFILE[:128] + b"\xff" * 400])
def test_a_damaged_profile_is_ignored_with_a_warning(drawing: np.ndarray, profile: bytes) -> None:
    assert normalised(drawing, profile) == Normalised(drawing, warnings=("profile_invalid",))


@pytest.mark.parametrize("profile", [PRESS_PROFILE, grey_profile(gamma(2.2)), bytes(200)])
@pytest.mark.parametrize("params", [Decode(), TO_SRGB])
def test_a_profile_for_other_pixels_is_ignored_with_a_warning(
    drawing: np.ndarray, profile: bytes, params: Decode
) -> None:
    assert normalised(drawing, profile, params) == Normalised(drawing, warnings=("profile_mismatch",))


def test_alpha_is_untouched_by_a_conversion(drawing: np.ndarray) -> None:
    alpha = np.arange(drawing[:, :, 0].size, dtype=np.uint32).reshape(drawing.shape[:2]).astype(np.uint8)
    given = cv2.merge([*cv2.split(drawing), alpha])
    result = normalised(given, ADOBE_PROFILE, Decode(profile="srgb", alpha="keep")).pixels
    assert np.array_equal(result[:, :, 3], alpha)
    assert np.array_equal(result[:, :, :3], normalised(drawing, ADOBE_PROFILE).pixels)


def test_the_background_is_not_converted() -> None:
    given = np.dstack([bgr((200, 60, 30)), np.zeros((1, 1), np.uint8)])
    result = normalised(given, ADOBE_PROFILE, Decode(profile="srgb", background="#c83c1e"))
    assert result.pixels[0, 0, ::-1].tolist() == [200, 60, 30]


def test_16_bits_with_a_wide_profile_become_srgb_in_16_bits(seeded: np.random.Generator) -> None:
    given = seeded.integers(0, 65_536, (60, 80, 3)).astype(np.uint16)
    light = to_light(given[:, :, ::-1] / 65_535) @ np.linalg.solve(to_xyz(SRGB), to_xyz(DISPLAY_P3)).T
    expected = np.clip(65_535 * from_light(light), 0, 65_535)[:, :, ::-1]
    result = normalised(given, P3_PROFILE)
    assert result.pixels.dtype == np.uint16
    difference = np.abs(result.pixels - expected)
    assert difference.max() < 128, "half of what 8 bits tell apart"
    assert difference.mean() < 8
    assert (result.profile, result.warnings) == (b"", ())
    same = normalised(given, rgb_profile(SRGB, srgb_curve()))
    assert same.pixels is given
    assert same.warnings == ()


FORMULAS = [
    (2.2,),
    (2.0, 1.1, -0.1),
    (2.0, 1.1, -0.1, 0.0),
    (2.4, 0.9479, 0.0521, 0.0774, 0.0405),
    (2.4, 0.9479, 0.0521, 0.0774, 0.0405, 0.0, 0.0),
]
CURVES = [
    b"curv" + bytes(8),
    gamma(1.8),
    b"curv" + bytes(4) + struct.pack(">I256H", 256, *(round(65_535 * (x / 255) ** 2.6) for x in range(256))),
    *(
        b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", kind, 0, *(round(number * 65536) for number in numbers))
        for kind, numbers in enumerate(FORMULAS)
    ),
]


@pytest.mark.parametrize("curve", CURVES)
def test_every_kind_of_curve_gives_littlecms_colours_in_16_bits(drawing: np.ndarray, curve: bytes) -> None:
    deep = drawing.astype(np.uint16) * 257
    for profile, space in ((rgb_profile(ADOBE_RGB, curve), "RGB"), (grey_profile(curve), "GRAY")):
        given = drawing if space == "RGB" else np.repeat(drawing[:, :, :1], 3, axis=2)
        expected = normalised(given, profile, TO_SRGB, space).pixels
        deep = given.astype(np.uint16) * 257
        result = normalised(deep, profile, TO_SRGB, space).pixels
        assert result.dtype == np.uint16
        assert np.abs(result / 257 - expected).mean() < 0.5


def test_16_bits_with_a_profile_of_tables_are_reduced_with_a_warning(drawing: np.ndarray) -> None:
    colours = {
        (r, g, b): (30 * r + 50 * g + 15 * b, 60 * (r - g), 60 * (g - b)) for r, g, b in product((0, 1), repeat=3)
    }
    tables = table_profile(b"RGB ", colours)
    result = normalised(drawing.astype(np.uint16) << 8, tables)
    assert np.array_equal(result.pixels, normalised(drawing, tables).pixels)
    assert not np.array_equal(result.pixels, drawing)
    assert result.warnings == ("depth_reduced",)


@pytest.mark.parametrize(
    "curve", [b"", b"curv", gamma(1)[:12], b"para" + bytes(4) + b"\0\x09" + bytes(40), b"text    "]
)
def test_a_damaged_curve_leaves_16_bits_as_they_are_with_a_warning(drawing: np.ndarray, curve: bytes) -> None:
    given = drawing.astype(np.uint16)
    result = normalised(given, rgb_profile(ADOBE_RGB, curve))
    assert result.pixels is given
    assert result.warnings == ("profile_invalid",)


def grey_ramp() -> np.ndarray:
    return np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 256, 1), 3, axis=2)


def test_a_grey_profile_is_kept_as_one_for_three_equal_channels() -> None:
    profile = grey_profile(gamma(1.8))
    result = normalised(grey_ramp(), profile, Decode(), "GRAY")
    assert np.array_equal(result.pixels, grey_ramp())
    assert result.profile == make_rgb_profile(profile)
    shown = by_littlecms(Image.fromarray(grey_ramp()), result.profile).astype(int)
    expected = by_littlecms(Image.fromarray(grey_ramp()[:, :, 0]), profile)
    assert np.abs(shown - expected).max() <= 1
    assert np.abs(shown - grey_ramp()).max() > 10


def test_grey_is_converted_by_its_profile() -> None:
    profile = grey_profile(gamma(1.8))
    result = normalised(grey_ramp(), profile, TO_SRGB, "GRAY")
    assert np.array_equal(result.pixels, by_littlecms(Image.fromarray(grey_ramp()[:, :, 0]), profile))


def test_a_grey_image_may_have_a_profile_for_colours() -> None:
    assert normalised(grey_ramp(), ADOBE_PROFILE, Decode(), "GRAY").profile == ADOBE_PROFILE
    assert np.array_equal(
        normalised(grey_ramp(), ADOBE_PROFILE, TO_SRGB, "GRAY").pixels, normalised(grey_ramp(), ADOBE_PROFILE).pixels
    )


@pytest.mark.parametrize("damaged", [grey_profile(b"")[:200], grey_profile(gamma(2))[:-4], grey_profile(b"")])
def test_a_damaged_grey_profile_is_ignored_with_a_warning(damaged: bytes) -> None:
    for params in (Decode(), TO_SRGB):
        result = normalised(grey_ramp(), damaged, params, "GRAY")
        assert np.array_equal(result.pixels, grey_ramp())
        assert (result.profile, result.warnings) == (b"", ("profile_invalid",))


def inks(seeded: np.random.Generator) -> np.ndarray:
    return seeded.integers(0, 256, (40, 50, 4)).astype(np.uint8)


@pytest.mark.parametrize("params", [Decode(), TO_SRGB, Decode(profile="drop")])
def test_cmyk_is_converted_by_its_profile(seeded: np.random.Generator, params: Decode) -> None:
    profile, given = PRESS_PROFILE, inks(seeded)
    result = normalised(given, profile, params, "CMYK")
    assert np.array_equal(result.pixels, by_littlecms(Image.fromarray(given, "CMYK"), profile))
    assert (result.profile, result.warnings) == (b"", ())
    assert not np.array_equal(result.pixels, normalised(given, b"", params, "CMYK").pixels)


@pytest.mark.parametrize(
    ("profile", "warnings"),
    [
        (b"", ()),
        (ADOBE_PROFILE, ("profile_mismatch",)),
        (PRESS_PROFILE[:400], ("profile_invalid",)),
    ],
)
def test_cmyk_without_a_usable_profile_is_converted_by_its_share_of_light(
    seeded: np.random.Generator, profile: bytes, warnings: tuple[str, ...]
) -> None:
    given = inks(seeded)
    result = normalised(given, profile, Decode(), "CMYK")
    light = 1 - given / 255
    assert np.abs(result.pixels - 255 * light[:, :, 2::-1] * light[:, :, 3:]).max() <= 0.5 + 1e-6
    assert (result.profile, result.warnings) == (b"", warnings)


def with_tags(profile: bytes, *added: tuple[bytes, int, int], content: bytes = b"") -> bytes:
    """Return a profile with more tags, whose offsets count from its end, and with content there."""
    (count,) = struct.unpack_from(">I", profile, 128)
    shift, start = 12 * len(added), 132 + 12 * count
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    moved = [(name, offset + shift, size) for name, offset, size in entries]
    moved += [(name, len(profile) + shift + offset, size) for name, offset, size in added]
    table = struct.pack(">I", len(moved)) + b"".join(struct.pack(">4sII", *entry) for entry in moved)
    made = profile[4:128] + table + profile[start:] + content
    return struct.pack(">I", len(made) + 4) + made


def test_a_program_in_a_profile_is_not_run(drawing: np.ndarray) -> None:
    """ICC.2 has programs of any number of elements; LittleCMS took 33 s for 10,000, which are 80 kB."""
    element = b"matf" + bytes(4) + struct.pack(">HH12f", 3, 3, *[0.0] * 12)
    program = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, 2) + struct.pack(">II", 32, len(element)) * 2 + element
    profile = with_tags(P3_PROFILE, (b"D2B1", 0, len(program)), content=program)
    assert not np.array_equal(by_littlecms(Image.fromarray(drawing), profile), normalised(drawing, P3_PROFILE).pixels)
    result = normalised(drawing, profile)
    assert np.array_equal(result.pixels, normalised(drawing, P3_PROFILE).pixels)
    assert result.warnings == ()


@pytest.mark.parametrize(
    "added",
    [
        [(b"t%3d" % number, 0, 4) for number in range(100)],
        [(b"t%3d" % number, number, 1_000_000) for number in range(20)],
    ],
    ids=["too many", "overlapping"],
)
def test_tags_are_bounded_in_number_and_bytes(drawing: np.ndarray, added: list[tuple[bytes, int, int]]) -> None:
    content = bytes(1_000_100)
    for profile, pixels, space in ((P3_PROFILE, drawing, "RGB"), (grey_profile(gamma(2.2)), grey_ramp(), "GRAY")):
        result = normalised(pixels, with_tags(profile, *added, content=content), TO_SRGB, space)
        assert (result.warnings, result.profile) == (("profile_invalid",), b"")


def test_a_tag_within_the_table_of_tags_is_damage(drawing: np.ndarray) -> None:
    profile = with_tags(P3_PROFILE, (b"none", 140 - len(P3_PROFILE) - 12, 4))
    assert normalised(drawing, profile).warnings == ("profile_invalid",)


def test_tags_may_share_their_bytes(drawing: np.ndarray) -> None:
    names = [b"t%3d" % number for number in range(80)]
    profile = with_tags(P3_PROFILE, *((name, 0, 1_000_000) for name in names), content=bytes(1_000_000))
    assert np.array_equal(normalised(drawing, profile).pixels, normalised(drawing, P3_PROFILE).pixels)


def test_no_damage_to_a_profile_fails_an_image(drawing: np.ndarray, seeded: np.random.Generator) -> None:
    profiles = [
        ("RGB", P3_PROFILE, drawing),
        ("RGB", P3_PROFILE, drawing.astype(np.uint16)),
        ("GRAY", grey_profile(srgb_curve()), grey_ramp()),
        ("GRAY", grey_profile(CURVES[2]), grey_ramp().astype(np.uint16)),
        ("CMYK", PRESS_PROFILE, inks(seeded)),
    ]
    outcomes = set()
    for number in range(150):
        space, profile, pixels = profiles[number % len(profiles)]
        damaged = bytearray(profile)
        for at in seeded.integers(16, len(profile), seeded.integers(1, 6)):
            damaged[at] = seeded.choice([0, 1, 0x7F, 0x80, 0xFF, seeded.integers(256)])
        if seeded.random() < 0.2:
            del damaged[seeded.integers(100, len(damaged)) :]
        for params in (Decode(), TO_SRGB):
            result = normalised(pixels, bytes(damaged), params, space)
            assert result.pixels.shape == (*pixels.shape[:2], 3)
            outcomes |= {*result.warnings}
    assert {"profile_invalid", "profile_mismatch"} <= outcomes
