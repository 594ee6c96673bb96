"""Every shell command in README and docs is one that exists: its options, paths, objects and values are checked."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import click
import pytest
from rendering import CHART, Chart

from penstock.cli.main import cli
from penstock.coordinator.api.app import create_app

ROOT = CHART.parents[1]
FOLDERS = ("docs/*.md", "docs/examples/*/README.md", "k8s/README.md", "k8s/*/README.md", "charts/*/README.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(page for each in FOLDERS for page in sorted(ROOT.glob(each)))]
BLOCK = re.compile(r"^```(?:sh|bash|shell)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SEPARATORS = {";", "|", "||", "&", "&&", "(", ")", "|&"}
KEYWORDS = {"do", "then", "else", "time", "$"}
ELSEWHERE = {
    *("base64", "cat", "cosign", "cut", "docker", "done", "exiftool", "export", "fi", "for", "gcloud", "grep", "jq"),
    *("openssl", "pip", "printf", "sed", "sha256sum", "skaffold", "syft", "xargs", "git", "apt-get", "echo", "opensfm"),
    "wrk",
}
"""Programs of others, which are not checked."""
NOT_RENDERED = ("--wait", "--create-namespace", "--install", "--reuse-values", "--reset-then-reuse-values", "--timeout")
KINDS = {
    "deployment": "Deployment",
    "service": "Service",
    "statefulset": "StatefulSet",
    "secret": "Secret",
    "pod": "Pod",
}
OTHERS = {"penstock-login", "penstock-database", "penstock-backup", "penstock-restore", "penstock-tls"}
"""Objects that the documentation's reader makes."""


class Command(NamedTuple):
    """A command as it stands on a page."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)[:120]}"


def read_commands() -> Iterator[Command]:
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for words in split_commands(block):
                yield Command(str(page.relative_to(ROOT)), words)


def split_commands(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each simple command, those in `$(…)` included."""
    pending = ""
    for line in text.replace("\\\n", " ").splitlines():
        pending = f"{pending}\n{line}" if pending else line
        try:
            tokens = tokenize(pending)
        except ValueError:
            continue  # a quoted text goes on in the next line
        pending = ""
        words: list[str] = []
        for token in [*tokens, ";"]:
            for inner in re.findall(r"\$\(([^()]*)\)", token):
                yield from split_commands(inner)
            if token not in SEPARATORS:
                words.append(token)
                continue
            while words and (words[0] in KEYWORDS or re.match(r"[A-Za-z_]\w*=", words[0])):
                words.pop(0)
            if words:
                yield tuple(words)
            words = []
    assert not pending, f"a quote is not closed: {pending}"


