"""What `make devconsole` finds at hand; `python -i` goes on from here."""

# ruff: noqa: F401 - everything imported here is for the person at the console

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
photo = draw_image(0, 1024, 768)

print(f"""Penstock {__version__}
  photo                     a drawn picture, 768×1024×3 uint8, BGR; draw_image(seed, width, height) draws others
  make_plan([["resize", "512x512"], ["split", True]], None, limits)
  resize, split, blur, encode                     the steps' modules
  jobs, messages, operations, plan, registry, settings   what every service shares
  Limits, ServeSettings, WorkerSettings, load     settings objects, and how they are read
  cv2, np, Path""")
