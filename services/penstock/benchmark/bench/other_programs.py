"""Other programs as contestants of the benchmark, where they are installed: sharp and vipsthumbnail.

They only take part in workloads that are one resize. Both reduce a JPEG while they decode it, so that their results
are compared with the pool's by size alone.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from penstock.benchmark.bench.workloads import JPEG_QUALITY, Workload

_SHARP = """
const [module, folder, out, width, height, quality] = process.argv.slice(1);
const sharp = require(module);
const { readdirSync } = require("fs");
const { join, parse } = require("path");
sharp.concurrency(1);
sharp.cache(false);
const names = readdirSync(folder);
const work = async () => {
  for (let name; (name = names.pop()) !== undefined; ) {
    await sharp(join(folder, name))
      .resize(+width, +height, { fit: "fill" })
      .jpeg({ quality: +quality })
      .toFile(join(out, parse(name).name + ".jpg"));
  }
};
Promise.all(require("os").cpus().map(work)).catch((error) => { console.error(error.message); process.exit(1); });
"""


@cache
def find_sharp() -> str | None:
    """Return the folder of the npm package `sharp`, of this folder or installed globally; None if there is none."""
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    for scope in ([], ["--global"]):
        listed = subprocess.run(["npm", "root", *scope], capture_output=True, text=True, check=False)  # noqa: S603, S607
        folder = Path(listed.stdout.strip()) / "sharp"
        if listed.returncode == 0 and folder.is_dir():
            return str(folder)
    return None


def other_programs() -> list[str]:
    """Return the names of the programs that are installed."""
    found = {"sharp": find_sharp(), "vips": shutil.which("vipsthumbnail")}
    return [name for name, where in found.items() if where]


def can_run(workload: Workload) -> bool:
    """Whether these programs can do what a workload asks for."""
    return _size(workload) is not None and workload.output == "jpg"


def sharp_command(workload: Workload, inputs: Path, out: Path) -> Sequence[str]:
    """Return the command that resizes a folder with sharp, one image per core at a time."""
    width, height = _size(workload) or ("", "")
    return ["node", "-e", _SHARP, "--", find_sharp() or "", str(inputs), str(out), width, height, str(JPEG_QUALITY)]


def vips_command(workload: Workload, inputs: Path, out: Path) -> Sequence[str]:
    """Return the command that resizes a folder with one vipsthumbnail per core."""
    width, height = _size(workload) or ("", "")
    target = f"{out}/%s.jpg[Q={JPEG_QUALITY}]"
    files = f"find {inputs} -name '*.jpg' -print0"
    each = (
        f"VIPS_CONCURRENCY=1 xargs -0 -n 25 -P {os.cpu_count()} vipsthumbnail --size '{width}x{height}!' -o '{target}'"
    )
    return ["sh", "-c", f"{files} | {each}"]


def _size(workload: Workload) -> tuple[str, str] | None:
    """Return width and height of a workload that is one resize."""
    if len(workload.operations) != 1 or workload.operations[0][0] != "resize":
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", workload.operations[0][1])
    return (found[1], found[2]) if found else None
