"""Servers for tests in containers, through testcontainers.

The image is that of the environment variable; without one, the local image if it exists, or else the upstream one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import DockerException, ImageNotFound
from docker.transport import UnixHTTPAdapter
from postgres_server import PASSWORD, SETTINGS, USER, PostgresServer
from rabbitmq_server import START_SECS, RabbitServer

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # every container is removed by a context manager below
from testcontainers.core.container import DockerContainer

PULL_SECS = 300
ANSWER_SECS = 10


def connect_to_docker(timeout_secs: float = PULL_SECS) -> docker.DockerClient | None:
    """Return a client of the Docker daemon; None where no daemon answers.

    docker-py never closes a Unix socket on which it could not connect, nor a client whose constructor fails. So the
    socket is tried by hand first, and the client that asks for the daemon's version is one that asks nothing sooner.
    """
    try:
        with closing(docker.from_env(version=DEFAULT_DOCKER_API_VERSION, timeout=ANSWER_SECS)) as client:
            adapter = client.api.get_adapter(client.api.base_url)
            if isinstance(adapter, UnixHTTPAdapter):
                with socket.socket(socket.AF_UNIX) as tried:
                    tried.settimeout(ANSWER_SECS)
                    tried.connect(adapter.socket_path)
            version = client.version(api_version=False)["ApiVersion"]
    except (DockerException, OSError):  # requests' errors are OSErrors
        return None
    return docker.from_env(version=version, timeout=timeout_secs)


@dataclass(frozen=True)
class Image:
    """Where an image comes from: an environment variable, or one of two names."""

    variable: str
    upstream: str
    local: str

    def find(self) -> str | None:
        """Return the name of an image, pulled if necessary; None without Docker, or if it cannot be pulled."""
        client = connect_to_docker()
        if client is None:
            return None
        names = [os.environ[self.variable]] if os.environ.get(self.variable) else [self.local, self.upstream]
        with closing(client), suppress(DockerException):
            for name in names:
                with suppress(ImageNotFound):
                    client.images.get(name)
                    return name
            client.images.pull(names[-1])
            return names[-1]
        return None


RABBITMQ = Image("PENSTOCK_TEST_RABBITMQ_IMAGE", "rabbitmq:4-management", "local/rabbitmq:4.0")
POSTGRES = Image("PENSTOCK_TEST_POSTGRES_IMAGE", "postgres:17", "local/postgres:17")


@dataclass
class Container:
    """A container that can be stopped and started again.

    `ports` maps ports of the container to ports of loopback.
    """

    image: str
    ports: dict[int, int]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._container = DockerContainer(self.image, env=self.environment)
        self._container.ports = {str(inside): ("127.0.0.1", outside) for inside, outside in self.ports.items()}
        for path, target in self.files.items():
            self._container.with_volume_mapping(path, target)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._created = True
            self._container.start()

    def end_by(self, how: signal.Signals) -> None:
        """Send a signal to the server and wait for its end."""
        if self.is_running():
            self._container.get_wrapped_container().kill(how.name)
            self.wait()

    def wait(self) -> None:
        """Wait for the end of the server."""
        self._container.get_wrapped_container().wait(timeout=START_SECS)

    def is_running(self) -> bool:
        if not self._created:
            return False
        self._container.reload()
        return self._container.status == "running"

    def run(self, *command: str) -> str:
        """Run a command in the container; return its output."""
        result = self._container.exec(list(command))
        output: str = result.output.decode()
        assert result.exit_code == 0, output
        return output

    def output(self) -> str:
        return b"".join(self._container.get_logs()).decode()

    def remove(self) -> None:
        self._container.stop()


class _InContainer:
    """What all servers in containers share."""

    container: Container

    def launch(self) -> None:
        self.container.start()

    def is_running(self) -> bool:
        return self.container.is_running()

    def output(self) -> str:
        return self.container.output()

    def end_by(self, how: signal.Signals) -> None:
        self.container.end_by(how)


class RabbitContainer(_InContainer, RabbitServer):
    """A node in a container, without any policy, so that tests see the defaults of its version."""

    CONFIG = "/etc/rabbitmq/conf.d/90-tests.conf"
    FILES = Path("/etc/penstock-tests")

    def __init__(self, image: str) -> None:
        super().__init__()
        files = {self.write_config("0.0.0.0:5672", "0.0.0.0:5671", self.FILES): self.CONFIG}
        for path in self.folder.glob("*.pem"):
            path.chmod(0o644)
            files[path] = str(self.FILES / path.name)
        environment = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none"}
        self.container = Container(image, {5672: self.port, 5671: self.tls_port}, environment, files)

    def end_by(self, how: signal.Signals) -> None:
        if how is signal.SIGTERM:  # process 1 may be Debian's script, which ignores it
            self.control("stop")
            self.container.wait()
        else:
            super().end_by(how)

    def remove(self) -> None:
        self.container.remove()
        shutil.rmtree(self.folder)

    def control(self, *arguments: str) -> str:
        return self.container.run("rabbitmqctl", "-q", *arguments)


class PostgresContainer(_InContainer, PostgresServer):
    """A server in a container."""

    ADMIN = ("postgres", "postgres")

    def __init__(self, image: str) -> None:
        super().__init__()
        self.container = Container(image, {5432: self.port}, {"POSTGRES_PASSWORD": self.ADMIN[1]})

    def set_up(self) -> None:
        """Start for the first time, with the tests' account and settings."""
        self.launch()
        self.wait_until_ready(*self.ADMIN)
        with self.connect("postgres", *self.ADMIN) as admin:
            admin.execute(f"CREATE ROLE {USER} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
            for name, value in SETTINGS.items():
                admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.stop()
        self.start()

    def remove(self) -> None:
        self.container.remove()


@contextmanager
def rabbitmq_container() -> Iterator[RabbitServer | None]:
    """Run RabbitMQ; yields None without Docker or an image."""
    image = RABBITMQ.find()
    if image is None:
        yield None
        return
    server = RabbitContainer(image)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def postgres_container() -> Iterator[PostgresServer | None]:
    """Run PostgreSQL; yields None without Docker or an image."""
    image = POSTGRES.find()
    if image is None:
        yield None
        return
    server = PostgresContainer(image)
    try:
        server.set_up()
        yield server
    finally:
        server.remove()
