"""Import path of `Parameters` for step authors; the operations themselves are in `common.model.operations`."""

from penstock.common.model.operations import Parameters as Parameters
