"""Manifest: an image that it calls done is done, however the run that wrote it ended."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from penstock.common.model.errors import RequestError, StartupError, UnavailableError
from penstock.common.model.messages import Outcome, Result
from penstock.common.model.plan import make_plan
from penstock.common.model.regions import Region
from penstock.common.model.result_names import PARTS, SINGLE, ResultNames
from penstock.common.settings import Limits
from penstock.local.inputs import InputFile, Sidecar
from penstock.local.manifest import Manifest, usual_names
from penstock.local.results_folder import MANIFEST as NAME
from penstock.local.results_folder import NameTakenError, ResultsFolder

PLAN = make_plan(["split"], None, Limits())
OTHER = make_plan([["blur", "median"]], None, Limits())
X = InputFile("/in/x.jpg", "x.jpg", "x", 10, 1)
Y = InputFile("/in/caf\udce9.jpg", "caf\\xe9.jpg", "caf\\xe9", 10, 1)


@dataclass(frozen=True)
class Made:
    """An image's results before they are written."""

    stem: str = "x"
    content: bytes = b"result"
    parts: int = 2
    more: Mapping[str, Any] = field(default_factory=dict)

    def wait(self, folder: ResultsFolder) -> Outcome:
        """Write the results where a run's workers do, and return their outcome."""
        results = []
        for part in range(self.parts):
            name = f"{self.stem}-{part}.jpg"
            path = folder.work / "results" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.content)
            digest = hashlib.sha256(self.content).hexdigest()
            key, size = f"results/{name}", len(self.content)
            result = Result(key=key, name=name, size=size, media_type="image/jpeg", width=1, height=1, sha256=digest)
            results.append(result.model_copy(update=self.more if part else {}))
        return Outcome(id=0, state="done", results=results)


FAILURE = {"code": "internal", "message": "no", "step": "split", "retry": True}


@contextmanager
def opened(path: Path, plan: Any = PLAN, names: str = PARTS, **how: bool) -> Iterator[tuple[ResultsFolder, Manifest]]:
    with ResultsFolder(path) as folder, closing(Manifest(folder, plan, names, **{"force": False, **how})) as manifest:
        manifest.begin()
        yield folder, manifest


def write(path: Path, *entries: tuple[InputFile, Made | None], plan: Any = PLAN) -> None:
    """Write a manifest, and results with it; None is a failure."""
    with opened(path, plan) as (folder, manifest):
        for file, made in entries:
            if made is None:
                manifest.add_failure(file, FAILURE)
            else:
                manifest.publish(file, made.wait(folder))


def done(path: Path, *files: InputFile, plan: Any = PLAN, **how: bool) -> list[bool]:
    with opened(path, plan, **how) as (_, manifest):
        return [manifest.is_done(file) for file in files]


def files(path: Path) -> set[str]:
    return {found.name for found in path.iterdir()} - {NAME}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def test_the_next_run_skips_what_is_done_and_retries_failures(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()), (Y, None))
    assert done(tmp_path, X, Y) == [True, False]
    assert [line.get("image") for line in lines(tmp_path)] == [None, "x.jpg"]


def test_each_line_describes_one_image(tmp_path: Path) -> None:
    write(tmp_path, (X, Made(parts=1)), (Y, None))
    head, done, failed = lines(tmp_path)
    assert head == {"penstock": 1, "plan": PLAN.canonical(), "names": PARTS}
    assert (done["state"], done["results"][0]["name"], "key" in done["results"][0]) == ("done", "x-0.jpg", False)
    assert failed["error"] == FAILURE


def test_results_have_their_regions_and_warnings_where_there_are_any(tmp_path: Path) -> None:
    found = {"regions": (Region(box=(1, 2, 3, 4), label="face"),), "warnings": ("depth_reduced",)}
    write(tmp_path, (X, Made(more=found)))
    first, second = lines(tmp_path)[1]["results"]
    assert set(first) == {"name", "size", "media_type", "width", "height", "sha256", "mtime_ns"}
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
    write(tmp_path, (X, Made()))
    assert done(tmp_path, changed, X) == [False, True]


