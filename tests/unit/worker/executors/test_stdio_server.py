"""StdioServer: results of requests, and how bad ones are refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.numpy

from penstock.common.image_header import read_header
from penstock.common.model.errors import ImageError
from penstock.common.model.operations import FORMATS, Decode, Encode
from penstock.common.model.plan import make_plan
from penstock.common.model.regions import Region
from penstock.common.model.stdio_protocol import MAX_LINE_BYTES, Response
from penstock.common.settings import Limits
from penstock.steps.image import Image
from penstock.worker.executors.in_process import InProcessExecutor
from penstock.worker.executors.safetensors import pack_image, read_image
from penstock.worker.executors.shared_folder import SharedFolder
from penstock.worker.executors.stdio_server import StdioServer

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Sends one request; results go to `tmp_path/out`, and files must be below `tmp_path`."""
    (tmp_path / "out").mkdir()

    def send(op: str, *inputs: Path, params: Any = None, out: object = tmp_path / "out", **limits: Any) -> Any:
        server = StdioServer(["resize", "crop", "split", "blur", "encode"], Limits(**limits), tmp_path)
        request = {"v": 1, "op": op, "params": params or {}, "in": [str(path) for path in inputs], "out": str(out)}
        return json.loads(server.answer(json.dumps(request).encode()))

    return send


