"""Contents of the images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock import __version__
from penstock.common.model.operations import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]
STEPS = [*BUILT_IN]
TARGETS = ["coordinator", "all-in-one", "step", *STEPS]
LOCKS = {"coordinator": "coordinator.lock", "step": "steps.lock"}
FOREIGN = {
    "coordinator": ["cv2", "numpy", "simplejpeg", "isal"],
    "step": ["fastapi", "uvicorn", "sqlalchemy", "psycopg"],
}
MAX_PACKAGES_MB = {"coordinator": 190.0, "step": 350.0}
WRITABLE = ["--read-only=false", "--entrypoint", "python3"]
PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def read_lock(path: Path) -> dict[str, str]:
    """Return the versions in a lock file by package."""
    return dict(PINNED.findall(path.read_text()))


@pytest.mark.parametrize("lock", ["coordinator.lock", "steps.lock", "build.lock", "heif.lock"])
def test_an_images_lock_file_agrees_with_the_main_one(lock: str) -> None:
    pinned = set(PINNED.findall((ROOT / "requirements.lock").read_text()))
    of_image = PINNED.findall((ROOT / "services" / lock).read_text())
    assert of_image
    assert set(of_image) <= pinned


def test_the_lock_file_for_gpus_agrees_with_what_its_kernels_are_tested_with() -> None:
    main, of_image = (read_lock(ROOT / path) for path in ("requirements.lock", "services/gpu.lock"))
    tested = of_image.keys() & main.keys() - {"numpy"}  # numba-cuda needs an older one there
    assert {"numba", "numba-cuda", "llvmlite", "cuda-bindings", "cuda-core", "nvidia-cuda-runtime-cu12"} <= tested
    assert {name: of_image[name] for name in tested} == {name: main[name] for name in tested}


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_unprivileged_and_can_only_write_to_tmp(images: Any, target: str) -> None:
    code = """
import os, pathlib
print(os.getuid(), os.getgid())
pathlib.Path("/tmp/mine").write_text("")
for folder in ("/", "/opt/penstock/lib/penstock", "/opt/penstock/venv"):
    print(os.access(folder, os.W_OK))
"""
    done = images.python(target, code)
    assert done.stdout.split() == ["10001", "10001", "False", "False", "False"], done.stderr


def test_the_user_cannot_change_penstocks_files_even_with_a_writable_root(images: Any) -> None:
    done = images.run("step", "-c", "open('/opt/penstock/lib/penstock/cli/main.py', 'a')", options=WRITABLE)
    assert "PermissionError" in done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_shows_its_version_by_command_and_labels(images: Any, target: str) -> None:
    labels: Mapping[str, str] = images.inspect(target)["Config"]["Labels"]
    found = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert found["version"] == __version__
    assert found["title"] == f"penstock-{target}"
    assert found["licenses"] == "Apache-2.0"
    assert found["source"].startswith("https://")
    assert found["description"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", found["revision"])
    assert images.run(target, "--version").stdout == f"penstock, version {__version__}\n"


@pytest.mark.parametrize("target", LOCKS)
def test_an_image_contains_exactly_its_locked_packages_and_penstock(images: Any, target: str) -> None:
    code = """
import json, re
from importlib.metadata import distributions
print(json.dumps({re.sub("[-_.]+", "-", each.name).lower(): each.version for each in distributions()}))
"""
    held = json.loads(images.python(target, code).stdout)
    assert held == read_lock(ROOT / "services" / LOCKS[target]) | {"penstock": __version__}


@pytest.mark.parametrize(("target", "module"), [(side, module) for side, them in FOREIGN.items() for module in them])
def test_an_image_lacks_packages_that_only_the_other_image_needs(images: Any, target: str, module: str) -> None:
    done = images.python(target, f"import {module}")
    assert f"No module named '{module}'" in done.stderr


@pytest.mark.parametrize("target", LOCKS)
def test_an_image_can_neither_install_nor_compile(images: Any, target: str) -> None:
    code = """
import importlib.util, pathlib, shutil
print([name for name in ("pip", "setuptools", "wheel") if importlib.util.find_spec(name)])
print([name for name in ("gcc", "cc", "clang", "make", "uv") if shutil.which(name)])
print([str(path) for path in pathlib.Path("/opt/penstock").rglob("*") if path.name in ("tests", "pip", ".cache")])
print([str(path) for path in pathlib.Path("/root", ".cache").rglob("*")])
"""
    done = images.python(target, code)
    assert done.stdout.split() == ["[]"] * 4, done.stdout + done.stderr


@pytest.mark.parametrize("target", LOCKS)
def test_every_module_is_precompiled(images: Any, target: str) -> None:
    code = """
import importlib.util, pathlib
import penstock.cli.main
for folder in ("/opt/penstock/lib/penstock", pathlib.Path(importlib.util.find_spec("pydantic").origin).parent):
    files = list(pathlib.Path(folder).rglob("*.py"))
    bare = [str(path) for path in files if not pathlib.Path(importlib.util.cache_from_source(path)).exists()]
    print(len(files) > 10, bare)
"""
    assert images.python(target, code).stdout.split() == ["True", "[]"] * 2


def test_the_images_of_steps_share_all_layers(images: Any) -> None:
    layers = {json.dumps(images.inspect(target)["RootFS"]["Layers"]) for target in ["step", *STEPS]}
    assert len(layers) == 1
    for target in STEPS:
        environment = images.inspect(target)["Config"]["Env"]
        assert f"PENSTOCK_STEPS={target}" in environment
        assert "PENSTOCK_LIVENESS_FILE=/tmp/penstock-alive" in environment


def test_images_stay_small_and_the_build_prints_their_sizes(images: Any) -> None:
    sizes = dict(re.findall(r"penstock-([\w-]+):\S+ .* ([0-9.]+) packages$", images.table, re.MULTILINE))
    assert list(sizes) == TARGETS
    for target, most in MAX_PACKAGES_MB.items():
        assert 0 < float(sizes[target]) < most
