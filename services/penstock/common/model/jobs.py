"""Job document as customers send it, and the states of jobs and images."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from penstock.common.model.operations import Color, OutputFormat
from penstock.common.model.result_names import MAX_TEMPLATE, PARTS, SINGLE, check_template
from penstock.common.wording.durations import read_deadline, read_secs


def _check_duration(text: str) -> str:
    read_secs(text)
    return text


_DURATION = r"^([0-9]+(\.[0-9]+)?[smhd]?)+$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"

Labels = Annotated[
    dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=255)]], Field(max_length=32)
]
"""Labels of a job or an image, by their names."""

Duration = Annotated[
    str,
    AfterValidator(_check_duration),
    Field(max_length=32, examples=["7d"], json_schema_extra={"pattern": _DURATION}),
]
"""A span of time such as `90s`, `2h` or `1d12h`."""


class JobState(StrEnum):
    """State of a job. `receiving` is before acceptance and never shown."""

    RECEIVING = "receiving"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImageState(StrEnum):
    """State of an image. Only a retry makes a failed image pending again; other terminal states are final."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


MAX_PRIORITY = 100
OPEN_JOB_STATES = (JobState.ACCEPTED, JobState.RUNNING)
TERMINAL_JOB_STATES = (JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED)
OPEN_IMAGE_STATES = (ImageState.PENDING, ImageState.QUEUED, ImageState.RUNNING)
TERMINAL_IMAGE_STATES = (ImageState.DONE, ImageState.FAILED, ImageState.CANCELLED)


class Prefix(BaseModel, extra="forbid"):
    """All images below a folder of the input root or of a bucket."""

    prefix: str = Field(min_length=1, max_length=4096, examples=["gs://maps/delft/"])


class ManifestRef(BaseModel, extra="forbid"):
    """All images in an input list: a text file with a URL, or a path below the input root, in each line.

    A line may also be a JSON object with it and the image's regions and labels:
    `{"uri": …, "regions": [{"box": [x, y, w, h]}], "labels": {"region": "north"}}`.
    """

    manifest: str = Field(min_length=1, max_length=4096, examples=["s3://photos/list.txt"])


class UploadRef(BaseModel, extra="forbid"):
    """All files of an upload (`POST /v1/uploads`)."""

    upload: str = Field(min_length=1, max_length=64, examples=["01m8tz6v3yk4q2w5n7p9r1s3t5"])


class JobRef(BaseModel, extra="forbid"):
    """All images of an earlier job, whatever became of them."""

    job: str = Field(min_length=1, max_length=64, examples=["01m8tz6v3yk4q2w5n7p9r1s3t5"])


class Webhook(BaseModel, extra="forbid"):
    """A URL that is called with a signed POST when the job ends."""

    url: str = Field(
        min_length=1,
        max_length=2048,
        examples=["https://hooks.example.com/penstock"],
        description="`https` at a public address, unless the server's operator allows others",
    )
    secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        max_length=256,
        description="Signs the request instead of the server's secret: `whsec_` and base64, or any text."
        " Never shown again",
    )


class CostBound(BaseModel, extra="forbid"):
    """The most that a job may cost, by the server's prices of workers."""

    max_price: float = Field(gt=0, allow_inf_nan=False, examples=[2.5])


def _check_deadline(text: str) -> str:
    read_deadline(text, 0.0)
    return text


MAX_OUTPUTS = 16
OutputName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", examples=["thumb"])]
"""The name of an output, and of the folder with its results."""


class Output(BaseModel, extra="forbid"):
    """One of several outputs of each image. What it does not say about its format is as in the job."""

    name: OutputName = Field(description="Its results are in a folder of this name")
    operations: list[Any] = Field(default=[], description="Operations after the shared ones")
    output: OutputFormat | None = None
    quality: int | None = Field(default=None, ge=1, le=100)
    effort: int | None = Field(default=None, ge=0, le=3)
    progressive: bool | None = None
    subsampling: Literal["420", "444"] | None = None


ENCODE_OPTIONS = {
    "output": "format",
    "quality": "quality",
    "effort": "effort",
    "progressive": "progressive",
    "subsampling": "subsampling",
}
"""Fields of a job document that set fields of its plan's `encode`."""
DECODE_OPTIONS = {
    "decode": "mode",
    "metadata": "metadata",
    "profile": "profile",
    "alpha": "alpha",
    "background": "background",
    "damaged": "damaged",
}
"""Fields of a job document that set fields of its plan's `decode`."""


def parse_op(text: str) -> list[Any]:
    """Read `resize=512x512`, `split`, or `brighten={"amount": 3}` into a job document's short form of an operation.

    This is how the command line's `--op` and the query of `/v1/process` write operations.
    """
    name, equals, value = text.partition("=")
    if not equals:
        return [name]
    try:
        return [name, json.loads(value)]
    except (ValueError, RecursionError):
        return [name, value]


