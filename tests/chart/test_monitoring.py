"""Dashboard and alerts of the chart."""

from __future__ import annotations

import json

import yaml
from rendering import CHART, Chart


def test_dashboard_and_alerts_are_off_by_default(chart: Chart) -> None:
    rendered = chart.render()
    assert rendered.all("PrometheusRule") == rendered.all("PodMonitor") == {}
    assert "penstock-dashboard" not in rendered.all("ConfigMap")


def test_the_dashboard_has_the_label_of_grafanas_sidecar(chart: Chart) -> None:
    values = {"dashboard": {"enabled": True, "annotations": {"grafana_folder": "Pictures"}}}
    found = chart.render(values).find("ConfigMap", "penstock-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Pictures"}
    written = json.loads((CHART / "dashboards" / "penstock.json").read_text())
    assert json.loads(found["data"]["penstock.json"]) == written


def test_the_alerts_keep_prometheus_placeholders(chart: Chart) -> None:
    found = chart.render({"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}})
    rule = found.find("PrometheusRule", "penstock-alerts")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load((CHART / "alerts" / "penstock.yaml").read_text())
    assert "{{ $labels.step }}" in json.dumps(rule["spec"])