@pytest.fixture
def image() -> np.ndarray:
    random = np.random.default_rng(5)
    return cv2.resize(random.integers(0, 255, (6, 8, 3), np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)


def save(path: Path, image: np.ndarray) -> Path:
    """Write an image with the safetensors library."""
    safetensors.numpy.save_file({"any name": image}, path)
    return path


def load(path: str) -> np.ndarray:
    (image,) = safetensors.numpy.load_file(path).values()
    return image


def load_pixels(path: str) -> np.ndarray:
    return read_image(Path(path).read_bytes()).pixels


def test_raw_pixels_are_processed_as_by_opencv(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    answer = ask("blur", save(tmp_path / "0.safetensors", image), params={"method": "median"})
    assert answer["out"] == [str(tmp_path / "out" / "0.safetensors")]
    assert np.array_equal(load(answer["out"][0]), cv2.medianBlur(image, 5))


def test_regions_in_a_file_are_hidden_and_kept(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    face = Region(box=(20, 10, 30, 30), label="face")
    given = tmp_path / "0.safetensors"
    given.write_bytes(b"".join(pack_image(Image(image, regions=(face,)))))
    params = {"method": "fill", "where": "regions", "feather": 0}
    made = read_image(Path(ask("blur", given, params=params)["out"][0]).read_bytes())
    assert made.regions == (face,)
    assert (made.pixels[10:40, 20:50] == 0).all()
    assert np.array_equal(made.pixels[40:], image[40:])


def test_every_step_decodes_files(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.jpg"), image)
    answer = ask("resize", tmp_path / "0.jpg", params={"width": 20, "height": 10})
    expected = cv2.resize(cv2.imread(str(tmp_path / "0.jpg")), (20, 10), interpolation=cv2.INTER_AREA)
    assert np.array_equal(load(answer["out"][0]), expected)


def test_decode_writes_raw_pixels(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), image)
    assert np.array_equal(load(ask("decode", tmp_path / "0.png")["out"][0]), image)


def test_a_resize_counts_from_the_size_of_a_file_that_was_decoded_smaller(ask: Ask, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), np.random.default_rng(6).integers(0, 255, (301, 403, 3), np.uint8))
    plan = make_plan([["resize", "12.5%"]], None, Limits(), Decode(mode="scaled"))
    decoded = ask("decode", photo, params=plan.decoding.params.document())
    assert load_pixels(decoded["out"][0]).shape == (76, 101, 3)
    (tmp_path / "next").mkdir()
    params = plan.operations[0].params.document()
    made = ask("resize", Path(decoded["out"][0]), params=params, out=tmp_path / "next")
    executor = InProcessExecutor(Limits())
    (expected,) = executor.perform(plan.operations[0], executor.perform(plan.decoding, [photo.read_bytes()]))
    assert expected.pixels.shape == (38, 50, 3)
    assert np.array_equal(load_pixels(made["out"][0]), expected.pixels)


def test_the_parts_of_a_split_are_in_order(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    both = [save(tmp_path / "0", image), save(tmp_path / "1", image[:20, :30].copy())]
    parts = [load(path) for path in ask("split", *both)["out"]]
    assert len(parts) == 8
    assert np.array_equal(parts[1], image[:30, 40:])
    assert np.array_equal(parts[6], image[10:20, :15])


def test_encode_writes_files(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    answer = ask("encode", save(tmp_path / "0", image), params={"format": "jpg", "quality": 80})
    assert answer["out"] == [str(tmp_path / "out" / "0.jpg")]
    expected = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    assert Path(answer["out"][0]).read_bytes() == expected


def test_a_file_that_cannot_be_encoded_leaves_none_of_its_image(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    fits, too_high = save(tmp_path / "0", image), save(tmp_path / "1", np.zeros((16_384, 1, 3), np.uint8))
    assert ask("encode", fits, too_high, params={"format": "webp"})["error"]["code"] == "parameter_not_applicable"
    assert list((tmp_path / "out").iterdir()) == []


def test_encode_writes_files_in_the_format_of_their_source(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    given = {}
    for number, suffix in enumerate((".webp", ".tiff", ".avif", ".jpg")):
        given[suffix] = tmp_path / str(number)
        given[suffix].write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    answer = ask("encode", *given.values(), params={"format": "keep"})
    assert [Path(path).suffix for path in answer["out"]] == [*given]
    for path in answer["out"]:
        assert f".{FORMATS[read_header(Path(path).read_bytes()).type]}" == Path(path).suffix


def test_a_file_that_another_program_made_is_taken_if_it_is_of_the_wanted_format(
    image: np.ndarray, tmp_path: Path
) -> None:
    folder = SharedFolder(tmp_path, str(tmp_path), Limits())
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "a.webp").write_bytes(cv2.imencode(".webp", image)[1].tobytes())
    response = Response(ok=True, out=[str(tmp_path / "0" / "a.webp")])
    for form in ("webp", "keep"):
        made = folder.read_file(str(tmp_path / "0"), response, 0, Encode.model_validate({"format": form}))
        assert (made.extension, made.media_type) == ("webp", "image/webp")
    with pytest.raises(ImageError, match="it made a webp file; avif was asked for"):
        folder.read_file(str(tmp_path / "0"), response, 0, Encode(format="avif"))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"hello world", "unsupported_type"),
        (b"\x10\0\0\0\0\0\0\0{}" + b" " * 14, "corrupt_image"),
        (b"\xff\xff\xff\xff\0\0\0\0{", "corrupt_image"),
        (b"\x08\0\0\0\0\0\0\0{" + b"[" * 7, "corrupt_image"),
    ],
)
def test_a_file_that_is_no_image_is_refused_with_its_own_code(
    ask: Ask, tmp_path: Path, content: bytes, code: str
) -> None:
    (tmp_path / "0").write_bytes(content)
    answer = ask("blur", tmp_path / "0", params={"method": "median"})
    assert (answer["ok"], answer["error"]["code"], answer["error"]["step"]) == (False, code, "decode")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 2), np.uint8),
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 3), np.int16),
        np.zeros((0, 5, 3), "B"),
    ],
    ids=["two channels", "grey", "signed", "nothing"],
)
def test_arrays_that_are_no_images_are_refused(ask: Ask, tmp_path: Path, array: np.ndarray) -> None:
    answer = ask("blur", save(tmp_path / "0", array), params={"method": "median"})
    assert answer["error"]["code"] == "corrupt_image"
    assert "accepted is U8 [height, width, 3]" in answer["error"]["message"]


def test_truncated_raw_pixels_are_refused(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path / "0", image)
    path.write_bytes(path.read_bytes()[:-1])
    assert ask("blur", path, params={"method": "median"})["error"]["code"] == "corrupt_image"


def test_limits_apply_to_all_parts_together(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path / "0", image)
    cv2.imwrite(str(tmp_path / "1.png"), image)
    median = {"method": "median"}
    assert ask("blur", path, params=median, max_pixels=4800)["ok"]
    for inputs in ([path, path], [path, tmp_path / "1.png"]):
        answer = ask("blur", *inputs, params=median, max_pixels=9599)
        assert answer["error"]["code"] == "too_many_pixels"
    assert (
        ask("resize", path, params={"width": 99, "height": 99}, max_pixels=9600)["error"]["code"] == "too_many_pixels"
    )
    size = (tmp_path / "1.png").stat().st_size
    assert ask("decode", tmp_path / "1.png", max_file_bytes=size - 1)["error"]["code"] == "too_large_file"
    assert ask("blur", path, path, params=median, max_parts=1)["error"]["code"] == "bad_request"


