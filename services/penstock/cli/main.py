"""Command line: the group of all commands, and the exit codes of errors.

Commands import what they need when they run, so that `--help` is fast.
"""

import errno
import os
import signal
import sys
from itertools import chain
from textwrap import indent
from typing import Any, TextIO, cast

import click

from penstock import __version__
from penstock.cli.benchmark import bench, plan
from penstock.cli.doctor import doctor
from penstock.cli.jobs import cancel, jobs, operations, results, retry, status, steps, submit, usage
from penstock.cli.run import run
from penstock.cli.servers import coordinator, key, serve, stdio, worker
from penstock.common.model.errors import PenstockError

EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141
EXIT_LATER = 3


_GROUPS: dict[str, tuple[click.Command, ...]] = {
    "Process": (run, stdio),
    "Jobs": (submit, jobs, status, results, cancel, retry, steps, operations, usage),
    "Server": (serve, coordinator, worker, key, doctor),
    "Measure": (plan, bench),
}

_EXAMPLES = """\
penstock run photos --op resize=inside:1024x768 --op blur=gaussian -o results
penstock serve --input-root photos
penstock submit photos --op resize=inside:1024x768 -o results
penstock status @last
"""
_EXAMPLES_OF: dict[click.Command, str] = {
    run: """\
penstock run photos -o results --op resize=inside:1024x768 --op blur=gaussian
penstock run 'photos/**/*.jpg' -o small --op resize=50% --output webp --quality 70
penstock run photos -o results --job job.json --runner docker""",
    submit: """\
penstock submit photos --op resize=inside:1024x768 --label city=delft -o results
penstock submit s3://photos/delft/ --job job.json --priority 5
penstock submit photos --output png --name 'as png' --wait""",
    jobs: "penstock jobs --state running --label city=delft",
    status: "penstock status @last --watch",
    results: "penstock results @last -o results",
    cancel: "penstock cancel @last",
    retry: """\
penstock retry @last
penstock retry @last --code step_timeout
penstock retry @last --image 3 --image 7""",
    serve: "penstock serve --input-root photos --port 8080",
    coordinator: "penstock coordinator --broker amqp://rabbitmq.example --store file:///srv/penstock/store",
    worker: "penstock worker --steps resize,split --broker amqp://rabbitmq.example --store file:///srv/penstock/store",
    key: "penstock key alice",
    plan: "penstock plan --op resize=inside:1024x768 --op blur=bilateral --images 100000",
    bench: "penstock bench --photos photos",
}


EXIT_CODES = {
    0: "all done",
    1: "some images failed; the results of the others are there",
    2: "wrong usage: an option, an operation, an image, a path, an id or a key is invalid, here or for the server",
    3: "nothing wrong with the request: no server, a refusal for now, a folder in use, a full disk; run again later",
    141: "nobody reads the rest of what the command writes, such as `head`",
    130: "interrupted; finished results stay, and the same command continues with what is missing",
}


class _GroupedCommands(click.Group):
    """A group whose help lists its commands by what they are for."""

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for title, commands in _GROUPS.items():
            with formatter.section(title):
                room = formatter.width - formatter.current_indent - width - 2
                formatter.write_dl([(each.name or "", each.get_short_help_str(room)) for each in commands], width)
        with formatter.section("Examples"):
            for line in _EXAMPLES.splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


@click.group(cls=_GroupedCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Run ordered image operations over batches of images."""


for command in chain.from_iterable(_GROUPS.values()):
    if command in _EXAMPLES_OF:
        command.epilog = "\b\nExamples:\n" + indent(_EXAMPLES_OF[command], "  ")
    cli.add_command(command)


def main() -> None:
    """Run the command line. Errors become one line on stderr and an exit code."""
    _handle_sigterm_as_first_process()
    if "_PENSTOCK_COMPLETE" in os.environ:
        from penstock.cli.completion import register

        register()
    sys.stdout = cast(TextIO, _Output(sys.stdout))
    try:
        sys.exit(cli(prog_name="penstock", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):  # click turns one into the other
        sys.exit(EXIT_INTERRUPTED)
    except PenstockError as error:
        click.echo(f"penstock: {error.message}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        click.echo(f"penstock: {_describe_missing(error)}", err=True)
        sys.exit(PenstockError.exit_code)
    except _OutputError as error:
        # Whatever is still in the buffer goes nowhere, or Python would report it once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.number == errno.EPIPE:
            sys.exit(EXIT_NOBODY_READS)
        click.echo(f"penstock: cannot write to stdout: {os.strerror(error.number)}", err=True)
        sys.exit(EXIT_LATER)


_EXTRAS = {
    "run": "steps",
    "stdio": "steps",
    "worker": "steps",
    "plan": "steps",
    "bench": "all",
    "serve": "coordinator,steps",
    "coordinator": "coordinator",
    "key": "coordinator",
}
"""The extras that commands need; all others need the client."""


def _describe_missing(error: ModuleNotFoundError) -> str:
    """Return which extra has a package that is not installed; raise the error again if it is one of Penstock's own."""
    package = (error.name or "penstock").partition(".")[0]
    if package == "penstock":
        raise error
    command = next((word for word in sys.argv[1:] if word in cli.commands), "")
    extra = _EXTRAS.get(command, "client")
    return f"{package} is not installed; install it with pip install 'penstock[{extra}]'"


class _OutputError(Exception):
    """Stdout cannot be written to; `number` is the system's number of the reason."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Output:
    """Stdout, with errors of its own that cannot be taken for those of other files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise _OutputError(error.errno or errno.EIO) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise _OutputError(error.errno or errno.EIO) from error


def _handle_sigterm_as_first_process() -> None:
    """Let a container be stopped while it starts: process 1 receives no signal that it has no handler for."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
