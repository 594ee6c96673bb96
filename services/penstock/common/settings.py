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


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", frozen=True, extra="ignore")


class Limits(_Settings):
    """Limits on requests and images; each is checked before the expensive work that it guards."""

    max_files: Annotated[int, Field(ge=1, description="Files per upload")] = 1_000
    max_fields: Annotated[int, Field(ge=1, description="Form fields per upload, not counting files")] = 100
    max_field_bytes: Annotated[int, Field(ge=1, description="Bytes per form field that is not a file")] = MiB
    max_file_bytes: Annotated[int, Field(ge=1, description="Bytes per file")] = 64 * MiB
    max_upload_bytes: Annotated[int, Field(ge=1, description="Bytes per upload")] = 1024 * MiB
    max_pixels: Annotated[int, Field(ge=1, description="Pixels per image, all its parts together")] = 50_000_000
    max_side: Annotated[int, Field(ge=1, le=32_768, description="Longest side of an image, in pixels")] = 32_768
    max_operations: Annotated[int, Field(ge=1, description="Operations per plan")] = 32
    max_parts: Annotated[int, Field(ge=1, description="Parts per image")] = 4_096
    max_name_bytes: Annotated[int, Field(ge=1, le=255, description="Bytes per file name (UTF-8)")] = 255
    max_images: Annotated[int, Field(ge=1, description="Images per job")] = 5_000_000
    max_open_jobs: Annotated[int, Field(ge=1, description="Open jobs: accepted and not finished")] = 1_000
    max_event_streams: Annotated[
        int, Field(ge=1, description="Streams of server-sent events open at the same time, per API key")
    ] = 100


class DeclaredStep(BaseModel):
    """A step that no installed package provides. `params` is the JSON Schema of its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    params: dict[str, Any] = {}


class WorkerSettings(_Settings):
    """Settings of worker processes."""

    max_attempts: Annotated[int, Field(ge=1, description="Attempts per image and step before the image fails")] = 3
    step_timeout_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Time limit of one step for one image, in seconds")
    ] = 60.0
    max_pixels_in_flight: Annotated[
        int, Field(ge=1, description="Pixels a worker holds before it writes them to the store")
    ] = 100_000_000
    cancel_lookup_secs: Annotated[
        float, Field(gt=0, description="Seconds for which a worker caches whether a job was cancelled")
    ] = 2.0
    drain_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds a worker may take to drain after SIGTERM")
    ] = 14.0
    liveness_file: Annotated[
        Path | None,
        Field(description="File that `penstock worker` updates while it is healthy, for probes; unset: none"),
    ] = None
    steps: Annotated[str, Field(description="Steps that `penstock worker` serves, separated by commas, or `all`")] = (
        "all"
    )
    concurrency: Annotated[int, Field(ge=1, le=1_024, description="Processes started by one `penstock worker`")] = 1
    input_root: Annotated[
        Path | None, Field(description="Folder whose files and folders jobs may use as inputs; unset: none")
    ] = None
    declared_steps: Annotated[
        dict[str, DeclaredStep],
        Field(
            description="Steps that no installed package provides, for coordinators and workers, as JSON:"
            ' `{"sharpen": {"params": {…JSON Schema…}}}`'
        ),
    ] = {}
    program: Annotated[
        tuple[str, ...],
        Field(
            description="Command line, as a JSON list, of the program that runs this worker's declared steps."
            " Unset: this worker runs none of them"
        ),
    ] = ()

    @property
    def step_schemas(self) -> dict[str, dict[str, Any]]:
        """The JSON Schema of each declared step's parameters, by its name."""
        return {name: step.params for name, step in self.declared_steps.items()}


class ContainerSettings(_Settings):
    """Settings of `penstock run --runner docker`, which runs each step in a container on this host."""

    images: Annotated[
        str,
        Field(
            min_length=1,
            description="Registry and path of the steps' container images: `<images>/penstock-<step>:<version>`",
        ),
    ] = "ghcr.io/penstock"
    container_memory: Annotated[
        str, Field(pattern="^[0-9]+[bkmg]?$", description="Memory limit of a container, in Docker's notation")
    ] = "2g"
    container_pids: Annotated[int, Field(ge=1, description="Limit on processes and threads in a container")] = 256
    container_start_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds a container may take to start")
    ] = 60.0


