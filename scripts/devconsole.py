"""Names for the console of `make devconsole`."""

# ruff: noqa: F401 (imported for use in the console)

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from penstock import __version__
from penstock.common import registry, settings
from penstock.common.model import jobs, messages, operations, plan
from penstock.common.model.plan import make_plan, plan_of, read_operation
from penstock.common.settings import Limits, ServeSettings, WorkerSettings, load
from penstock.local.sample_images import draw_image, write_images
from penstock.steps import blur, encode, resize, split

limits = load(Limits)
image = draw_image(0, 1024, 768)

print(f"""Penstock {__version__}
  image                     a sample image, 768×1024×3 uint8, BGR; draw_image(seed, width, height) draws others
  make_plan([["resize", "inside:512x512"], ["split", True]], None, limits)
  resize, split, blur, encode                     modules of the steps
  jobs, messages, operations, plan, registry, settings   modules that all services share
  Limits, ServeSettings, WorkerSettings, load     settings classes, and the function that reads them
  cv2, np, Path""")
