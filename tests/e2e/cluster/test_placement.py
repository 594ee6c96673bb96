"""Placement of steps: on nodes with a GPU, custom steps, and all steps in one Deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from batches import Inputs, Ledger
from installation import Installation
from kube import ROOT, call, cluster, wait_for
from loading import load_image
from workload import JobSpec

from penstock import __version__

ANONYMIZE = ROOT / "docs" / "examples" / "anonymize"
GPU_STEP = "blur-gpu"
GPU_NODE = "gpu-1"
SIMULATED = {"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}
"""Taint of simulated nodes."""

NEGATE = """\
import json, pathlib, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "describe":
        answer = {"v": 1, "ok": True, "step": "negate", "version": "1", "params": {"type": "object"}}
    else:
        answer = {"v": 1, "ok": True, "out": []}
        for index, name in enumerate(request["in"]):
            data = pathlib.Path(name).read_bytes()
            start = 8 + int.from_bytes(data[:8], "little")
            made = pathlib.Path(request["out"]) / f"{index}.safetensors"
            made.write_bytes(data[:start] + bytes(255 - byte for byte in data[start:]))
            answer["out"].append(str(made))
    print(json.dumps(answer), flush=True)
"""
PROGRAM = ["python3", "/opt/negate.py"]


@pytest.fixture
def gpu_node(main: Installation) -> Iterator[None]:
    """Removes simulated nodes with a GPU, before and after."""
    call("kubectl", "delete", "node", GPU_NODE, "--ignore-not-found")
    yield
    main.release.upgrade({"steps": {GPU_STEP: {"enabled": False}}})
    call("kubectl", "delete", "node", GPU_NODE, "--ignore-not-found")


@pytest.mark.usefixtures("gpu_node")
def test_a_step_with_a_gpu_waits_for_a_node_with_one(main: Installation, tag: str) -> None:
    wanted = {
        "enabled": True,
        "image": f"local/penstock-blur:{tag}",
        "tolerations": [SIMULATED],
        "resources": {"requests": {"ephemeral-storage": "0"}},  # a simulated node has no disk
        "autoscaling": {"mode": "none"},
    }
    main.release.upgrade({"steps": {GPU_STEP: wanted}}, wait=False)
    (pod,) = wait_for("a pod", lambda: main.namespace.pods(GPU_STEP))
    wait_for("a verdict", lambda: "Unschedulable" in why_it_waits(main))
    assert pod.node is None
    cluster("nodes", "1", "gpu")
    wait_for("a place", lambda: main.namespace.pods(GPU_STEP)[0].node == GPU_NODE)


def why_it_waits(main: Installation) -> list[str]:
    (pod,) = main.namespace.pods(GPU_STEP)
    return [str(condition.get("reason")) for condition in pod.shown["status"].get("conditions", [])]


def test_a_custom_step_needs_one_more_entry_in_the_values(
    main: Installation, tag: str, ledger: Ledger, inputs: Inputs, tmp_path: Path
) -> None:
    image = f"local/penstock-negate:{tag}"
    build_own_step(tmp_path, f"local/penstock-step:{__version__}", image)
    load_image(image, image)
    entry = {"image": image, "program": PROGRAM, "params": {"type": "object", "additionalProperties": False}}
    main.release.upgrade({"steps": {"negate": entry}})
    names = [operation["name"] for operation in main.ask("/v1/operations")["operations"]]
    assert "negate" in names
    plan = [["resize", "320x240"], ["negate", True], ["blur", "median"], ["negate", True]]
    files = inputs.copies("negated", 6)
    plain = JobSpec("plain", [plan[0], plan[2]], files, output="png")  # a negative's median is the median's negative
    ledger.send(JobSpec("negated", plan, files, output="png"), inputs.expect(plain))
    ledger.finish()


def test_the_example_that_finds_faces_runs_in_its_own_image(main: Installation, tag: str) -> None:
    image, base = (f"local/penstock-{name}" for name in (f"faces:{tag}", f"step:{__version__}"))
    options = ["--network=host", "--build-arg", f"STEP={base}", "--tag", image]
    call("docker", "build", *options, str(ANONYMIZE), secs=300)
    load_image(image, image)
    entry = yaml.safe_load((ANONYMIZE / "values.yaml").read_text())["steps"]["faces"]
    main.release.upgrade({"steps": {"faces": {**entry, "image": image, "resources": {}}}})
    plan = {"operations": [["faces", True], ["blur", "pixelate,where=regions"]], "output": "png"}
    with main.rest() as client:
        job = client.post_job(plan, [ANONYMIZE / "before.jpg"])["id"]
        assert client.wait(job, poll_secs=0.5)["state"] == "succeeded"
        [result] = client.results(job)
    assert [region["label"] for region in result["regions"]] == ["face"]


def build_own_step(folder: Path, base: str, image: str) -> None:
    (folder / "negate.py").write_text(NEGATE)
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY negate.py /opt/negate.py\n")
    call("docker", "build", "--network=host", "--tag", image, str(folder), secs=300)


def test_fused_placement_gives_the_same_bytes(main: Installation, ledger: Ledger, inputs: Inputs) -> None:
    main.release.upgrade({"placement": "fused"})
    components = {pod.shown["metadata"]["labels"]["app.kubernetes.io/component"] for pod in main.namespace.pods()}
    assert "fused" in components
    wait_for("no pods of single steps", lambda: not main.namespace.pods("blur"))
    ledger.check(inputs.batch())
