"""compose.yaml on a real Docker: start, scale, disturb and remove it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from containers import POSTGRES, RABBITMQ
from nginx_server import NGINX
from ports import free_port
from waiting import wait_until

from penstock import __version__
from penstock.benchmark.http import RefusedError, RestClient
from penstock.common.model.errors import UnavailableError
from penstock.coordinator.auth.keys import hash_token
from penstock.local.server_process import is_ready

ROOT = Path(__file__).resolve().parents[2]
ANONYMIZE = ROOT / "docs" / "examples" / "anonymize"
STEPS = ["resize", "split", "blur", "encode"]
SERVICES = ["web", "coordinator", *STEPS, "others", "rabbitmq", "postgres"]
PLAN: dict[str, Any] = {
    "operations": [["resize", "300x200"], ["split", True], ["blur", "bilateral"]],
    "output": "png",
}
SECRETS = ["PENSTOCK_STORE_TOKEN", "PENSTOCK_BROKER_PASSWORD", "PENSTOCK_DATABASE_PASSWORD"]
CALL_SECS = 180.0


def call(*command: str, secs: float = CALL_SECS, **environment: str) -> str:
    """Run a command in the checkout; return its output."""
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=secs, check=False
    )
    assert ran.returncode == 0, f"{' '.join(command)}: {ran.stdout}{ran.stderr}"
    return ran.stdout


class Project:
    """One installation of compose.yaml with a unique name."""

    def __init__(self, folder: Path, images: dict[str, str]) -> None:
        self.name = f"penstock-test-{secrets.token_hex(4)}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {name: secrets.token_hex(12) for name in SECRETS} | images
        self.environment |= {"PENSTOCK_API_KEYS": "", "PENSTOCK_OPEN": "true"}
        self.environment |= {"COMPOSE_PROJECT_NAME": self.name, "PENSTOCK_PORT": str(self.port)}
        self._override = folder / "override.yaml"
        self._override.write_text(json.dumps({"services": _changes(images["POSTGRES_IMAGE"])}))
        self._files = [ROOT / "compose.yaml", self._override]

    def add(self, file: Path) -> None:
        """Add a file of services."""
        self._files.insert(1, file)

    def compose(self, *arguments: str) -> str:
        files = [argument for file in self._files for argument in ("--file", str(file))]
        return call("docker", "compose", *files, *arguments, **self.environment)

    def up(self, *arguments: str) -> None:
        """Start it, or scale a service, and wait until it accepts jobs."""
        self.compose("up", "--detach", "--no-build", "--quiet-pull", *arguments)
        wait_until(lambda: is_ready(self.url))

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "3")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return Docker's description of the running containers."""
        ids = self.compose("ps", "--quiet", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(call("docker", "inspect", *ids))
        return found

    def address(self, service: str, network: str) -> str:
        """Return the address of a service in one of its networks."""
        networks = self.containers(service)[0]["NetworkSettings"]["Networks"]
        found: str = networks[f"{self.name}_{network}"]["IPAddress"]
        return found

    def run_in(self, service: str, code: str) -> str:
        """Run Python code in the container of a step or the coordinator."""
        return self.compose("exec", "--no-TTY", service, "python3", "-c", code)


def _changes(postgres: str) -> dict[str, Any]:
    """Overrides for tests: frequent repairs, and the data folder of an image made from Debian's package."""
    changed: dict[str, Any] = {"coordinator": {"environment": {"PENSTOCK_REPAIR_SECS": "3"}}}
    if postgres.startswith("local/"):
        mount = {"type": "volume", "source": "database", "target": "/data"}
        changed["postgres"] = {"environment": {"PGDATA": "/data/db"}, "volumes": [mount]}
    return changed


@pytest.fixture(scope="module")
def images(without_service: Callable[[str], NoReturn]) -> Iterator[dict[str, str]]:
    """The images of Penstock, built from this checkout, and of the servers, as variables of compose.yaml."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        without_service("there is no Docker with its plug-in compose")
    servers = {"NGINX_IMAGE": NGINX.find(), "RABBITMQ_IMAGE": RABBITMQ.find(), "POSTGRES_IMAGE": POSTGRES.find()}
    found = {name: image for name, image in servers.items() if image is not None}
    if len(found) < len(servers):
        without_service("an image of nginx, RabbitMQ or PostgreSQL is missing (see CONTRIBUTING.md)")
    tag = f"test-{secrets.token_hex(4)}"
    targets = ["coordinator", "step", *STEPS]
    try:
        call("bash", "scripts/build_images.sh", *targets, secs=900, REGISTRY="local", TAG=tag)
        yield found | {"PENSTOCK_REGISTRY": "local", "PENSTOCK_VERSION": tag}
    finally:
        subprocess.run(
            ["docker", "rmi", *(f"local/penstock-{target}:{tag}" for target in targets)], capture_output=True
        )


@pytest.fixture(scope="module")
def project(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("compose"), images)
    try:
        made.up("--scale", "blur=2")
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def expected(drawn: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of one process for the sample images."""
    return run_in_one_process(drawn, tmp_path_factory.mktemp("run"))


def run_in_one_process(photos: Sequence[Path], folder: Path) -> dict[str, bytes]:
    """Return the results of `penstock run` by name."""
    job, out = folder / "job.json", folder / "out"
    job.write_text(json.dumps(PLAN))
    call(sys.executable, "-m", "penstock", "run", *map(str, photos), "--job", str(job), "--out", str(out))
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def retry(ask: Callable[[], Any]) -> Any:
    """Repeat a request until it succeeds; while a service restarts, others answer 503 or not at all."""
    answers: list[Any] = []

    def try_once() -> bool:
        try:
            answers.append(ask())
        except (RefusedError, UnavailableError):
            return False
        return True

    wait_until(try_once)
    return answers[0]


def fetch_results(client: RestClient, job: str) -> dict[str, bytes]:
    """Wait until a job has succeeded; return its results by name."""
    wait_until(lambda: retry(lambda: client.job(job))["state"] == "succeeded")
    return {result["name"]: client.fetch(result["url"]) for result in retry(lambda: list(client.results(job)))}


def test_a_job_gives_the_same_bytes_as_one_process(
    project: Project, drawn: Sequence[Path], expected: dict[str, bytes]
) -> None:
    assert len(project.containers("blur")) == 2
    with RestClient(project.url) as client:
        job = client.post_job(PLAN, drawn)["id"]
        assert fetch_results(client, job) == expected
        name = next(iter(expected))
        answer = httpx.get(f"{project.url}/static/{job}/processed/{name}")
    assert (answer.content, answer.headers["server"]) == (expected[name], "nginx")
    lines = [line.partition("{")[2] for line in project.compose("logs", "--no-log-prefix", "web").splitlines()]
    logged = [json.loads("{" + line) for line in lines if line]
    assert any((line["method"], line["status"]) == ("POST", 202) for line in logged)
    assert not any("readyz" in line["path"] or "results/" in line["path"] for line in logged)


def test_photographs_give_the_same_bytes_as_one_process(project: Project, photographs: Path, tmp_path: Path) -> None:
    photos = sorted((photographs / "street").iterdir())[:4]
    with RestClient(project.url) as client:
        results = fetch_results(client, client.post_job(PLAN, photos)["id"])
    assert results == run_in_one_process(photos, tmp_path)


def test_steps_that_share_a_service_run_like_the_others(project: Project, drawn: Sequence[Path]) -> None:
    plan = {"operations": [["crop", "1:1"], ["rotate", 90], ["adjust", "grayscale"], ["tile", "3x2"]], "output": "png"}
    with RestClient(project.url) as client:
        results = fetch_results(client, client.post_job(plan, drawn)["id"])
    assert len(results) == 6 * len(drawn)


def test_every_container_is_unprivileged_and_one_loopback_port_is_open(project: Project) -> None:
    found = project.containers()
    assert {container["Config"]["Labels"]["com.docker.compose.service"] for container in found} == set(SERVICES)
    for container in found:
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], container["Name"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert container["Config"]["User"] not in ("", "0", "root")
    opened = [port for container in found for port in (container["HostConfig"]["PortBindings"] or {}).items()]
    assert opened == [("8080/tcp", [{"HostIp": "127.0.0.1", "HostPort": str(project.port)}])]


def test_the_store_refuses_requests_without_its_token(project: Project) -> None:
    address = project.address("web", "steps")
    for headers, status in ({}, 401), ({"Authorization": "Bearer wrong"}, 401):
        assert httpx.get(f"http://{address}:8081/results/", headers=headers).status_code == status
    token = {"Authorization": f"Bearer {project.environment['PENSTOCK_STORE_TOKEN']}"}
    assert httpx.get(f"http://{address}:8081/results/", headers=token).status_code == 200


REACH = """
import socket
def reaches(host, port):
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True
print([reaches(*place) for place in {places}])
"""


def test_steps_reach_only_broker_and_store(project: Project) -> None:
    for step in STEPS:
        networks = project.containers(step)[0]["NetworkSettings"]["Networks"]
        assert [json.loads(call("docker", "network", "inspect", name))[0]["Internal"] for name in networks] == [True]
    front = (project.address("web", "front"), 8080)
    assert httpx.get(f"http://{front[0]}:{front[1]}/healthz").status_code == 200
    places = [("web", 8081), ("rabbitmq", 5672), front]
    places += [(project.address("postgres", "data"), 5432), (project.address("coordinator", "core"), 8080)]
    said = project.run_in("blur", REACH.format(places=places))
    assert json.loads(said.lower()) == [True, True, False, False, False]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_restarted_during_a_job_loses_nothing(
    project: Project, drawn: Sequence[Path], expected: dict[str, bytes], service: str
) -> None:
    with RestClient(project.url) as client:
        job = retry(lambda: client.post_job(PLAN, drawn))["id"]
        project.compose("restart", "--timeout", "5", service)
        assert fetch_results(client, job) == expected
        assert retry(lambda: client.job(job))["images"]["failed"] == 0


def test_nginx_stops_gracefully_while_a_job_is_followed(
    project: Project, drawn: Sequence[Path], expected: dict[str, bytes]
) -> None:
    project.compose("stop", "--timeout", "20", "encode")
    with RestClient(project.url) as client:
        job = retry(lambda: client.post_job(PLAN, drawn))["id"]
        (nginx,) = project.containers("web")
        with httpx.stream("GET", f"{project.url}/v1/jobs/{job}/events", timeout=120) as events:
            assert next(events.iter_lines())
            project.compose("stop", "--timeout", "90", "web")
        stopped = json.loads(call("docker", "inspect", nginx["Id"]))[0]["State"]
        assert (stopped["Running"], stopped["ExitCode"]) == (False, 0), "137: it had to be killed"
        project.compose("start", "web", "encode")
        assert fetch_results(client, job) == expected


def test_the_example_finds_faces_in_a_service_of_its_own(project: Project, images: dict[str, str]) -> None:
    """Last of those that use it, because it declares the step to all services, which starts them again."""
    image, step = (f"local/penstock-{name}:{images['PENSTOCK_VERSION']}" for name in ("faces", "step"))
    project.environment["FACES_IMAGE"] = image
    project.add(ANONYMIZE / "compose.yaml")
    options = ["--quiet", "--network=host", "--build-arg", f"STEP={step}", "--tag", image]
    try:
        call("docker", "build", *options, str(ANONYMIZE))
        project.up()
        plan = {"operations": [["faces", True], ["blur", "pixelate,where=regions"]], "output": "png"}
        with RestClient(project.url) as client:
            job = client.post_job(plan, [ANONYMIZE / "before.jpg"])["id"]
            [result] = fetch_results(client, job).values()
            [entry] = client.results(job)
        assert result.startswith(b"\x89PNG")
        assert [region["label"] for region in entry["regions"]] == ["face"]
    finally:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True)


