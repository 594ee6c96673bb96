"""Google Cloud Storage server for tests: fake-gcs-server, with buckets in memory."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from go_server import find_program, running_server
from http_proxy import http_proxy
from ports import free_port

MODULE = "github.com/fsouza/fake-gcs-server@v1.56.1"


class GcsServer:
    """A server that needs no credentials."""

    def __init__(self, folder: Path, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._unique = count()
        self._account = folder / "account.json"
        self._account.write_text(
            json.dumps(
                {
                    "gcs_base_url": self._url,
                    "disable_oauth": True,
                    "client_email": "",
                    "private_key": "",
                    "private_key_id": "",
                }
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a client."""
        return {"GOOGLE_SERVICE_ACCOUNT": str(self._account)}

    def create_bucket(self) -> str:
        """Create an empty bucket; return its URL."""
        name = f"bucket-{next(self._unique)}"
        request = urllib.request.Request(f"{self._url}/storage/v1/b?project=tests", json.dumps({"name": name}).encode())
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=60):
            return f"gs://{name}"


@contextmanager
def running_gcs() -> Iterator[GcsServer | None]:
    """Run a server; yields None if it is not installed and cannot be built."""
    program = find_program("fake-gcs-server", MODULE)
    if program is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="penstock-gcs-"))
    try:
        port = free_port()
        with http_proxy(port, _as_json_api, {"ETag": '"written"'}) as line:
            command = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
            command += ["-public-host", f"127.0.0.1:{line.server_port}"]
            with running_server(command, port, folder):
                yield GcsServer(folder, line.server_port)
    finally:
        shutil.rmtree(folder)


def _as_json_api(method: str, path: str) -> str:
    """Translate a PUT of Google's XML API, which the server supports for reading only, to the JSON API."""
    if method != "PUT" or "?" in path:
        return path
    bucket, _, name = path.lstrip("/").partition("/")
    return f"/{bucket}/{name}?uploadType=media&name={name}"
