"""Settings: one object for each component, from defaults and `PENSTOCK_…` variables; all errors are reported at once.

Constructors receive these objects. Nothing else reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from penstock.common.model.errors import PenstockError

MiB = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
HourSecs = Annotated[float, Field(gt=0, le=3_600)]
"""Seconds, up to an hour."""
DaySecs = Annotated[float, Field(gt=0, le=86_400)]
"""Seconds, up to a day."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", frozen=True, extra="ignore")


class Limits(_Settings):
    """Limits on requests and images; each is checked before the expensive work that it guards."""

    max_files: Count = Field(default=1_000, description="Files per upload")
    max_fields: Count = Field(default=100, description="Form fields per upload, not counting files")
    max_field_bytes: Count = Field(default=MiB, description="Bytes per form field that is not a file")
    max_file_bytes: Count = Field(default=64 * MiB, description="Bytes per file")
    max_upload_bytes: Count = Field(default=1024 * MiB, description="Bytes per upload")
    max_pixels: Count = Field(default=50_000_000, description="Pixels per image, all its parts together")
    max_side: int = Field(default=32_768, ge=1, le=32_768, description="Longest side of an image, in pixels")
    max_operations: Count = Field(default=32, description="Operations per plan")
    max_parts: Count = Field(default=4_096, description="Parts per image")
    max_name_bytes: int = Field(default=255, ge=1, le=255, description="Bytes per file name (UTF-8)")
    max_images: Count = Field(default=5_000_000, description="Images per job")
    max_open_jobs: Count = Field(default=1_000, description="Open jobs: accepted and not finished")
    max_event_streams: Count = Field(
        default=100, description="Streams of server-sent events open at the same time, per API key"
    )


class DeclaredStep(BaseModel):
    """A step that no installed package provides. `params` is the JSON Schema of its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    params: dict[str, Any] = {}


class WorkerSettings(_Settings):
    """Settings of worker processes."""

    max_attempts: Count = Field(default=3, description="Attempts per image and step before the image fails")
    step_timeout_secs: DaySecs = Field(default=60.0, description="Time limit of one step for one image, in seconds")
    max_pixels_in_flight: Count = Field(
        default=100_000_000, description="Pixels a worker holds before it writes them to the store"
    )
    cancel_lookup_secs: float = Field(
        default=2.0, gt=0, description="Seconds for which a worker caches whether a job was cancelled"
    )
    drain_secs: DaySecs = Field(default=14.0, description="Seconds a worker may take to drain after SIGTERM")
    liveness_file: Path | None = Field(
        default=None, description="File that `penstock worker` updates while it is healthy, for probes; unset: none"
    )
    steps: str = Field(default="all", description="Steps that `penstock worker` serves, separated by commas, or `all`")
    concurrency: int = Field(default=1, ge=1, le=1_024, description="Processes started by one `penstock worker`")
    input_root: Path | None = Field(
        default=None, description="Folder whose files and folders jobs may use as inputs; unset: none"
    )
    declared_steps: dict[str, DeclaredStep] = Field(
        default={},
        description="Steps that no installed package provides, for coordinators and workers, as JSON:"
        ' `{"sharpen": {"params": {…JSON Schema…}}}`',
    )
    program: tuple[str, ...] = Field(
        default=(),
        description="Command line, as a JSON list, of the program that runs this worker's declared steps."
        " Unset: this worker runs none of them",
    )

    @property
    def step_schemas(self) -> dict[str, dict[str, Any]]:
        """The JSON Schema of each declared step's parameters, by its name."""
        return {name: step.params for name, step in self.declared_steps.items()}


class ContainerSettings(_Settings):
    """Settings of `penstock run --runner docker`, which runs each step in a container on this host."""

    images: str = Field(
        default="ghcr.io/penstock",
        min_length=1,
        description="Registry and path of the steps' container images: `<images>/penstock-<step>:<version>`",
    )
    container_memory: str = Field(
        default="2g", pattern="^[0-9]+[bkmg]?$", description="Memory limit of a container, in Docker's notation"
    )
    container_pids: Count = Field(default=256, description="Limit on processes and threads in a container")
    container_start_secs: HourSecs = Field(default=60.0, description="Seconds a container may take to start")


