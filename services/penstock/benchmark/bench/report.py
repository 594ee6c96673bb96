"""Report of the benchmark: figures as Markdown tables or JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median
from typing import Any

from penstock import __version__
from penstock.benchmark.bench.workloads import Workload

PERCENTILES = (50, 90, 99)


@dataclass
class Figures:
    """Seconds of each round of one workload, by contestant; `baseline` is the contestant to compare with."""

    workload: Workload
    images: int
    baseline: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, contestant: str) -> float:
        """Return the images per second of the median round."""
        return self.images / median(self.seconds[contestant])

    def ratio(self, contestant: str) -> float:
        """Return the speed relative to the baseline, by the median rounds."""
        return median(self.seconds[self.baseline]) / median(self.seconds[contestant])


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that at least `percent` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def percentiles_ms(latencies: Sequence[float]) -> dict[str, float]:
    """Return `p50_ms`, `p90_ms` and `p99_ms` of seconds; empty if there are none."""
    return {f"p{percent}_ms": round(percentile(latencies, percent) * 1e3, 2) for percent in PERCENTILES if latencies}


def show_percentiles(latencies: Sequence[float]) -> str:
    """Return the percentiles of seconds as text."""
    return ", ".join(f"p{percent} {percentile(latencies, percent) * 1e3:.1f} ms" for percent in PERCENTILES)


def show_tables(
    figures: Sequence[Figures], latencies: Sequence[float], hops: Mapping[str, float], calls: Sequence[float] = ()
) -> str:
    """Return the figures as tables and text.

    `latencies` are seconds of single images by a job each, `calls` by one request each; `hops` are CPU seconds per hop
    and image by chunk size.
    """
    environment = ", ".join(f"{name} {value}" for name, value in _environment().items())
    lines = [environment, ""]
    if figures:
        names = list(dict.fromkeys(name for each in figures for name in each.seconds))
        lines += align([["workload", "images", *names], *(_row(each, names) for each in figures)])
        lines += [
            "",
            f"Images per second, start to end; in brackets relative to the {figures[0].baseline}; medians.",
        ]
    if latencies:
        lines += ["", f"One image on an idle server, request to results: {show_percentiles(latencies)}."]
    if calls:
        lines += ["", f"The same by one request (/v1/process): {show_percentiles(calls)}."]
    if hops:
        shown = ", ".join(f"{secs * 1e3:.3f} ms at chunk {size}" for size, secs in hops.items())
        lines += ["", f"CPU of all Penstock processes per image and hop between two steps over the broker: {shown}."]
    return "\n".join(lines)


def show_json(
    figures: Sequence[Figures], latencies: Sequence[float], hops: Mapping[str, float], calls: Sequence[float] = ()
) -> str:
    """Return all figures as one JSON object."""
    document = {
        "environment": _environment(),
        "workloads": [_document(each) for each in figures],
        "latency": percentiles_ms(latencies),
        "call_latency": percentiles_ms(calls),
        "hop_cpu_ms": {size: round(secs * 1e3, 4) for size, secs in hops.items()},
    }
    return json.dumps(document, indent=2)


def _row(figures: Figures, names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        if name not in figures.seconds:
            cells.append("–")
            continue
        ratio = "" if name == figures.baseline else f" ({figures.ratio(name):.2f}×)"
        cells.append(f"{figures.rate(name):.1f}{ratio}")
    return [figures.workload.title, str(figures.images), *cells]


def align(rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _document(figures: Figures) -> dict[str, Any]:
    return {
        "name": figures.workload.name,
        "title": figures.workload.title,
        "images": figures.images,
        "contestants": {
            name: {
                "seconds": [round(value, 4) for value in seconds],
                "images_per_second": round(figures.rate(name), 2),
                "ratio": round(figures.ratio(name), 3),
            }
            for name, seconds in figures.seconds.items()
        },
    }


def _environment() -> dict[str, Any]:
    return {
        "Penstock": __version__,
        "Python": platform.python_version(),
        "OpenCV": version("opencv-python-headless"),
        "cores": os.cpu_count(),
    }
