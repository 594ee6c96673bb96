"""The job document that customers send, and the states that jobs and images go through."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class JobState(StrEnum):
    """`receiving` is before acceptance and never shown."""

    RECEIVING = "receiving"
    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImageState(StrEnum):
    """Terminal is terminal; only a retry makes a failed image pending again."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_JOB_STATES = (JobState.ACCEPTED, JobState.RUNNING)
TERMINAL_JOB_STATES = (JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED)
OPEN_IMAGE_STATES = (ImageState.PENDING, ImageState.QUEUED, ImageState.RUNNING)
TERMINAL_IMAGE_STATES = (ImageState.DONE, ImageState.FAILED, ImageState.CANCELLED)


class Prefix(BaseModel):
    """All images below a folder: of the configured root, or of a bucket."""

    model_config = ConfigDict(extra="forbid")
    prefix: Annotated[str, Field(min_length=1, max_length=4096, examples=["gs://maps/delft/"])]


class ManifestRef(BaseModel):
    """All images that a text file names, one a line: URLs, or paths below the configured root."""

    model_config = ConfigDict(extra="forbid")
    manifest: Annotated[str, Field(min_length=1, max_length=4096, examples=["s3://photos/list.txt"])]


class UploadRef(BaseModel):
    """All files of an upload that was sent file by file (`POST /v1/uploads`)."""

    model_config = ConfigDict(extra="forbid")
    upload: Annotated[str, Field(min_length=1, max_length=64, examples=["01m8tz6v3yk4q2w5n7p9r1s3t5"])]


class Webhook(BaseModel):
    """Where to tell that the job has ended, however it did: by a POST that is signed."""

    model_config = ConfigDict(extra="forbid")
    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            examples=["https://hooks.example.com/penstock"],
            description="`https` at a public address, unless the server's operator allows others",
        ),
    ]
    secret: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            max_length=256,
            description="Signs it, instead of the server's secret; never shown again",
        ),
    ] = None


class JobDocument(BaseModel):
    """What a customer asks for. Only `operations` and the pictures (`inputs`, or files beside it) are needed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "operations": [["resize", "512x512"], ["split", True], ["blur", "gaussian"]],
                    "output": "jpg",
                    "inputs": [
                        "s3://photos/a.jpg",
                        {"prefix": "gs://maps/delft/"},
                        {"manifest": "s3://photos/list.txt"},
                    ],
                    "results": "s3://photos/out/",
                    "name": "delft",
                    "labels": {"city": "delft"},
                }
            ]
        },
    )

    operations: Annotated[
        list[Any],
        Field(description='Operations in order, each `["name", value]` or `{"op": "name", …}`; see /v1/operations'),
    ]
    output: Annotated[Literal["jpg", "png"] | None, Field(description="Format of the results; jpg if not given")] = None
    quality: Annotated[int | None, Field(ge=1, le=100, description="JPEG quality; 95 if not given")] = None
    effort: Annotated[int | None, Field(ge=0, le=3, description="PNG effort, 0 fastest to 3 smallest")] = None
    inputs: Annotated[
        list[str | Prefix | ManifestRef | UploadRef],
        Field(
            max_length=10_000,
            description="Files, folders as `{prefix}`, and lists of files as `{manifest}`: URLs of buckets that the"
            " server may read, or paths below the configured root. Or `{upload}` alone: files sent one by one before",
        ),
    ] = []
    results: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=1024,
            description="Folder of a bucket, as a URL, to write results to, in a folder named by the job's id",
        ),
    ] = None
    name: Annotated[str, Field(max_length=200)] = ""
    labels: Annotated[
        dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=255)]], Field(max_length=32)
    ] = {}
    priority: Annotated[int, Field(ge=-100, le=100, description="Higher goes first")] = 0
    weight: Annotated[int, Field(ge=1, le=100, description="Share among jobs of one priority")] = 1
    on_failure: Annotated[
        Literal["continue", "cancel"], Field(description="cancel ends the job at its first failed image")
    ] = "continue"
    chunk_size: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=64)], Field(description="Images a message")
    ] = "auto"
    webhook: Annotated[Webhook | None, Field(description="Who is told when the job has ended")] = None
