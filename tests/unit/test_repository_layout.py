"""Repository layout: make targets, lock file, version, generated pages, and sizes of modules and folders."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from scripts_loader import load_script

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {
    "setup",
    "run",
    "test",
    "test-bare",
    "check",
    "devconsole",
    "bench",
    "ledger",
    "e2e",
    "docs",
    "docs-serve",
    "screenshots",
    "lock",
    "images",
    "cluster-up",
    "clean",
    "help",
}
MAX_MODULE_LINES = 600
MAX_MODULES = 15
UNCOUNTED = ("__init__.py", "__main__.py", "conftest.py")


def read_project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """The entry of each locked package, by name."""
    entries = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text())
    return {canonicalize_name(entry.split("==")[0]): entry for entry in entries if "==" in entry}


def test_make_help_lists_every_target_with_a_description() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = dict(re.findall(r"^  make ([a-z0-9-]+) +(\S.*)$", listed, re.MULTILINE))
    assert set(lines) == TARGETS
    assert all(len(text) > 10 for text in lines.values())


def test_continuous_integration_runs_the_same_make_targets() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    verbs = re.findall(r"(?:^|(?:&&|\|\|) )make ([a-z0-9-]+)", script, re.MULTILINE)
    assert verbs == ["check", "test-bare", "test", "e2e"]
    assert "set -euo pipefail" in script


def test_the_lock_file_contains_all_dependencies(locked: dict[str, str]) -> None:
    project = read_project()
    extras = project["project"]["optional-dependencies"].values()
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    requirements = [Requirement(text) for text in [*named, *(text for extra in extras for text in extra)]]
    wanted = {canonicalize_name(each.name) for each in requirements} - {"penstock"}
    assert wanted <= set(locked)


def test_the_build_requirements_are_locked(locked: dict[str, str]) -> None:
    built_with = {canonicalize_name(Requirement(text).name) for text in read_project()["build-system"]["requires"]}
    assert built_with <= set(locked)


def test_every_locked_package_has_hashes_and_no_url(locked: dict[str, str]) -> None:
    assert len(locked) > 20
    assert [name for name, entry in locked.items() if "--hash=sha256:" not in entry] == []
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_changelog_chart_and_package_have_the_same_version() -> None:
    assert load_script("check_version").main() == 0


@pytest.mark.parametrize(
    ("changelog", "newest"),
    [
        ("## [Unreleased]\n\n## [1.2.0] - 2026-01-01\n\n## [1.1.0]\n", "1.2.0"),
        ("## [Unreleased]\n", None),
        ("text that names [1.0.0]\n", None),
    ],
)
def test_the_newest_release_is_the_topmost_heading_with_a_version(changelog: str, newest: str | None) -> None:
    assert load_script("check_version").find_newest(changelog) == newest


def test_generated_pages_are_up_to_date() -> None:
    # Not in this process, in which other tests may have added steps.
    command = [sys.executable, ROOT / "scripts" / "make_docs.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("field", "description"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "a whole number, 1 to 9"),
        ({"type": "integer", "minimum": 1}, "a whole number, 1 or more"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number, more than 0"),
        ({"type": "string", "enum": ["jpg", "png"]}, "`jpg`, `png`"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "a path"),
        ({"type": "boolean"}, "`true`, `false`"),
    ],
)
def test_a_fields_schema_is_described_in_words(field: dict[str, Any], description: str) -> None:
    assert load_script("make_docs").describe_type(field) == description


def test_links_between_pages_lead_to_existing_files() -> None:
    for page in ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]:
        links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", (ROOT / page).read_text())
        missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
        assert missing == [], f"broken links in {page}"


@pytest.fixture(scope="module")
def modules() -> list[Path]:
    """All modules of the project, relative to the root."""
    paths = [path for folder in ("services", "tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    return [path.relative_to(ROOT) for path in paths]


def test_no_module_is_longer_than_600_lines(modules: list[Path]) -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


def test_no_folder_has_more_than_15_modules(modules: list[Path]) -> None:
    named = [path for path in modules if path.name not in UNCOUNTED and path.parts[0] != "scripts"]
    counts = Counter(str(path.parent) for path in named)
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def make_python(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def run_setup(folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh") or "/bin/sh"
    return subprocess.run(
        [shell, str(ROOT / "scripts" / "setup.sh"), str(folder / "venv")],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_setup_refuses_an_old_python_in_one_line(tmp_path: Path) -> None:
    make_python(tmp_path / "bin", "python3", "exit 1")
    done = run_setup(tmp_path, tmp_path / "bin")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Penstock needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_setup_uses_a_newer_python_if_python3_is_too_old(tmp_path: Path) -> None:
    make_python(tmp_path / "bin", "python3", "exit 1")
    make_python(tmp_path / "bin", "python3.12", f'case "$1" in -m) exit 9;; *) exec {sys.executable} "$@";; esac')
    done = run_setup(tmp_path, tmp_path / "bin")
    assert "Making" in done.stdout
    assert done.returncode == 9, "the newer one has made the environment"
