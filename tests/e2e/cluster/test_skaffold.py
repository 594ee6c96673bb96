"""Skaffold: builds, pushes and installs Penstock, and copies changed files into running pods."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest
from go_server import find_program
from installation import Installation
from kube import ROOT, Namespace, Release, call, cluster, wait_for

from penstock import __version__
from penstock.common.model.jobs import TERMINAL_JOB_STATES

REGISTRY = "localhost:5000"
HELM_3 = "helm.sh/helm/v3/cmd/helm@v3.20.2"
HELM_4_SINCE = (2, 17)
"""The first version of skaffold that works with Helm 4."""
BUILT_FROM = ["services", "charts", "pyproject.toml", "README.md", "LICENSE", ".dockerignore", "skaffold.yaml"]
RUN_SECS, DEV_SECS, LEAVE_SECS = 600.0, 600.0, 180.0
CHANGED = "9.9.9"


@dataclass(frozen=True)
class Skaffold:
    """Skaffold in a copy of the checkout, which tests may change, for one namespace."""

    folder: Path
    namespace: Namespace
    path: str

    def call(self, verb: str, *options: str, secs: float = RUN_SECS) -> str:
        """Run skaffold and wait for it."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        return call("env", f"--chdir={self.folder}", *environment, *self._command(verb, *options), secs=secs)

    def start(self, verb: str, *options: str) -> subprocess.Popen[bytes]:
        """Start skaffold with its output in the file `log`."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                self._command(verb, *options),
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def environment(self) -> dict[str, str]:
        """Environment with the PATH, and without checks for newer versions."""
        return {"PATH": self.path, "SKAFFOLD_UPDATE_CHECK": "false", "SKAFFOLD_INTERACTIVE": "false"}

    @property
    def log(self) -> Path:
        """Options of `start`."""
        return self.folder.parent / "log"

    @property
    def installation(self) -> Installation:
        """The installation; its address changes with every install."""
        return Installation(Release(self.namespace))

    def _command(self, verb: str, *options: str) -> list[str]:
        common = ["--profile=local", f"--namespace={self.namespace.name}"]
        return ["skaffold", verb, *common, *options]


@pytest.fixture(scope="module")
def path(kubernetes: None, without_service: Callable[[str], NoReturn], tmp_path_factory: pytest.TempPathFactory) -> str:
    """PATH with a helm that works with the installed skaffold."""
    if shutil.which("skaffold") is None:
        without_service("skaffold is not installed")
    if read_version("skaffold", "version") >= HELM_4_SINCE or read_version("helm", "version", "--short") < (4, 0):
        return os.environ["PATH"]
    helm = find_program("helm", HELM_3)
    if helm is None:
        without_service("this skaffold needs Helm 3, which is not installed and cannot be built")
    folder = tmp_path_factory.mktemp("bin")
    (folder / "helm").symlink_to(helm)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def read_version(*command: str) -> tuple[int, int]:
    """Return the first two numbers of a program's version, printed like `v2.16.1`."""
    major, minor = call(*command).strip().removeprefix("v").split(".")[:2]
    return int(major), int(minor)


@pytest.fixture(scope="module")
def skaffold(
    path: str, make_namespace: Callable[[str], Namespace], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Skaffold]:
    """Skaffold, a registry, and an empty namespace."""
    folder = tmp_path_factory.mktemp("skaffold") / "checkout"
    folder.mkdir()
    call("cp", "--recursive", *(str(ROOT / name) for name in BUILT_FROM), str(folder))
    cluster("registry")
    made = Skaffold(folder, make_namespace("e2e-skaffold"), path)
    yield made
    made.call("delete")


def test_skaffold_run_installs_the_built_images_and_delete_removes_them(skaffold: Skaffold, drawn: list[Path]) -> None:
    skaffold.call("run", f"--default-repo={REGISTRY}")
    for step in ("coordinator", "resize", "split", "blur", "encode"):
        images = [pod.shown["spec"]["containers"][0]["image"] for pod in skaffold.namespace.ready_pods(step)]
        assert images[0].startswith(f"{REGISTRY}/penstock-{step}:")
    check_one_image(skaffold.installation, drawn[0])
    skaffold.call("delete")
    assert skaffold.namespace.names("deployments,statefulsets") == []


def check_one_image(installation: Installation, photo: Path) -> None:
    """Submit an image and compare the result with OpenCV's."""
    with installation.rest() as client:
        plan = {"operations": [["resize", "100x80"], ["blur", "median"]], "output": "png"}
        job = client.post_job(plan, [photo])["id"]
        wait_for("the job's end", lambda: client.job(job)["state"] in TERMINAL_JOB_STATES)
        assert client.job(job)["state"] == "succeeded", installation.ask(f"/v1/jobs/{job}/images")
        (result,) = list(client.results(job))
        content = client.fetch(result["url"])
    made = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    resized = cv2.resize(cv2.imread(str(photo)), (100, 80), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(made, cv2.medianBlur(resized, 5))


def test_skaffold_dev_copies_changed_files_into_pods_which_reload(skaffold: Skaffold, drawn: list[Path]) -> None:
    process = skaffold.start("dev", f"--default-repo={REGISTRY}", "--port-forward=off")
    try:
        wait_for("skaffold watches", lambda: "Watching for changes" in read_log(skaffold, process), DEV_SECS)
        installation = skaffold.installation
        before = {pod.name for pod in skaffold.namespace.pods()}
        change_version(skaffold.folder / "services" / "penstock" / "__init__.py")
        wait_for("the coordinator with the change", lambda: version_served(installation) == CHANGED)
        check_one_image(installation, drawn[0])
        wait_for("a step with the change", lambda: version_in_step(skaffold) == CHANGED)
        after = {pod.name: pod.restarts for pod in skaffold.namespace.pods()}
        assert {name: after.get(name) for name in before} == dict.fromkeys(before, 0)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(LEAVE_SECS)


def read_log(skaffold: Skaffold, process: subprocess.Popen[bytes]) -> str:
    """Return skaffold's output; fail the test if it has ended."""
    said = skaffold.log.read_text(errors="replace")
    assert process.poll() is None, said[-4_000:]
    return said


def change_version(file: Path) -> None:
    """Change the version in a copy of Penstock."""
    text = file.read_text()
    assert __version__ in text
    file.write_text(text.replace(__version__, CHANGED))


def version_in_step(skaffold: Skaffold) -> str:
    """Return the version of the files in a step's pod."""
    said = skaffold.namespace.kubectl("exec", "deployment/penstock-blur", "--", "penstock", "--version")
    return str(said.split()[-1])


def version_served(installation: Installation) -> str:
    """Return the version that the running coordinator reports."""
    return str(installation.ask("/openapi.json")["info"]["version"])
