"""Lists of pictures: which lines count, and which refuse the whole list."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.store.bucket_allowlist import BucketAllowlist, SourceForbiddenError
from penstock.coordinator.intake.input_lists import MAX_LINE_BYTES, Manifest, read_path

ROOT = "/srv/photos"


def lines_of(folder: Path, data: bytes, most_bytes: int = 10_000_000) -> list[tuple[int, str]]:
    """Write a list and read it."""
    (folder / "list.txt").write_bytes(data)
    manifest = Manifest(folder / "list.txt", "'list.txt'", "/inputs/3", most_bytes)
    return list(manifest.lines(BucketAllowlist()))


def refusal(folder: Path, data: bytes, most_bytes: int = 10_000_000) -> RequestError:
    with pytest.raises(RequestError) as refused:
        lines_of(folder, data, most_bytes)
    assert (refused.value.status, refused.value.pointer) == (422, "/inputs/3")
    return refused.value


def test_blank_lines_and_comments_count_but_name_nothing(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf# from the archive\r\n\r\n  a.jpg \r\n#b.jpg\nc d.jpg\n\n\te.jpg"
    assert lines_of(tmp_path, data) == [(3, "a.jpg"), (5, "c d.jpg"), (7, "e.jpg")]
    assert lines_of(tmp_path, b"") == []


def test_lines_that_lie_across_two_reads_stay_whole(tmp_path: Path) -> None:
    lines = [f"ü/{number:050}.jpg" for number in range(60_000)]
    assert lines_of(tmp_path, "\n".join(lines).encode()) == list(enumerate(lines, start=1))


def test_a_line_that_is_no_text_or_has_no_end_is_told_by_its_number(tmp_path: Path) -> None:
    bad = b"a.jpg\n" * 300_000 + b"\xff.jpg\nb.jpg\n"
    assert refusal(tmp_path, bad).message == "line 300001 of 'list.txt': it is not UTF-8"
    endless = b"a.jpg\n" + b"x" * 3_000_000
    assert refusal(tmp_path, endless).message == f"line 2 of 'list.txt': it is over {MAX_LINE_BYTES} bytes long"


def test_a_list_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"a.jpg\n" * 3, most_bytes=17).code == "too_large_manifest"


def test_a_list_that_is_gone_is_not_found(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "none.txt", "'none.txt'", "/inputs/0", 1)
    with pytest.raises(RequestError) as refused:
        list(manifest.lines(BucketAllowlist()))
    assert refused.value.code == "source_not_found"
    assert str(tmp_path) not in refused.value.message


def test_paths_may_be_written_as_tools_write_them() -> None:
    assert read_path("a/b.jpg", ROOT) == read_path("./a/b.jpg", ROOT) == read_path(f"{ROOT}/a/b.jpg", ROOT) == "a/b.jpg"


OUT = ["../a.jpg", "a/../b.jpg", "/etc/passwd", f"{ROOT}/../x.jpg", f"{ROOT}x/a.jpg", "/", "././../a.jpg"]
HIDDEN = [".a.jpg", "a/.b/c.jpg", "."]
NO_PATH = ["a//b.jpg", "a/", "a/./b.jpg", "a\0.jpg", "a\x1b.jpg"]


@pytest.mark.parametrize("text", [*OUT, *HIDDEN, *NO_PATH])
def test_paths_that_lead_out_or_are_hidden_are_refused_by_their_letters(text: str) -> None:
    with pytest.raises(SourceForbiddenError):
        read_path(text, ROOT)
