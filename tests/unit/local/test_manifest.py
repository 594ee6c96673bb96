"""The manifest beside results: what it says is done is done, whatever ended the run that wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.messages import Failure, Outcome, Result
from penstock.common.model.plan import make_plan
from penstock.common.settings import Limits
from penstock.local.inputs import Source
from penstock.local.manifest import NAME, Manifest

PLAN = make_plan(["split"], None, Limits())
OTHER = make_plan([["blur", "median"]], None, Limits())
X = Source("/in/x.jpg", "x.jpg", "x", 10, 1)
Y = Source("/in/caf\udce9.jpg", "caf\\xe9.jpg", "caf\\xe9", 10, 1)


def outcome(folder: Path, stem: str = "x", content: bytes = b"result", parts: int = 2) -> Outcome:
    """Write results and return the outcome that tells of them."""
    results = []
    for part in range(parts):
        name = f"{stem}-{part}.jpg"
        (folder / name).write_bytes(content)
        results.append(
            Result(
                key=f"results/{name}",
                name=name,
                size=len(content),
                media_type="image/jpeg",
                width=1,
                height=1,
                sha256="0",
            )
        )
    return Outcome(id=0, state="done", results=results)


def failure() -> Outcome:
    return Outcome(id=0, state="failed", error=Failure(code="internal", message="no", step="split", retry=True))


def write(folder: Path, *entries: tuple[Source, Outcome], plan: Any = PLAN) -> None:
    manifest = Manifest(folder, plan, force=False)
    for entry in entries:
        manifest.add(*entry)
    manifest.close()


def has(folder: Path, *sources: Source, plan: Any = PLAN, force: bool = False) -> list[bool]:
    manifest = Manifest(folder, plan, force=force)
    try:
        return [manifest.has(source) for source in sources]
    finally:
        manifest.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_what_is_done_is_known_by_the_next_run_and_failures_are_tried_again(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)), (Y, failure()))
    assert has(tmp_path, X, Y) == [True, False]
    assert [line.get("image") for line in lines(tmp_path)] == [None, "x.jpg"]


def test_each_line_tells_of_one_image(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path, parts=1)), (Y, failure()))
    head, done, failed = lines(tmp_path)
    assert head == {"penstock": 1, "plan": PLAN.document()}
    assert (done["state"], done["results"][0]["name"], "key" in done["results"][0]) == ("done", "x-0.jpg", False)
    assert failed["error"] == {"code": "internal", "message": "no", "step": "split", "retry": True}


@pytest.mark.parametrize(
    "changed",
    [
        Source(X.path, X.name, X.stem, 11, 1),
        Source(X.path, X.name, X.stem, 10, 2),
        Source(X.path, X.name, "x.jpg", 10, 1),
        Source("/elsewhere/x.jpg", X.name, X.stem, 10, 1),
    ],
    ids=["size", "time", "stem", "path"],
)
def test_a_source_that_has_changed_is_not_done(tmp_path: Path, changed: Source) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    assert has(tmp_path, changed, X) == [False, True]


def test_results_that_are_gone_or_cut_off_are_not_done(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)), (Y, outcome(tmp_path, "y")))
    (tmp_path / "x-1.jpg").unlink()
    (tmp_path / "y-0.jpg").write_bytes(b"res")
    assert has(tmp_path, X, Y) == [False, False]


def test_of_an_image_done_twice_only_the_last_counts(tmp_path: Path) -> None:
    changed = Source(X.path, X.name, X.stem, X.size_bytes, 2)
    write(tmp_path, (X, outcome(tmp_path, content=b"first_")), (changed, outcome(tmp_path, content=b"second")))
    assert has(tmp_path, X, changed) == [False, True]
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_a_kill_has_cut_counts_for_nothing(tmp_path: Path, cut: int) -> None:
    write(tmp_path, (X, outcome(tmp_path)), (Y, outcome(tmp_path, "y")))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-cut])
    assert has(tmp_path, X, Y) == [True, cut == 1]
    write(tmp_path, (Y, outcome(tmp_path, "y")))
    assert has(tmp_path, X, Y) == [True, True]


@pytest.mark.parametrize("beginning", [b"", b"\n", b'{"pens', b"\xff\xfe"])
def test_a_manifest_that_never_got_its_first_line_is_begun_anew(tmp_path: Path, beginning: bytes) -> None:
    (tmp_path / NAME).write_bytes(beginning)
    write(tmp_path, (X, outcome(tmp_path)))
    assert has(tmp_path, X) == [True]


def test_results_of_another_plan_are_refused_and_stay(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(RequestError, match="--force to replace them"):
        has(tmp_path, X, plan=OTHER)
    assert (tmp_path / NAME).read_bytes() == before
    assert has(tmp_path, X) == [True]


def test_force_removes_the_results_of_the_other_plan_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    assert has(tmp_path, X, plan=OTHER, force=True) == [False]
    assert {path.name for path in tmp_path.iterdir()} == {NAME, "mine.jpg"}
    assert lines(tmp_path) == [{"penstock": 1, "plan": OTHER.document()}]


def test_force_with_the_same_plan_keeps_what_is_done(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    assert has(tmp_path, X, force=True) == [True]


def test_a_second_run_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    first = Manifest(tmp_path, PLAN, force=False)
    with pytest.raises(RequestError, match="another run is writing") as caught:
        Manifest(tmp_path, PLAN, force=True)
    assert caught.value.code == "data_in_use"
    first.close()
    assert has(tmp_path, X) == [False]


def test_a_folder_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(RequestError, match="choose another --out") as caught:
            Manifest(folder, PLAN, force=False)
        assert caught.value.code == "data_unusable"


def test_a_refused_folder_is_not_locked(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    with pytest.raises(RequestError):
        Manifest(tmp_path, OTHER, force=False)
    assert has(tmp_path, X) == [True]


def test_a_full_disk_is_told_and_not_passed_over() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    manifest = Manifest.__new__(Manifest)
    manifest._path = full
    manifest._file = open(full, "a", encoding="utf-8")  # noqa: SIM115 (closed below)
    manifest.add(X, failure())
    with pytest.raises(UnavailableError, match="cannot write /dev/full: No space left on device"):
        manifest.flush()
    with pytest.raises(OSError, match="No space"):
        manifest._file.close()
