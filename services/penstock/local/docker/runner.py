"""Docker runner: `penstock run --runner docker` processes images in chains of containers, one container per step."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

from penstock import __version__
from penstock.common.broker.memory import MemoryBroker
from penstock.common.input_root import WHOLE_HOST
from penstock.common.model.errors import RequestError, UnavailableError
from penstock.common.model.plan import Plan
from penstock.common.model.stdio_protocol import Description
from penstock.common.registry import declare_steps, operations
from penstock.common.settings import ContainerSettings, DeclaredStep, Limits, WorkerSettings
from penstock.common.store.local import LocalStore
from penstock.local.docker.chain import MAX_FAILED_STARTS, Chain
from penstock.local.docker.docker_cli import Container, check_docker, ensure_images, list_gpus, remove_leftovers
from penstock.local.run import RunOptions
from penstock.worker.executors.program import Program, ProgramStartError
from penstock.worker.outage import hide_outages
from penstock.worker.process.supervisor import join_all
from penstock.worker.worker import Worker, build_worker

log = logging.getLogger(__name__)

_KILL_SECS = 15.0


@dataclass(frozen=True)
class DockerRunner:
    """Starts the chains of a run. `images` and `descriptions`, by step, are of the images that the command line names.

    Raises:
        UnavailableError: Docker or an image is not available, or an image does not run its step.
    """

    images: Mapping[str, str]
    settings: ContainerSettings
    limits: Limits
    worker_settings: WorkerSettings
    out: Path
    descriptions: Mapping[str, Description]

    @classmethod
    def prepare(
        cls, images: Mapping[str, str], settings: ContainerSettings, limits: Limits, worker: WorkerSettings, out: Path
    ) -> Self:
        """Pull and inspect the images, and declare the operations that they add."""
        check_docker()
        ensure_images(images.values())
        undescribed = cls(images, settings, limits, worker, out.absolute(), {})
        with ThreadPoolExecutor(max(1, len(images))) as pool:
            descriptions = dict(zip(images, pool.map(undescribed._describe, images), strict=True))
        unknown = {
            step: DeclaredStep(params=said.schema_of(step) or {}, group=said.group)
            for step, said in descriptions.items()
            if step not in operations()
        }
        declare_steps({**worker.declared_steps, **unknown})
        return replace(undescribed, descriptions=descriptions)

    def complete(self, options: RunOptions, parallel: int | None) -> RunOptions:
        """Return options that make `parallel` chains of containers, by default one per GPU or core."""
        plan = options.plan
        ensure_images(self._image(step) for step in plan.steps)
        count = parallel or (len(list_gpus()) if self._gpu_steps(plan) else 0) or options.workers
        return replace(options, workers=count, make_workers=partial(self.make_chains, plan, count))

    def make_chains(self, plan: Plan, count: int, broker: MemoryBroker, work: Path) -> "Chains":
        """Return the workers of a run; the caller must hold the lock of the results folder."""
        remove_leftovers(self.out)
        hide_outages()
        gpu_steps, gpus = self._gpu_steps(plan), list_gpus()
        chains = []
        for number in range(count):
            folder = (work / f"chain-{number}").absolute()
            wanted = f"device={gpus[number % len(gpus)]}" if gpus else "all"
            containers = {
                step: replace(self._container(step), shared=folder, gpus=wanted if step in gpu_steps else None)
                for step in dict.fromkeys(plan.steps)
            }
            chains.append(Chain(containers, folder, self.limits, self.worker_settings, self.settings))
        store = LocalStore(work)
        return Chains(chains, [self._worker(number, chain, broker, store) for number, chain in enumerate(chains)])

    def _worker(self, number: int, chain: Chain, broker: MemoryBroker, store: LocalStore) -> Worker:
        name, settings = f"chain-{number}", self.worker_settings
        return build_worker(name, operations(), store, broker, chain, self.limits, settings, input_root=WHOLE_HOST)

    def _image(self, step: str) -> str:
        return self.images.get(step) or f"{self.settings.images}/penstock-{step}:{__version__}"

    def _container(self, step: str) -> Container:
        return Container(self._image(step), self.settings, self.limits, self.out)

    def _gpu_steps(self, plan: Plan) -> set[str]:
        return {step for step in plan.steps if step in self.descriptions and self.descriptions[step].gpu}

    def _describe(self, step: str) -> Description:
        program = Program(step, self._container(step).launch, self.settings.container_start_secs)
        try:
            description = program.start()
        except ProgramStartError as error:
            raise UnavailableError("docker", f"image {self._image(step)}: {error}") from error
        finally:
            program.close()
        if description.schema_of(step) is None:
            raise UnavailableError(
                "docker", f"--image {step}={self._image(step)}: this image runs {description.step}, not {step}"
            )
        return description


class Chains:
    """The workers of a run: one thread per chain, which takes chunks and runs their images through its containers."""

    def __init__(self, chains: Sequence[Chain], workers: Sequence[Worker]) -> None:
        self._chains = chains
        self._workers = workers
        self._broken = False
        self._threads = [
            threading.Thread(target=self._run, args=(chain, worker), name=f"chain-{number}", daemon=True)
            for number, (chain, worker) in enumerate(zip(chains, self._workers, strict=True))
        ]

    def start(self) -> None:
        """Start all chains; returns at once."""
        for thread in self._threads:
            thread.start()

    @property
    def is_failing(self) -> bool:
        """Whether containers repeatedly fail to start."""
        return self._broken or any(chain.failed_starts >= MAX_FAILED_STARTS for chain in self._chains)

    def stop(self, timeout_secs: float) -> None:
        """Let the chains finish their current images; kill containers after `timeout_secs`."""
        for worker in self._workers:
            worker.stop()
        if not join_all(self._threads, timeout_secs):
            for chain in self._chains:
                chain.kill()
            join_all(self._threads, _KILL_SECS)

    def _run(self, chain: Chain, worker: Worker) -> None:
        try:
            chain.warm_up()
            worker.run()
        except Exception:
            log.exception("unexpected error; the chain ends")
            self._broken = True
        finally:
            chain.close()


def read_images(given: Sequence[str]) -> dict[str, str]:
    """Return images by step from `STEP=IMAGE` texts; raises RequestError for any other."""
    images = {}
    for text in given:
        step, separator, image = text.partition("=")
        if not (separator and step and image):
            raise RequestError(422, "invalid_image", f"--image {text}: accepted is STEP=IMAGE, such as blur=my/blur:1")
        images[step] = image
    return images
