"""Call paths stay as short as docs/architecture.md says."""

from __future__ import annotations

from pathlib import Path

import print_call_paths

MAX_FRAMES = {
    "request → row of the job": 5,
    "request → row of an image": 5,
    "dispatcher → broker": 3,
    "delivery → step": 4,
    "step → broker": 2,
    "confirm → acknowledgement": 2,
}


def test_call_paths_have_no_more_frames_than_documented(tmp_path: Path) -> None:
    stacks = print_call_paths.run_job(None, tmp_path).stacks
    assert {path: len(stack) for path, stack in stacks.items()} == MAX_FRAMES


def test_the_architecture_page_has_the_same_counts() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text()
    assert all(f"| {path} | {frames} |" in page for path, frames in MAX_FRAMES.items())
