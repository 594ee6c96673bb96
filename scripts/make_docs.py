"""Generate the parts of `docs/` about operations, settings, commands and messages from the code.

`make_docs.py` writes them. `make_docs.py --check` writes nothing, and exits with 1 if a page is out of date.
In a page, everything between `<!-- made by make docs: NAME -->` and `<!-- end -->` is generated.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from penstock.cli.main import cli
from penstock.common.model import messages, operations
from penstock.common.model import stdio_protocol as lines
from penstock.common.registry import all_operations
from penstock.common.settings import (
    BrokerSettings,
    ClientSettings,
    ContainerSettings,
    CoordinatorSettings,
    KubernetesSettings,
    Limits,
    LogSettings,
    ServeSettings,
    StoreSettings,
    TracingSettings,
    WebhookSettings,
    WorkerSettings,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"(<!-- made by make docs: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HELP_WIDTH = 100
KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "`true`, `false`",
    "string": "text",
    "array": "a JSON list",
    "object": "a JSON object",
}
SETTINGS: dict[str, type[BaseSettings]] = {
    "Limits": Limits,
    "Store": StoreSettings,
    "Broker": BrokerSettings,
    "Coordinator": CoordinatorSettings,
    "Webhooks": WebhookSettings,
    "Serve": ServeSettings,
    "Workers": WorkerSettings,
    "Containers": ContainerSettings,
    "Kubernetes": KubernetesSettings,
    "Client": ClientSettings,
    "Logs": LogSettings,
    "Traces": TracingSettings,
}


def main(arguments: list[str]) -> int:
    """Write all pages, or list those that are out of date."""
    outdated = [path for path, text in make_pages() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in outdated:
            print(f"{path.relative_to(DOCS.parent)} is out of date; run make docs", file=sys.stderr)
        return 1 if outdated else 0
    for path, text in make_pages():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    print(f"{len(outdated)} pages written" if outdated else "all pages are up to date")
    return 0


def make_pages() -> Iterator[tuple[Path, str]]:
    """Yield every generated page with its text."""
    yield DOCS / "messages" / "chunk.schema.json", show_schema(messages.Chunk)
    yield DOCS / "messages" / "event.schema.json", show_schema(messages.Event)
    yield DOCS / "messages" / "request.schema.json", show_schema(lines.Request)
    yield DOCS / "messages" / "answer.schema.json", show_schema(lines.Response)
    yield DOCS / "messages" / "description.schema.json", show_schema(lines.Description)
    for name in ("operations.md", "settings.md", "cli.md", "decisions/README.md"):
        page = DOCS / name
        yield page, BLOCK.sub(lambda match: match[1] + MAKERS[match[2]]() + match[3], page.read_text())


def show_schema(model: type[BaseModel]) -> str:
    """Return the JSON Schema of a message as its readers see it: unknown fields are allowed."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def show_operations() -> str:
    """Return one section per built-in operation."""
    return "".join(_show_operation(name, model) for name, model in all_operations().items())


def _show_operation(name: str, model: type[operations.Parameters]) -> str:
    long_form = {"op": name, **model.from_short(model.example).document()}
    forms = f"Short: `{json.dumps([name, model.example])}` · long: `{json.dumps(long_form)}`"
    table = make_table(["parameter", "accepted", "default", "meaning"], _parameter_rows(model))
    return f"\n### {name}\n\n{_join_lines(model.__doc__)}\n\n{forms}\n\n{table}\n"


def _parameter_rows(model: type[BaseModel]) -> Iterator[list[str]]:
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        missing = "required" if name in schema.get("required", ()) else "–"
        default = f"`{json.dumps(field['default'])}`" if "default" in field else missing
        yield [f"`{name}`", describe_type(field), default, field.get("description", "")]


def show_settings() -> str:
    """Return one table per settings object."""
    return "".join(_show_settings_of(title, kind) for title, kind in SETTINGS.items())


def _show_settings_of(title: str, kind: type[BaseSettings]) -> str:
    table = make_table(["variable", "accepted", "default", "meaning"], _settings_rows(kind))
    return f"\n## {title}\n\n{_join_lines(kind.__doc__)}\n\n{table}\n"


def _settings_rows(kind: type[BaseSettings]) -> Iterator[list[str]]:
    for variable, field in list_settings(kind):
        default = "unset" if field.get("default") in (None, []) else f"`{field['default']}`"
        yield [f"`{variable}`", describe_type(field), default, field.get("description", "")]


def list_settings(kind: type[BaseSettings]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield variable and JSON Schema of each setting that is not in the table of its base class."""
    prefix = kind.model_config["env_prefix"]
    shown = {name for other in SETTINGS.values() if other in kind.__mro__[1:] for name in other.model_fields}
    for name, field in kind.model_json_schema()["properties"].items():
        if name not in shown:  # a name in capitals is another project's
            yield name if name.isupper() else f"{prefix}{name.upper()}", field


def describe_type(field: dict[str, Any]) -> str:
    """Describe in a few words what a field of a JSON Schema accepts."""
    if "anyOf" in field:
        return " or ".join(describe_type(each) for each in field["anyOf"] if each.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("format") == "path":
        return "a path"
    return KINDS[field["type"]] + _describe_bounds(field)


def _describe_bounds(field: dict[str, Any]) -> str:
    if "minimum" in field and "maximum" in field:
        return f", {field['minimum']} to {field['maximum']}"
    if "minimum" in field:
        return f", {field['minimum']} or more"
    if "exclusiveMinimum" not in field:
        return ""
    upper = f", up to {field['maximum']:g}" if "maximum" in field else ""
    return f", more than {field['exclusiveMinimum']:g}{upper}"


def show_commands() -> str:
    """Return the help of `penstock` and of each of its commands."""
    top = _make_context(cli, "penstock", None)
    commands = ((name, cli.get_command(top, name)) for name in cli.list_commands(top))
    contexts = [_make_context(command, name, top) for name, command in commands if command and not command.hidden]
    return "".join(f"\n## {each.command_path}\n\n```text\n{each.get_help()}\n```\n" for each in [top, *contexts])


def _make_context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    # A fixed width: the default is that of the terminal.
    settings = {**command.context_settings, "terminal_width": HELP_WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


def show_decisions() -> str:
    """Return a list of all decisions with their titles, newest last."""
    pages = sorted(page for page in (DOCS / "decisions").glob("*.md") if page.name != "README.md")
    return "".join(f"- [{page.read_text().splitlines()[0].lstrip('# ')}]({page.name})\n" for page in pages)


def make_table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _join_lines(text: str | None) -> str:
    return " ".join((text or "").split())


MAKERS: dict[str, Callable[[], str]] = {
    "operations": show_operations,
    "settings": show_settings,
    "commands": show_commands,
    "decisions": show_decisions,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