def test_an_image_with_missing_or_truncated_results_is_not_done(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()), (Y, Made("y")))
    (tmp_path / "x-1.jpg").unlink()
    (tmp_path / "y-0.jpg").write_bytes(b"res")
    assert done(tmp_path, X, Y) == [False, False]


def test_only_the_last_entry_of_an_image_counts(tmp_path: Path) -> None:
    changed = InputFile(X.path, X.name, X.stem, X.size_bytes, 2)
    write(tmp_path, (X, Made(content=b"first_")))
    write(tmp_path, (changed, Made(content=b"second")))
    assert done(tmp_path, X, changed) == [False, True]
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_truncated_line_is_ignored(tmp_path: Path, cut: int) -> None:
    write(tmp_path, (X, Made()), (Y, Made("y")))
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-cut])
    assert done(tmp_path, X, Y) == [True, cut == 1]
    for part in (0, 1):
        (tmp_path / f"y-{part}.jpg").unlink()
    write(tmp_path, (Y, Made("y")))
    assert done(tmp_path, X, Y) == [True, True]


@pytest.mark.parametrize("beginning", [b"", b"\n", b'{"pens', b"{", bytes(4096)])
def test_a_manifest_without_a_complete_first_line_is_replaced(tmp_path: Path, beginning: bytes) -> None:
    (tmp_path / NAME).write_bytes(beginning)
    write(tmp_path, (X, Made()))
    assert done(tmp_path, X) == [True]


