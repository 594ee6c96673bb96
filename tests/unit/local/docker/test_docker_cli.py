"""How containers are started: what the command says, whatever the folder is called."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from penstock.common.model.errors import RequestError
from penstock.common.settings import ContainerSettings, Limits
from penstock.local.docker.docker_cli import Container
from penstock.local.docker.runner import read_images


def command(shared: Path | None = None, **more: object) -> list[str]:
    limits = Limits(max_pixels=1000)
    container = Container("my/blur:1", ContainerSettings(), limits, Path("/out"), shared, **more)  # type: ignore[arg-type]
    return list(container.launch().command)


@pytest.mark.parametrize("name", ["plain", "with, comma", 'with "quotes"', "with:colon", "with space"])
def test_a_folder_of_any_name_is_mounted(name: str) -> None:
    given = command(Path("/out") / name)
    (fields,) = csv.reader([given[given.index("--mount") + 1]])
    assert fields == ["type=bind", f"source=/out/{name}", "target=/data"]


def test_limits_that_were_set_hold_within_as_well() -> None:
    given = command()
    assert [given[at + 1] for at, word in enumerate(given) if word == "--env"] == ["PENSTOCK_MAX_PIXELS=1000"]
    assert "--mount" not in given
    assert given[-2:] == ["my/blur:1", "stdio"]


def test_only_a_step_that_wants_a_gpu_gets_one() -> None:
    given = command(gpus="device=1")
    assert given[given.index("--gpus") + 1] == "device=1"
    assert "--gpus" not in command()


def test_every_container_has_a_name_of_its_own() -> None:
    container = Container("my/blur:1", ContainerSettings(), Limits(), Path("/out"))
    names = {list(launch.command)[list(launch.command).index("--name") + 1] for launch in
             (container.launch() for _ in range(5))}  # fmt: skip
    assert len(names) == 5


def test_images_are_named_by_step() -> None:
    assert read_images(["blur=a/b:1", "split=c=d"]) == {"blur": "a/b:1", "split": "c=d"}


@pytest.mark.parametrize("text", ["blur", "=image", "blur="])
def test_an_image_without_a_step_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="accepted is STEP=IMAGE"):
        read_images([text])
