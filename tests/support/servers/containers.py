"""Servers of the tests' own in containers, by testcontainers: which image, and how each is told what tests want of it.

An image is the one that a setting names; without one, `local/…` where it is there already, or else upstream's.
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

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # whoever starts a container here removes it
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
    """Where an image comes from."""

    setting: str
    upstream: str
    local: str

    def find(self) -> str | None:
        """Return the name of an image that is here; None without Docker, or where nothing can be pulled."""
        client = connect_to_docker()
        if client is None:
            return None
        names = [os.environ[self.setting]] if os.environ.get(self.setting) else [self.local, self.upstream]
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
    """A container that may end and start again. `ports` are those within, and where on loopback they are reached."""

    image: str
    ports: dict[int, int]
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made = DockerContainer(self.image, env=self.environment)
        self._made.ports = {str(inside): ("127.0.0.1", outside) for inside, outside in self.ports.items()}
        for path, inside in self.files.items():
            self._made.with_volume_mapping(path, inside)
        self._exists = False

    def start(self) -> None:
        if self._exists:
            self._made.get_wrapped_container().start()
        else:
            self._exists = True
            self._made.start()

    def end(self, how: signal.Signals) -> None:
        """Send a signal to the server and wait for its end."""
        if self.runs():
            self._made.get_wrapped_container().kill(how.name)
            self.wait()

    def wait(self) -> None:
        """Wait for the server's end."""
        self._made.get_wrapped_container().wait(timeout=START_SECS)

    def runs(self) -> bool:
        if not self._exists:
            return False
        self._made.reload()
        return self._made.status == "running"

    def run(self, *command: str) -> str:
        """Run a command inside; return what it said."""
        ran = self._made.exec(list(command))
        said = ran.output.decode()
        assert ran.exit_code == 0, said
        return said

    def output(self) -> str:
        return b"".join(self._made.get_logs()).decode()

    def remove(self) -> None:
        self._made.stop()


class _InContainer:
    """The part of a server that is the same for every server in a container."""

    container: Container

    def launch(self) -> None:
        self.container.start()

    def runs(self) -> bool:
        return self.container.runs()

    def output(self) -> str:
        return self.container.output()

    def end(self, how: signal.Signals) -> None:
        self.container.end(how)


class RabbitContainer(_InContainer, RabbitServer):
    """A node in a container. It has no policy: tests see what its version does by itself."""

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

    def end(self, how: signal.Signals) -> None:
        if how is signal.SIGTERM:  # the first process may be Debian's script, which does not hear it
            self.control("stop")
            self.container.wait()
        else:
            super().end(how)

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
        """Start for the first time, with the tests' own account and settings."""
        self.launch()
        self.wait_until_it_answers(*self.ADMIN)
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
    """Run a RabbitMQ for a while; gives None where there is no Docker or no image."""
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
    """Run a PostgreSQL for a while; gives None where there is no Docker or no image."""
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
