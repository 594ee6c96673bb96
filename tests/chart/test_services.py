"""Coordinator, RabbitMQ, database and store: bundled or external."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rendering import CHART, VALUES, Chart

EXTERNAL = next(path for path in VALUES if path.stem == "external")
BUCKET = {"store": {"type": "url", "url": "s3://pictures/penstock"}}
OWN_BROKER = {"rabbitmq": {"bundled": False, "existingSecret": {"name": "ours", "key": "amqp"}}}


def test_bundled_services_are_connected(chart: Chart) -> None:
    rendered = chart.render()
    for deployment in ("penstock-coordinator", "penstock-blur"):
        environment = rendered.environment(deployment)
        assert environment["PENSTOCK_STORE_URL"] == "http://penstock-store:8081"
        assert environment["PENSTOCK_BROKER_URL"]["secretKeyRef"] == {"name": "penstock-rabbitmq", "key": "url"}
        assert environment["PENSTOCK_STORE_TOKEN"]["secretKeyRef"] == {"name": "penstock-store", "key": "token"}
    assert rendered.environment("penstock-coordinator")["PENSTOCK_KUBERNETES_SELECTOR"] == (
        "app.kubernetes.io/name=penstock,app.kubernetes.io/instance=penstock,penstock.dev/step"
    )


def test_all_objects_are_prefixed_with_the_release_name(chart: Chart) -> None:
    rendered = chart.render(release="delft")
    assert {"delft-penstock-coordinator", "delft-penstock-blur"} <= set(rendered.all("Deployment"))
    assert rendered.environment("delft-penstock-blur")["PENSTOCK_STORE_URL"] == "http://delft-penstock-store:8081"


def test_rabbitmqs_user_url_and_definitions_agree(chart: Chart) -> None:
    secret = chart.render().find("Secret", "penstock-rabbitmq")["stringData"]
    definitions = json.loads(secret["definitions.json"])
    [user] = definitions["users"]
    assert user["password"] == secret["password"]
    assert len(secret["password"]) == 32
    assert secret["url"] == f"amqp://penstock:{secret['password']}@penstock-rabbitmq:5672/penstock"
    assert [each["name"] for each in definitions["vhosts"]] == ["penstock"]
    assert {each["name"]: each["definition"] for each in definitions["policies"]} == {
        "returns": {"delivery-limit": 100},
        "dead": {"max-length": 100_000, "overflow": "drop-head"},
    }


def test_rabbitmq_has_a_memory_limit_and_loads_the_definitions(chart: Chart) -> None:
    values = {"rabbitmq": {"resources": {"limits": {"memory": "1536Mi"}}, "plugins": ["rabbitmq_management"]}}
    data = chart.render(values).find("ConfigMap", "penstock-rabbitmq")["data"]
    assert "total_memory_available_override_value = 1536MiB\n" in data["rabbitmq.conf"]
    assert data["enabled_plugins"] == "[rabbitmq_management].\n"
    plain = chart.render({"rabbitmq": {"resources": {"limits": {"memory": 1073741824}}}})
    text = plain.find("ConfigMap", "penstock-rabbitmq")["data"]["rabbitmq.conf"]
    assert "total_memory_available_override_value = 1073741824\n" in text
    monitored = chart.render({"podMonitor": {"enabled": True}})
    assert monitored.find("ConfigMap", "penstock-rabbitmq")["data"]["enabled_plugins"] == "[rabbitmq_prometheus].\n"
    assert set(monitored.all("PodMonitor")) == {"penstock-coordinator", "penstock-rabbitmq"}


def test_an_external_broker_replaces_the_bundled_one(chart: Chart) -> None:
    rendered = chart.render(OWN_BROKER)
    assert not rendered.all("StatefulSet")
    assert "penstock-rabbitmq" not in rendered.all("Secret")
    assert rendered.environment("penstock-blur")["PENSTOCK_BROKER_URL"]["secretKeyRef"] == {
        "name": "ours",
        "key": "amqp",
    }


def test_existing_secrets_can_replace_all_generated_ones(chart: Chart) -> None:
    rendered = chart.render(
        {
            "rabbitmq": {"existingSecret": {"name": "our-rabbitmq"}},
            "store": {"tokenSecret": {"name": "our-store"}},
            "apiKeys": {"existingSecret": "our-keys"},
            "webhooks": {"existingSecret": "our-webhooks"},
        }
    )
    assert rendered.all("Secret") == {}
    assert rendered.environment("penstock-blur")["PENSTOCK_BROKER_URL"]["secretKeyRef"] == {
        "name": "our-rabbitmq",
        "key": "url",
    }
    broker = rendered.find("StatefulSet", "penstock-rabbitmq")["spec"]["template"]["spec"]
    [config] = [volume for volume in broker["volumes"] if volume["name"] == "config"]
    assert "our-rabbitmq" in [
        source["secret"]["name"] for source in config["projected"]["sources"] if "secret" in source
    ]


def test_nginx_has_the_charts_configuration_and_the_token(chart: Chart) -> None:
    rendered = chart.render()
    data = rendered.find("ConfigMap", "penstock-web")["data"]
    assert data["nginx.conf"] == (CHART / "files" / "nginx.conf").read_text()
    assert "server penstock-coordinator:8080;" in data["coordinator.conf"]
    secret = rendered.find("Secret", "penstock-store")["stringData"]
    assert secret["token.conf"] == f'"Bearer {secret["token"]}" 1;\n'


def test_nginx_serves_results_of_its_volume_and_the_coordinator_those_of_a_bucket(chart: Chart) -> None:
    prefix = chart.render().environment("penstock-coordinator")["PENSTOCK_ACCEL_PREFIX"]
    assert f"location {prefix} {{" in (CHART / "files" / "nginx.conf").read_text()
    assert "PENSTOCK_ACCEL_PREFIX" not in chart.render(BUCKET).environment("penstock-coordinator")


def test_with_a_bucket_the_coordinator_is_the_web_service(chart: Chart) -> None:
    rendered = chart.render(BUCKET)
    assert "penstock-web" not in rendered.all("Deployment")
    assert set(rendered.all("PersistentVolumeClaim")) == {"penstock-coordinator"}
    assert rendered.find("Service", "penstock-web")["spec"]["selector"]["app.kubernetes.io/component"] == "coordinator"
    assert "PENSTOCK_STORE_TOKEN" not in rendered.environment("penstock-blur")
    assert rendered.environment("penstock-blur")["PENSTOCK_STORE_URL"] == "s3://pictures/penstock"


def test_sqlite_has_one_coordinator_replaced_by_recreate_and_postgresql_several(chart: Chart) -> None:
    one = chart.render().find("Deployment", "penstock-coordinator")["spec"]
    assert ("replicas" in one, one["strategy"]["type"]) == (False, "Recreate")
    rendered = chart.render(EXTERNAL)
    many = rendered.find("Deployment", "penstock-coordinator")["spec"]
    assert (many["replicas"], many["strategy"]["type"]) == (2, "RollingUpdate")
    assert (
        rendered.environment("penstock-coordinator")["PENSTOCK_DATABASE_URL"]["secretKeyRef"]["name"] == "our-database"
    )
    assert "penstock-coordinator" in rendered.all("PodDisruptionBudget")
    assert not rendered.all("PersistentVolumeClaim")


def probed(chart: Chart, values: dict[str, object] | Path, name: str) -> dict[str, str]:
    [container] = chart.render(values).find("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}


def test_coordinator_and_nginx_stay_ready_without_a_broker(chart: Chart) -> None:
    assert set(probed(chart, {}, "penstock-coordinator").values()) == {"/healthz"}
    assert set(probed(chart, {}, "penstock-web").values()) == {"/healthz"}


def test_one_of_several_coordinators_serves_until_it_gets_no_more_requests(chart: Chart) -> None:
    def stop(values: dict[str, object] | Path) -> object:
        pod = chart.render(values).find("Deployment", "penstock-coordinator")["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == 30
        return pod["containers"][0].get("lifecycle")

    assert stop(EXTERNAL) == {"preStop": {"sleep": {"seconds": 5}}}
    assert stop({}) is None, "the next one waits for it to be gone"


def test_claims_are_kept_by_default_except_the_brokers(chart: Chart) -> None:
    rendered = chart.render({"web": {"persistence": {"keep": False}}})
    policies = {
        name: claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        for name, claim in rendered.all("PersistentVolumeClaim").items()
    }
    assert policies == {"penstock-coordinator": "keep", "penstock-web": None}
    broker = rendered.find("StatefulSet", "penstock-rabbitmq")["spec"]
    assert broker["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"


def checksums(chart: Chart, values: dict[str, object]) -> dict[str, str]:
    rendered = chart.render(values)
    templates = {**rendered.all("Deployment"), **rendered.all("StatefulSet")}
    return {name: str(each["spec"]["template"]["metadata"]["annotations"]) for name, each in templates.items()}


@pytest.mark.parametrize(
    ("values", "rolled"),
    [
        ({"settings": {"PENSTOCK_MAX_SIDE": "99"}}, {"coordinator", "resize", "split", "blur", "encode"}),
        ({"rabbitmq": {"diskFreeLimit": "1GB"}}, {"rabbitmq"}),
        ({"web": {"limits": {"body": "9g"}}}, {"web"}),
        ({"web": {"service": {"port": 81}}}, set()),
    ],
)
def test_pods_roll_when_their_configuration_changes_and_only_then(
    chart: Chart, values: dict[str, object], rolled: set[str]
) -> None:
    before, after = checksums(chart, {}), checksums(chart, values)
    assert {name.removeprefix("penstock-") for name in before if before[name] != after[name]} == rolled


def test_webhooks_are_signed_and_reach_only_public_addresses(chart: Chart) -> None:
    manifests = chart.render({})
    assert len(manifests.find("Secret", "penstock-webhooks")["stringData"]["secret"]) == 32
    rules = manifests.find("NetworkPolicy", "penstock-coordinator")["spec"]["egress"]
    (public,) = [rule for rule in rules if "0.0.0.0/0" in str(rule)]
    assert public["ports"] == [{"port": 443}]
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(public["to"][0]["ipBlock"]["except"])
    without = chart.render({"webhooks": {"enabled": False}})
    assert "penstock-webhooks" not in without.all("Secret")
    assert "0.0.0.0/0" not in str(without.find("NetworkPolicy", "penstock-coordinator"))


def test_the_web_service_is_exposed_by_ingress_or_gateway(chart: Chart) -> None:
    ingress = {"enabled": True, "host": "p.example", "tlsSecret": "tls"}
    rule = chart.render({"ingress": ingress}).find("Ingress", "penstock-web")["spec"]["rules"][0]
    assert rule["host"] == "p.example"
    assert rule["http"]["paths"][0]["backend"]["service"]["name"] == "penstock-web"
    gateway = chart.render({"gateway": {"enabled": True, "className": "gke-l7-rilb"}})
    assert gateway.find("HTTPRoute", "penstock-web")["spec"]["parentRefs"] == [{"name": "penstock-web"}]
    assert gateway.find("Gateway", "penstock-web")["spec"]["gatewayClassName"] == "gke-l7-rilb"
    assert gateway.find("Gateway", "penstock-web")["spec"]["listeners"] == [
        {"name": "http", "protocol": "HTTP", "port": 80}
    ]
    given = chart.render({"gateway": {"enabled": True, "parentRefs": [{"name": "shared", "namespace": "infra"}]}})
    assert not given.all("Gateway")


@pytest.mark.parametrize(
    ("certificate", "tls", "annotations"),
    [
        ({"tlsSecret": "tls"}, {"certificateRefs": [{"name": "tls"}]}, {"a": "b"}),
        ({"certificateMap": "map"}, None, {"a": "b", "networking.gke.io/certmap": "map"}),
    ],
)
def test_a_gateway_with_a_certificate_listens_only_on_https(
    chart: Chart, certificate: dict[str, str], tls: object, annotations: dict[str, str]
) -> None:
    values = {"enabled": True, "className": "gke-l7-global-external-managed", "annotations": {"a": "b"}, **certificate}
    made = chart.render({"gateway": values}).find("Gateway", "penstock-web")
    [listener] = made["spec"]["listeners"]
    assert (listener["protocol"], listener["port"], listener.get("tls")) == ("HTTPS", 443, tls)
    assert made["metadata"]["annotations"] == annotations


def test_the_route_sets_forwarded_headers_if_no_nginx_does(chart: Chart) -> None:
    gateway = {"enabled": True, "parentRefs": [{"name": "shared"}]}
    [rule] = chart.render({"gateway": gateway, **BUCKET}).find("HTTPRoute", "penstock-web")["spec"]["rules"]
    [marked] = rule["filters"][0]["requestHeaderModifier"]["set"]
    assert marked["name"] == "X-Penstock-Front"
    assert marked["value"] != "accel", "which would have the coordinator answer without bytes"
    [rule] = chart.render({"gateway": gateway}).find("HTTPRoute", "penstock-web")["spec"]["rules"]
    assert "filters" not in rule


def test_notes_show_how_to_send_a_job_find_the_bottleneck_and_scale_it(chart: Chart) -> None:
    notes = chart.notes({"steps": {"blur": {"autoscaling": {"mode": "none"}}}})
    for line in (
        "localhost:8080/v1/jobs",
        "get secret penstock-api-key -o jsonpath='{.data.key}' | base64 -d",
        'curl -H "Authorization: Bearer $PENSTOCK_API_KEY" localhost:8080/v1/steps',
        "-o custom-columns=STEP:",
        "kubectl --namespace pictures scale deployment/penstock-blur --replicas=20",
        "blur: by hand; an upgrade keeps what you set",
        "encode: 1 to 10 by CPU (hpa)",
        "persistentvolumeclaim/penstock-coordinator (jobs), persistentvolumeclaim/penstock-web (images and results)",
    ):
        assert line in notes
    assert "Warnings:" not in notes


def test_notes_warn_about_unsafe_values(chart: Chart) -> None:
    notes = chart.notes(
        {
            "networkPolicy": {"enabled": False},
            "ingress": {"enabled": True},
            "gateway": {"enabled": True, "className": "gke-l7-rilb"},
            "apiKeys": {"enabled": False},
            "web": {"service": {"type": "LoadBalancer"}},
        }
    )
    for said in (
        "networkPolicy.enabled is false",
        "ingress.tlsSecret is empty",
        "gateway.tlsSecret and gateway.certificateMap are empty",
        "web.service.type is LoadBalancer",
        "apiKeys.enabled is false",
    ):
        assert said in notes
    assert "networkPolicy.coordinatorFrom is empty" in chart.notes({"podMonitor": {"enabled": True}})
    assert "without a key" in chart.notes({**BUCKET, "ingress": {"enabled": True, "tlsSecret": "tls"}})


def test_helm_test_runs_an_image_through_every_step(chart: Chart) -> None:
    [(_, spec)] = [(name, spec) for name, spec in chart.render().pods() if name == "penstock-test"]
    program, server, steps = spec["containers"][0]["args"]
    assert program == (CHART / "files" / "send_image.py").read_text()
    assert server == "http://penstock-web:80"
    assert set(steps.split(",")) == {"resize", "split", "blur", "encode"}
