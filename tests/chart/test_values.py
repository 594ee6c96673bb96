"""Invalid values are refused with the reason and the accepted values."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_chart_docs
import pytest
import yaml
from make_docs import SETTINGS, list_settings
from rendering import CHART, VALUES, Chart, RefusedError

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
ROOT = CHART.parents[1]

SHARPEN = {"image": "a/b:1", "program": ["/sharpen"]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a typo at the top": ({"cordinator": {}}, "cordinator"),
    "a typo in a step": ({"steps": {"blur": {"replcas": 2}}}, "replcas"),
    "a typo in the depth": ({"rabbitmq": {"persistence": {"siez": "1Gi"}}}, "siez"),
    "a mode that is none": ({"steps": {"blur": {"autoscaling": {"mode": "cpu"}}}}, "/steps/blur/autoscaling/mode"),
    "a number as a setting": ({"settings": {"PENSTOCK_MAX_PIXELS": 1}}, "PENSTOCK_MAX_PIXELS"),
    "a setting of something else": ({"settings": {"MAX_PIXELS": "1"}}, "MAX_PIXELS"),
    "a typo in a setting": ({"settings": {"PENSTOCK_MAX_PIXLES": "1"}}, "PENSTOCK_MAX_PIXLES"),
    "a setting that no pod has": ({"settings": {"PENSTOCK_PLACEMENT": "fused"}}, "PENSTOCK_PLACEMENT"),
    "the tag latest": ({"image": {"tag": "latest"}}, "/image/tag"),
    "an image that is latest": ({"web": {"image": "nginx:latest"}}, "/web/image"),
    "a step with a component's name": ({"steps": {"web": {"image": "a/b:1"}}}, "web"),
    "a step's name that is no name": ({"steps": {"Blur": {"image": "a/b:1"}}}, "Blur"),
    "a custom step without an image": ({"steps": {"sharpen": {}}}, "steps.sharpen.image is empty"),
    "two coordinators on SQLite": ({"coordinator": {"replicas": 2}}, "more than 1 needs database.type postgresql"),
    "PostgreSQL without its URL": ({"database": {"type": "postgresql"}}, "database.existingSecret.name is empty"),
    "no broker": ({"rabbitmq": {"bundled": False}}, "rabbitmq.existingSecret.name is empty"),
    "a bucket without its URL": ({"store": {"type": "url"}}, "store.url is empty"),
    "a folder as a store": ({"store": {"type": "url", "url": "file:///data"}}, "/store/url"),
    "less than one by CPU": (
        {"fused": {"autoscaling": {"minReplicas": 0}}, "placement": "fused"},
        "modes backlog and keda support 0",
    ),
    "more at least than at most": (
        {"steps": {"blur": {"autoscaling": {"minReplicas": 11}}}},
        "it must not exceed maxReplicas, 10",
    ),
    "every eviction forbidden": ({"stepDefaults": {"pdb": {"maxUnavailable": 0}}}, "/maxUnavailable"),
    "every eviction forbidden by percent": ({"steps": {"blur": {"pdb": {"maxUnavailable": "0%"}}}}, "/maxUnavailable"),
    "a database that SQLite would not use": (
        {"database": {"existingSecret": {"name": "ours"}}},
        "database.existingSecret.name is ours: it is used only with database.type postgresql",
    ),
    "replicas that an autoscaler sets": (
        {"steps": {"blur": {"replicas": 20}}},
        "steps.blur.replicas is 20: with autoscaling.mode hpa the autoscaler sets it",
    ),
    "replicas that an autoscaler sets, fused": (
        {"placement": "fused", "fused": {"replicas": 0, "autoscaling": {"mode": "keda"}}},
        "fused.replicas is 0: with autoscaling.mode keda",
    ),
    "a bucket that the bundled store would not use": (
        {"store": {"url": "gs://pictures"}},
        "store.url is gs://pictures: it is used only with store.type url",
    ),
    "a Secret of API keys with API keys disabled": (
        {"apiKeys": {"enabled": False, "existingSecret": "ours"}},
        "apiKeys.existingSecret is ours: with apiKeys.enabled false",
    ),
    "API keys in settings with API keys disabled": (
        {"apiKeys": {"enabled": False}, "settings": {"PENSTOCK_API_KEYS": "[]"}},
        "settings.PENSTOCK_API_KEYS is set: with apiKeys.enabled false",
    ),
    "a broken number for RabbitMQ": (
        {"rabbitmq": {"resources": {"limits": {"memory": "1.5Gi"}}}},
        "rabbitmq.resources.limits.memory is 1.5Gi",
    ),
    "a disk that is too full from the start": (
        {"rabbitmq": {"diskFreeLimit": "2GB", "persistence": {"size": "1.5Gi"}}},
        "rabbitmq.diskFreeLimit is 2GB: less than rabbitmq.persistence.size, 1.5Gi, is needed",
    ),
    "uploads larger than nginx lets through": (
        {"settings": {"PENSTOCK_MAX_UPLOAD_BYTES": "4294967296"}},
        "web.limits.body is 1100m: settings.PENSTOCK_MAX_UPLOAD_BYTES, 4294967296",
    ),
    "a route to nowhere": ({"gateway": {"enabled": True}}, "gateway.className and gateway.parentRefs are empty"),
    "a Gateway that is made, and another": (
        {"gateway": {"enabled": True, "className": "gke-l7-rilb", "parentRefs": [{"name": "shared"}]}},
        "gateway.parentRefs names an existing Gateway: set only one of them",
    ),
    "two certificates for one Gateway": (
        {"gateway": {"enabled": True, "className": "g", "tlsSecret": "tls", "certificateMap": "map"}},
        "gateway.tlsSecret is tls, and gateway.certificateMap map",
    ),
    "a certificate for an existing Gateway": (
        {"gateway": {"enabled": True, "parentRefs": [{"name": "shared"}], "tlsSecret": "tls"}},
        "are for a Gateway that the chart creates",
    ),
    "no step that encodes": ({"steps": {"encode": {"enabled": False}}}, "no other step serves encode"),
    "a setting that another key sets": (
        {"settings": {"PENSTOCK_STORE_URL": "s3://ours"}},
        "settings.PENSTOCK_STORE_URL is set: use the key store.url instead",
    ),
    "a setting that pods rely on": (
        {"settings": {"PENSTOCK_PORT": "80"}},
        "settings.PENSTOCK_PORT is set: the chart itself sets it",
    ),
    "a drain longer than a pod is given": (
        {"settings": {"PENSTOCK_DRAIN_SECS": "60"}},
        "terminationGracePeriodSeconds is 20: more than PENSTOCK_DRAIN_SECS, 60",
    ),
    "no number as a setting": ({"settings": {"PENSTOCK_MAX_PIXELS": "banana"}}, "banana"),
    "half a number as a setting": ({"settings": {"PENSTOCK_MAX_CHUNK": "1.5"}}, "1.5"),
    "a level that is none": ({"settings": {"PENSTOCK_LOG_LEVEL": "loud"}}, "PENSTOCK_LOG_LEVEL"),
    "a type of image that is none": ({"settings": {"PENSTOCK_FORMATS": "jpeg,gif"}}, "PENSTOCK_FORMATS"),
    "a URL that is none": ({"settings": {"PENSTOCK_PUBLIC_URL": "penstock.example"}}, "PENSTOCK_PUBLIC_URL"),
    "a number below its bound": (
        {"settings": {"PENSTOCK_MAX_PIXELS": "0"}},
        "settings.PENSTOCK_MAX_PIXELS is 0: accepted is a whole number, 1 or more",
    ),
    "a number above its bound": (
        {"settings": {"PENSTOCK_MAX_SIDE": "40000"}},
        "settings.PENSTOCK_MAX_SIDE is 40000: accepted is a whole number, 1 to 32768",
    ),
    "no seconds at all": (
        {"settings": {"PENSTOCK_STEP_TIMEOUT_SECS": "0"}},
        "settings.PENSTOCK_STEP_TIMEOUT_SECS is 0: accepted is a number, more than 0",
    ),
    "a list that is no JSON": (
        {"settings": {"PENSTOCK_WEBHOOK_ALLOW": "[hooks.lan]"}},
        "settings.PENSTOCK_WEBHOOK_ALLOW is not JSON",
    ),
    "a list of something else": (
        {"settings": {"PENSTOCK_WEBHOOK_ALLOW": "[1]"}},
        "settings.PENSTOCK_WEBHOOK_ALLOW: entry 0 is not a JSON string",
    ),
    "an API key without its hash": (
        {"settings": {"PENSTOCK_API_KEYS": '[{"name": "ours"}]'}},
        "settings.PENSTOCK_API_KEYS: entry 0 has no hash",
    ),
    "an API key in the place of its hash": (
        {"settings": {"PENSTOCK_API_KEYS": '[{"name": "ours", "hash": "pk_secret"}]'}},
        "settings.PENSTOCK_API_KEYS: entry 0: hash does not match",
    ),
    "a typo in an API key": (
        {"settings": {"PENSTOCK_API_KEYS": json.dumps([{"name": "a", "hash": f"sha256:{64 * '0'}", "wieght": 2}])}},
        "settings.PENSTOCK_API_KEYS: entry 0 has wieght",
    ),
    "a wrong setting of one step": ({"steps": {"blur": {"env": {"PENSTOCK_MAX_PIXELS": "many"}}}}, "many"),
    "a wrong bound of one step": (
        {"steps": {"blur": {"env": {"PENSTOCK_MAX_ATTEMPTS": "0"}}}},
        "steps.blur.env.PENSTOCK_MAX_ATTEMPTS is 0",
    ),
    "a step's variable that another key sets": (
        {"steps": {"blur": {"env": {"PENSTOCK_CONCURRENCY": "2"}}}},
        "steps.blur.env.PENSTOCK_CONCURRENCY is set: use the key steps.<name>.concurrency",
    ),
    "a variable from a Secret that another key sets": (
        {"coordinator": {"extraEnv": [{"name": "PENSTOCK_DATABASE_URL", "value": "x"}]}},
        "coordinator.extraEnv has PENSTOCK_DATABASE_URL: use the key database.existingSecret",
    ),
    "a variable that is set twice": (
        {"coordinator": {"env": {"TZ": "UTC"}, "extraEnv": [{"name": "TZ", "value": "CET"}]}},
        "coordinator.extraEnv has TZ, which env or another entry sets as well",
    ),
    "parameters of no type": ({"steps": {"sharpen": {**SHARPEN, "params": {"type": "objekt"}}}}, "params"),
    "parameters that are a list": ({"steps": {"sharpen": {**SHARPEN, "params": {"type": "array"}}}}, "params/type"),
    "a parameter of no type": (
        {"steps": {"sharpen": {**SHARPEN, "params": {"properties": {"amount": {"type": "nummer"}}}}}},
        "params/properties/amount",
    ),
    "a parameter called op": ({"steps": {"sharpen": {**SHARPEN, "params": {"properties": {"op": {}}}}}}, "op"),
    "a step in Python without parameters": (
        {"steps": {"sharpen": {"image": "a/b:1"}}},
        "steps.sharpen.params is empty: the coordinator needs the JSON Schema",
    ),
    "a GPU step without an image": (
        {"steps": {"resize-gpu": {"serves": "resize", "gpu": {"count": 1}}}},
        "steps.resize-gpu.image is empty",
    ),
    "a claim of nothing": ({"web": {"persistence": {"size": "0"}}}, "/web/persistence/size"),
    "a claim of the number nothing": ({"coordinator": {"persistence": {"size": 0}}}, "/persistence/size"),
    "a claim of ten bytes": ({"rabbitmq": {"persistence": {"size": "10"}}}, "/rabbitmq/persistence/size"),
    "more requested than allowed": (
        {"coordinator": {"resources": {"requests": {"memory": "2Gi"}}}},
        "coordinator.resources.requests.memory is 2Gi: it must not exceed the limit, 1Gi",
    ),
    "more requested than allowed in thousandths": (
        {"web": {"resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": 1}}}},
        "web.resources.requests.cpu is 1500m: it must not exceed the limit, 1",
    ),
    "more requested than allowed in a step": (
        {"steps": {"blur": {"resources": {"requests": {"memory": "3Gi"}, "limits": {"memory": "2Gi"}}}}},
        "steps.blur.resources.requests.memory is 3Gi",
    ),
    "a host with its port": ({"ingress": {"enabled": True, "host": "penstock.example:443"}}, "/ingress/host"),
    "a host in capitals": ({"ingress": {"enabled": True, "host": "Penstock.example"}}, "/ingress/host"),
    "a host that is a URL": ({"gateway": {"hostnames": ["https://penstock.example"]}}, "/gateway/hostnames"),
    "a host that is an address": ({"ingress": {"enabled": True, "host": "10.0.0.1"}}, "/ingress/host"),
    "labels that select": ({"stepDefaults": {"podLabels": {"app.kubernetes.io/name": "ours"}}}, "podLabels"),
    "a label that is none": ({"coordinator": {"podLabels": {"team": "the pictures"}}}, "podLabels"),
    "every pod's account with rights over pods": (
        {"deletionCost": {"enabled": True}, "serviceAccounts": {"steps": {"create": False}}},
        "serviceAccounts.steps is the account default",
    ),
    "every pod's account by name": (
        {"serviceAccounts": {"coordinator": {"create": False, "name": "default"}}},
        "serviceAccounts.coordinator is the account default",
    ),
    "every pod's account with rights over Deployments": (
        {
            "coordinator": {"reportReplicas": False},
            "steps": {"blur": {"autoscaling": {"mode": "backlog"}}},
            "serviceAccounts": {"coordinator": {"create": False}},
        },
        "serviceAccounts.coordinator is the account default.*lets it scale",
    ),
    "every port open": ({"networkPolicy": {"databasePorts": []}}, "databasePorts"),
    "a variable without a name": ({"coordinator": {"extraEnv": [{"value": "x"}]}}, "extraEnv"),
    "CPU unknown": ({"steps": {"blur": {"resources": {"requests": {"cpu": ""}}}}}, "cpu"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_invalid_values_are_refused_by_name(chart: Chart, wrong: str) -> None:
    values, said = WRONG[wrong]
    with pytest.raises(RefusedError, match=said.replace("(", r"\(")) as refused:
        chart.render(values)
    assert "nil pointer" not in str(refused.value)


def test_a_keys_value_is_not_in_the_message(chart: Chart) -> None:
    with pytest.raises(RefusedError) as refused:
        chart.render(WRONG["an API key in the place of its hash"][0])
    assert "pk_secret" not in str(refused.value)


def test_settings_of_every_form_render(chart: Chart) -> None:
    settings = {
        "PENSTOCK_MAX_PIXELS": "100000000",
        "PENSTOCK_REPAIR_SECS": "12.5",
        "PENSTOCK_FORMATS": "jpeg,png",
        "PENSTOCK_FSYNC": "false",
        "PENSTOCK_WEBHOOK_ALLOW": '["hooks.lan:8443"]',
        "PENSTOCK_API_KEYS": json.dumps([{"name": "ours", "hash": f"sha256:{64 * '0'}", "admin": True}]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    }
    assert (
        settings.items() <= chart.render({"settings": settings}).find("ConfigMap", "penstock-settings")["data"].items()
    )


def test_the_default_of_every_setting_is_accepted(chart: Chart) -> None:
    text = (CHART / "templates" / "_checks.tpl").read_text()
    taken = text.partition('"penstock.takenSettings" -}}')[2].partition("{{- end }}")[0]
    settings = {
        name: json.dumps(field["default"]) if isinstance(field["default"], list | bool) else str(field["default"])
        for section, kind in SETTINGS.items()
        if section not in make_chart_docs.NOT_IN_PODS
        for name, field in list_settings(kind)
        if field.get("default") is not None and name not in yaml.safe_load(taken)
    }
    settings["PENSTOCK_DRAIN_SECS"] = "14"
    assert len(settings) > 50
    assert (
        settings.items() <= chart.render({"settings": settings}).find("ConfigMap", "penstock-settings")["data"].items()
    )


def test_a_step_in_python_without_parameters_is_known_to_a_coordinator_with_its_package(chart: Chart) -> None:
    values = {"steps": {"sharpen": {"image": "a/b:1"}}, "coordinator": {"image": "a/coordinator:1"}}
    assert "penstock-sharpen" in chart.render(values).all("Deployment")


def test_valid_combinations_that_look_contradictory_render(chart: Chart) -> None:
    values = {
        "settings": {"PENSTOCK_MAX_UPLOAD_BYTES": "4294967296", "PENSTOCK_DRAIN_SECS": "30"},
        "web": {"limits": {"body": "5g"}},
        "stepDefaults": {"terminationGracePeriodSeconds": 40, "pdb": {"maxUnavailable": 1}},
        "steps": {"blur": {"terminationGracePeriodSeconds": 20, "env": {"PENSTOCK_DRAIN_SECS": "10"}}},
        "rabbitmq": {"diskFreeLimit": "2GiB", "persistence": {"size": 2200000000}},
    }
    spec = chart.render(values).find("Deployment", "penstock-blur")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 20


@pytest.mark.parametrize("path", ["steps.blur.hpa", "steps.sharpen.hpa", "stepDefaults.hpa"])
def test_a_removed_key_fails_with_its_replacement(chart: Chart, path: str) -> None:
    values: dict[str, Any] = {"enabled": True}
    for part in reversed(path.split(".")):
        values = {part: values}
    with pytest.raises(RefusedError, match=f"{path} was removed: .*autoscaling"):
        chart.render(values)


def test_removed_keys_are_deprecated_in_the_schema() -> None:
    text = (CHART / "templates" / "_removed.tpl").read_text()
    removed = text.partition('"penstock.removedKeys" -}}')[2].partition("{{- end }}")[0]
    ends = {path.rpartition(".")[2] for path in yaml.safe_load(removed)}
    assert ends == {path.rpartition(".")[2] for path, key in walk(SCHEMA) if key.get("deprecated")}


def test_the_schema_lists_all_settings_and_those_of_other_keys_are_refused() -> None:
    named = SCHEMA["properties"]["settings"]["propertyNames"]["enum"]
    text = (CHART / "templates" / "_checks.tpl").read_text()
    taken = yaml.safe_load(text.partition('"penstock.takenSettings" -}}')[2].partition("{{- end }}")[0])
    assert set(taken) <= set(named)
    assert {"PENSTOCK_MAX_PIXELS", "PENSTOCK_DRAIN_SECS", "OTEL_EXPORTER_OTLP_ENDPOINT"} <= set(named)


def test_every_key_of_the_schema_has_a_description_and_every_map_is_closed() -> None:
    for path, key in walk(SCHEMA):
        assert key.get("description") or "$ref" in key, f"{path} has no description"
        if key.get("properties") and path not in OPEN:
            assert key["additionalProperties"] is False, f"{path} takes any key"


OPEN = {".settingValues", ".objectSchema"}
"""Maps whose other keys another schema checks."""


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, key in {**schema.get("properties", {}), **schema.get("definitions", {})}.items():
        yield f"{path}.{name}", key
        yield from walk(key, f"{path}.{name}")
        if isinstance(key.get("items"), dict):
            yield from walk(key["items"], f"{path}.{name}[]")


def test_values_and_schema_have_the_same_keys(chart: Chart) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) == set(SCHEMA["properties"]) - {"global"}
    defaults = set(values["stepDefaults"])
    assert defaults == {
        name for name, key in SCHEMA["definitions"]["step"]["properties"].items() if "deprecated" not in key
    }


@pytest.mark.parametrize("values", [*VALUES, CHART / "ci" / "local-values.yaml"], ids=lambda path: path.stem)
def test_each_example_of_values_renders(chart: Chart, values: Path) -> None:
    assert "penstock-coordinator" in chart.render(values).all("Deployment")


def test_the_schema_check_finds_an_unknown_kubernetes_key(chart: Chart) -> None:
    spec = {**chart.render().find("Service", "penstock-web")}
    spec["spec"] = {**spec["spec"], "prots": []}
    command = ["kubeconform", "-schema-location", str(ROOT / "tests" / "chart" / "kubernetes.schema.json")]
    done = subprocess.run(command, input=yaml.safe_dump(spec), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "prots" in done.stdout


def test_the_readme_is_generated_from_every_key() -> None:
    assert make_chart_docs.main(["--check"]) == 0
    page = (CHART / "README.md").read_text()
    for key in ("stepDefaults.gpu.accelerator", "rabbitmq.persistence.keep", "store.existingSecret", "steps"):
        assert f"| `{key}` |" in page
    assert "stepDefaults.hpa" not in page