class BrokerSettings(_Settings):
    """Connection to RabbitMQ."""

    broker_url: Annotated[
        str | None,
        Field(
            description="`amqp://user:password@host:port/vhost`, or `amqps://…` for TLS. `?cacertfile=ca.pem` names a"
            " private authority; `certfile` and `keyfile` name a client certificate. Unset: no RabbitMQ"
        ),
    ] = None
    broker_timeout_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds after which a call to RabbitMQ fails, also during alarms")
    ] = 30.0
    broker_connect_timeout_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Time limit of one attempt to connect, in seconds")
    ] = 10.0
    broker_heartbeat_secs: Annotated[
        int,
        Field(
            ge=1,
            le=3_600,
            description="Seconds between heartbeats; without one for about twice as long, the connection is lost",
        ),
    ] = 15
    broker_max_pause_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Longest delay between two attempts to connect, in seconds")
    ] = 10.0


class StoreSettings(_Settings):
    """The store of uploads, intermediates and results, and the buckets that jobs may use."""

    store_url: Annotated[
        str | None,
        Field(
            description="`file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…` or `memory://`, with credentials"
            " from the variables of the cloud's own tools; or `http://host:port/prefix` for nginx with WebDAV. Unset:"
            " the folder `store` in the data folder"
        ),
    ] = None
    store_token: Annotated[
        str | None,
        Field(repr=False, description="Token of an `http://` store, sent as `Authorization: Bearer …`; unset: none"),
    ] = None
    sources: Annotated[
        tuple[str, ...],
        Field(
            description="JSON list of buckets, or prefixes in them, that jobs may read and write by URL, such as"
            ' `["s3://photos/", "gs://maps/delft/"]`. Unset: the store\'s bucket, except Penstock\'s own objects'
        ),
    ] = ()
    store_timeout_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds after which a call to the store fails, retries included")
    ] = 30.0


class WebhookSettings(_Settings):
    """Webhooks, which are called when a job ends."""

    webhook_secret: Annotated[
        str | None,
        Field(
            repr=False,
            description="Signs webhooks of jobs without a secret of their own: `whsec_` and base64, or any text. Unset:"
            " each webhook needs one",
        ),
    ] = None
    webhook_allow: Annotated[
        tuple[str, ...],
        Field(
            description="JSON list of receivers to allow besides public HTTPS ones, as hosts or address ranges:"
            ' `["hooks.lan:8443", "10.1.0.0/16", "http://hooks.lan"]`; `http://` allows plain HTTP'
        ),
    ] = ()
    webhook_ca: Annotated[
        Path | None, Field(description="File of certificate authorities to trust for receivers, besides the system's")
    ] = None
    webhook_attempts: Annotated[int, Field(ge=1, le=50, description="Attempts per webhook before it is given up")] = 15
    webhook_first_pause_secs: Annotated[
        float,
        Field(gt=0, le=86_400, description="Delay between the first two attempts, in seconds; it doubles each time"),
    ] = 5.0
    webhook_longest_pause_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Longest delay between two attempts, in seconds")
    ] = 3_600.0
    webhook_connect_secs: Annotated[
        float, Field(gt=0, le=300, description="Time limit for connecting to a receiver, in seconds")
    ] = 5.0
    webhook_timeout_secs: Annotated[
        float, Field(gt=0, le=300, description="Time limit of one attempt, in seconds, connecting included")
    ] = 15.0
    webhook_concurrency: Annotated[int, Field(ge=1, le=64, description="Webhooks sent at the same time")] = 8
    public_url: Annotated[
        str | None,
        Field(
            pattern="^https?://",
            description="The server's public URL, put before the paths of jobs in webhooks. Unset: paths only",
        ),
    ] = None


