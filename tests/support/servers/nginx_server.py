"""nginx for tests, with the configuration of the chart: the installed one, or one in a container."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from containers import Image, connect_to_docker
from go_server import START_SECS, running_server
from ports import free_port

CONFIGURATION = Path(__file__).resolve().parents[3] / "charts" / "penstock" / "files" / "nginx.conf"
NGINX = Image("PENSTOCK_TEST_NGINX_IMAGE", "nginx:1", "local/nginx:1.26")
UNREACHABLE = "127.0.0.1:1"
"""The address of an unreachable coordinator."""


@dataclass
class NginxServer:
    """Gateway and store on loopback. The stores are folders in `volume`, which tests may read and change."""

    folder: Path
    volume: Path
    coordinator: str = UNREACHABLE
    front: str = ""
    """Content of the file with the gateway's limits."""
    limits: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    def __post_init__(self) -> None:
        self.front_port, self.port = free_port(), free_port()
        self._unique = itertools.count()

    @property
    def front_url(self) -> str:
        return f"http://127.0.0.1:{self.front_port}"

    @property
    def url(self) -> str:
        """The URL of the store's whole volume."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a client of the store."""
        return {"PENSTOCK_STORE_TOKEN": self.token}

    def create_bucket(self) -> str:
        """Return the URL of an empty folder."""
        return f"{self.url}/bucket-{next(self._unique)}"

    def write_configuration(self) -> Path:
        """Write the configuration of an installation, with the tests' ports and folders."""
        text = CONFIGURATION.read_text()
        for original, replacement in (
            ("listen 8080", f"listen 127.0.0.1:{self.front_port}"),
            ("listen 8081", f"listen 127.0.0.1:{self.port}"),
            ("/data/store", str(self.volume)),
            ("/tmp/nginx", f"{self.folder}/nginx"),
        ):
            assert original in text, f"{CONFIGURATION.name} has no {original}"
            text = text.replace(original, replacement)
        own = self.folder / "penstock"
        (own / "secret").mkdir(parents=True, exist_ok=True)
        (own / "secret" / "token.conf").write_text(f'"Bearer {self.token}" 1;\n')
        (own / "coordinator.conf").write_text(f'map "" $coordinator {{ default {self.coordinator}; }}\n')
        (own / "front.conf").write_text(self.front)
        (own / "limits.conf").write_text(self.limits)
        written = self.folder / "nginx.conf"
        written.write_text(text)
        return written


@contextmanager
def running_nginx(volume: Path, **options: str) -> Iterator[NginxServer | None]:
    """Run a server; yields None if nginx is neither installed nor available as an image."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    image = None if program else NGINX.find()
    if program is None and image is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="penstock-nginx-") as folder:
        server = NginxServer(Path(folder), volume, **options)
        command = ["nginx", "-c", str(server.write_configuration()), "-g", _global_directives()]
        if program is not None:
            with running_server([program, *command[1:]], server.port, server.folder):
                yield server
        else:
            assert image is not None
            with _running_container(image, command, server):
                yield server


def _global_directives() -> str:
    return "daemon off; user root;" if os.getuid() == 0 else "daemon off;"


@contextmanager
def _running_container(image: str, command: list[str], server: NginxServer) -> Iterator[None]:
    client = connect_to_docker()
    assert client is not None, "Docker no longer responds"
    folders = {str(path): {"bind": str(path), "mode": "rw"} for path in (server.folder, server.volume)}
    with closing(client):
        container = client.containers.run(
            image,
            command,
            entrypoint="",
            detach=True,
            network_mode="host",
            user=f"{os.getuid()}:{os.getgid()}",
            read_only=True,
            volumes=folders,
        )
        try:
            deadline = time.monotonic() + START_SECS
            while not _responds(server):
                container.reload()
                if container.status == "exited" or time.monotonic() > deadline:
                    raise RuntimeError(f"nginx did not start: {container.logs().decode()}")
                time.sleep(0.05)
            yield
        finally:
            container.remove(force=True, v=True)


def _responds(server: NginxServer) -> bool:
    try:
        return httpx.get(f"{server.front_url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
