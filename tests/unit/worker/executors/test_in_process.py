"""InProcessExecutor: runs an operation on all parts of an image, and checks the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.geometry import Crop, Rotate, Tile
from penstock.common.model.operations import DECODE, Blur, Decode, Encode, Parameters, Resize, Split
from penstock.common.model.parameters import Extent
from penstock.common.model.plan import Planned
from penstock.common.model.regions import Region
from penstock.common.registry import CustomStep
from penstock.common.settings import Limits
from penstock.steps.image import Image, Metadata, StepOutput
from penstock.worker.executors import in_process
from penstock.worker.executors.in_process import InProcessExecutor

PART = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def images(parts: Sequence[np.ndarray]) -> list[Image]:
    return [Image(part) for part in parts]


def perform_operation(step: str, params: Parameters, *parts: Any) -> list[Any]:
    return InProcessExecutor(Limits()).perform(Planned(step, params), images(parts))


@pytest.fixture
def perform(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Runs a function as if it were an installed step."""

    def run(function: Callable[[Any], Any], *parts: Any, **limits: Any) -> list[Any]:
        own = CustomStep("own", Parameters, lambda image, params: function(image))
        monkeypatch.setattr(in_process, "step_functions", lambda: {"own": own})
        return InProcessExecutor(Limits(**limits)).perform(Planned("own", Parameters()), images(parts or [PART]))

    return run


def refusal(perform: Callable[..., Any], function: Callable[[Any], Any], *parts: Any, **limits: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        perform(function, *parts, **limits)
    assert "\n" not in caught.value.message
    return caught.value


def test_decode_is_performed_like_any_operation_and_encode_yields_files() -> None:
    file = cv2.imencode(".png", PART)[1].tobytes()
    executor = InProcessExecutor(Limits())
    [decoded] = executor.perform(Planned(DECODE, Decode()), [file])
    assert np.array_equal(decoded.pixels, PART)
    [encoded] = executor.encode(Planned("encode", Encode(format="png")), [decoded])
    assert (encoded.width, encoded.height) == (6, 4)
    assert np.array_equal(cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_COLOR), PART)


def test_a_file_is_encoded_when_it_is_asked_for() -> None:
    too_high = np.zeros((16_384, 1, 3), np.uint8)
    files = InProcessExecutor(Limits()).encode(Planned("encode", Encode(format="webp")), images([PART, too_high]))
    assert next(files).width == 6
    with pytest.raises(ImageError, match="16384 pixels do not fit in a WebP"):
        next(files)


def test_parts_are_in_the_order_of_the_parts_they_came_from() -> None:
    quarters = perform_operation("split", Split(), PART, PART + 1)
    assert len(quarters) == 8
    assert np.array_equal(quarters[0].pixels, PART[:2, :3])
    assert np.array_equal(quarters[7].pixels, PART[2:, 3:] + 1)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_step_may_return_one_array_or_several(perform: Callable[..., Any], kind: type) -> None:
    assert len(perform(lambda image: image)) == 1
    assert len(perform(lambda image: kind([image, image]), PART, PART)) == 4


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (None, "own returned NoneType; accepted is H×W×3 uint8"),
        (PART[:, :, 0], "own returned uint8 (4, 6)"),
        (PART.astype(np.float32), "own returned float32 (4, 6, 3)"),
        (np.zeros((4, 6, 4), np.uint8), "own returned uint8 (4, 6, 4)"),
        ([PART, "image"], "own returned str"),
    ],
    ids=["none", "grey", "float", "alpha", "text"],
)
def test_a_result_that_is_no_image_fails_the_image(perform: Callable[..., Any], made: Any, said: str) -> None:
    error = refusal(perform, lambda image: made)
    assert error.code == ImageCode.INTERNAL
    assert said in error.message


def test_a_step_that_makes_nothing_does_not_apply(perform: Callable[..., Any]) -> None:
    for made in ([], PART[:0]):
        assert refusal(perform, lambda image, made=made: made).code == ImageCode.PARAMETER_NOT_APPLICABLE


