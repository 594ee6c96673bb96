"""Outcomes of images: the error of a failed one as it is stored and shown, and under which code it is counted."""

from typing import Any

from penstock.common.model.errors import ImageCode
from penstock.common.model.messages import Failure, Outcome

_UNEXPLAINED = Failure(code=ImageCode.INTERNAL, message="failed without a reason", step="", retry=True)
_CODES = frozenset(ImageCode)


def failure_of(outcome: Outcome) -> Failure:
    """Return why an image failed."""
    return outcome.error or _UNEXPLAINED


def error_of(failure: Failure) -> dict[str, Any]:
    """Return a failed image's `{code, message, step, retry}`."""
    return failure.model_dump(include={"code", "message", "step", "retry"})


def code_of(error: dict[str, Any] | None) -> str:
    """Return the code under which a failure is counted: one of ours, so that their number stays bounded.

    A user's own step may send any code, even `done`.
    """
    code = str((error or {}).get("code", ""))
    return code if code in _CODES else ImageCode.INTERNAL.value
