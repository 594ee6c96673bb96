"""Custom steps: found by entry point and checked; broken ones are reported in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.common.model.operations import BUILT_IN, Parameters
from penstock.common.registry import broken_steps, custom_steps, operations, step


class Amount(Parameters):
    amount: int = 1


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Install a package with one module and one entry point."""

    def add(name: str, code: str, points: str) -> None:
        folder = tmp_path / name
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[penstock.steps]\n{points}\n")
        monkeypatch.syspath_prepend(folder)
        custom_steps.cache_clear()

    yield add
    custom_steps.cache_clear()


CODE = """
from penstock.common.model.operations import BUILT_IN, Parameters
from penstock.common.registry import step

class Amount(Parameters):
    amount: int = 1

@step("{name}", params=Amount)
def work(image, params):
    return [image] * params.amount
"""


def test_a_step_has_a_name_parameters_and_a_function() -> None:
    made = step("repeat", params=Amount)(lambda image, params: [image] * params.amount)
    assert (made.name, made.params) == ("repeat", Amount)
    assert made("image", Amount(amount=2)) == ["image", "image"]


@pytest.mark.parametrize("name", ["", "Repeat", "1st", "two words", "a_b", "x" * 41, "ä", "a\n"])
def test_names_that_are_invalid_for_queues_or_deployments_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a step name"):
        step(name, params=Amount)


@pytest.mark.parametrize("name", BUILT_IN)
def test_names_of_built_in_operations_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="built-in operation; rename the step"):
        step(name, params=Amount)


def test_custom_steps_are_listed_after_built_in_ones(install: Callable[[str, str, str], None]) -> None:
    install("repeat_package", CODE.format(name="repeat"), "repeat = repeat_package:work")
    assert list(operations())[: len(BUILT_IN)] == [*BUILT_IN]
    assert operations()["repeat"].model_fields.keys() == {"amount"}
    assert custom_steps()["repeat"].name == "repeat"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("work = print", "is not a step; decorate it with @step"),
        ("other = 1", "cannot be loaded: AttributeError"),
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        (
            CODE.replace("BUILT_IN, Parameters", "BUILT_IN, Parameters as Base")
            .replace("(Parameters)", "")
            .format(name="x"),
            "cannot be loaded: AttributeError",
        ),
        (CODE.format(name="Bad Name"), "cannot be loaded: ValueError: 'Bad Name' is not a step name"),
    ],
    ids=["no step", "nothing there", "import", "raises", "parameters", "name"],
)
def test_a_broken_step_is_left_out_and_reported_in_one_line(
    install: Callable[[str, str, str], None], code: str, said: str, request: pytest.FixtureRequest
) -> None:
    name = f"broken_{request.node.callspec.id.replace(' ', '_')}"
    install(name, code, f"sharpen = {name}:work")
    assert "sharpen" not in operations()
    reason = broken_steps()["sharpen"]
    assert said in reason
    assert "sharpen" in reason
    assert "\n" not in reason


def test_a_broken_step_leaves_the_others_alone(install: Callable[[str, str, str], None]) -> None:
    install("fine_package", CODE.format(name="repeat"), "repeat = fine_package:work")
    install("other_package", "1 / 0", "sharpen = other_package:work")
    assert set(custom_steps()) == {"repeat"}
    assert set(broken_steps()) == {"sharpen"}


def test_a_step_that_two_packages_provide_is_broken(install: Callable[[str, str, str], None]) -> None:
    install("first_package", CODE.format(name="repeat"), "repeat = first_package:work")
    install("second_package", CODE.format(name="repeat"), "repeat = second_package:work")
    assert "repeat" not in custom_steps()
    assert broken_steps() == {"repeat": "two packages provide the step 'repeat'; uninstall one of them"}