def test_pixels_of_16_bits_and_with_alpha_count_twice_in_files_too(ask: Ask, tmp_path: Path) -> None:
    deep = np.zeros((4, 6, 4), np.uint16)
    raw, file = save(tmp_path / "0", deep), tmp_path / "1.png"
    cv2.imwrite(str(file), deep)
    for inputs, counted in (([raw], 96), ([raw, raw], 192), ([raw, file], 96 + 48)):
        assert ask("crop", *inputs, params={"width": 1}, max_pixels=counted)["ok"]
        answer = ask("crop", *inputs, params={"width": 1}, max_pixels=counted - 1)
        assert answer["error"]["code"] == "too_many_pixels"


@pytest.mark.parametrize("path", ["/etc/hostname", "{root}/../outside", "{root}/link"])
def test_nothing_outside_the_shared_folder_is_read(ask: Ask, tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path.parent / "outside").write_bytes(b"x")
    answer = ask("decode", Path(path.format(root=tmp_path)))
    assert answer["error"]["code"] == "source_forbidden"


@pytest.mark.parametrize("out", ["{root}/..", "{root}/elsewhere"])
def test_nothing_outside_the_shared_folder_is_written(ask: Ask, image: np.ndarray, tmp_path: Path, out: str) -> None:
    (tmp_path / "elsewhere").symlink_to(tmp_path.parent)
    before = set(tmp_path.parent.iterdir())
    answer = ask("split", save(tmp_path / "0", image), out=out.format(root=tmp_path))
    assert answer["error"]["code"] == "source_forbidden"
    assert set(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"op": "sharpen", "in": ["/x"]}, "op: no operation 'sharpen' here"),
        ({"op": "blur", "in": []}, "in: 0 files"),
        ({"op": "decode", "in": ["relative.png"]}, "'relative.png' is not accepted; accepted are absolute paths"),
        ({"op": "decode", "in": ["/a\u0000b"]}, "accepted are absolute paths"),
        ({"op": "decode", "in": ["{root}/0.png"], "out": "{root}/nowhere"}, "out: the folder cannot be used"),
    ],
)
def test_invalid_requests_are_refused(
    ask: Ask, image: np.ndarray, tmp_path: Path, request_: dict[str, Any], message: str
) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), image)
    line = json.dumps({"v": 1, "out": str(tmp_path), **request_})
    answer = json.loads(
        StdioServer(["blur"], Limits(), tmp_path).answer(line.replace("{root}", str(tmp_path)).encode())
    )
    assert answer["error"]["code"] == "bad_request"
    assert message in answer["error"]["message"]


def test_invalid_parameters_fail_the_request(ask: Ask, image: np.ndarray, tmp_path: Path) -> None:
    answer = ask("blur", save(tmp_path / "0", image), params={"method": "magic"})
    assert answer["error"]["code"] == "parameter_not_applicable"


def test_every_line_has_one_answer_in_order(tmp_path: Path) -> None:
    describe = b'{"v": 1, "op": "describe"}'
    lines = [describe, b"", b"garbage", b"\0\xff\xfe", b"x" * (3 * MAX_LINE_BYTES), b'{"v": 9, "op": "blur"}', describe]
    answers = io.BytesIO()
    StdioServer(["blur"], Limits(), tmp_path).serve(io.BytesIO(b"\n".join(lines)), answers)
    lines_out = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [answer.get("ok") for answer in lines_out] == [None, False, False, False, False, False, None]
    assert lines_out[-1]["step"] == "blur"
    assert f"more than {MAX_LINE_BYTES} bytes" in lines_out[4]["error"]["message"]


def test_regions_of_a_request_are_moved_into_the_answer_of_encode(image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    server = StdioServer(["resize", "encode"], Limits(), tmp_path)
    box = {"box": [8.0, 6.0, 16.0, 12.0], "label": "face"}

    def send(op: str, inputs: list[str], **fields: Any) -> dict[str, Any]:
        request = {"v": 1, "op": op, "in": inputs, "out": str(tmp_path / "out"), **fields}
        answer: dict[str, Any] = json.loads(server.answer(json.dumps(request).encode()))
        assert answer["ok"], answer
        return answer

    files = [str(save(tmp_path / "a", image)), str(save(tmp_path / "b", image))]
    resized = send("resize", files, params={"width": 40, "height": 30}, regions=[[], [box]])
    assert "regions" not in resized, "they are in the files"
    encoded = send("encode", resized["out"], regions=[[box], []])
    moved = {"box": [4.0, 3.0, 8.0, 6.0], "label": "face"}
    assert encoded["regions"] == [[box], [moved]], "those in a file count, others are the request's"
    assert "warnings" not in encoded
    assert "regions" not in send("encode", files)
