"""Import path of `ImageError` and `ImageCode` for step authors; the other errors are in `common.model.errors`."""

from penstock.common.model.errors import ImageCode as ImageCode
from penstock.common.model.errors import ImageError as ImageError