_EXAMPLE = {
    "operations": [["resize", "inside:512x512"], ["split", True], ["blur", "gaussian"]],
    "output": "jpg",
    "inputs": ["s3://photos/a.jpg", {"prefix": "gs://maps/delft/"}, {"manifest": "s3://photos/list.txt"}],
    "results": "s3://photos/out/",
    "name": "delft",
    "labels": {"city": "delft"},
}


class JobDocument(BaseModel, extra="forbid", json_schema_extra={"examples": [_EXAMPLE]}):
    """A job. Only `operations` and images are required: `inputs`, or files in the same request."""

    operations: list[Any] = Field(
        description='Operations in order, each `["name", value]` or `{"op": "name", …}`; see /v1/operations.'
        " May be left out with `outputs`"
    )
    output: OutputFormat | None = Field(default=None, description="Format of the results; default jpg")
    quality: int | None = Field(
        default=None, ge=1, le=100, description="Quality; default 95 for jpg, 80 for webp, 50 for avif"
    )
    effort: int | None = Field(
        default=None, ge=0, le=3, description="Effort of png, webp and avif, from 0 (fastest) to 3 (smallest)"
    )
    progressive: bool | None = Field(default=None, description="Write a jpg in several scans; default false")
    subsampling: Literal["420", "444"] | None = Field(
        default=None, description="Colour of a jpg at half the resolution (420, default), or in full (444)"
    )
    decode: Literal["exact", "scaled"] | None = Field(
        default=None, description="How JPEG files are read: exact (default), or scaled, faster where a resize follows"
    )
    metadata: Literal["all", "geo", "none"] | None = Field(
        default=None, description="What results keep of EXIF, XMP and IPTC: all (default), or place, time and heading"
    )
    profile: Literal["keep", "srgb", "drop"] | None = Field(
        default=None, description="Colour profile: keep it (default), or convert to srgb"
    )
    alpha: Literal["flatten", "keep", "drop"] | None = Field(
        default=None, description="Transparency: flatten onto background (default), or keep it"
    )
    background: Color | None = Field(default=None, description="Colour below transparent pixels; default white")
    damaged: Literal["fail", "keep"] | None = Field(
        default=None, description="A damaged JPEG: it fails (default), or what can be decoded is kept, with a warning"
    )
    outputs: list[Output] = Field(
        default=[],
        max_length=MAX_OUTPUTS,
        description="Several outputs of each image, which is read once and passes `operations` once. Each counts as an"
        " image, is named with its folder, such as `thumb/x.jpg`, and may fail and be retried on its own",
        examples=[[{"name": "thumb", "operations": [["resize", "320x"]], "output": "webp"}, {"name": "whole"}]],
    )
    inputs: list[str | Prefix | ManifestRef | UploadRef | JobRef] = Field(
        default=[],
        max_length=10_000,
        description="Files, folders as `{prefix}`, and input lists as `{manifest}`: URLs in buckets that the server"
        " may read, or paths below its input root."
        " Or alone: `{upload}`, for files uploaded before; `{job}`, for the images of an earlier job",
    )
    results: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="URL of a bucket's folder to write results to, in a subfolder named by the job's id",
    )
    names: Annotated[str, AfterValidator(check_template)] | None = Field(
        default=None,
        max_length=MAX_TEMPLATE,
        examples=["{folder}/{stem}-{width}.{ext}"],
        description="Template of the results' names, of {folder}, {stem}, {part}, {width}, {height} and {ext}; default"
        f" {SINGLE}, with several results per image {PARTS}",
    )
    name: str = Field(default="", max_length=200)
    labels: Labels = {}
    priority: int = Field(default=0, ge=-100, le=MAX_PRIORITY, description="Jobs of higher priority go first")
    weight: int = Field(default=1, ge=1, le=100, description="Share among jobs of the same priority")
    deadline: Annotated[str, AfterValidator(_check_deadline)] | None = Field(
        default=None,
        max_length=40,
        examples=["2h", "2026-12-01T18:00:00Z"],
        description="When the job should have ended: a time (RFC 3339), or a duration from its acceptance on",
        json_schema_extra={"pattern": f"{_DURATION}|{_TIME}"},
    )
    deadline_strict: bool = Field(default=False, description="Refuse the job if its deadline cannot be met")
    cost: CostBound | None = Field(default=None, description="The most that the job may cost")
    on_failure: Literal["continue", "cancel"] = Field(
        default="continue", description="`cancel` cancels the job at its first failed image"
    )
    chunk_size: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto", description="Images per message"
    )
    expire_after: Duration | None = Field(
        default=None,
        description="How long the job is kept after its end, such as 12h or 7d: then it is deleted with its uploaded"
        " files and results. The server and the API key may have shorter limits. Default: their limits, or for ever",
    )
    webhook: Webhook | None = Field(default=None, description="URL to call when the job ends")

    @model_validator(mode="before")
    @classmethod
    def _share_no_operations(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("outputs") and "operations" not in fields:
            return {**fields, "operations": []}
        return fields
