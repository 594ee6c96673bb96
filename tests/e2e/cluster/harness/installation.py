"""Installation: access to its REST API, its store and its queues."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from client import Client
from kube import CommandError, Namespace, Release, wait_for

from penstock.benchmark.http import RestClient
from penstock.common.settings import StoreSettings
from penstock.common.store.base import Store
from penstock.common.store.factory import open_store

TIMEOUT_SECS = 180.0
VHOST = "penstock"
_OUTCOME = re.compile(r'^penstock_images_total\{outcome="(\w+)"\} (\d+)', re.MULTILINE)


@dataclass
class Installation:
    """A release of the chart. `store_url` is its store, if not the bundled one."""

    release: Release
    store_url: str | None = None

    @property
    def namespace(self) -> Namespace:
        """The namespace of the release."""
        return self.release.namespace

    @cached_property
    def url(self) -> str:
        """The URL of the web service."""
        return f"http://{self.namespace.address(f'{self.release.name}-web')}"

    @cached_property
    def client(self) -> Client:
        """A client that repeats requests."""
        return Client([self.url], lambda: None, TIMEOUT_SECS)

    @cached_property
    def store(self) -> Store:
        """The store, accessed from outside the cluster."""
        if self.store_url is not None:
            return open_store(StoreSettings(store_url=self.store_url), None)
        service = f"{self.release.name}-store"
        token = self.namespace.secret(service)["token"]
        return open_store(StoreSettings(store_url=f"http://{self.namespace.address(service)}", store_token=token), None)

    def rest(self) -> RestClient:
        """Return a new connection to the web service."""
        return RestClient(self.url)

    def ask(self, path: str) -> Any:
        """Return the JSON at a path, retrying until there is a response."""
        return self.client.request("GET", path).json

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job."""
        jobs: list[dict[str, Any]] = self.ask("/v1/jobs?limit=1000")["jobs"]
        return jobs

    def step(self, name: str) -> dict[str, Any]:
        """Return one step of `/v1/steps`."""
        (step,) = [step for step in self.ask("/v1/steps")["steps"] if step["name"] == name]
        return step

    def totals(self) -> dict[str, int]:
        """Return the number of images by outcome."""
        text = self.client.request("GET", "/metrics").body.decode()
        return {outcome: int(count) for outcome, count in _OUTCOME.findall(text)}

    def messages(self) -> dict[str, int]:
        """Return the number of messages in each queue, unacknowledged ones included."""
        queues: dict[str, int] = wait_for("RabbitMQ's queues", self._list_queues)
        return queues

    def _list_queues(self) -> dict[str, int] | None:
        options = ["--quiet", "--formatter", "json", "--vhost", VHOST]
        command = ["rabbitmqctl", *options, "list_queues", "name", "messages"]
        try:
            listed = self.namespace.kubectl("exec", f"{self.release.name}-rabbitmq-0", "--", *command)
        except CommandError:
            return None  # RabbitMQ is restarting
        return {queue["name"]: int(queue["messages"]) for queue in json.loads(listed)}

    def leftovers(self, jobs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the stored objects that no job needs, given that all have ended."""
        states = {str(job["id"]): str(job["state"]) for job in jobs}
        keys = [key for kind in ("work", "resume", "cancelled", "plans", "results") for key in self.store.list(kind)]
        found = [key for key in keys if not _is_needed(key, states)]
        uploads = list(self.store.children("uploads"))
        return found + ([f"{len(uploads)} uploads for {len(jobs)} jobs"] if len(uploads) > len(jobs) else [])

    def logs(self) -> str:
        """Return the last lines of the pods' logs."""
        try:
            return self.namespace.kubectl(
                "logs", "--selector=app.kubernetes.io/name=penstock", "--all-containers", "--prefix", "--tail=40"
            )
        except CommandError as error:
            return str(error)


def _is_needed(key: str, states: Mapping[str, str]) -> bool:
    kind, _, rest = key.partition("/")
    state = states.get(rest.partition("/")[0].removesuffix(".json"))
    if kind == "resume":
        return state in ("partial", "failed")
    if kind == "cancelled":
        return state == "cancelled"
    return kind in ("results", "plans") and state is not None
