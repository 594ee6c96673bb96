"""Render the chart into k8s/rendered/, for use without Helm.

Secrets are left out; users create them with their own passwords (k8s/rendered/README.md). With --check nothing is
written, and the exit status is 1 if a file is out of date.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RENDERED = ROOT / "k8s" / "rendered"
VARIANTS = ("per-step", "fused", "keda")
PLACEHOLDER = "PASSWORD"  # for RabbitMQ's password in the definitions
HEADER = """\
# Made by scripts/render_manifests.py from charts/penstock with values/{variant}.yaml.
# README.md beside it tells which Secrets to make first.
"""


def main(arguments: list[str]) -> int:
    if shutil.which("helm") is None:
        print("render_manifests: skipped, because helm is not installed", file=sys.stderr)
        return int(os.environ.get("CI") == "true")
    stale = [path for path, text in render_all() if not write(path, text, only_check="--check" in arguments)]
    if stale:
        print("render_manifests: k8s/rendered is out of date; run scripts/render_manifests.py", file=sys.stderr)
    return int(bool(stale))


def render_all() -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of each file."""
    secrets: list[dict[str, Any]] = []
    for variant in VARIANTS:
        documents = render(variant)
        secrets = [each for each in map(yaml.safe_load, documents) if each["kind"] == "Secret"]
        kept = [text for text in documents if yaml.safe_load(text)["kind"] != "Secret"]
        yield RENDERED / f"{variant}.yaml", HEADER.format(variant=variant) + "".join(f"---\n{text}\n" for text in kept)
    yield RENDERED / "rabbitmq-definitions.json", read_definitions(secrets)


def render(variant: str) -> list[str]:
    """Return the YAML documents that the chart renders with a variant's values."""
    command = ["helm", "template", "penstock", "charts/penstock", "--namespace", "penstock", "--skip-tests"]
    command += ["--values", str(RENDERED / "values" / f"{variant}.yaml")]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    text = text.replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
    documents = [document.strip() for document in f"\n{text}".split("\n---\n")]
    return [document for document in documents if yaml.safe_load(document) is not None]


def read_definitions(secrets: list[dict[str, Any]]) -> str:
    """Return the definitions that RabbitMQ loads at its start, with a placeholder for the password."""
    secret = next(each for each in secrets if each["metadata"]["name"] == "penstock-rabbitmq")["stringData"]
    definitions = json.loads(secret["definitions.json"].replace(secret["password"], PLACEHOLDER))
    return json.dumps(definitions, indent=2) + "\n"


def write(path: Path, text: str, *, only_check: bool) -> bool:
    """Write a file, or with `only_check` compare it; return whether it is up to date."""
    if not only_check:
        path.write_text(text)
        return True
    existing = path.read_text() if path.exists() else ""
    name = str(path.relative_to(ROOT))
    sys.stderr.writelines(
        difflib.unified_diff(existing.splitlines(True), text.splitlines(True), name, f"{name}, rendered")
    )
    return existing == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
