"""InProcessExecutor: runs steps as functions of this process, on arrays."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from penstock.common.model.errors import ImageCode, ImageError
from penstock.common.model.operations import Encode
from penstock.common.model.plan import Planned
from penstock.common.model.stdio_protocol import DECODE
from penstock.common.settings import Limits
from penstock.steps.decode import decode
from penstock.steps.encode import encode
from penstock.steps.table import step_functions
from penstock.worker.executors.base import File, Part, check_parts
from penstock.worker.executors.safetensors import Pixels


class InProcessExecutor:
    """A `StepExecutor`; the parts of an image are arrays."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def perform(self, operation: Planned, parts: list[Part]) -> list[Part]:
        made: list[Part] = []
        if operation.step == DECODE:
            made.extend(map(partial(decode, limits=self._limits), parts))
        elif isinstance(operation.params, Encode):
            for part in parts:
                data = encode(part, operation.params)
                made.append(File(data, part.shape[1], part.shape[0]))
        else:
            function = step_functions()[operation.step]
            try:
                for part in parts:
                    result = function(_read_only(part), operation.params)
                    made.extend(result if isinstance(result, (list, tuple)) else [result])
            except (ImageError, MemoryError):
                raise
            except Exception as error:
                text = " ".join(str(error).split())[:200]
                message = f"{operation.step} raised {type(error).__name__}: {text}"
                raise ImageError(ImageCode.INTERNAL, message) from error
            _check_arrays(operation.step, made, self._limits)
        return made

    def time_limit_secs(self, step: str) -> float | None:  # noqa: ARG002 (native code cannot be interrupted)
        return None

    def arrays(self, parts: Sequence[Part]) -> list[Pixels]:
        return list(parts)

    def reset(self) -> None:
        """Nothing is kept of an image."""

    def close(self) -> None:
        """Nothing was started."""


def _read_only(part: Pixels) -> Pixels:
    """Return a view that a step cannot write to: its input may be needed again, in every placement."""
    view = part.view()
    view.flags.writeable = False
    return view


def _check_arrays(step: str, parts: list[Part], limits: Limits) -> None:
    for part in parts:
        if not (isinstance(part, np.ndarray) and part.dtype == np.uint8 and part.ndim == 3 and part.shape[2] == 3):
            shown = f"{part.dtype} {part.shape}" if isinstance(part, np.ndarray) else type(part).__name__
            raise ImageError(ImageCode.INTERNAL, f"{step} returned {shown}; accepted is H×W×3 uint8")
    check_parts(step, [part.shape for part in parts], limits)
