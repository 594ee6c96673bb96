"""RabbitMQ servers of the tests' own: Debian's package started by hand, on free ports and a folder that goes.

Servers in containers stand in `containers.py`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pika
from pika.exceptions import ChannelClosedByBroker

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
    """Return the folder of the server's programs, None where there is no server."""
    return next((folder for folder in PROGRAMS if (folder / "rabbitmq-server").exists()), None)


class RabbitServer(ABC):
    """One node, to be stopped, killed and started again as a test likes. Nothing of it listens beyond loopback."""

    def __init__(self) -> None:
        self.port, self.tls_port = free_ports(2)
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-rabbitmq-"))
        self.ca = self._make_certificate()
        """The certificate of an authority of our own, which is the server's as well; None without openssl."""

    @property
    def url(self) -> str:
        """The server's address."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the server's address by way of another port."""
        return f"amqp://guest:guest@127.0.0.1:{port}/%2f"

    def start(self) -> None:
        """Start the node and wait until it answers."""
        self.launch()
        end = time.monotonic() + START_SECS
        while not self._answers():
            if not self.runs() or time.monotonic() > end:
                raise RuntimeError(f"RabbitMQ did not start: {self.output()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End as an upgrade would: in good order, queues kept."""
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once."""
        self.end(signal.SIGKILL)

    @abstractmethod
    def launch(self) -> None:
        """Begin to start."""

    @abstractmethod
    def runs(self) -> bool:
        """Whether it has not ended."""

    @abstractmethod
    def output(self) -> str:
        """Return what it said, for a test that failed."""

    @abstractmethod
    def end(self, how: signal.Signals) -> None:
        """Send a signal to the server and wait for its end."""

    @abstractmethod
    def remove(self) -> None:
        """End, and leave nothing behind."""

    @abstractmethod
    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl`; takes about a second."""

    @property
    def version(self) -> tuple[int, ...]:
        """Return the server's version by its first two numbers."""
        with self.channel() as channel:
            version: str = channel.connection._impl.server_properties["version"]
        return tuple(int(part) for part in version.split(".")[:2])

    def set_policy(self, name: str, queue: str, definition: str) -> None:
        """Give a queue a policy that goes before the one for all queues; `control("clear_policy", name)` takes it."""
        self.control("set_policy", name, f"^{queue}$", definition, "--apply-to", "queues", "--priority", "1")

    def count_consumers(self, queue: str) -> int:
        """Return how many consumers a queue has; 0 where there is no queue."""
        with self.channel() as channel, suppress(ChannelClosedByBroker):
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)
        return 0

    def delete_queues(self, *queues: str) -> None:
        """Delete queues with all they hold, whether anybody consumes from them or not."""
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
        """Give a channel for a test's own questions."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=START_SECS) as end:
            end.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(end.recv(1))
        return False

    def write_config(self, port: int | str, tls_port: int | str, folder: Path) -> Path:
        """Write the server's settings; the ports and the folder are those that it sees."""
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
    """A node of the package's programs."""

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

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def end(self, how: signal.Signals) -> None:
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
        # A name of its own for each server, so that two test runs beside each other never meet.
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
        """Start something that ends with the tests, however they end."""
        with open(self.folder / "output", "ab") as output:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                cwd=self.folder,
            )


class Line:
    """A line to the server that can be cut: a port (`at`, or a free one) that passes all on, until it doesn't."""

    def __init__(self, port: int, at: int = 0) -> None:
        self._port = port
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port = int(self._listener.getsockname()[1])
        self._threads: list[threading.Thread] = []
        self._open = threading.Event()
        self._open.set()
        self._start(self._accept)

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return len(self._ends) // 2

    def hold(self) -> None:
        """Pass nothing on, and tell nobody: what is sent waits."""
        self._open.clear()

    def go_on(self) -> None:
        """Pass on again, to those who still listen."""
        self._open.set()

    def cut(self) -> None:
        """Break every connection, and let nobody connect again."""
        self._open.set()
        _hang_up(self._listener)
        for end in self._ends:
            _hang_up(end)
        for thread in self._threads:
            thread.join(START_SECS)

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                try:
                    far = socket.create_connection(("127.0.0.1", self._port))
                except OSError:
                    near.close()
                    raise
                self._ends += [near, far]
                self._start(lambda near=near, far=far: self._pass_on(near, far))
                self._start(lambda near=near, far=far: self._pass_on(far, near))

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with source, suppress(OSError):
            while data := source.recv(65_536):
                self._open.wait()
                target.sendall(data)
        _hang_up(target)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


@contextmanager
def running_rabbitmq() -> Iterator[RabbitServer | None]:
    """Run a server for a while; gives None where none is installed."""
    programs = find_programs()
    if programs is None or shutil.which("setpriv") is None:
        yield None
        return
    server = PackagedRabbit(programs)
    try:
        server.start()
        server.control("set_policy", "penstock", r"^penstock\.", DELIVERY_LIMIT, "--apply-to", "queues")
        yield server
    finally:
        server.remove()
