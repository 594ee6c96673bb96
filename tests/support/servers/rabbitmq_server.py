"""RabbitMQ servers for tests, from Debian's package, on free ports and in a temporary folder.

Servers in containers are in `containers.py`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pika
from pika.exceptions import ChannelClosedByBroker
from ports import free_ports

START_SECS = 60
PROGRAMS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))
DELIVERY_LIMIT = '{"delivery-limit": 1000}'
CONFIG = """
listeners.tcp.default = {port}
disk_free_limit.absolute = 1MB
log.console = true
log.console.level = warning
"""
TLS_CONFIG = """
listeners.ssl.default = {tls_port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/ca.pem
ssl_options.keyfile = {folder}/key.pem
"""


def find_programs() -> Path | None:
    """Return the folder of the server's programs; None if it is not installed."""
    return next((folder for folder in PROGRAMS if (folder / "rabbitmq-server").exists()), None)


class RabbitServer(ABC):
    """One node that tests can stop, kill and start again. It listens on loopback only."""

    def __init__(self) -> None:
        self.port, self.tls_port = free_ports(2)
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-rabbitmq-"))
        self.ca = self._make_certificate()
        """A self-signed certificate, which is also the server's; None without openssl."""

    @property
    def url(self) -> str:
        """The server's URL."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the server's URL with another port, such as that of a proxy."""
        return f"amqp://guest:guest@127.0.0.1:{port}/%2f"

    def start(self) -> None:
        """Start the node and wait until it responds."""
        self.launch()
        deadline = time.monotonic() + START_SECS
        while not self._responds():
            if not self.is_running() or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start: {self.output()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop gracefully, as for an upgrade; queues are kept."""
        self.end_by(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server."""
        self.end_by(signal.SIGKILL)

    @abstractmethod
    def launch(self) -> None:
        """Start without waiting."""

    @abstractmethod
    def is_running(self) -> bool:
        """Return whether it is running."""

    @abstractmethod
    def output(self) -> str:
        """Return its output, for a test that failed."""

    @abstractmethod
    def end_by(self, how: signal.Signals) -> None:
        """Send a signal to the server and wait for its end."""

    @abstractmethod
    def remove(self) -> None:
        """Kill the server and remove its files."""

    @abstractmethod
    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl`; takes about a second."""

    @property
    def version(self) -> tuple[int, ...]:
        """The first two numbers of the server's version."""
        with self.channel() as channel:
            version: str = channel.connection._impl.server_properties["version"]
        return tuple(int(part) for part in version.split(".")[:2])

    def set_policy(self, name: str, queue: str, definition: str) -> None:
        """Set a policy of higher priority for one queue; `control("clear_policy", name)` clears it."""
        self.control("set_policy", name, f"^{queue}$", definition, "--apply-to", "queues", "--priority", "1")

    def count_consumers(self, queue: str) -> int:
        """Return how many consumers a queue has; 0 if it does not exist."""
        with self.channel() as channel, suppress(ChannelClosedByBroker):
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)
        return 0

    def delete_queues(self, *queues: str) -> None:
        """Delete queues with their messages and consumers."""
        with self.channel() as channel:
            for queue in queues:
                channel.queue_delete(queue)

    def purge_queues(self, *queues: str) -> None:
        """Remove all ready messages of queues."""
        with self.channel() as channel:
            for queue in queues:
                channel.queue_purge(queue)

    @contextmanager
    def channel(self) -> Iterator[pika.channel.Channel]:
        """Open a channel for the test itself."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def _responds(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=START_SECS) as server:
            server.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(server.recv(1))
        return False

    def write_config(self, port: int | str, tls_port: int | str, folder: Path) -> Path:
        """Write the server's configuration, with the ports and folder as the server sees them."""
        config = CONFIG + (TLS_CONFIG if self.ca else "")
        path = self.folder / "rabbitmq.conf"
        path.write_text(config.format(port=port, tls_port=tls_port, folder=folder))
        return path

    def _make_certificate(self) -> Path | None:
        if shutil.which("openssl") is None:
            return None
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        names = ["-days", "2", "-subj", "/CN=penstock tests", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "ca.pem")]
        subprocess.run(request + names + files, check=True, capture_output=True, timeout=START_SECS)
        return self.folder / "ca.pem"


class PackagedRabbit(RabbitServer):
    """A node from Debian's package."""

    def __init__(self, programs: Path) -> None:
        super().__init__()
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._dist_port, self._epmd_port = free_ports(2)
        self.write_config(f"127.0.0.1:{self.port}", f"127.0.0.1:{self.tls_port}", self.folder)
        (self.folder / "plugins").write_text("[].\n")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o600)
        self._epmd = self._spawn("epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1")

    def launch(self) -> None:
        self._process = self._spawn(str(self._programs / "rabbitmq-server"))

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def end_by(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECS)
            self._process = None

    def remove(self) -> None:
        self.kill()
        self._epmd.terminate()
        self._epmd.wait(START_SECS)
        shutil.rmtree(self.folder)

    def control(self, *arguments: str) -> str:
        command = [str(self._programs / "rabbitmqctl"), "-q", *arguments]
        ran = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=START_SECS)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    @property
    def _environment(self) -> dict[str, str]:
        # Each server has its own name, so that concurrent test runs do not interfere.
        own = {
            "HOME": self.folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": self._epmd_port,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self._dist_port,
            "RABBITMQ_MNESIA_BASE": self.folder / "data",
            "RABBITMQ_LOG_BASE": self.folder / "log",
            "RABBITMQ_PID_FILE": self.folder / "pid",
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, instead of a parent that traps signals
        }
        return os.environ | {name: str(value) for name, value in own.items()}

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that is killed when the tests end, however they end."""
        with open(self.folder / "output", "ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self.folder,
            )


@contextmanager
def running_rabbitmq() -> Iterator[RabbitServer | None]:
    """Run a server; yields None if none is installed."""
    programs = find_programs()
    if programs is None or shutil.which("setpriv") is None:
        yield None
        return
    server = PackagedRabbit(programs)
    try:
        server.start()
        server.control("await_startup")  # it listens before all of it runs
        server.control("set_policy", "penstock", r"^penstock\.", DELIVERY_LIMIT, "--apply-to", "queues")
        yield server
    finally:
        server.remove()
