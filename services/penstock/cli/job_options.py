"""Job options: `--op`, `--job`, `--output` and others that set fields of a job, read in one place for all commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from penstock.common.model.parameters import Parameters
    from penstock.common.model.plan import Plan
    from penstock.common.settings import Limits

R = TypeVar("R")


class _FormatChoice(click.Choice[str]):
    """A choice of formats, of which one has two names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert("jpg" if value == "jpeg" else value, param, ctx)


def _complete_op(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return operations with a value of each method, fit or flip, or with an example."""
    from penstock.common.registry import all_operations

    found = [f"{name}{value}" for name, model in all_operations().items() for value in _values(model)]
    return [each for each in found if each.startswith(incomplete)]


def _values(model: type[Parameters]) -> list[str]:
    """Return what may follow an operation's name: every value of its first parameter, or an example."""
    parameters = model.model_json_schema().get("properties", {})
    first: dict[str, Any] = next(iter(parameters.values()), {})
    if choices := first.get("enum", []):
        return [f"={choice}" for choice in choices]
    return [""] if model.example is True else [f"={model.example}"]


_OPTIONS = (
    click.option(
        "--op",
        "ops",
        multiple=True,
        metavar="NAME[=VALUE]",
        shell_complete=_complete_op,
        help="An operation; repeat for more, in order.",
    ),
    click.option(
        "--job",
        "job_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A job document as JSON; options take precedence over it.",
    ),
    click.option(
        "--output",
        type=_FormatChoice(["jpg", "png", "webp", "avif", "tiff", "keep"]),
        help="Format of the results (jpeg is jpg); keep: the format of each image's file.  [default: jpg]",
    ),
    click.option(
        "--quality",
        type=click.IntRange(1, 100),
        help="Quality.  [default: 95 for jpg, 80 for webp, 50 for avif]",
    ),
    click.option(
        "--effort",
        type=click.IntRange(0, 3),
        help="Effort of png, webp and avif, from 0 (fastest) to 3 (smallest).",
    ),
    click.option("--progressive", is_flag=True, default=None, help="Write JPEG files in several scans."),
    click.option(
        "--subsampling",
        type=click.Choice(["420", "444"]),
        help="Colour of JPEG files at half the resolution or in full.  [default: 420]",
    ),
    click.option(
        "--metadata",
        type=click.Choice(["all", "geo", "none"]),
        help="What results keep of EXIF, XMP and IPTC; geo: place, time and heading.  [default: all]",
    ),
    click.option(
        "--profile",
        type=click.Choice(["keep", "srgb", "drop"]),
        help="Colour profile: keep it, convert to sRGB, or drop it.  [default: keep]",
    ),
    click.option(
        "--alpha",
        type=click.Choice(["flatten", "keep", "drop"]),
        help="Transparency: flatten onto --background, keep or drop it.  [default: flatten]",
    ),
    click.option("--background", metavar="#RRGGBB", help="Colour below transparent pixels.  [default: #ffffff]"),
    click.option(
        "--damaged",
        type=click.Choice(["fail", "keep"]),
        help="Damaged JPEG files: fail, or keep what can be decoded, with a warning.  [default: fail]",
    ),
    click.option(
        "--decode",
        type=click.Choice(["exact", "scaled"]),
        help="How JPEG files are read; scaled: faster where a resize follows.  [default: exact]",
    ),
    click.option(
        "--names",
        metavar="TEMPLATE",
        help="Names of the results, of {folder}, {stem}, {part}, {width}, {height} and {ext}."
        "  [default: {folder}/{stem}.{ext}; of several results per image, {folder}/{stem}-{part}.{ext}]",
    ),
)


_READ_APART = ("ops", "job_file")


@dataclass(frozen=True)
class JobOptions:
    """What the options say about a job's operations, output and results' names."""

    ops: tuple[str, ...] = ()
    job_file: Path | None = None
    output: str | None = None
    quality: int | None = None
    effort: int | None = None
    progressive: bool | None = None
    subsampling: str | None = None
    metadata: str | None = None
    profile: str | None = None
    alpha: str | None = None
    background: str | None = None
    damaged: str | None = None
    decode: str | None = None
    names: str | None = None

    @cached_property
    def _given(self) -> dict[str, Any]:
        """The document of `--job`, which may be a pipe: it is read once. Empty without; raises UsageError."""
        return {} if self.job_file is None else _read_document(self.job_file)

    def document(self) -> dict[str, Any]:
        """Return the job document: that of `--job`, with what the other options add to it and replace in it.

        Raises:
            UsageError: `--job` is not a JSON object, `--op` and `--job` both name operations, or nothing is asked for.
        """
        from penstock.common.model.jobs import DECODE_OPTIONS, ENCODE_OPTIONS, parse_op

        document = dict(self._given)
        if self.ops and "operations" in document:
            raise click.UsageError("--op and --job both name operations; give one of them")
        if self.ops:
            document["operations"] = [parse_op(op) for op in self.ops]
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _READ_APART}
        document |= {name: value for name, value in given.items() if value is not None}
        if "operations" not in document and not document.get("outputs"):
            if not document.keys() & {*ENCODE_OPTIONS, *DECODE_OPTIONS}:
                raise click.UsageError("no operations given; use --op, such as --op resize=1024x768, or --output png")
            document["operations"] = []
        return document

    def plan(self, limits: Limits) -> Plan:
        """Return the plan of the job document; see `read`."""
        return self.read(limits)[0]

    def read(self, limits: Limits) -> tuple[Plan, str | None]:
        """Return the plan of the job document, and the template of its results' names; without operations it encodes.

        Raises:
            UsageError: as `document`, or the document of `--job` is invalid.
            PlanError: an operation is invalid.
        """
        from pydantic import ValidationError

        from penstock.common.model.errors import PlanError
        from penstock.common.model.jobs import JobDocument
        from penstock.common.model.plan import make_job_plan
        from penstock.common.wording.faults import first_fault
        from penstock.common.wording.suggestions import accepted_names

        document = self.document()
        try:
            job = JobDocument.model_validate(document)
        except ValidationError as error:
            fault = first_fault(error, document)
            field = "/".join(fault.path)
            source = "--" if getattr(self, field, None) is not None else f"--job {self.job_file}: "
            unknown = fault.type == "extra_forbidden" and len(fault.path) == 1
            accepted = f"; {accepted_names(field, [*JobDocument.model_fields])}" if unknown else ""
            raise click.UsageError(f"{source}{field}: {fault.text}{accepted}") from error
        try:
            return make_job_plan(job, limits), job.names
        except PlanError as error:
            raise PlanError(error.code, f"{self.locate(error.pointer)}{error.message}") from error

    def check_fields(self, unused: Iterable[str], reason: str) -> None:
        """Raise UsageError if `--job` has one of the fields that a command does not use, rather than ignore it."""
        for name in unused:
            if name in self._given:
                raise click.UsageError(f"--job {self.job_file}: {name}: {reason}")

    def locate(self, pointer: str | None) -> str:
        """Return where an error is, for its message: a JSON pointer if the user wrote a document, otherwise nothing."""
        if self.job_file is None or (self.ops and pointer is not None and pointer.startswith("/operations")):
            return ""
        return f"--job {self.job_file}: " + (f"{pointer}: " if pointer else "")


def job_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options to a command, which receives them as `job`."""

    @wraps(command)
    def run(**given: Any) -> R:
        job = JobOptions(**{field.name: given.pop(field.name) for field in fields(JobOptions)})
        return command(job=job, **given)

    decorated: Callable[..., R] = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--job {path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"--job {path}: not a job document, which is a JSON object")
    return document
