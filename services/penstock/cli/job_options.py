"""Job options: `--op`, `--job`, `--output` and others that set fields of a job, read in one place for all commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from penstock.common.model.plan import Plan
    from penstock.common.settings import Limits

R = TypeVar("R")


class _FormatChoice(click.Choice[str]):
    """A choice of formats, of which one has two names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert("jpg" if value == "jpeg" else value, param, ctx)


_OPTIONS = (
    click.option("--op", "ops", multiple=True, metavar="NAME[=VALUE]", help="An operation; repeat for more, in order."),
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

    def document(self) -> dict[str, Any]:
        """Return the job document: that of `--job`, with what the other options add to it and replace in it.

        Raises:
            UsageError: `--job` is not a JSON object, or `--op` and `--job` both name operations.
        """
        from penstock.common.model.jobs import parse_op

        document = {} if self.job_file is None else _read_document(self.job_file)
        if self.ops and "operations" in document:
            raise click.UsageError("--op and --job both name operations; give one of them")
        if self.ops:
            document["operations"] = [parse_op(op) for op in self.ops]
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _READ_APART}
        return document | {name: value for name, value in given.items() if value is not None}

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

        from penstock.common.model.jobs import JobDocument
        from penstock.common.model.plan import make_job_plan

        document = self.document()
        if self.job_file is None:
            document.setdefault("operations", [])
        try:
            job = JobDocument.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            field = "/".join(map(str, first["loc"]))
            source = "--" if getattr(self, field, None) is not None else f"--job {self.job_file}: "
            given = json.dumps(first["input"], default=str)[:60]
            message = first["msg"].removeprefix("Value error, ")
            raise click.UsageError(f"{source}{field}: {message}, but {given} was given") from error
        return make_job_plan(job, limits), job.names


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
