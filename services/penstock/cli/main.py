"""Command line: the group of all commands, and the exit codes of errors.

Commands import what they need when they run, so that `--help` is fast.
"""

import os
import signal
import sys
from itertools import chain

import click

from penstock import __version__
from penstock.cli.benchmark import bench, plan
from penstock.cli.doctor import doctor
from penstock.cli.jobs import cancel, jobs, operations, results, retry, status, steps, submit
from penstock.cli.run import run
from penstock.cli.servers import coordinator, key, serve, stdio, worker
from penstock.common.model.errors import PenstockError, PlanError

EXIT_INTERRUPTED = 130


_GROUPS: dict[str, tuple[click.Command, ...]] = {
    "Process": (run, stdio),
    "Jobs": (submit, jobs, status, results, cancel, retry, steps, operations),
    "Server": (serve, coordinator, worker, key, doctor),
    "Measure": (plan, bench),
}

_EXAMPLES = """\
penstock run photos --op resize=inside:1024x768 --op blur=gaussian -o results
penstock serve --input-root photos
penstock submit photos --op resize=inside:1024x768 -o results
penstock status @last
"""


EXIT_CODES = {
    0: "all done",
    1: "some images failed; the results of the others are there",
    2: "wrong usage: an option, an operation, an image or a path is invalid, on this host or for the server",
    3: "nothing wrong with the request: no server, a refusal for now, a folder in use, a full disk; run again later",
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
    cli.add_command(command)


def main() -> None:
    """Run the command line. Errors become one line on stderr and an exit code."""
    _handle_sigterm_as_first_process()
    try:
        sys.exit(cli(prog_name="penstock", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):  # click turns one into the other
        sys.exit(EXIT_INTERRUPTED)
    except PenstockError as error:
        pointer = f"{error.pointer}: " if isinstance(error, PlanError) else ""
        click.echo(f"penstock: {pointer}{error.message}", err=True)
        sys.exit(error.exit_code)


def _handle_sigterm_as_first_process() -> None:
    """Let a container be stopped while it starts: process 1 receives no signal that it has no handler for."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
