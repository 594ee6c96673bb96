"""Import boundaries: each side can be imported without packages that its container image lacks."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import penstock

PIXELS = ("cv2", "numpy", "simplejpeg", "isal", "safetensors")
SERVICE = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "prometheus_client", "zipstream", "multipart")

CUDA = ("penstock.steps.filters.cuda", "penstock.steps.filters.kernels")  # need the extra gpu

PROGRAM = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"{{name}} is not in this image", name=name)

sys.meta_path.insert(0, Absent())
for module in {modules!r}:
    importlib.import_module(module)
print(sorted(name for name in {absent!r} if name in sys.modules))
"""

COUNTS = """
import importlib, os, threading
before = len(os.listdir("/proc/self/fd"))
for module in {modules!r}:
    importlib.import_module(module)
print(len(os.listdir("/proc/self/task")), threading.active_count(), len(os.listdir("/proc/self/fd")) - before)
"""


def modules_of(*packages: str) -> list[str]:
    root = Path(penstock.__file__).parent
    return [
        found.name
        for package in packages
        for found in pkgutil.walk_packages([str(root / package)], f"penstock.{package}.")
        if ".migrations." not in found.name  # scripts that only Alembic can import
        and found.name not in CUDA
    ]


def load_without(absent: tuple[str, ...], modules: list[str]) -> None:
    program = PROGRAM.format(absent=absent, modules=modules)
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("packages", "absent"),
    [
        (("coordinator", "common"), PIXELS),
        (("steps", "worker", "common"), SERVICE),
        (("common",), PIXELS + SERVICE + ("rich",)),
        (("client", "common"), PIXELS + SERVICE + ("rich",)),
    ],
    ids=["coordinator", "step", "shared", "client"],
)
def test_each_side_imports_without_the_other_sides_packages(packages: tuple[str, ...], absent: tuple[str, ...]) -> None:
    modules = modules_of(*packages)
    assert len(modules) > 5
    load_without(absent, modules)


def test_the_command_line_imports_without_either(tmp_path: Path) -> None:
    load_without(PIXELS + SERVICE + ("rich", "pydantic", "pydantic_settings", "httpx"), ["penstock.cli.main"])


def test_importing_starts_no_threads_and_opens_no_files() -> None:
    """Workers are forked from a process that has imported these modules."""
    modules = ["penstock.worker.process.preload", "penstock.coordinator.scheduling.scheduler", "penstock.local.run"]
    program = COUNTS.format(modules=modules)
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == ["1", "1", "0"]
