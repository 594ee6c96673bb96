"""PostgreSQL servers for tests, from Debian's package, on a free port and in a temporary folder.

Servers in containers are in `containers.py`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from ports import free_port

ACCOUNT = "postgres"  # the server refuses to run as root
USER = "penstock"
PASSWORD = "secret"
START_SECS = 30
SETTINGS = {
    "fsync": "off",  # no test checks what survives a power cut
    "max_connections": "200",
    "shared_buffers": "64MB",
}
LOOPBACK_ONLY = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class PostgresServer(ABC):
    """One server that tests can stop, kill and start again. It listens on loopback only."""

    def __init__(self) -> None:
        self._numbers = count()
        self.port = free_port()

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, for SQLAlchemy."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Create an empty database; return its URL."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8' STRATEGY file_copy"
            )
        return self.url(name)

    def connect(self, database: str = "postgres", user: str = USER, password: str = PASSWORD) -> psycopg.Connection:
        """Open a connection for the test itself."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def start(self) -> None:
        """Start the server and wait until it responds."""
        self.launch()
        self.wait_until_ready(USER, PASSWORD)

    def wait_until_ready(self, user: str, password: str) -> None:
        """Return once a user can connect.

        Raises:
            RuntimeError: the server has ended, or took too long.
        """
        deadline = time.monotonic() + START_SECS
        while True:
            try:
                self.connect(user=user, password=password).close()
                return
            except psycopg.OperationalError as error:
                if not self.is_running() or time.monotonic() > deadline:
                    raise RuntimeError(f"postgres did not start: {self.output()}") from error
                time.sleep(0.05)

    def stop(self) -> None:
        """Close all connections and end."""
        self.end_by(signal.SIGINT)

    def kill(self) -> None:
        """End at once, without cleaning up."""
        self.end_by(signal.SIGQUIT)

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


class PackagedPostgres(PostgresServer):
    """A server from Debian's package."""

    def __init__(self, programs: Path, **settings: str) -> None:
        super().__init__()
        self._programs = programs
        self._settings = SETTINGS | LOOPBACK_ONLY | settings
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
        if os.getuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")

    def launch(self) -> None:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-p", str(self.port), *options), stdout=log, stderr=log
            )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        return (self.folder / "log").read_text()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def end_by(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECS)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, capture_output=True, timeout=START_SECS)

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return a command line whose process ends with the tests, however they end."""
        drop = ["--reuid", ACCOUNT, "--regid", ACCOUNT, "--init-groups"] if os.getuid() == 0 else []
        own = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        return ["setpriv", *drop, "--pdeathsig", "INT", *own]


@contextmanager
def running_postgres(**settings: str) -> Iterator[PostgresServer | None]:
    """Run a server; yields None if none is installed."""
    programs = find_programs()
    if programs is None or shutil.which("setpriv") is None:
        yield None
        return
    server = PackagedPostgres(programs, **settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()
