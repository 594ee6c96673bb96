"""`penstock bench` and `penstock plan`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.job_options import JobOptions, job_options

if TYPE_CHECKING:
    from penstock.benchmark.plan.estimate import Goal
    from penstock.benchmark.plan.prediction import Placement
    from penstock.common.settings import Limits

MAX_IMAGES = 1_000_000_000
MAX_REPLICAS = 10_000


@click.command()
@click.option("--images", type=click.IntRange(min=1), help="Images per workload.  [default: the workload's own number]")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Rounds for each contestant.")
@click.option("--photos", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder of photographs.")
@click.option("--workload", "workloads", multiple=True, metavar="NAME", help="Only this workload; repeat for more.")
@click.option("--contestant", "contestants", multiple=True, metavar="NAME", help="Only this one; repeat for more.")
@click.option("--latency/--no-latency", default=True, show_default=True, help="Also time single images.")
@click.option("--broker", metavar="URL", help="Also measure over this RabbitMQ, which nothing else may use.")
@click.option("--server", metavar="URL", help="Measure this running installation instead, through its REST API.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of tables.")
def bench(server: str | None, **options: Any) -> None:
    """Measure Penstock against a plain OpenCV pool on the same cores, or measure a running installation."""
    if server is None:
        from penstock.benchmark.bench.runner import run_bench

        run_bench(**options)
        return
    from penstock.benchmark.bench.remote import read_server, run_server_bench

    if any([options.pop("broker"), options.pop("contestants")]):
        raise click.UsageError(
            "--server measures an installation; --broker and --contestant cannot be combined with it"
        )
    run_server_bench(read_server(server), **options)


class _FiniteRange(click.FloatRange):
    """A range of numbers without `nan` and `inf`, which click would accept."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


@click.command()
@click.option("--images", type=click.IntRange(1, MAX_IMAGES), help="Number of images in the job.")
@job_options
@click.option("--deadline", metavar="TIME", help="Time that the job may take, such as 2h, 90m or 1h30m.")
@click.option("--replicas", type=click.IntRange(1, MAX_REPLICAS), help="Calculate the time with this many replicas.")
@click.option(
    "--cores", type=click.IntRange(1, MAX_REPLICAS), help="Calculate the time on one host.  [default: this host]"
)
@click.option("--placement", type=click.Choice(["fused", "per_step"]), help="[default: per_step; with --cores fused]")
@click.option("--photos", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Images to measure.")
@click.option(
    "--size", metavar="WxH", default="1024x768", show_default=True, help="Size of the images without --photos."
)
@click.option("--secs", type=_FiniteRange(0.1, 600), default=3.0, show_default=True, help="Seconds to measure.")
@click.option("--server", metavar="URL", help="Use the times per image of this running system instead.")
@click.option("--cpu-price", type=_FiniteRange(min=0), help="Price of a core for an hour.")
@click.option("--gpu-price", type=_FiniteRange(min=0), help="Price of a GPU for an hour.")
@click.option("--gpu", "gpu_steps", multiple=True, metavar="STEP", help="A step whose replicas have a GPU each.")
@click.option("--currency", default="", help="Currency of the prices.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of tables.")
def plan(job: JobOptions, as_json: bool, **given: Any) -> None:
    """Predict what a job takes: replicas for a deadline or time for replicas, CPU hours, and the cost."""
    if given["images"] is None:
        raise click.UsageError("--images N is required: the number of images")
    click.echo(_predict(job, as_json=as_json, **given))


def _predict(job: JobOptions, *, as_json: bool, server: str | None, photos: Path | None, **given: Any) -> str:
    from penstock.benchmark.plan.estimate import Prices, answer, ask_server, measure_here
    from penstock.benchmark.plan.report import describe_source, show, show_json
    from penstock.common.registry import declare_steps
    from penstock.common.settings import Limits, WorkerSettings, load

    if server is not None and photos is not None:
        raise click.UsageError("--server and --photos both give times per image; use one of them")
    goal = _read_goal(given["deadline"], given["replicas"], given["cores"])
    placement: Placement = given["placement"] or ("fused" if goal.kind == "cores" else "per_step")
    declare_steps(load(WorkerSettings).declared_steps)
    limits = load(Limits)
    size = _read_size(given["size"], limits)
    job.check_fields(("outputs",), "penstock plan calculates one output; plan each on its own")
    planned = job.plan(limits)
    if planned.by:
        click.echo("calculated without the step of groups, whose time depends on how many images they have", err=True)
        planned = planned.without_groups
    _check_gpus(given["gpu_steps"], planned.steps, server)
    _check_prices(given["cpu_price"], given["gpu_price"], given["gpu_steps"], given["currency"])
    measured = None if server else measure_here(planned, photos, size, given["secs"], limits)
    visits, source = (
        (measured.visits, describe_source(measured)) if measured else ask_server(server or "", planned, size)
    )
    rows = answer(visits, given["images"], goal, placement)
    prices = Prices(given["cpu_price"], given["gpu_price"] or 0.0, given["gpu_steps"], given["currency"])
    return show_json(visits, measured, rows, prices) if as_json else show(visits, source, rows, prices)


def _read_goal(deadline: str | None, replicas: int | None, cores: int | None) -> Goal:
    from penstock.benchmark.plan.estimate import Goal
    from penstock.common.wording.durations import read_secs
    from penstock.local.run import default_workers

    if sum(given is not None for given in (deadline, replicas, cores)) > 1:
        raise click.UsageError("--deadline, --replicas and --cores exclude each other; use one of them")
    if deadline is not None:
        try:
            return Goal("deadline", read_secs(deadline))
        except ValueError as error:
            raise click.UsageError(f"--deadline: {error}") from error
    return Goal("replicas", replicas) if replicas else Goal("cores", cores or default_workers())


def _read_size(text: str, limits: Limits) -> tuple[int, int]:
    from penstock.common.model.parameters import MAX_SIDE

    match = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise click.UsageError(f"--size {text}: not a size; accepted is WIDTHxHEIGHT, such as 1024x768")
    if width * height > limits.max_pixels:
        raise click.UsageError(f"--size {text}: {width * height} pixels; {limits.accepted('max_pixels')}")
    return width, height


def _check_prices(cpu: float | None, gpu: float | None, gpu_steps: tuple[str, ...], currency: str) -> None:
    if cpu is None and (gpu is not None or currency):
        raise click.UsageError(
            "a cost needs --cpu-price, the price of a core for an hour; 0 if it is included in the GPU's"
        )
    if (gpu is None) != (not gpu_steps):
        raise click.UsageError(
            "--gpu STEP and --gpu-price need each other: the step with a GPU, and its price for an hour"
        )


def _check_gpus(gpu_steps: tuple[str, ...], steps: tuple[str, ...], server: str | None) -> None:
    for step in gpu_steps:
        if step not in steps:
            raise click.UsageError(
                f"--gpu {step}: not a step of this plan; accepted are {', '.join(dict.fromkeys(steps))}"
            )
    if gpu_steps and server is None:
        raise click.UsageError(
            f"--gpu {gpu_steps[0]}: this host measures it without a GPU; use --server URL of a system that has one"
        )
