"""The images that are tested: built, and brought to the cluster unless exactly they are there already."""

from __future__ import annotations

import hashlib
import json

from kube import ROOT, call, cluster

from penstock import __version__

BUILD_SECS = 1_200.0
TARGETS = ["coordinator", "step", "resize", "split", "blur", "encode"]
SERVERS = ["local/rabbitmq:4.0", "local/nginx:1.26", "local/postgres:17", "local/s3:1"]


def bring_images() -> tuple[str, str]:
    """Build every image, have the cluster hold each under two tags and the servers as well; return the tags.

    A tag is made of what the images are, so images that the cluster has under it need not be brought again.
    """
    call("env", "REGISTRY=local", "bash", str(ROOT / "scripts" / "build_images.sh"), secs=BUILD_SECS)
    built = [
        call("docker", "image", "inspect", "--format", "{{.Id}}", _image(target, __version__)) for target in TARGETS
    ]
    first = f"e2e-{hashlib.sha256(''.join(built).encode()).hexdigest()[:12]}"
    tags = first, f"{first}-next"
    held = held_images()
    cluster("load", *(image for image in SERVERS if image not in held))
    for tag in tags:
        for target in TARGETS:
            if _image(target, tag) not in held:
                bring(_image(target, __version__), _image(target, tag))
    return tags


def bring(source: str, image: str) -> None:
    """Bring an image of this machine's Docker to the cluster under another name."""
    call("docker", "tag", source, image)
    cluster("load", image)
    call("docker", "rmi", image)


def held_images() -> set[str]:
    """Return the names of the images that the cluster's nodes hold."""
    nodes = json.loads(call("kubectl", "get", "nodes", "--output", "json"))["items"]
    return {
        name.removeprefix("docker.io/")
        for node in nodes
        for image in node["status"].get("images", [])
        for name in image["names"]
    }


def _image(target: str, tag: str) -> str:
    return f"local/penstock-{target}:{tag}"


__all__ = ["bring", "bring_images", "held_images"]