def tokenize(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()")
    lexer.whitespace_split, lexer.commenters = True, "#"
    return list(lexer)


COMMANDS = [*read_commands()]


def commands_of(*programs: str) -> list[Command]:
    return [each for each in COMMANDS if each.words[0] in programs]


def test_every_program_is_known() -> None:
    assert len(COMMANDS) > 150
    checked = {"helm", "kubectl", "curl", "make", "penstock", ".venv/bin/penstock", ".venv/bin/python", "sh"}
    for command in COMMANDS:
        program = command.words[0]
        assert program in checked | ELSEWHERE or (ROOT / program).is_file(), command


def test_scripts_exist() -> None:
    for command in [*commands_of(".venv/bin/python", "sh"), *(each for each in COMMANDS if "/" in each.words[0])]:
        named = [word for word in command.words if re.match(r"(scripts|k8s|compose|docs)/.*\.(py|sh)$", word)]
        for script in named:
            assert (ROOT / script).is_file(), command


def test_targets_of_make_exist() -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in commands_of("make"):
        for word in command.words[1:]:
            assert word in targets or "=" in word, command


@pytest.mark.parametrize("command", commands_of("penstock", ".venv/bin/penstock"), ids=str)
def test_options_of_penstock_exist_and_accept_their_values(command: Command) -> None:
    arguments = list(command.words[1:])
    if any(word.startswith(("-h", "--help", "--version")) for word in arguments[:1]):
        return
    top = click.Context(cli, info_name="penstock")
    subcommand = cli.get_command(top, arguments[0])
    assert subcommand is not None, command
    context = click.Context(subcommand, info_name=arguments[0], parent=top)
    given, _, _ = subcommand.make_parser(context).parse_args(arguments[1:])
    for parameter in subcommand.params:
        value = given.get(str(parameter.name))
        if (
            isinstance(parameter, click.Option)
            and value is not None
            and not isinstance(parameter.type, click.Path | click.File)
        ):
            parameter.type_cast_value(context, value)


@pytest.mark.parametrize("command", commands_of("helm"), ids=str)
def test_helm_commands_render(chart: Chart, command: Command) -> None:
    verb, *arguments = command.words[1:]
    check_flags(("helm", verb), arguments)
    if verb not in ("install", "upgrade", "template") or "charts/penstock" not in arguments:
        return
    kept = [word for word in arguments if not word.startswith(NOT_RENDERED)]
    values = [re.sub(r"=(\$?[A-Z_]{2,}|VERSION)$", "=placeholder", fill_in(word)) for word in kept]
    done = subprocess.run(["helm", "template", *values], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


def fill_in(word: str) -> str:
    return word.replace("$REGISTRY", "registry.example/penstock").replace("$BUCKET", "bucket")


@pytest.mark.parametrize("command", commands_of("kubectl"), ids=str)
def test_kubectl_commands_name_what_the_chart_makes(chart: Chart, command: Command) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    arguments = list(command.words[1 : command.words.index("--") if "--" in command.words else None])
    words = [word for word in arguments if not word.startswith("-") and word != "penstock"]
    depth = 3 if words[:2] == ["create", "secret"] else 2 if words[0] in ("create", "top", "rollout") else 1
    verb = tuple(words[:depth])
    check_flags(("kubectl", *verb), arguments)
    rendered = chart.render()
    names = {each["metadata"]["name"] for each in rendered.objects} | OTHERS
    for word in words:
        kind, _, name = word.partition("/")
        if kind in KINDS and name.startswith("penstock"):
            assert name in rendered.all(KINDS[kind]) or name in OTHERS, command
        if word.startswith("penstock-") and "create" not in verb:
            assert word in names, command
    for file in re.findall(r"(?:^| )(k8s/\S+\.yaml)", " ".join(words)):
        assert (ROOT / file).is_file(), command


def check_flags(command: tuple[str, ...], arguments: list[str]) -> None:
    """Check that a program knows the options that it is given."""
    known = read_flags(command)
    for word in arguments:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag != "--":
            assert flag in known, f"{shlex.join(command)} has no option {flag}"


@functools.cache
def read_flags(command: tuple[str, ...]) -> set[str]:
    text = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60).stdout
    if command[0] == "kubectl":
        text += subprocess.run(["kubectl", "options"], capture_output=True, text=True, timeout=60).stdout
    return set(re.findall(r"--[a-z0-9][a-z0-9-]*", text))


def test_addresses_given_to_curl_are_routes() -> None:
    paths: dict[str, Any] = create_app(MagicMock()).openapi()["paths"]
    patterns = [
        re.compile(re.sub(r"\{[^}]+:path\}", ".+", re.sub(r"\{(?![^}]+:path)[^}]+\}", "[^/]+", path))) for path in paths
    ]
    seen = 0
    for command in commands_of("curl"):
        for word in command.words:
            found = re.match(r"(?:localhost|COORDINATOR_HOST|https://penstock\.example)(?::8080)?(/[^?]*)", word)
            if found and not found[1].startswith("/static/"):
                seen += 1
                assert any(pattern.fullmatch(found[1]) for pattern in patterns), command
    assert seen > 5
