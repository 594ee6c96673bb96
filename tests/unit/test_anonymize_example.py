"""The example that hides faces: its parameters are the same wherever they are declared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.common.model.schema_parameters import declare_parameters

ANONYMIZE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "anonymize"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The parameters in the example's package."""
    monkeypatch.syspath_prepend(ANONYMIZE)
    import penstock_faces

    yield penstock_faces.Faces
    del sys.modules["penstock_faces"]


def rules(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema accepts, without texts."""
    texts = ("title", "description")
    fields = {
        name: {key: value for key, value in item.items() if key not in texts}
        for name, item in schema["properties"].items()
    }
    return {"fields": fields, "type": schema["type"], "more": schema["additionalProperties"]}


def test_chart_and_compose_declare_the_parameters_of_the_package(model: Any) -> None:
    values = yaml.safe_load((ANONYMIZE / "values.yaml").read_text())["steps"]["faces"]["params"]
    compose = yaml.safe_load((ANONYMIZE / "compose.yaml").read_text().replace("!reset", ""))
    services = [service["environment"] for name, service in compose["services"].items() if name != "faces"]
    assert len(services) == 7
    assert all(each == services[0] for each in services)
    declared = json.loads(services[0]["PENSTOCK_DECLARED_STEPS"])["faces"]["params"]
    expected = rules(model.model_json_schema())
    assert rules(values) == expected
    assert rules(declared) == expected
    texts = [item["description"] for item in values["properties"].values()]
    assert texts == [item["description"] for item in model.model_json_schema()["properties"].values()]


def test_a_plan_has_the_same_parameters_with_and_without_the_package(model: Any) -> None:
    declared = declare_parameters(yaml.safe_load((ANONYMIZE / "values.yaml").read_text())["steps"]["faces"]["params"])
    assert declared.from_short(True).document() == model.from_short(True).document()
    assert declared.from_short({"threshold": 0.5}).document() == model.from_short({"threshold": 0.5}).document()