def test_pixels_of_16_bits_and_with_alpha_count_twice_in_a_step_too(perform: Callable[..., Any]) -> None:
    deep = np.zeros((4, 6, 4), np.uint16)
    assert len(perform(lambda image: [image, image], deep, max_pixels=4 * 48)) == 2
    error = refusal(perform, lambda image: [image, image], deep, max_pixels=4 * 48 - 1)
    assert error.code is ImageCode.TOO_MANY_PIXELS
    with pytest.raises(ImageError, match="resize made 480 pixels"):
        InProcessExecutor(Limits(max_pixels=479)).perform(
            Planned("resize", Resize(width=12, height=10)), images([deep])
        )


def test_parts_and_pixels_are_bounded(perform: Callable[..., Any]) -> None:
    assert len(perform(lambda image: [image] * 4, max_parts=4)) == 4
    assert refusal(perform, lambda image: [image] * 5, max_parts=4).code == ImageCode.PARAMETER_NOT_APPLICABLE
    assert perform(lambda image: [image] * 4, max_pixels=96)
    assert refusal(perform, lambda image: [image] * 4, max_pixels=95).code == ImageCode.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    ("step", "params", "made"),
    [
        ("resize", Resize(width=9, height=1), "9x1"),
        ("resize", Resize.from_short("pad:1x9"), "1x9"),
        ("rotate", Rotate(angle=30), "8x7"),
        ("crop", Crop(width=6), "6x4"),
    ],
)
def test_sides_are_bounded_after_every_step(step: str, params: Parameters, made: str) -> None:
    longest = max(map(int, made.split("x")))
    executor, operation = InProcessExecutor(Limits(max_side=longest)), Planned(step, params)
    assert len(executor.perform(operation, images([PART]))) == 1
    with pytest.raises(ImageError) as caught:
        InProcessExecutor(Limits(max_side=longest - 1)).perform(operation, images([PART]))
    assert caught.value.code is ImageCode.TOO_MANY_PIXELS
    accepted = f"accepted are sides of up to {longest - 1} (PENSTOCK_MAX_SIDE)"
    assert caught.value.message == f"{step} made {made} pixels; {accepted}"


@pytest.mark.parametrize(
    ("field", "option"), [("icc", "profile: srgb or drop"), ("xmp", "metadata: geo or none")], ids=["profile", "xmp"]
)
def test_metadata_of_all_results_together_are_bounded(field: str, option: str) -> None:
    large = Metadata(**{field: bytes(4 * 1024 * 1024)})
    whole = Image(np.zeros((8, 9, 3), np.uint8), large)
    executor = InProcessExecutor(Limits())
    assert len(executor.perform(Planned("tile", Tile(columns=8, rows=8)), [whole])) == 64
    with pytest.raises(ImageError) as caught:
        executor.perform(Planned("tile", Tile(columns=9, rows=8)), [whole])
    assert caught.value.code is ImageCode.PARAMETER_NOT_APPLICABLE
    assert caught.value.message == (
        "tile made 72 parts, whose results would have 301989888 bytes of metadata; accepted are up to 268435456"
        f" ({option} leaves out most of them)"
    )


def test_what_the_parameters_make_is_bounded_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Enlarge(Parameters):
        parts_made: int = 1
        pixels: int = 1

        def extent(self, width: int, height: int) -> Extent:
            return Extent(self.parts_made, self.pixels * width * height)

    def never(*_: object) -> None:
        raise AssertionError("run")

    monkeypatch.setattr(in_process, "step_functions", lambda: {"own": never})
    for params, code in (
        (Enlarge(pixels=3), ImageCode.TOO_MANY_PIXELS),
        (Enlarge(parts_made=3), ImageCode.PARAMETER_NOT_APPLICABLE),
    ):
        with pytest.raises(ImageError, match="own made ") as caught:
            InProcessExecutor(Limits(max_pixels=100, max_parts=5)).perform(
                Planned("own", params), images([PART[:2], PART])
            )
        assert caught.value.code == code


