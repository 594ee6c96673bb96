"""The house around the code: verbs, lock, version, generated pages, and what they promise each other."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
VERBS = {
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


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """Each locked package's entry, by name."""
    entries = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text())
    return {canonicalize_name(entry.split("==")[0]): entry for entry in entries if "==" in entry}


def test_help_lists_every_verb_with_a_line_about_it() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = dict(re.findall(r"^  make ([a-z0-9-]+) +(\S.*)$", listed, re.MULTILINE))
    assert set(lines) == VERBS
    assert all(len(text) > 10 for text in lines.values())


def test_continuous_integration_runs_what_runs_at_home() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    verbs = re.findall(r"(?:^|(?:&&|\|\|) )make ([a-z0-9-]+)", script, re.MULTILINE)
    assert verbs == ["check", "test-bare", "test", "e2e"]
    assert "set -euo pipefail" in script


def test_the_lock_holds_whatever_the_project_depends_on(locked: dict[str, str]) -> None:
    project = read_project()
    extras = project["project"]["optional-dependencies"].values()
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    requirements = [Requirement(text) for text in [*named, *(text for extra in extras for text in extra)]]
    wanted = {canonicalize_name(each.name) for each in requirements} - {"penstock"}
    assert wanted <= set(locked)


def test_what_builds_the_package_is_locked_as_well(locked: dict[str, str]) -> None:
    built_with = {canonicalize_name(Requirement(text).name) for text in read_project()["build-system"]["requires"]}
    assert built_with <= set(locked)


def test_every_locked_package_has_hashes_and_no_address(locked: dict[str, str]) -> None:
    assert len(locked) > 20
    assert [name for name, entry in locked.items() if "--hash=sha256:" not in entry] == []
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_the_version_in_the_changelog_is_the_packages() -> None:
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
    outdated = [path.name for path, text in load_script("make_docs").make_pages() if path.read_text() != text]
    assert outdated == [], "make docs writes them anew"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "a whole number, 1 to 9"),
        ({"type": "integer", "minimum": 1}, "a whole number, 1 or more"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number, more than 0"),
        ({"type": "string", "enum": ["jpg", "png"]}, "`jpg`, `png`"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "a path"),
        ({"type": "boolean"}, "`true`, `false`"),
    ],
)
def test_a_fields_schema_is_told_in_words(field: dict[str, Any], said: str) -> None:
    assert load_script("make_docs").describe_type(field) == said


def test_every_page_that_the_readme_leads_to_is_there() -> None:
    for page in ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]:
        links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", (ROOT / page).read_text())
        missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
        assert missing == [], f"{page} leads nowhere"


def test_no_module_is_longer_than_anyone_reads_in_one_go() -> None:
    sources = [*ROOT.glob("services/penstock/**/*.py"), *ROOT.glob("scripts/*")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources if path.is_file()}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


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


def test_setup_with_too_old_a_python_says_so_in_one_line_and_makes_nothing(tmp_path: Path) -> None:
    make_python(tmp_path / "bin", "python3", "exit 1")
    done = run_setup(tmp_path, tmp_path / "bin")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Penstock needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_setup_takes_a_newer_python_where_python3_is_too_old(tmp_path: Path) -> None:
    make_python(tmp_path / "bin", "python3", "exit 1")
    make_python(tmp_path / "bin", "python3.12", f'case "$1" in -m) exit 9;; *) exec {sys.executable} "$@";; esac')
    done = run_setup(tmp_path, tmp_path / "bin")
    assert "Making" in done.stdout
    assert done.returncode == 9, "the newer one was asked to make the environment"
