"""Images under test: builds them and loads them into the cluster."""

from __future__ import annotations

import hashlib
import json

from kube import ROOT, call, cluster

from penstock import __version__

BUILD_SECS = 1_200.0
TARGETS = ["coordinator", "step", "resize", "split", "blur", "encode"]
SERVERS = ["local/rabbitmq:4.0", "local/nginx:1.26", "local/postgres:17", "local/s3:1"]


def build_images() -> str:
    """Build all images; return a tag derived from their contents."""
    call("env", "REGISTRY=local", "bash", str(ROOT / "scripts" / "build_images.sh"), secs=BUILD_SECS)
    images = [_image(target, __version__) for target in TARGETS]
    ids = [call("docker", "image", "inspect", "--format", "{{.Id}}", image) for image in images]
    return f"e2e-{hashlib.sha256(''.join(ids).encode()).hexdigest()[:12]}"


def load_images(tag: str) -> None:
    """Load the built images into the cluster under a tag, unless they are there."""
    existing = list_images()
    for target in TARGETS:
        if _image(target, tag) not in existing:
            load_image(_image(target, __version__), _image(target, tag))


def load_servers() -> None:
    """Load the images of servers into the cluster, unless they are there."""
    cluster("load", *(image for image in SERVERS if image not in list_images()))


def load_image(source: str, image: str) -> None:
    """Load a local image into the cluster under another name."""
    call("docker", "tag", source, image)
    cluster("load", image)
    call("docker", "rmi", image)


def list_images() -> set[str]:
    """Return the names of the images on the cluster's nodes."""
    nodes = json.loads(call("kubectl", "get", "nodes", "--output", "json"))["items"]
    return {
        name.removeprefix("docker.io/")
        for node in nodes
        for image in node["status"].get("images", [])
        for name in image.get("names") or ()
    }


def _image(target: str, tag: str) -> str:
    return f"local/penstock-{target}:{tag}"
