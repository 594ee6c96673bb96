"""Demo (`make run`): starts a server, runs a small job, shows where the results are, and serves until Ctrl-C."""

import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click

from penstock.client import Client, Job
from penstock.common.model.errors import PenstockError
from penstock.common.settings import ServeSettings, load
from penstock.local.sample_images import write_images
from penstock.local.server_process import is_port_free, serve

IMAGES = 12
WIDTH, HEIGHT = 1024, 768
BAR_CELLS = 30
UNAVAILABLE = 3
DOCUMENT: dict[str, Any] = {
    "name": "demo",
    "operations": [["resize", "inside:512x512"], ["split", True], ["blur", "gaussian"]],
    "output": "jpg",
}


@click.command()
@click.option("--port", type=int, help="Port to listen on; default: PENSTOCK_PORT, or 8080.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder for the state; default: PENSTOCK_DATA, or penstock-data."
)
def main(port: int | None, data: Path | None) -> None:
    """Start Penstock, process a batch of sample images, and keep serving."""
    sys.exit(run_demo(port, data))


def run_demo(port: int | None = None, data: Path | None = None) -> int:
    """Run the demo until Ctrl-C; return the exit code: 0 after Ctrl-C, 3 if the server cannot start."""
    try:
        settings = load(ServeSettings, port=port, data=data)
        _run(settings)
    except KeyboardInterrupt:
        click.echo("\nStopped.")
        return 0
    except PenstockError as error:
        click.echo(f"demo: {error.message}", err=True)
        return UNAVAILABLE


def _run(settings: ServeSettings) -> NoReturn:
    if not is_port_free(settings.host, settings.port):
        message = f"port {settings.port} of {settings.host} is in use; choose another: make run PORT=8081"
        raise PenstockError("port_in_use", message)
    click.echo(f"Starting Penstock on http://{settings.host}:{settings.port}")
    with serve(["--data", str(settings.data)], host=settings.host, port=settings.port) as (url, process):
        job = _process_batch(url)
        _show_results(url, settings.data, job)
        raise PenstockError("server_ended", f"penstock serve ended with {process.wait()}")


def _process_batch(url: str) -> Job:
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder, Client(url) as client:
        click.echo(f"Drawing {IMAGES} images of {WIDTH}×{HEIGHT}")
        job = client.submit(DOCUMENT, write_images(Path(folder), IMAGES, WIDTH, HEIGHT))
        click.echo(f"Job {job.id}: resize to fit in 512×512, split into quadrants, blur, write as JPEG")
        return client.wait(job.id, on_progress=_ProgressLines())


class _ProgressLines:
    """Prints a line per change; the server's log lines would break a bar that is redrawn in place."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, job: Job) -> None:
        done, total = job.images.done, job.images.total
        filled = BAR_CELLS * done // max(1, total)
        line = f"[{'#' * filled}{'.' * (BAR_CELLS - filled)}] {done} of {total} images, {job.state}"
        if line != self._shown:
            click.echo(line)
        self._shown = line


def _show_results(url: str, data: Path, job: Job) -> None:
    click.echo(f"""
Results    {(data / "store" / "results" / job.id).resolve()}
           {url}{job.links["static"]}processed/
The job    {url}/#/jobs/{job.id}
The API    {url}/docs

Penstock keeps serving; Ctrl-C stops it.""")


if __name__ == "__main__":
    main()
