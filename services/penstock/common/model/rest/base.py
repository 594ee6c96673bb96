"""Base: what all models of responses share."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def one_of(values: Iterable[str]) -> Any:
    """Return the field of a text that has one of these values today."""
    return Field(json_schema_extra={"enum": [str(value) for value in values]})


def with_members(**schemas: Any) -> Any:
    """Return the field of an object that always has these members."""
    return Field(json_schema_extra={"properties": schemas, "required": list(schemas)})


class RestModel(BaseModel):
    """Base of all responses."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_serialization_defaults_required=True)


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    code: str = Field(description="Stable, for programs", examples=["unknown_operation"])
    detail: str = Field(
        description="What was wrong, with which value, and what is accepted",
        examples=[
            "no operation 'sharpen'; accepted are decode, resize, crop, rotate, tile, split, adjust, blur, encode"
        ],
    )
    pointer: str | None = Field(
        default=None, description="Where in the request's document (RFC 6901)", examples=["/operations/0"]
    )