def test_taking_it_down_leaves_nothing_behind(images: dict[str, str], project: Project) -> None:
    project.down()
    label = f"label=com.docker.compose.project={project.name}"
    for kind in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        assert call("docker", *kind, "--quiet", "--filter", label).split() == []


def test_without_passwords_it_does_not_start_and_says_how_to_make_them(images: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"make it by: sh compose/secrets\.sh"):
        call("docker", "compose", "--env-file", os.devnull, "config", "--quiet")
    shutil.copytree(ROOT / "compose", tmp_path / "compose")
    for _ in range(2):
        subprocess.run(["sh", tmp_path / "compose" / "secrets.sh"], check=True, capture_output=True)
    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert list(written) == [*SECRETS, "PENSTOCK_API_KEY", "PENSTOCK_API_KEYS"]
    keys = json.loads(written.pop("PENSTOCK_API_KEYS").strip("'"))
    key = written.pop("PENSTOCK_API_KEY")
    assert re.fullmatch("pk_[0-9a-f]{96}", key)
    assert keys == [{"name": "admin", "hash": hash_token(key), "admin": True}]
    assert len(set(written.values())) == len(SECRETS)
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in written.values())
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    config = call("docker", "compose", "--env-file", str(tmp_path / ".env"), "config", "--format", "json")
    environment = json.loads(config)["services"]["coordinator"]["environment"]
    assert json.loads(environment["PENSTOCK_API_KEYS"]) == keys
    assert key not in config


def test_images_and_package_have_the_same_version() -> None:
    named = re.findall(r"PENSTOCK_VERSION:-([^}]*)\}", (ROOT / "compose.yaml").read_text())
    assert set(named) == {__version__}
