"""Job document as customers send it, and the states of jobs and images."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from penstock.common.model.operations import Color, OutputFormat
from penstock.common.model.result_names import MAX_TEMPLATE, PARTS, SINGLE, check_template


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

    A line may also be a JSON object with it and the image's regions: `{"uri": …, "regions": [{"box": [x, y, w, h]}]}`.
    """

    manifest: str = Field(min_length=1, max_length=4096, examples=["s3://photos/list.txt"])


class UploadRef(BaseModel, extra="forbid"):
    """All files of an upload (`POST /v1/uploads`)."""

    upload: str = Field(min_length=1, max_length=64, examples=["01m8tz6v3yk4q2w5n7p9r1s3t5"])


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
        description='Operations in order, each `["name", value]` or `{"op": "name", …}`; see /v1/operations'
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
    inputs: list[str | Prefix | ManifestRef | UploadRef] = Field(
        default=[],
        max_length=10_000,
        description="Files, folders as `{prefix}`, and input lists as `{manifest}`: URLs in buckets that the"
        " server may read, or paths below its input root. Or `{upload}` alone, for files uploaded before",
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
    labels: dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=255)]] = Field(
        default={}, max_length=32
    )
    priority: int = Field(default=0, ge=-100, le=MAX_PRIORITY, description="Jobs of higher priority go first")
    weight: int = Field(default=1, ge=1, le=100, description="Share among jobs of the same priority")
    on_failure: Literal["continue", "cancel"] = Field(
        default="continue", description="`cancel` cancels the job at its first failed image"
    )
    chunk_size: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        default="auto", description="Images per message"
    )
    webhook: Webhook | None = Field(default=None, description="URL to call when the job ends")