def test_an_exception_becomes_one_line_that_names_the_step(perform: Callable[..., Any]) -> None:
    def fall(image: Any) -> Any:
        raise KeyError("one\n  two\t" + "x" * 1_000)

    error = refusal(perform, fall)
    assert error.message.startswith("own raised KeyError: ")
    assert len(error.message) < 260


def test_an_image_error_of_a_step_is_passed_on(perform: Callable[..., Any]) -> None:
    def refuse(image: Any) -> Any:
        raise ImageError(ImageCode.PARAMETER_NOT_APPLICABLE, "too small")

    assert refusal(perform, refuse).code == ImageCode.PARAMETER_NOT_APPLICABLE


def test_a_memory_error_is_not_blamed_on_the_step(perform: Callable[..., Any]) -> None:
    def grow(image: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        perform(grow)


def test_a_step_cannot_change_its_input(perform: Callable[..., Any]) -> None:
    part = PART.copy()

    def scribble(image: Any) -> Any:
        image[:] = 0
        return image

    assert "read-only" in refusal(perform, scribble, part).message
    assert np.array_equal(part, PART)
    assert part.flags.writeable


def test_a_split_of_one_pixel_does_not_apply() -> None:
    with pytest.raises(ImageError) as caught:
        perform_operation("split", Split(), PART[:1, :1])
    assert caught.value.code == ImageCode.PARAMETER_NOT_APPLICABLE


def test_views_are_blurred_like_copies() -> None:
    view = np.tile(PART, (4, 4, 1))[1::2, 3:20]
    [one], [other] = (perform_operation("blur", Blur(method="median"), part) for part in (view, view.copy()))
    assert np.array_equal(one.pixels, other.pixels)


def test_regions_are_bounded(perform: Callable[..., Any]) -> None:
    box, label = Region(box=(0, 0, 1, 1)), Region(box=(0, 0, 1, 1), label="x" * 100)
    assert len(perform(lambda image: StepOutput(image, regions=[box] * 1000))[0].regions) == 1000
    refused = refusal(perform, lambda image: StepOutput(image, regions=[box] * 1001))
    assert refused.code is ImageCode.PARAMETER_NOT_APPLICABLE
    assert refused.message == "own made a part with 1001 regions; accepted are up to 1000"
    refused = refusal(perform, lambda image: [StepOutput(image, regions=[label] * 1000)] * 5)
    assert refused.message == "own made 685005 bytes of regions; accepted are up to 524288"


def test_an_image_whose_regions_were_dropped_fails_where_they_should_be_blurred() -> None:
    face = Region(box=(0, 0, 2, 2))
    lost = Image(PART, regions=(face,)).derive(PART[:2])
    executor = InProcessExecutor(Limits())
    with pytest.raises(ImageError) as caught:
        executor.perform(Planned("blur", Blur(method="fill", where="regions")), [lost])
    assert caught.value.code is ImageCode.PARAMETER_NOT_APPLICABLE
    assert "blur them before that step" in caught.value.message
    assert len(executor.perform(Planned("blur", Blur(method="fill")), [lost])) == 1


@pytest.mark.parametrize(
    ("labels", "warnings"),
    [((), ()), (("face",), ()), (("plate", "face"), ()), (("Face",), ("no_region_hidden",))],
)
def test_labels_that_no_region_has_are_a_warning(labels: tuple[str, ...], warnings: tuple[str, ...]) -> None:
    face = Image(PART, regions=(Region(box=(1, 1, 2, 2), label="face"),))
    params = Blur(method="fill", where="regions", labels=labels)
    [hidden, other] = InProcessExecutor(Limits()).perform(Planned("blur", params), [face, Image(PART)])
    assert (hidden.warnings, other.warnings) == (warnings, ())
    assert np.array_equal(hidden.pixels, PART) == bool(warnings)
