"""The models of the REST API, which the server answers with, by the names they have in this library."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from penstock.common.model.rest import (
    Advice,
    Counts,
    Delivery,
    Image,
    ImageError,
    Job,
    Notice,
    Operation,
    Replicas,
    Result,
    Retried,
    Step,
    StepProgress,
    System,
    Timing,
    Upload,
    UploadedFile,
)
from penstock.common.model.rest import WebhookSummary as Webhook

__all__ = [
    "Advice",
    "Counts",
    "Delivery",
    "Event",
    "Image",
    "ImageError",
    "Job",
    "Notice",
    "Operation",
    "Replicas",
    "Result",
    "Retried",
    "Step",
    "StepProgress",
    "System",
    "Timing",
    "Upload",
    "UploadedFile",
    "Webhook",
]


class Event(BaseModel):
    """One event of a job: `progress`, `image-failed` or `end`, and its data."""

    model_config = ConfigDict(frozen=True)

    kind: str
    id: str | None = None
    data: dict[str, Any] = {}
