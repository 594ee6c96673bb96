"""Build the documentation site into build/site: the pages of docs/, the README and others, and two references.

`build_site.py` builds, and fails on a dead link; `build_site.py --serve` serves it and builds again after a change.
Pages are copied to build/site-source first, because a site cannot link to files outside its folder: links to other
files of the repository become links to GitHub. The REST reference is made from the OpenAPI document.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

from openapi_page import render_openapi

from penstock.coordinator.api.app import create_app

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "build" / "site-source"
GITHUB = "https://github.com/penstock/penstock"
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "k8s/README.md": "kubernetes-requirements.md",
    "k8s/rendered/README.md": "kubernetes-without-helm.md",
    "charts/penstock/README.md": "chart.md",
}
"""Pages outside docs/, and their names on the site."""
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")
COLOURS = re.compile("\x1b\\[[0-9;]*m")
POLL_SECS = 1.0
ZENSICAL = [str(Path(sys.executable).with_name("zensical"))]


class DeadLinkError(Exception):
    """A page links to a file that is not in the repository."""


def main(arguments: list[str]) -> int:
    """Build or serve the site; returns the exit status."""
    try:
        copy_pages()
    except DeadLinkError as error:
        print(f"build_site: {error}", file=sys.stderr)
        return 1
    if "--serve" in arguments:
        return serve()
    command = [*ZENSICAL, "build", "--strict", "--clean"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)  # noqa: S603 (the installed one)
    if built.returncode:
        print(COLOURS.sub("", built.stdout), file=sys.stderr)
    return built.returncode


def serve() -> int:
    """Serve the site until Ctrl-C, copying pages again whenever one has changed."""
    with subprocess.Popen([*ZENSICAL, "serve"], cwd=ROOT) as server:  # noqa: S603 (the installed one)
        seen = newest_change()
        try:
            while server.poll() is None:
                time.sleep(POLL_SECS)
                if (changed := newest_change()) > seen:
                    seen = changed
                    copy_pages()
        except KeyboardInterrupt:
            server.wait()
        except DeadLinkError as error:
            server.terminate()
            print(f"build_site: {error}", file=sys.stderr)
    return server.returncode


def newest_change() -> float:
    """Return when a page last changed, in seconds since the epoch."""
    return max(path.stat().st_mtime for path in pages())


def pages() -> dict[Path, Path]:
    """Return every file that goes to the site with its place there, relative to the site's root."""
    found = {path: path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*") if path.is_file()}
    return {**found, **{ROOT / old: Path(new) for old, new in MOVED.items()}}


def copy_pages() -> None:
    """Bring build/site-source up to date; files that have not changed are left alone.

    Raises:
        DeadLinkError: a page links to a file that is not there.
    """
    places = pages()
    document = create_app(MagicMock()).openapi()  # only the routes count: no request is served
    wanted = {
        **{place: read_page(path, places) for path, place in places.items()},
        Path("reference/openapi.json"): json.dumps(document, indent=2).encode(),
        Path("reference/rest.md"): render_openapi(document).encode(),
    }
    for path in [each for each in SOURCE.rglob("*") if each.is_file() and each.relative_to(SOURCE) not in wanted]:
        path.unlink()
    for place, content in wanted.items():
        target = SOURCE / place
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def read_page(path: Path, places: dict[Path, Path]) -> bytes:
    """Return a file's content as it goes to the site."""
    return rewrite_links(path, places).encode() if path.suffix == ".md" else path.read_bytes()


def rewrite_links(page: Path, places: dict[Path, Path]) -> str:
    """Return a page's text with links that work on the site."""

    def rewrite(match: re.Match[str]) -> str:
        target = (page.parent / match[2]).resolve()
        if target in places:
            return match[1] + os.path.relpath(places[target], places[page].parent)
        if not target.exists():
            raise DeadLinkError(f"{page.relative_to(ROOT)} links to {match[2]}, which does not exist")
        kind = "tree" if target.is_dir() else "blob"
        return f"{match[1]}{GITHUB}/{kind}/main/{target.relative_to(ROOT)}"

    return LINK.sub(rewrite, page.read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
