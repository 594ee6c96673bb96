"""The docker command that starts a container of a step."""

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
def test_a_folder_with_any_name_is_mounted(name: str) -> None:
    given = command(Path("/out") / name)
    (fields,) = csv.reader([given[given.index("--mount") + 1]])
    assert fields == ["type=bind", f"source=/out/{name}", "target=/data"]


def test_limits_are_passed_to_the_container() -> None:
    given = command()
    assert [given[at + 1] for at, word in enumerate(given) if word == "--env"] == ["PENSTOCK_MAX_PIXELS=1000"]
    assert "--mount" not in given
    assert given[-2:] == ["my/blur:1", "stdio"]


def test_only_a_step_with_a_gpu_gets_one() -> None:
    given = command(gpus="device=1")
    assert given[given.index("--gpus") + 1] == "device=1"
    assert "--gpus" not in command()


def test_every_container_has_a_unique_name() -> None:
    container = Container("my/blur:1", ContainerSettings(), Limits(), Path("/out"))
    commands = [list(container.launch().command) for _ in range(5)]
    names = {command[command.index("--name") + 1] for command in commands}
    assert len(names) == 5


def test_images_are_read_by_step() -> None:
    assert read_images(["blur=a/b:1", "split=c=d"]) == {"blur": "a/b:1", "split": "c=d"}


@pytest.mark.parametrize("text", ["blur", "=image", "blur="])
def test_an_image_without_step_or_name_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="accepted is STEP=IMAGE"):
        read_images([text])