def test_results_of_another_plan_are_refused_and_kept(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(RequestError, match="--force to replace them"):
        done(tmp_path, X, plan=OTHER)
    assert (tmp_path / NAME).read_bytes() == before
    assert done(tmp_path, X) == [True]


def test_force_removes_the_results_of_the_other_plan_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    (tmp_path / "mine.jpg").write_bytes(b"mine")
    assert done(tmp_path, X, plan=OTHER, force=True) == [False]
    assert files(tmp_path) == {"mine.jpg"}
    assert lines(tmp_path) == [{"penstock": 1, "plan": OTHER.canonical(), "names": PARTS}]


def test_results_named_otherwise_are_refused_and_kept(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    with (
        pytest.raises(RequestError, match="--force to replace them"),
        opened(tmp_path, names="{folder}/{stem}_{part}.{ext}"),
    ):
        pass
    assert done(tmp_path, X) == [True]


def test_a_folder_that_version_0_1_0_has_begun_keeps_its_names(tmp_path: Path) -> None:
    assert usual_names(tmp_path, OTHER) == ResultNames(SINGLE)
    write(tmp_path, (X, Made()), plan=OTHER)
    head, entry = (tmp_path / NAME).read_text().splitlines()
    assert usual_names(tmp_path, OTHER) == ResultNames(SINGLE), "a manifest with names is of a later version"
    without = {name: value for name, value in json.loads(head).items() if name != "names"}
    (tmp_path / NAME).write_text(f"{json.dumps(without)}\n{entry}\n")
    assert usual_names(tmp_path, OTHER) == ResultNames(PARTS)
    assert usual_names(tmp_path, PLAN) == ResultNames(PARTS), "four parts"
    assert done(tmp_path, X, plan=OTHER) == [True]


def test_force_keeps_results_of_the_same_plan(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    assert done(tmp_path, X, force=True) == [True]


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StartupError, match="another run is writing") as caught:
        ResultsFolder(tmp_path)
    assert caught.value.code == "data_in_use"
    assert done(tmp_path, X) == [False]


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(StartupError, match="choose another --out") as caught:
            ResultsFolder(folder)
        assert caught.value.code == "data_unusable"


def test_a_refused_folder_is_unlocked(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    with pytest.raises(RequestError):
        done(tmp_path, X, plan=OTHER)
    assert done(tmp_path, X) == [True]


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Limits how large this process may make files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_results_whose_lines_cannot_be_written_lose_their_names(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    with opened(tmp_path) as (folder, manifest):
        manifest.publish(X, Made().wait(folder))
        manifest.flush()
        manifest.publish(Y, Made("y").wait(folder))
        file_size_limit((tmp_path / NAME).stat().st_size + 50)
        with pytest.raises(UnavailableError, match=rf"cannot write {tmp_path / NAME}: File too large"):
            manifest.flush()
    assert files(tmp_path) == {"x-0.jpg", "x-1.jpg"}
    assert [line.get("image") for line in lines(tmp_path)] == [None, "x.jpg"]


def test_an_image_whose_sidecar_came_or_changed_is_not_done(tmp_path: Path) -> None:
    beside = replace(X, sidecar=Sidecar("/in/x.jpg.regions.json", 5, 1))
    changed = replace(X, sidecar=Sidecar("/in/x.jpg.regions.json", 5, 2))
    write(tmp_path, (beside, Made()))
    assert done(tmp_path, beside, X, changed) == [True, False, False]


def test_a_result_that_was_changed_is_not_done_but_one_that_was_copied_is(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()), (Y, Made("y")))
    (tmp_path / "x-1.jpg").write_bytes(b"RESULT")
    os.utime(tmp_path / "y-1.jpg", ns=(1, 1))
    assert done(tmp_path, X, Y) == [False, True]
    assert lines(tmp_path)[2]["results"][1]["mtime_ns"] == 1


def test_a_change_that_keeps_size_and_time_is_found_by_checksums(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    path = tmp_path / "x-1.jpg"
    before = path.stat().st_mtime_ns
    path.write_bytes(b"RESULT")
    os.utime(path, ns=(before, before))
    assert done(tmp_path, X) == [True]
    assert done(tmp_path, X, verify=True) == [False]


def test_results_of_version_0_1_0_are_done_as_they_are_from_then_on(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    head, entry = lines(tmp_path)
    del entry["input"]
    for result in entry["results"]:
        del result["mtime_ns"]
    (tmp_path / NAME).write_text(f"{json.dumps(head)}\n{json.dumps(entry)}\n")
    assert done(tmp_path, X) == [True]
    (tmp_path / "x-0.jpg").write_bytes(b"RESULT")
    assert done(tmp_path, X) == [False]


def test_a_file_that_no_run_made_is_never_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as (folder, manifest):
        outcome = Made().wait(folder)
        (tmp_path / "x-1.jpg").write_bytes(b"mine")
        with pytest.raises(NameTakenError, match=r"x-1\.jpg is there already"):
            manifest.publish(X, outcome)
    assert (tmp_path / "x-1.jpg").read_bytes() == b"mine"
    assert files(tmp_path) == {"x-1.jpg"}, "all results of an image have their names, or none"


@pytest.mark.parametrize("name", ["x-0.jpg", "north"])
def test_a_result_is_never_written_through_a_link(tmp_path: Path, name: str) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / name).symlink_to(elsewhere / "target" if name == "x-0.jpg" else elsewhere)
    with opened(out) as (folder, manifest):
        (folder.work / "results" / "north").mkdir(parents=True)
        outcome = Made("x" if name == "x-0.jpg" else "north/x").wait(folder)
        with pytest.raises(NameTakenError):
            manifest.publish(X, outcome)
    assert list(elsewhere.iterdir()) == []


NAMES_OUTSIDE = [
    "../precious.jpg",
    "north/../../precious.jpg",
    "/tmp/precious.jpg",
    "./precious.jpg",
    "",
    "link/precious.jpg",
    "manifest.ndjson",
    ".penstock/x.jpg",
    "nul\0.jpg",
]


@pytest.mark.parametrize("name", NAMES_OUTSIDE)
@pytest.mark.parametrize("force", [False, True])
def test_names_that_lead_out_of_the_folder_are_never_removed(tmp_path: Path, name: str, force: bool) -> None:
    out = tmp_path / "out"
    write(out, (X, Made()))
    (out / "link").symlink_to(tmp_path)
    (tmp_path / "precious.jpg").write_bytes(b"precious")
    text = (out / NAME).read_text()
    digest = hashlib.sha256(b"precious").hexdigest()
    entry = {"state": "done", "source": "0" * 16, "results": [{"name": name, "size": 8, "sha256": digest}]}
    (out / NAME).write_text(text + f"{json.dumps(entry)}\n" * 2)
    done(out, X, plan=OTHER if force else PLAN, force=force)
    assert (tmp_path / "precious.jpg").read_bytes() == b"precious"


MALFORMED = [
    b"",
    b"5",
    b"null",
    b'"x"',
    b"[1, 2]",
    b"{}",
    b'{"state": "new"}',
    b'{"state": "done"}',
    b'{"state": "done", "source": "0000000000000000", "results": []}',
    b'{"state": "done", "source": "0000000000000000", "results": ["x.jpg"]}',
    b'{"state": "done", "source": "0000000000000000", "results": {"name": "x"}}',
    b'{"state": "done", "source": "0000000000000000", "results": [{"size": 3, "sha256": "0"}]}',
    b'{"state": "done", "source": "0000000000000000", "results": [{"name": "x", "size": -1, "sha256": "0"}]}',
    b'{"state": "done", "source": "0000000000000000", "results": [{"name": 5, "size": 1, "sha256": "0"}]}',
    b'{"state": "done", "source": "zz", "results": [{"name": "x", "size": 1, "sha256": "0"}]}',
    b'{"state": "done", "source": 5, "results": [{"name": "x", "size": 1, "sha256": "0"}]}',
    b'{"state": "done", "results": [{"name": "x", "size": 1, "sha256": "0"}]}',
    b"[" * 1_000_000,
    b'{"a":' * 1_000_000,
    b"\xff\xfe\0",
]


@pytest.mark.parametrize("line", MALFORMED, ids=lambda line: line[:90].decode("ascii", "replace")[-20:])
def test_lines_that_are_no_entries_are_skipped_with_one_warning(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, (X, Made()))
    head, entry = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / NAME).write_bytes(head + line + b"\n" + entry + line + b"\n")
    caplog.clear()
    assert done(tmp_path, X) == [True]
    [record] = caplog.records
    assert record.getMessage().startswith(f"2 lines of {tmp_path / NAME} are none of a run and were skipped; line 2: ")
    assert len(record.getMessage()) < 600
    assert len(lines(tmp_path)) == 2


def test_a_huge_line_is_skipped_in_little_memory(tmp_path: Path) -> None:
    write(tmp_path, (X, Made()))
    head, entry = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    with open(tmp_path / NAME, "wb") as file:
        file.write(head)
        file.seek(300_000_000, os.SEEK_CUR)
        file.write(b"\n" + entry)
    tracemalloc.start()
    try:
        assert done(tmp_path, X) == [True]
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("force", [False, True])
def test_a_file_named_like_the_manifest_that_is_none_is_refused_and_kept(tmp_path: Path, force: bool) -> None:
    path = tmp_path / NAME
    for content in (b'{"image": "mine"}\n', b"text", b"\xff\xfe", b'{"penstock": 2, "plan": []}\n'):
        path.write_bytes(content)
        with pytest.raises(RequestError, match="is no manifest of penstock run"):
            done(tmp_path, X, force=force)
        assert path.read_bytes() == content
    path.unlink()
    (tmp_path / "mine").write_bytes(b"mine")
    path.symlink_to("mine")
    with pytest.raises(RequestError, match="is a link or no file"):
        done(tmp_path, X, force=force)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RequestError, match="is a link or no file"):
        done(tmp_path, X, force=force)
    path.unlink()
    os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40)
    with pytest.raises(RequestError, match="is no manifest of penstock run"):
        done(tmp_path, X, force=force)


def test_a_work_folder_that_no_run_made_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / ".penstock").mkdir()
    (tmp_path / ".penstock" / "mine").write_bytes(b"mine")
    with pytest.raises(StartupError, match="holds files that no run made"):
        done(tmp_path, X)
    (tmp_path / ".penstock").rename(tmp_path / "mine")
    (tmp_path / ".penstock").symlink_to(tmp_path / "mine")
    with pytest.raises(StartupError, match="holds files that no run made"):
        done(tmp_path, X)
    assert (tmp_path / "mine" / "mine").read_bytes() == b"mine"


