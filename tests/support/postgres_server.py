"""A PostgreSQL server of the tests' own: Debian's package started by hand, on a free port and a folder that goes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

ACCOUNT = "postgres"  # the server refuses to run as root
USER = "penstock"
START_SECS = 30
SETTINGS = {
    "fsync": "off",  # the machine is not going to lose its power in the middle of a test that could tell
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs, None where there is no server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class PostgresServer:
    """One server, to be stopped, killed and started again as a test likes."""

    def __init__(self, programs: Path, **settings: str) -> None:
        self._programs = programs
        self._settings = SETTINGS | settings
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
        if os.getuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, for SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """Return the address of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        return self.url(name)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Open a connection for a test's own questions."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=5
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-p", str(self.port), *options), stdout=log, stderr=log
            )
        end = time.monotonic() + START_SECS
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"postgres did not start: {(self.folder / 'log').read_text()}") from error
                time.sleep(0.05)

    def stop(self) -> None:
        """Close every connection and end."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End at once, as after a power cut."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """End without a look back, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECS)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, capture_output=True, timeout=START_SECS)

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line; what it starts ends with the tests, however they end."""
        drop = ["--reuid", ACCOUNT, "--regid", ACCOUNT, "--init-groups"] if os.getuid() == 0 else []
        own = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        return ["setpriv", *drop, "--pdeathsig", "INT", *own]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_postgres(**settings: str) -> Iterator[PostgresServer | None]:
    """Run a server for a while; gives None where none is installed."""
    programs = find_programs()
    if programs is None or shutil.which("setpriv") is None:
        yield None
        return
    server = PostgresServer(programs, **settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()
