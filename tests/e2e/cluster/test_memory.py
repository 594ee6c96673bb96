"""A step with too little memory: one image is too large for it, and fails alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from batches import Inputs, Ledger
from installation import Installation
from measures import Report
from workload import Expected, JobSpec

from penstock.local.sample_images import write_images

LIMIT = "300Mi"
LARGE = (8_000, 6_250)
"""50 million pixels: 150 MB, of which blur needs several times as much."""
PLAN = [["blur", "bilateral"], ["resize", "100x100"]]
UNAWARE = {"PENSTOCK_MEMORY_LIMIT_BYTES": "8000000000"}
"""Makes the step start images for which it has no memory, as if they needed more than it can know."""


@pytest.fixture
def small_blur(main: Installation, request: pytest.FixtureRequest) -> Iterator[str]:
    """Limits the memory of blur; returns the code with which the large image fails."""
    env: Mapping[str, str] = request.param
    limited = {"requests": {"memory": LIMIT}, "limits": {"memory": LIMIT}}
    main.release.upgrade({"steps": {"blur": {"resources": limited, "env": env}}})
    yield "step_crashed" if env else "too_many_pixels"
    main.release.upgrade({"steps": {"blur": {"resources": {"requests": {"memory": "64Mi"}, "limits": {}}, "env": {}}}})


@pytest.mark.parametrize("small_blur", [{}, UNAWARE], ids=["refused", "killed"], indirect=True)
def test_an_image_that_is_too_large_for_a_steps_memory_fails_alone(
    small_blur: str, main: Installation, ledger: Ledger, inputs: Inputs, report: Report
) -> None:
    small = inputs.copies("small", 9)
    (large,) = write_images(inputs.folder / f"large-{small_blur}", 1, *LARGE)
    expected = inputs.expect(JobSpec("small", PLAN, small, output="png"))
    spec = JobSpec("memory", PLAN, [*small[:4], large, *small[4:]], output="png", chunk_size=8)
    ledger.send(spec, Expected(expected.results, {large.name: small_blur}))
    final = ledger.finish()
    report.survive(f"an image too large for blur's memory ({small_blur})", final)
    main.release.wait_until_ready()
