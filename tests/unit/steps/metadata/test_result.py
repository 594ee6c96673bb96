from __future__ import annotations

import numpy as np
import pytest
from camera_files import GPANO, PLACE, PROFILE, exif, panorama, photograph, read_exif, record

from penstock.common.model.operations import Resize, Split
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.image import Image, Metadata, StepOutput
from penstock.steps.metadata.result import result_metadata
from penstock.steps.metadata.xmp_packet import read_xmp
from penstock.steps.resize import resize
from penstock.steps.split import split

ONE_PIXEL = np.zeros((1, 1, 3), np.uint8)


@pytest.fixture
def source(drawing: np.ndarray) -> Image:
    """A panorama of 96×72 pixels with everything."""
    iptc = record(90, b"Delft")
    return decode(
        photograph("JPEG", drawing, exif=exif(), xmp=panorama(96, 72), icc_profile=PROFILE, iptc=iptc), Limits()
    )


def test_tiles_of_a_resized_panorama_carry_place_time_and_sizes_of_their_own(source: Image) -> None:
    (whole,) = [source.derive(resize(source.pixels, Resize(width=48, height=36)))]
    tiles = [whole.derive(output) for output in split(whole.pixels, Split())]
    for index, tile in enumerate(tiles):
        made = result_metadata(tile)
        found = read_exif(made.exif)
        assert found["gps"] == PLACE
        assert (found["exif"][0xA002], found["exif"][0xA003]) == (24, 18)
        sizes = {name[1]: value.text for name, value in read_xmp(made.xmp).properties.items() if name[0] == GPANO}
        assert (sizes["FullPanoWidthPixels"], sizes["FullPanoHeightPixels"]) == ("48", "36")
        assert (sizes["CroppedAreaLeftPixels"], sizes["CroppedAreaTopPixels"]) == (
            str(24 * (index % 2)),
            str(18 * (index // 2)),
        )
        assert (made.iptc, made.icc) == (source.metadata.iptc, PROFILE)


def test_an_image_that_went_nobody_knows_where_keeps_all_but_its_panorama(source: Image) -> None:
    made = result_metadata(source.derive(StepOutput(source.pixels[:10, :10])))
    assert read_exif(made.exif)["gps"] == PLACE
    assert made.xmp == b""


def test_an_image_without_metadata_has_none() -> None:
    assert result_metadata(Image(ONE_PIXEL)) == Metadata()


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK", b"Lab "])
def test_a_profile_for_other_channels_is_left_out(space: bytes) -> None:
    profile = PROFILE[:16] + space + PROFILE[20:]
    assert result_metadata(Image(ONE_PIXEL, Metadata("jpeg", 1, 1, icc=profile))).icc == b""
