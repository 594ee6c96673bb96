"""Device: what the filters of this process compute on."""

from typing import Literal

from penstock.common.settings import SettingsError
from penstock.steps.filters import base as filters


def use_device(device: Literal["cpu", "cuda"]) -> None:
    """Let `blur` use a GPU if `device` is `cuda`.

    Raises:
        SettingsError: there is no GPU, or no package for it.
    """
    if device == "cpu":
        return
    try:
        from penstock.steps.filters.cuda import CudaFilters, NoDeviceError
    except ImportError as error:
        message = f"PENSTOCK_DEVICE=cuda needs pip install 'penstock[gpu]': {error}"
        raise SettingsError("invalid_settings", message) from error
    try:
        filters.chosen = CudaFilters()
    except NoDeviceError as error:
        raise SettingsError("invalid_settings", f"PENSTOCK_DEVICE=cuda: {error}") from error
