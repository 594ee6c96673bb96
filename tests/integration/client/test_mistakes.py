"""Typical mistakes on the command line: each ends with its exit code and a sentence that says what to type instead."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Penstock = Callable[..., subprocess.CompletedProcess[str]]

USAGE, LATER = 2, 3
RESULTS = ("--out", "{out}")
GONE = "0" * 26

ON_THIS_HOST = {
    "an operation without its value": (
        ["run", "{images}", "--op", "resize", *RESULTS],
        "resize needs a size, e.g. resize=1024x768",
    ),
    "a misspelt method": (
        ["run", "{images}", "--op", "blur=gausian", *RESULTS],
        "accepted are gaussian, updownsampling, bilateral, median, pixelate and fill; did you mean gaussian?",
    ),
    "a misspelt operation": (["run", "{images}", "--op", "bluur=median", *RESULTS], "did you mean blur?"),
    "a misspelt parameter": (
        ["run", "{images}", "--op", "resize=9x9,intrepolation=area", *RESULTS],
        "did you mean inter",
    ),
    "a size of zero": (["run", "{images}", "--op", "resize=0x9", *RESULTS], "accepted is 1 or more"),
    "a colour by name": (
        ["run", "{images}", "--op", "rotate=7,background=red", *RESULTS],
        "accepted is a colour as #rrggbb, such as #ffffff",
    ),
    "a colour of an option": (["run", "{images}", "--op", "split", "--background", "red", *RESULTS], "as #rrggbb"),
    "two kinds of size": (
        ["run", "{images}", "--op", 'resize={"width": 9, "percent": 9}', *RESULTS],
        "nothing else of",
    ),
    "an internal parameter": (
        ["run", "{images}", "--op", 'encode={"max_bytes": 9}', *RESULTS],
        "encode has no parameter 'max_bytes'; accepted are format, ",
    ),
    "no operations": (["run", "{images}", *RESULTS], "use --op, such as --op resize=1024x768, or --output png"),
    "a misspelt format": (["run", "{images}", "--op", "split", "--output", "jpgg", *RESULTS], "'jpg', 'png'"),
    "a misspelt option": (["run", "{images}", "--op", "split", "--ouput", "png", *RESULTS], "--output"),
    "no folder for results": (["run", "{images}", "--op", "split"], "Missing option '-o' / '--out'"),
    "a path that is not there": (["run", "gone.jpg", "--op", "split", *RESULTS], "gone.jpg: no such file or folder"),
    "a folder without images": (["run", "{texts}", "--op", "split", *RESULTS], "a.txt is "),
    "a job's inputs for run": (
        ["run", "{images}", "--job", "{job}", *RESULTS],
        "inputs: penstock run does not use it; remove it, or submit the job to a server",
    ),
    "names without a part": (
        ["run", "{images}", "--op", "split", "--names", "{{folder}}/{{stem}}.{{ext}}", *RESULTS],
        "has no {part}",
    ),
    "a worker without a broker": (
        ["worker", "--store", "file:///tmp"],
        "give --broker or PENSTOCK_BROKER_URL: amqp://",
    ),
    "a plan without a number": (["plan", "--op", "split"], "--images N is required"),
    "a misspelt command": (["sumbit", "{images}"], "submit"),
}

FOR_A_SERVER = {
    "no operations": (USAGE, ["submit", "{images}"], "use --op, such as --op resize=1024x768, or --output png"),
    "a misspelt operation": (
        USAGE,
        ["submit", "{images}", "--op", "splt"],
        "penstock: no operation 'splt'; ",
    ),
    "a pointer into a document": (
        USAGE,
        ["submit", "{images}", "--job", "{bad}"],
        "/operations/1: resize needs a size",
    ),
    "no images": (USAGE, ["submit", "--op", "split"], "no images given"),
    "files and URIs": (USAGE, ["submit", "{images}", "s3://b/a.jpg", "--op", "split"], "submit two jobs"),
    "a bucket that is not allowed": (USAGE, ["submit", "s3://nobodys/a.jpg", "--op", "split"], "s3://nobodys"),
    "a label without a value": (USAGE, ["submit", "{images}", "--op", "split", "--label", "a"], "is not KEY=VALUE"),
    "an unknown id": (USAGE, ["status", GONE], f"there is no job '{GONE}'"),
    "a prefix of no id": (USAGE, ["status", "zzz"], "`penstock jobs` lists them, and @last is the newest"),
    "an image and a code": (USAGE, ["retry", GONE, "--image", "1", "--code", "x"], "accepted is one of them"),
    "a misspelt state": (USAGE, ["jobs", "--state", "runing"], "'running'"),
    "a server that is not there": (LATER, ["jobs", "--server", "127.0.0.1:{port}"], "is `penstock serve` running?"),
}


@pytest.fixture
def places(tmp_path: Path, image_folder: Path, unused_port: int) -> dict[str, object]:
    """What the commands name."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    (tmp_path / "job.json").write_text('{"operations": ["split"], "inputs": ["a.jpg"]}')
    (tmp_path / "bad.json").write_text('{"operations": ["split", "resize"]}')
    return {
        "images": image_folder,
        "texts": tmp_path / "texts",
        "job": tmp_path / "job.json",
        "bad": tmp_path / "bad.json",
        "out": tmp_path / "out",
        "port": unused_port,
    }


def fails_with(done: subprocess.CompletedProcess[str], exit_code: int, said: str) -> bool:
    assert done.returncode == exit_code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(words in done.stderr for words in ("Input should", "Value error", "should match pattern"))
    return done.stdout == ""


@pytest.mark.parametrize("mistake", ON_THIS_HOST)
def test_a_mistake_is_refused_with_what_to_type_instead(
    penstock: Penstock, places: dict[str, object], tmp_path: Path, mistake: str
) -> None:
    arguments, said = ON_THIS_HOST[mistake]
    given = [argument if '"' in argument else argument.format(**places) for argument in arguments]
    assert fails_with(penstock(*given), USAGE, said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mistake", FOR_A_SERVER)
def test_a_mistake_for_a_server_is_refused_with_what_to_type_instead(
    penstock: Penstock, server: str, places: dict[str, object], mistake: str
) -> None:
    exit_code, arguments, said = FOR_A_SERVER[mistake]
    done = penstock(*(argument.format(**places) for argument in arguments), PENSTOCK_SERVER=server)
    assert fails_with(done, exit_code, said)
