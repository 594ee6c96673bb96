"""WorkerMemory: what cannot fit is refused, with both numbers; what fits is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from penstock.common.model.effects import Blur
from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import DECODE, Decode, Encode, Parameters, Resize, Split
from penstock.common.model.plan import Planned
from penstock.common.settings import Limits, WorkerSettings
from penstock.steps.image import Image
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.executors.needs import needed_bytes
from penstock.worker.memory import WorkerMemory, measure_memory

PIXELS = np.zeros((1_000, 2_000, 3), np.uint8)
HALF = Resize.from_short("1000x500")


@pytest.mark.parametrize(
    ("params", "megabytes"),
    [
        (Blur.from_short("gaussian"), 6 + 6),
        (HALF, 6 + 1.5),
        (Split.from_short(True), 6),
        (Encode(format="jpg"), 6 + 2),
        (Encode(format="png"), 6 + 22),
    ],
    ids=["blur", "resize", "split", "jpg", "png"],
)
def test_a_step_needs_its_input_its_output_and_what_was_measured(params: Parameters, megabytes: float) -> None:
    assert needed_bytes(params, [Image(PIXELS)], Limits()) == megabytes * 1e6


@pytest.mark.parametrize(("available_bytes", "fits"), [(12_000_000, True), (11_999_999, False)])
def test_a_step_without_room_for_its_output_is_refused(available_bytes: int, fits: bool) -> None:
    executor = InProcessExecutor(Limits(), WorkerMemory(100_000_000, available_bytes))
    blur = Planned("blur", Blur.from_short("gaussian"))
    if fits:
        assert len(executor.perform(blur, [Image(PIXELS)])) == 1
        return
    with pytest.raises(ImageError) as refused:
        executor.perform(blur, [Image(PIXELS)])
    assert refused.value.code is ImageCode.TOO_MANY_PIXELS
    assert refused.value.message == (
        "blur needs at least 12 MB of memory for this image; its worker has 11 MB for images, of 100 MB in all"
        " (the container's memory limit, or PENSTOCK_MEMORY_LIMIT_BYTES)"
    )


def test_a_file_is_refused_by_its_header_before_it_is_decoded() -> None:
    file = cv2.imencode(".png", PIXELS)[1].tobytes()
    executor = InProcessExecutor(Limits(), WorkerMemory(100_000_000, 5_000_000))
    with pytest.raises(ImageError, match="decode needs at least 7 MB") as refused:
        executor.perform(Planned(DECODE, Decode()), [file[:-1_000]])
    assert refused.value.code is ImageCode.TOO_MANY_PIXELS


def test_a_file_of_16_bits_needs_twice_the_memory_where_they_are_kept() -> None:
    file = cv2.imencode(".png", PIXELS.astype(np.uint16))[1].tobytes()
    for params, megabytes in ((Decode(), 12), (Decode(depth="8"), 6)):
        assert needed_bytes(params, [file], Limits()) == len(file) + megabytes * 1_000_000
    assert needed_bytes(Decode(), [file], Limits(max_pixels=3_999_999)) == 0, "the limit on pixels refuses it"


def test_the_limit_on_pixels_is_named_where_it_refuses_the_image_as_well() -> None:
    file = cv2.imencode(".png", PIXELS)[1].tobytes()
    executor = InProcessExecutor(Limits(max_pixels=1_000_000), WorkerMemory(100_000_000, 5_000_000))
    with pytest.raises(ImageError, match="PENSTOCK_MAX_PIXELS"):
        executor.perform(Planned(DECODE, Decode()), [file])


def test_the_limit_of_the_settings_comes_first_and_what_the_process_occupies_is_left_out() -> None:
    memory = measure_memory(WorkerSettings(memory_limit_bytes=1_000_000_000))
    assert memory is not None
    assert memory.limit_bytes == 1_000_000_000
    assert 0 < memory.available_bytes < 1_000_000_000 - 10_000_000