def test_results_under_another_name_of_their_image_are_removed(tmp_path: Path) -> None:
    renamed = replace(X, stem="x.jpg")
    write(tmp_path, (X, Made("x")), (Y, Made("y")))
    (tmp_path / "x-1.jpg").write_bytes(b"edited")
    write(tmp_path, (renamed, Made("x.jpg")))
    assert files(tmp_path) == {f"{stem}-{part}.jpg" for stem in ("x.jpg", "y") for part in (0, 1)} | {"x-1.jpg"}
    named = {result["name"] for line in lines(tmp_path)[1:] for result in line["results"]}
    assert named == files(tmp_path), "a changed file is kept, and listed"
    assert done(tmp_path, X, Y, renamed) == [False, True, True]


def test_results_that_are_fewer_than_before_leave_no_others(tmp_path: Path) -> None:
    write(tmp_path, (X, Made(parts=5)))
    changed = replace(X, mtime_ns=2)
    write(tmp_path, (changed, Made(content=b"other", parts=2)))
    assert files(tmp_path) == {"x-0.jpg", "x-1.jpg"}
    assert done(tmp_path, X, changed) == [False, True]


def test_what_is_left_of_an_images_results_stays_listed(tmp_path: Path) -> None:
    write(tmp_path, (X, Made(parts=3)))
    (tmp_path / "x-1.jpg").unlink()
    for _ in range(2):
        assert done(tmp_path, X) == [False]
        [_, entry] = lines(tmp_path)
        assert entry["state"] == "outdated"
        assert [result["name"] for result in entry["results"]] == ["x-0.jpg", "x-2.jpg"]
    write(tmp_path, (X, Made(content=b"again", parts=3)))
    assert (tmp_path / "x-0.jpg").read_bytes() == b"again"
    assert done(tmp_path, X) == [True]


def test_a_run_killed_before_it_listed_results_leaves_their_names_free(tmp_path: Path) -> None:
    with opened(tmp_path) as (folder, manifest):
        manifest.publish(X, Made().wait(folder))
        shutil.copytree(folder.work, tmp_path.with_name("work"), copy_function=os.link)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    work = tmp_path.with_name("work")
    os.link(work / "results" / "x-0.jpg", tmp_path / "x-0.jpg")
    (tmp_path / "x-1.jpg").write_bytes(b"mine")
    work.rename(tmp_path / ".penstock")
    write(tmp_path, (Y, Made("y")))
    assert files(tmp_path) == {"x-1.jpg", "y-0.jpg", "y-1.jpg"}


def test_results_get_their_names_where_files_have_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT and exFAT do

    monkeypatch.setattr(os, "link", refuse)
    with opened(tmp_path) as (folder, manifest):
        manifest.publish(X, Made().wait(folder))
        (tmp_path / "y-0.jpg").write_bytes(b"mine")
        with pytest.raises(NameTakenError):
            manifest.publish(Y, Made("y").wait(folder))
    assert done(tmp_path, X) == [True]
    assert (tmp_path / "y-0.jpg").read_bytes() == b"mine"
