from __future__ import annotations

import numpy as np

from penstock.common.model.operations import BUILT_IN, Resize
from penstock.steps.allocator import keep_freed_memory
from penstock.steps.table import step_functions


def test_every_operation_except_encode_has_a_function() -> None:
    assert {name for name in BUILT_IN if name != "encode"} <= set(step_functions())
    assert "encode" not in step_functions()


def test_a_function_of_the_table_runs_its_step(drawing: np.ndarray) -> None:
    assert step_functions()["resize"](drawing, Resize(width=10, height=20)).pixels.shape == (20, 10, 3)


def test_keep_freed_memory_can_be_called_twice() -> None:
    assert keep_freed_memory() == keep_freed_memory()