class BrokerSettings(_Settings):
    """Connection to RabbitMQ."""

    broker_url: str | None = Field(
        default=None,
        description="`amqp://user:password@host:port/vhost`, or `amqps://…` for TLS. `?cacertfile=ca.pem` names a"
        " private authority; `certfile` and `keyfile` name a client certificate. Unset: no RabbitMQ",
    )
    broker_timeout_secs: HourSecs = Field(
        default=30.0, description="Seconds after which a call to RabbitMQ fails, also during alarms"
    )
    broker_connect_timeout_secs: HourSecs = Field(
        default=10.0, description="Time limit of one attempt to connect, in seconds"
    )
    broker_heartbeat_secs: int = Field(
        default=15,
        ge=1,
        le=3_600,
        description="Seconds between heartbeats; without one for about twice as long, the connection is lost",
    )
    broker_max_pause_secs: HourSecs = Field(
        default=10.0, description="Longest delay between two attempts to connect, in seconds"
    )


class StoreSettings(_Settings):
    """The store of uploads, intermediates and results, and the buckets that jobs may use."""

    store_url: str | None = Field(
        default=None,
        description="`file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…` or `memory://`, with credentials"
        " from the variables of the cloud's own tools; or `http://host:port/prefix` for nginx with WebDAV. Unset:"
        " the folder `store` in the data folder",
    )
    store_token: str | None = Field(
        default=None,
        repr=False,
        description="Token of an `http://` store, sent as `Authorization: Bearer …`; unset: none",
    )
    sources: tuple[str, ...] = Field(
        default=(),
        description="JSON list of buckets, or prefixes in them, that jobs may read and write by URL, such as"
        ' `["s3://photos/", "gs://maps/delft/"]`. Unset: the store\'s bucket, except Penstock\'s own objects',
    )
    store_timeout_secs: HourSecs = Field(
        default=30.0, description="Seconds after which a call to the store fails, retries included"
    )


class WebhookSettings(_Settings):
    """Webhooks, which are called when a job ends."""

    webhook_secret: str | None = Field(
        default=None,
        repr=False,
        description="Signs webhooks of jobs without a secret of their own: `whsec_` and base64, or any text. Unset:"
        " each webhook needs one",
    )
    webhook_allow: tuple[str, ...] = Field(
        default=(),
        description="JSON list of receivers to allow besides public HTTPS ones, as hosts or address ranges:"
        ' `["hooks.lan:8443", "10.1.0.0/16", "http://hooks.lan"]`; `http://` allows plain HTTP',
    )
    webhook_ca: Path | None = Field(
        default=None, description="File of certificate authorities to trust for receivers, besides the system's"
    )
    webhook_attempts: int = Field(default=15, ge=1, le=50, description="Attempts per webhook before it is given up")
    webhook_first_pause_secs: DaySecs = Field(
        default=5.0, description="Delay between the first two attempts, in seconds; it doubles each time"
    )
    webhook_longest_pause_secs: DaySecs = Field(
        default=3_600.0, description="Longest delay between two attempts, in seconds"
    )
    webhook_connect_secs: float = Field(
        default=5.0, gt=0, le=300, description="Time limit for connecting to a receiver, in seconds"
    )
    webhook_timeout_secs: float = Field(
        default=15.0, gt=0, le=300, description="Time limit of one attempt, in seconds, connecting included"
    )
    webhook_concurrency: int = Field(default=8, ge=1, le=64, description="Webhooks sent at the same time")
    public_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="The server's public URL, put before the paths of jobs in webhooks. Unset: paths only",
    )


