"""The documentation site: every page is in its navigation, links work, and the REST reference is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import build_site
import pytest
from openapi_page import METHODS, render_openapi

from penstock.coordinator.api.app import create_app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT: dict[str, Any] = {
    "tags": [{"name": "jobs", "description": "Batches of images."}],
    "paths": {
        "/v1/jobs/{id}": {
            "get": {
                "tags": ["jobs"],
                "summary": "Get a job",
                "operationId": "getJob",
                "parameters": [{"name": "id", "in": "path", "schema": {"type": "string"}, "description": "a | b"}],
                "responses": {
                    "200": {
                        "description": "OK",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
                    }
                },
            }
        }
    },
    "components": {
        "schemas": {
            "Job": {
                "properties": {"labels": {"type": "array", "items": {"type": "string"}}, "state": {"enum": ["done"]}},
                "required": ["state"],
            }
        }
    },
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("")
    (tmp_path / "Makefile").write_text("")
    return tmp_path


def rewrite(repository: Path, text: str) -> str:
    page = repository / "docs" / "page.md"
    page.write_text(text)
    places = {page: Path("page.md"), repository / "README.md": Path("index.md")}
    return build_site.rewrite_links(page, places)


def test_a_link_to_a_page_that_has_another_name_on_the_site_is_rewritten(repository: Path) -> None:
    assert rewrite(repository, "[home](../README.md#use)") == "[home](index.md#use)"


def test_a_link_to_another_file_of_the_repository_leads_to_github(repository: Path) -> None:
    assert rewrite(repository, "[make](../Makefile)") == f"[make]({build_site.GITHUB}/blob/main/Makefile)"
    assert rewrite(repository, "[docs](../docs)") == f"[docs]({build_site.GITHUB}/tree/main/docs)"


@pytest.mark.parametrize("link", ["[a](https://example.org/x)", "[a](#anchor)"])
def test_addresses_and_anchors_stay_as_they_are(repository: Path, link: str) -> None:
    assert rewrite(repository, link) == link


def test_a_link_to_a_missing_file_fails(repository: Path) -> None:
    with pytest.raises(build_site.DeadLinkError, match=r"docs/page\.md links to gone\.md"):
        rewrite(repository, "[gone](gone.md)")


def test_the_navigation_has_every_page_except_single_decisions_and_examples() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = {str(place) for place in build_site.pages().values() if place.suffix == ".md"}
    listed = {line.rpartition(": ")[2] for line in navigation.splitlines() if line.endswith(".md")}
    assert listed == {page for page in pages if not page.startswith("decisions/2")}


def test_the_rest_reference_shows_operations_and_schemas() -> None:
    page = render_openapi(DOCUMENT)
    assert "## jobs\n\nBatches of images.\n" in page
    assert "### Get a job\n\n`GET /v1/jobs/{id}`\n" in page
    assert "| `id` | path | string | a \\| b |" in page
    assert "| `200` | OK | `application/json`: [Job](#job) |" in page
    assert "| `labels` | list of string |  |  |" in page
    assert "| `state` | `done` | yes |  |" in page


def test_the_rest_reference_has_every_operation_of_the_api() -> None:
    document = create_app(build_site.MagicMock()).openapi()
    page = render_openapi(document)
    called = [f"`{method.upper()} {path}`" for path, item in document["paths"].items() for method in item]
    assert {each.split()[0].strip("`").lower() for each in called} <= set(METHODS)
    assert [each for each in called if each not in page] == []


def test_every_file_that_the_architecture_page_names_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Where is")[2]
    named = re.findall(r"`((?:tests|\w+)/[\w/.]+)`", page)
    assert len(named) > 12
    places = (ROOT, ROOT / "services" / "penstock")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_map_of_the_tree_has_a_line_for_every_package() -> None:
    source = ROOT / "services" / "penstock"
    modules = [path for path in source.rglob("*.py") if path.name != "__init__.py"]
    packages = {path.parent.relative_to(source) for path in modules} - {Path()}
    listed = re.findall(r"^\| `([\w/]+)/`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {str(package) for package in packages if "migrations" not in package.parts} == set(listed)
