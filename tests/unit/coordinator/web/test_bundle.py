"""Bundle: several modules become one, and what is not understood is refused."""

from __future__ import annotations

import pytest

from penstock.coordinator.web.bundle import bundle


def test_imports_and_exports_become_variables() -> None:
    files = {
        "app.js": 'import run, { a, b as c } from "./lib/x.js";\nexport { run };\nconsole.log(a, c);\n',
        "lib/x.js": 'export { d } from "./y.js";\nexport const a = 1;\nconst z = 2;\nexport { z as b };\n'
        "export default function (x) { return x; }\n",
        "lib/y.js": "export function d() {}\nexport class E {}\n",
    }
    assert bundle("app.js", files.__getitem__) == (
        "const module0Of_ = (() => {\nfunction d() {}\nclass E {}\n;return { d: d, E: E };\n})();\n"
        "const module1Of_ = (() => {\n\nconst a = 1;\nconst z = 2;\n\nconst default_ = function (x) { return x; }\n"
        ";return { d: module0Of_.d, b: z, default: default_, a: a };\n})();\n"
        "const module2Of_ = (() => {\nconst { a: a, b: c, default: run } = module1Of_;\n\nconsole.log(a, c);\n"
        ";return { run: run };\n})();\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "export let a = 1;",
        "export const { a } = b;",
        'import * as a from "./b.js";',
        'import "./b.js";',
        'export * from "./b.js";',
        'const a = 1;import * as b from "./b.js"',
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"app\.js has a statement that is not understood"):
        bundle("app.js", {"app.js": text, "b.js": ""}.__getitem__)


def test_a_circle_is_refused() -> None:
    files = {"a.js": 'import { b } from "./b.js";', "b.js": 'import { a } from "./a.js";'}
    with pytest.raises(ValueError, match="imports itself"):
        bundle("a.js", files.__getitem__)
