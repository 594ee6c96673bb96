"""Manifest: an image that it calls done is done, however the run that wrote it ended."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.common.model.errors import RequestError, StartupError, UnavailableError
from penstock.common.model.messages import Failure, Outcome, Result
from penstock.common.model.plan import make_plan
from penstock.common.model.regions import Region
from penstock.common.model.result_names import PARTS, SINGLE, ResultNames
from penstock.common.settings import Limits
from penstock.local.inputs import InputFile, Sidecar
from penstock.local.manifest import NAME, Manifest, usual_names

PLAN = make_plan(["split"], None, Limits())
OTHER = make_plan([["blur", "median"]], None, Limits())
X = InputFile("/in/x.jpg", "x.jpg", "x", 10, 1)
Y = InputFile("/in/caf\udce9.jpg", "caf\\xe9.jpg", "caf\\xe9", 10, 1)


def outcome(folder: Path, stem: str = "x", content: bytes = b"result", parts: int = 2) -> Outcome:
    """Write results and return their outcome."""
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


def write(folder: Path, *entries: tuple[InputFile, Outcome], plan: Any = PLAN) -> None:
    manifest = Manifest(folder, plan, force=False)
    for entry in entries:
        manifest.add(*entry)
    manifest.close()


def done(folder: Path, *files: InputFile, plan: Any = PLAN, force: bool = False) -> list[bool]:
    manifest = Manifest(folder, plan, force=force)
    try:
        return [manifest.is_done(file) for file in files]
    finally:
        manifest.close()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_the_next_run_skips_what_is_done_and_retries_failures(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)), (Y, failure()))
    assert done(tmp_path, X, Y) == [True, False]
    assert [line.get("image") for line in lines(tmp_path)] == [None, "x.jpg"]


def test_each_line_describes_one_image(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path, parts=1)), (Y, failure()))
    head, done, failed = lines(tmp_path)
    assert head == {"penstock": 1, "plan": PLAN.canonical(), "names": PARTS}
    assert (done["state"], done["results"][0]["name"], "key" in done["results"][0]) == ("done", "x-0.jpg", False)
    assert failed["error"] == {"code": "internal", "message": "no", "step": "split", "retry": True}


def test_results_have_their_regions_and_warnings_where_there_are_any(tmp_path: Path) -> None:
    made = outcome(tmp_path)
    found = {"regions": (Region(box=(1, 2, 3, 4), label="face"),), "warnings": ("depth_reduced",)}
    made.results[1] = made.results[1].model_copy(update=found)
    write(tmp_path, (X, made))
    first, second = lines(tmp_path)[1]["results"]
    assert set(first) == {"name", "size", "media_type", "width", "height", "sha256"}
    assert second["regions"] == [{"box": [1.0, 2.0, 3.0, 4.0], "label": "face"}]
    assert second["warnings"] == ["depth_reduced"]
    assert done(tmp_path, X) == [True]


@pytest.mark.parametrize(
    "changed",
    [
        InputFile(X.path, X.name, X.stem, 11, 1),
        InputFile(X.path, X.name, X.stem, 10, 2),
        InputFile(X.path, X.name, "x.jpg", 10, 1),
        InputFile("/elsewhere/x.jpg", X.name, X.stem, 10, 1),
    ],
    ids=["size", "time", "stem", "path"],
)
def test_an_input_that_has_changed_is_not_done(tmp_path: Path, changed: InputFile) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    assert done(tmp_path, changed, X) == [False, True]


def test_an_image_with_missing_or_truncated_results_is_not_done(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)), (Y, outcome(tmp_path, "y")))
    (tmp_path / "x-1.jpg").unlink()
    (tmp_path / "y-0.jpg").write_bytes(b"res")
    assert done(tmp_path, X, Y) == [False, False]


def test_only_the_last_entry_of_an_image_counts(tmp_path: Path) -> None:
    changed = InputFile(X.path, X.name, X.stem, X.size_bytes, 2)
    write(tmp_path, (X, outcome(tmp_path, content=b"first_")), (changed, outcome(tmp_path, content=b"second")))
    assert done(tmp_path, X, changed) == [False, True]
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_truncated_line_is_ignored(tmp_path: Path, cut: int) -> None:
    write(tmp_path, (X, outcome(tmp_path)), (Y, outcome(tmp_path, "y")))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-cut])
    assert done(tmp_path, X, Y) == [True, cut == 1]
    write(tmp_path, (Y, outcome(tmp_path, "y")))
    assert done(tmp_path, X, Y) == [True, True]


@pytest.mark.parametrize("beginning", [b"", b"\n", b'{"pens', b"\xff\xfe"])
def test_a_manifest_without_a_complete_first_line_is_replaced(tmp_path: Path, beginning: bytes) -> None:
    (tmp_path / NAME).write_bytes(beginning)
    write(tmp_path, (X, outcome(tmp_path)))
    assert done(tmp_path, X) == [True]


def test_results_of_another_plan_are_refused_and_kept(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(RequestError, match="--force to replace them"):
        done(tmp_path, X, plan=OTHER)
    assert (tmp_path / NAME).read_bytes() == before
    assert done(tmp_path, X) == [True]


def test_force_removes_the_results_of_the_other_plan_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    assert done(tmp_path, X, plan=OTHER, force=True) == [False]
    assert {path.name for path in tmp_path.iterdir()} == {NAME, "mine.jpg"}
    assert lines(tmp_path) == [{"penstock": 1, "plan": OTHER.canonical(), "names": PARTS}]


def test_results_named_otherwise_are_refused_and_kept(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    with pytest.raises(RequestError, match="--force to replace them"):
        Manifest(tmp_path, PLAN, "{folder}/{stem}_{part}.{ext}", force=False)
    assert done(tmp_path, X) == [True]


def test_a_folder_that_version_0_1_0_has_begun_keeps_its_names(tmp_path: Path) -> None:
    assert usual_names(tmp_path, OTHER) == ResultNames(SINGLE)
    write(tmp_path, (X, outcome(tmp_path)), plan=OTHER)
    head, entry = (tmp_path / NAME).read_text().splitlines()
    assert usual_names(tmp_path, OTHER) == ResultNames(SINGLE), "a manifest with names is of a later version"
    without = {name: value for name, value in json.loads(head).items() if name != "names"}
    (tmp_path / NAME).write_text(f"{json.dumps(without)}\n{entry}\n")
    assert usual_names(tmp_path, OTHER) == ResultNames(PARTS)
    assert usual_names(tmp_path, PLAN) == ResultNames(PARTS), "four parts"
    assert done(tmp_path, X, plan=OTHER) == [True]


def test_force_keeps_results_of_the_same_plan(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    assert done(tmp_path, X, force=True) == [True]


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = Manifest(tmp_path, PLAN, force=False)
    with pytest.raises(StartupError, match="another run is writing") as caught:
        Manifest(tmp_path, PLAN, force=True)
    assert caught.value.code == "data_in_use"
    first.close()
    assert done(tmp_path, X) == [False]


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(StartupError, match="choose another --out") as caught:
            Manifest(folder, PLAN, force=False)
        assert caught.value.code == "data_unusable"


def test_a_refused_folder_is_unlocked(tmp_path: Path) -> None:
    write(tmp_path, (X, outcome(tmp_path)))
    with pytest.raises(RequestError):
        Manifest(tmp_path, OTHER, force=False)
    assert done(tmp_path, X) == [True]


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Limits how large this process may make files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_entry_that_cannot_be_written_raises(tmp_path: Path, file_size_limit: Callable[[int], None]) -> None:
    manifest = Manifest(tmp_path, PLAN, force=False)
    manifest.add(X, failure())
    file_size_limit((tmp_path / NAME).stat().st_size)
    for write in (manifest.flush, manifest.close):
        with pytest.raises(UnavailableError, match=rf"cannot write {tmp_path / NAME}: File too large"):
            write()


def test_an_image_whose_sidecar_came_or_changed_is_not_done(tmp_path: Path) -> None:
    beside = replace(X, sidecar=Sidecar("/in/x.jpg.regions.json", 5, 1))
    changed = replace(X, sidecar=Sidecar("/in/x.jpg.regions.json", 5, 2))
    write(tmp_path, (beside, outcome(tmp_path)))
    assert done(tmp_path, beside, X, changed) == [True, False, False]