class CoordinatorSettings(WebhookSettings):
    """Settings of `penstock coordinator`, and of the coordinator in `penstock serve`."""

    host: Annotated[str, Field(description="Address to listen on; loopback by default")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port to listen on; 0 picks a free one")] = 8080
    data: Annotated[Path, Field(description="Folder of the SQLite database, and of the store if it has no URL")] = Path(
        "penstock-data"
    )
    database_url: Annotated[
        str | None,
        Field(description="`postgresql://user:password@host/name`, for several coordinators. Unset: SQLite in `data`"),
    ] = None
    input_root: Annotated[
        Path | None, Field(description="Folder whose files and folders jobs may use as inputs; unset: none")
    ] = None
    accel_prefix: Annotated[
        str | None,
        Field(
            pattern=r"^/([A-Za-z0-9._~-]+/)*$",
            description="Internal location of the store in the nginx in front, such as `/internal-store/`. nginx then"
            " sends files itself (X-Accel-Redirect). Unset: the coordinator sends them",
        ),
    ] = None
    api_keys: Annotated[
        str | None,
        Field(
            repr=False,
            description="JSON list of API keys by their hashes, as `penstock key NAME` creates them. Required on any"
            " address but loopback, unless `PENSTOCK_OPEN` is set",
        ),
    ] = None
    api_keys_file: Annotated[
        Path | None, Field(description="File with another such list, for example from a mounted Secret")
    ] = None
    open: Annotated[bool, Field(description="Serve anyone on any address, without API keys")] = False
    session_secs: Annotated[
        float, Field(ge=60, le=31_536_000, description="Seconds for which a browser stays logged in")
    ] = 43_200.0
    advice_secs: Annotated[
        float,
        Field(gt=0, le=86_400, description="Seconds in which the advised replicas would finish the backlog"),
    ] = 300.0
    window_images: Annotated[int, Field(ge=1, description="Images of one job in flight per worker, at most")] = 32
    max_chunk: Annotated[int, Field(ge=1, le=64, description="Images per chunk at most, if `chunk_size` is `auto`")] = 8
    repair_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds without an event after which an image may be requeued")
    ] = 30.0
    sweep_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds between two runs of the garbage collector")
    ] = 60.0
    abandoned_secs: Annotated[
        float, Field(gt=0, description="Age, in seconds, at which an upload without a job is deleted")
    ] = 86_400.0


class ServeSettings(CoordinatorSettings):
    """Settings of `penstock serve`, besides those of the coordinator."""

    workers: Annotated[
        int | None, Field(ge=1, description="Worker processes, for each step with `per_step`; default: one per core")
    ] = None
    placement: Annotated[
        Literal["fused", "per_step"],
        Field(description="`fused`: each worker serves all steps; `per_step`: each step has its own workers"),
    ] = "fused"


class ClientSettings(_Settings):
    """Settings of the commands for jobs and of the client library."""

    server: Annotated[str, Field(description="The server's URL, `http://` or `https://`")] = "http://127.0.0.1:8080"
    api_key: Annotated[
        str | None, Field(repr=False, description="API key, sent as `Authorization: Bearer …`; unset: none")
    ] = None
    tls_ca: Annotated[
        Path | None, Field(description="File of certificate authorities to trust. Unset: the system's")
    ] = None
    state: Annotated[
        Path, Field(description="Folder in which `penstock submit` keeps unfinished uploads, to resume them")
    ] = Path("~/.local/state/penstock")


class KubernetesSettings(_Settings):
    """Settings of pods on Kubernetes."""

    pod_name: Annotated[str | None, Field(description="The pod's own name, from the downward API")] = None
    pod_namespace: Annotated[
        str | None,
        Field(description="The pod's own namespace, from the downward API. Unset: that of its service account"),
    ] = None
    deletion_cost: Annotated[
        bool,
        Field(
            description="Whether a worker annotates its own pod with 100 while it is busy and 0 while it is idle"
            " (`controller.kubernetes.io/pod-deletion-cost`). Needs permission to `patch` pods, and a liveness file"
        ),
    ] = False
    kubernetes_selector: Annotated[
        str | None,
        Field(
            description="Label selector of the steps' Deployments, whose replicas the coordinator reports. Needs"
            " permission to `list` them. Unset: no Kubernetes"
        ),
    ] = None
    kubernetes_url: Annotated[str, Field(pattern="^https://", description="URL of Kubernetes' API")] = (
        "https://kubernetes.default.svc"
    )
    kubernetes_account: Annotated[
        Path, Field(description="Folder with the service account's `token`, `ca.crt` and `namespace`")
    ] = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class LogSettings(_Settings):
    """Logs, which every process writes to stderr."""

    log_format: Annotated[
        Literal["auto", "text", "json"],
        Field(description="`text` or `json`, one line per record; `auto`: text on a terminal, JSON elsewhere"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Lowest level that is logged; `debug` logs every message"),
    ] = "info"


class TracingSettings(_Settings):
    """OpenTelemetry traces. The exporter reads more `OTEL_…` variables, such as headers and certificates, itself."""

    model_config = SettingsConfigDict(populate_by_name=True, env_ignore_empty=True)  # as OpenTelemetry has it

    trace_ratio: Annotated[
        float, Field(ge=0, le=1, description="Share of chunks that are traced, if traces are exported")
    ] = 0.01
    otlp_endpoint: Annotated[
        str | None,
        Field(
            validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            description="OTLP endpoint for traces (HTTP), such as `http://collector:4318`. Unset: no traces",
        ),
    ] = None


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
