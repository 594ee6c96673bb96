"""S3 server for tests: versitygw over a temporary folder."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from go_server import find_program, running_server
from ports import free_port

MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
ACCESS_KEY = "penstock-tests"
SECRET_KEY = "a-secret-for-tests"


class S3Server:
    """A gateway whose buckets are folders."""

    def __init__(self, folder: Path, port: int) -> None:
        self._buckets = folder
        self._unique = itertools.count()
        self.port = port

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a client."""
        return self.environment_at(self.port)

    def environment_at(self, port: int) -> dict[str, str]:
        """Return environment variables of a client that connects to another port, such as that of a proxy."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def create_bucket(self) -> str:
        """Create an empty bucket; return its URL."""
        name = f"bucket-{next(self._unique)}"
        (self._buckets / name).mkdir()
        return f"s3://{name}"

    def folder_of(self, bucket_url: str) -> Path:
        """Return the folder with a bucket's objects as files."""
        return self._buckets / bucket_url.removeprefix("s3://")

    def fill_folder(self, url: str, count: int) -> None:
        """Create many empty objects below `url`, faster than by requests."""
        folder = self._buckets / url.removeprefix("s3://")
        folder.mkdir(parents=True)
        for index in range(count):
            (folder / str(index)).touch()

    def count_parts(self) -> int:
        """Count the parts of unfinished uploads in all buckets."""
        return sum(path.is_file() for path in self._buckets.glob("*/.sgwtmp/**/*"))


@contextmanager
def running_s3() -> Iterator[S3Server | None]:
    """Run a server; yields None if it is not installed and cannot be built."""
    program = find_program("versitygw", MODULE)
    if program is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="penstock-s3-"))
    try:
        port = free_port()
        buckets, metadata = folder / "buckets", folder / "metadata"
        buckets.mkdir()
        metadata.mkdir()
        command = [str(program), "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", "posix"]
        command += ["--sidecar", str(metadata), str(buckets)]
        with running_server(command, port, folder, ROOT_ACCESS_KEY=ACCESS_KEY, ROOT_SECRET_KEY=SECRET_KEY):
            yield S3Server(buckets, port)
    finally:
        shutil.rmtree(folder)
