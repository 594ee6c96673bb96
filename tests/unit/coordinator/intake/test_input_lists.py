"""Input lists: which lines are read, and which errors refuse the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.input_root import InputRoot
from penstock.common.model.errors import RequestError
from penstock.common.store.bucket_allowlist import BucketAllowlist, SourceForbiddenError
from penstock.coordinator.intake.inputs.lists import (
    MAX_JSON_LINE_BYTES,
    MAX_LINE_BYTES,
    InputList,
    LocalFile,
    read_path,
)

ROOT = "/srv/photos"


def lines_of(folder: Path, data: bytes, max_bytes: int = 10_000_000) -> list[tuple[int, str]]:
    """Write a list and read it."""
    (folder / "list.txt").write_bytes(data)
    input_list = InputList(LocalFile(InputRoot(folder), folder / "list.txt"), "'list.txt'", "/inputs/3", max_bytes)
    return list(input_list.lines(BucketAllowlist()))


def refusal(folder: Path, data: bytes, max_bytes: int = 10_000_000) -> RequestError:
    with pytest.raises(RequestError) as refused:
        lines_of(folder, data, max_bytes)
    assert (refused.value.status, refused.value.pointer) == (422, "/inputs/3")
    return refused.value


def test_blank_lines_and_comments_are_numbered_and_skipped(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf# from the archive\r\n\r\n  a.jpg \r\n#b.jpg\nc d.jpg\n\n\te.jpg"
    assert lines_of(tmp_path, data) == [(3, "a.jpg"), (5, "c d.jpg"), (7, "e.jpg")]
    assert lines_of(tmp_path, b"") == []


def test_lines_across_two_reads_stay_whole(tmp_path: Path) -> None:
    lines = [f"ü/{number:050}.jpg" for number in range(60_000)]
    assert lines_of(tmp_path, "\n".join(lines).encode()) == list(enumerate(lines, start=1))


def test_a_line_that_is_binary_or_endless_is_reported_with_its_number(tmp_path: Path) -> None:
    bad = b"a.jpg\n" * 300_000 + b"\xff.jpg\nb.jpg\n"
    assert refusal(tmp_path, bad).message == "line 300001 of 'list.txt': it is not UTF-8"
    endless = b"a.jpg\n" + b"x" * 3_000_000
    assert refusal(tmp_path, endless).message == f"line 2 of 'list.txt': it is over {MAX_LINE_BYTES} bytes long"


def test_a_list_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"a.jpg\n" * 3, max_bytes=17).code == "too_large_manifest"


def test_a_missing_list_is_not_found(tmp_path: Path) -> None:
    input_list = InputList(LocalFile(InputRoot(tmp_path), tmp_path / "none.txt"), "'none.txt'", "/inputs/0", 1)
    with pytest.raises(RequestError) as refused:
        list(input_list.lines(BucketAllowlist()))
    assert refused.value.code == "source_not_found"
    assert str(tmp_path) not in refused.value.message


def test_paths_may_be_relative_absolute_or_start_with_a_dot() -> None:
    assert read_path("a/b.jpg", ROOT) == read_path("./a/b.jpg", ROOT) == read_path(f"{ROOT}/a/b.jpg", ROOT) == "a/b.jpg"


OUTSIDE = ["../a.jpg", "a/../b.jpg", "/etc/passwd", f"{ROOT}/../x.jpg", f"{ROOT}x/a.jpg", "/", "././../a.jpg"]
HIDDEN = [".a.jpg", "a/.b/c.jpg", "."]
MALFORMED = ["a//b.jpg", "a/", "a/./b.jpg", "a\0.jpg", "a\x1b.jpg"]


@pytest.mark.parametrize("text", [*OUTSIDE, *HIDDEN, *MALFORMED])
def test_paths_outside_the_root_and_hidden_ones_are_refused(text: str) -> None:
    with pytest.raises(SourceForbiddenError):
        read_path(text, ROOT)


def entries_of(folder: Path, text: str) -> list[tuple[int, str, str | None]]:
    (folder / "list.txt").write_text(text)
    return list(
        InputList(LocalFile(InputRoot(folder), folder / "list.txt"), "'list.txt'", "/inputs/3", 10_000_000).entries(
            BucketAllowlist()
        )
    )


def test_a_line_may_be_a_json_object_with_regions_and_labels(tmp_path: Path) -> None:
    lines = [
        "a.jpg",
        '{"uri": "s3://b/b.jpg", "regions": [{"box": [1, 2, 3, 4], "label": "face"}]}',
        '  { "uri": "c d.jpg" }',
        '{"uri": "e.jpg", "regions": []}',
        '{"uri": "g.jpg", "labels": {"region": "Süd"}}',
        "{f}.jpg",
    ]
    assert entries_of(tmp_path, "\n".join(lines)) == [
        (1, "a.jpg", None, None),
        (2, "s3://b/b.jpg", '[{"box":[1.0,2.0,3.0,4.0],"label":"face"}]', None),
        (3, "c d.jpg", None, None),
        (4, "e.jpg", "[]", None),
        (5, "g.jpg", None, '{"region": "S\\u00fcd"}'),
        (6, "{f}.jpg", None, None),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"uri": "a.jpg"', "it is not JSON: EOF while parsing an object at line 1 column 15"),
        ('{"url": "a.jpg"}', 'it has no "uri" with the image\'s URL or path, of up to 2048 characters'),
        ('{"uri": 7}', 'it has no "uri" with the image\'s URL or path, of up to 2048 characters'),
        ('{"uri": "a.jpg", "boxes": []}', "it has 'boxes'; accepted are uri, regions and labels"),
        ('{"uri": "a.jpg", "regions": {}}', "regions are a list, not dict"),
        ('{"uri": "a.jpg", "regions": [{"box": [1, 2]}]}', "regions[0].box[2]: missing, but required"),
        ('{"uri": "a.jpg", "labels": {"a": 1}}', "labels: 1 is not accepted; accepted is a text"),
        ('{"uri": "a.jpg", "labels": {"a": "\\u0000"}}', "its labels have unprintable characters"),
        (f'{{"uri": "a.jpg", "regions": [{" " * MAX_JSON_LINE_BYTES}]}}', "it is over 65536 bytes long"),
    ],
)
def test_a_line_with_invalid_regions_or_labels_is_refused_with_its_number(tmp_path: Path, line: str, why: str) -> None:
    for before in ("a.jpg\n" * 2, "a.jpg\n" * 400_000):
        with pytest.raises(RequestError) as refused:
            entries_of(tmp_path, f"{before}{line}\nb.jpg")
        number = before.count("\n") + 1
        assert refused.value.message == f"line {number} of 'list.txt': {why}"
        assert (refused.value.status, refused.value.code) == (422, "invalid_manifest")
