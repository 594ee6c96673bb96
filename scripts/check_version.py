"""Check that package, changelog and chart have the same version."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from penstock import __version__

ROOT = Path(__file__).resolve().parents[1]
RELEASE = re.compile(r"^## \[(?P<version>[0-9]+\.[0-9]+\.[0-9]+)\]", re.MULTILINE)


def find_newest(changelog: str) -> str | None:
    """Return the version of a changelog's newest release, if there is one."""
    found = RELEASE.search(changelog)
    return found["version"] if found else None


def main() -> int:
    newest = find_newest((ROOT / "CHANGELOG.md").read_text())
    if newest != __version__:
        print(f"the package is {__version__}, but the newest release in CHANGELOG.md is {newest}", file=sys.stderr)
        return 1
    chart = yaml.safe_load((ROOT / "charts" / "penstock" / "Chart.yaml").read_text())
    for key in ("version", "appVersion"):
        if chart[key] != __version__:
            print(f"the package is {__version__}, but {key} in Chart.yaml is {chart[key]}", file=sys.stderr)
            return 1
    print(f"version {__version__} in package, changelog and chart")
    return 0


if __name__ == "__main__":
    sys.exit(main())