class CoordinatorSettings(WebhookSettings):
    """Settings of `penstock coordinator`, and of the coordinator in `penstock serve`."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback by default")
    port: int = Field(default=8080, ge=0, le=65_535, description="Port to listen on; 0 picks a free one")
    data: Path = Field(
        default=Path("penstock-data"), description="Folder of the SQLite database, and of the store if it has no URL"
    )
    database_url: str | None = Field(
        default=None,
        description="`postgresql://user:password@host/name`, for several coordinators. Unset: SQLite in `data`",
    )
    input_root: Path | None = Field(
        default=None, description="Folder whose files and folders jobs may use as inputs; unset: none"
    )
    accel_prefix: str | None = Field(
        default=None,
        pattern=r"^/([A-Za-z0-9._~-]+/)*$",
        description="Internal location of the store in the nginx in front, such as `/internal-store/`. nginx then"
        " sends files itself (X-Accel-Redirect). Unset: the coordinator sends them",
    )
    api_keys: str | None = Field(
        default=None,
        repr=False,
        description="JSON list of API keys by their hashes, as `penstock key NAME` creates them. Required on any"
        " address but loopback, unless `PENSTOCK_OPEN` is set",
    )
    api_keys_file: Path | None = Field(
        default=None, description="File with another such list, for example from a mounted Secret"
    )
    open: bool = Field(default=False, description="Serve anyone on any address, without API keys")
    session_secs: float = Field(
        default=43_200.0, ge=60, le=31_536_000, description="Seconds for which a browser stays logged in"
    )
    advice_secs: DaySecs = Field(
        default=300.0, description="Seconds in which the advised replicas would finish the backlog"
    )
    window_images: Count = Field(default=32, description="Images of one job in flight per worker, at most")
    max_chunk: int = Field(default=8, ge=1, le=64, description="Images per chunk at most, if `chunk_size` is `auto`")
    repair_secs: DaySecs = Field(
        default=30.0, description="Seconds without an event after which an image may be requeued"
    )
    sweep_secs: DaySecs = Field(default=60.0, description="Seconds between two runs of the garbage collector")
    abandoned_secs: float = Field(
        default=86_400.0, gt=0, description="Age, in seconds, at which an upload without a job is deleted"
    )


class ServeSettings(CoordinatorSettings):
    """Settings of `penstock serve`, besides those of the coordinator."""

    workers: int | None = Field(
        default=None, ge=1, description="Worker processes, for each step with `per_step`; default: one per core"
    )
    placement: Literal["fused", "per_step"] = Field(
        default="fused", description="`fused`: each worker serves all steps; `per_step`: each step has its own workers"
    )


class ClientSettings(_Settings):
    """Settings of the commands for jobs and of the client library."""

    server: str = Field(default="http://127.0.0.1:8080", description="The server's URL, `http://` or `https://`")
    api_key: str | None = Field(
        default=None, repr=False, description="API key, sent as `Authorization: Bearer …`; unset: none"
    )
    tls_ca: Path | None = Field(
        default=None, description="File of certificate authorities to trust. Unset: the system's"
    )
    state: Path = Field(
        default=Path("~/.local/state/penstock"),
        description="Folder in which `penstock submit` keeps unfinished uploads, to resume them",
    )


class KubernetesSettings(_Settings):
    """Settings of pods on Kubernetes."""

    pod_name: str | None = Field(default=None, description="The pod's own name, from the downward API")
    pod_namespace: str | None = Field(
        default=None, description="The pod's own namespace, from the downward API. Unset: that of its service account"
    )
    deletion_cost: bool = Field(
        default=False,
        description="Whether a worker annotates its own pod with 100 while it is busy and 0 while it is idle"
        " (`controller.kubernetes.io/pod-deletion-cost`). Needs permission to `patch` pods, and a liveness file",
    )
    kubernetes_selector: str | None = Field(
        default=None,
        description="Label selector of the steps' Deployments, whose replicas the coordinator reports. Needs"
        " permission to `list` them. Unset: no Kubernetes",
    )
    kubernetes_url: str = Field(
        default="https://kubernetes.default.svc", pattern="^https://", description="URL of Kubernetes' API"
    )
    kubernetes_account: Path = Field(
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Folder with the service account's `token`, `ca.crt` and `namespace`",
    )


class LogSettings(_Settings):
    """Logs, which every process writes to stderr."""

    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="`text` or `json`, one line per record; `auto`: text on a terminal, JSON elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged; `debug` logs every message"
    )


class TracingSettings(_Settings):
    """OpenTelemetry traces. The exporter reads more `OTEL_…` variables, such as headers and certificates, itself."""

    model_config = SettingsConfigDict(populate_by_name=True, env_ignore_empty=True)  # as OpenTelemetry has it

    trace_ratio: float = Field(
        default=0.01, ge=0, le=1, description="Share of chunks that are traced, if traces are exported"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        description="OTLP endpoint for traces (HTTP), such as `http://collector:4318`. Unset: no traces",
    )


SettingsT = TypeVar("SettingsT", bound=_Settings)


class SettingsError(PenstockError):
    """Settings that cannot be used; the message names all of them."""


def load(kind: type[SettingsT], **given: object) -> SettingsT:
    """Read a component's settings from the environment; `given` (the command line) takes precedence.

    Raises:
        SettingsError: with each variable, its value and what is accepted.
    """
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"PENSTOCK_{'_'.join(str(part) for part in item['loc']).upper()}={item['input']}: {item['msg']}"
            for item in error.errors()
        ]
        raise SettingsError("invalid_settings", "\n".join(lines)) from error
    except UnreadableError as error:
        raise SettingsError("invalid_settings", f"{error}; accepted is JSON: {error.__cause__}") from error
