"""Bundle: the page's modules as one, since a browser would ask for one after another as it finds their names.

The modules stay as they are written; here each becomes a function that returns what it exports. Understood are imports
and exports of names as the page's modules have them, one statement each. Exported variables never change.
"""

import posixpath
import re
from collections.abc import Callable, Mapping

_IMPORT = re.compile(r'(?:^|(?<=;))import\s*(?P<what>[\w\s{},]+?)\s*from\s*"(?P<path>[^"]+)";', re.MULTILINE)
_REEXPORT = re.compile(r'(?:^|(?<=;))export\s*\{(?P<names>[^}]*)\}\s*from\s*"(?P<path>[^"]+)";', re.MULTILINE)
_EXPORTS = re.compile(r"(?:^|(?<=[;}]))export\s*\{(?P<names>[^}]*)\};", re.MULTILINE)
_DEFAULT = re.compile(r"(?:^|(?<=[;}]))export default ", re.MULTILINE)
_DECLARATION = re.compile(r"^export (?P<kind>(?:async )?function\*?|class|const) (?P<name>\w+)", re.MULTILINE)
_LEFT = re.compile(r"(?:^|(?<=;))(?:import|export)\b", re.MULTILINE)
_NAME = "module{}Of_"  # no variable of a library is called that


def bundle(start: str, read: Callable[[str], str]) -> str:
    """Return a module that does what a module and all that it imports do; `read` returns the text at a path.

    Raises:
        ValueError: modules import each other in a circle, or have statements that are not understood.
    """
    done: dict[str, str] = {}
    parts: list[str] = []

    def add(path: str, above: tuple[str, ...]) -> str:
        if path in above:
            raise ValueError(f"{path} imports itself by way of {' and '.join(above)}")
        if path not in done:
            text = read(path)
            folder = posixpath.dirname(path)
            targets = {
                match["path"]: add(posixpath.normpath(posixpath.join(folder, match["path"])), (*above, path))
                for kind in (_IMPORT, _REEXPORT)
                for match in kind.finditer(text)
            }
            done[path] = _NAME.format(len(done))
            parts.append(f"const {done[path]} = (() => {{\n{_function(path, text, targets)}\n}})();\n")
        return done[path]

    add(start, ())
    return "".join(parts)


def _function(path: str, text: str, targets: Mapping[str, str]) -> str:
    """Return the body of a module's function."""
    exported: dict[str, str] = {}

    def take(match: re.Match[str]) -> str:
        exported[match["name"]] = match["name"]
        return f"{match['kind']} {match['name']}"

    def take_list(match: re.Match[str]) -> str:
        exported.update((outer, inner) for inner, outer in _pairs(match["names"]))
        return ""

    def take_others(match: re.Match[str]) -> str:
        exported.update((outer, f"{targets[match['path']]}.{inner}") for inner, outer in _pairs(match["names"]))
        return ""

    def take_default(_: re.Match[str]) -> str:
        exported["default"] = "default_"
        return "const default_ = "

    text = _IMPORT.sub(lambda match: _bindings(match["what"], targets[match["path"]]), text)
    text = _REEXPORT.sub(take_others, text)
    text = _EXPORTS.sub(take_list, text)
    text = _DEFAULT.sub(take_default, text)
    text = _DECLARATION.sub(take, text)
    if (left := _LEFT.search(text)) or ("import.meta" in text and "/" in path):
        where = text[left.start() : left.start() + 60] if left else "import.meta below the page's folder"
        raise ValueError(f"{path} has a statement that is not understood: {where!a}")
    return f"{text.rstrip()}\n;return {{ {', '.join(f'{outer}: {inner}' for outer, inner in exported.items())} }};"


def _bindings(what: str, module: str) -> str:
    """Return the statement for what is imported: `name`, `{ a, b as c }`, or both."""
    default, brace, names = what.partition("{")
    found = [f"{outer}: {inner}" for outer, inner in _pairs(names.rpartition("}")[0])] if brace else []
    if default := default.strip(" ,"):
        found.append(f"default: {default}")
    return f"const {{ {', '.join(found)} }} = {module};"


def _pairs(names: str) -> list[tuple[str, str]]:
    """Return the names of `a, b as c` before and after `as`."""
    pairs = [part.split(" as ") for part in (" ".join(name.split()) for name in names.split(",")) if part]
    return [(pair[0], pair[-1]) for pair in pairs]
