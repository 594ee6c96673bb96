"""Import path of base classes for step authors; the operations themselves are in `common.model.operations`."""

from penstock.common.model.parameters import AnyPixels as AnyPixels
from penstock.common.model.parameters import Parameters as Parameters
