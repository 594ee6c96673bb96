"""Settings: one object for each component, from defaults and `PENSTOCK_…` variables; all errors are reported at once.

Constructors receive these objects. Nothing else reads the environment.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from penstock.common.headers.base import ImageType
from penstock.common.headers.file_types import (
    HEIC_NEEDS,
    TYPES,
    describe_type,
    has_heic,
    image_type,
    list_names,
    read_types,
)
from penstock.common.model.errors import PenstockError
from penstock.common.model.jobs import Duration
from penstock.common.wording.faults import explain

MiB = 1024 * 1024
TiB = 1024**4

Count = Annotated[int, Field(ge=1)]
HourSecs = Annotated[float, Field(gt=0, le=3_600)]
"""Seconds, up to an hour."""
DaySecs = Annotated[float, Field(gt=0, le=86_400)]
"""Seconds, up to a day."""


def _option(default: Any, description: str, **constraints: Any) -> Any:
    return Field(default, description=description, **constraints)


def _optional(description: str, **constraints: Any) -> Any:
    return _option(None, description, **constraints)


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", frozen=True, extra="ignore")


class Limits(_Settings):
    """Limits on requests and images; each is checked before any expensive work."""

    max_files: Count = _option(1_000, "Files per form")
    max_fields: Count = _option(100, "Fields per form, not counting files")
    max_field_bytes: Count = _option(MiB, "Bytes per form field that is not a file")
    max_file_bytes: Count = _option(64 * MiB, "Bytes per file")
    max_upload_bytes: Count = _option(1024 * MiB, "Bytes per form, and per list of inputs")
    max_pixels: Count = _option(
        150_000_000,
        "Pixels per image, over all its parts; those of 16 bits count twice, and so do those with transparency that"
        " is kept. `penstock run`: 250000000. A worker process needs up to 14 bytes of memory for each, besides"
        " 400 MB and what `PENSTOCK_MAX_PIXELS_IN_FLIGHT` says",
    )
    formats: str = _option(
        "all",
        "Types of image files that are read, separated by commas: `jpeg`, `png`, `webp`, `tiff`, `avif`, `heic`; or"
        " `all` that are installed (`heic` needs the extra `heif`)",
        json_schema_extra={"pattern": "^(all|({0})(,({0}))*)$".format("|".join(TYPES))},
    )
    max_side: int = _option(
        32_768, "Longest side of an image, and of what an operation makes of it, in pixels", ge=1, le=32_768
    )
    max_operations: Count = _option(32, "Operations per plan")
    max_parts: Count = _option(4_096, "Parts per image")
    max_name_bytes: int = _option(255, "Bytes per file name (UTF-8)", ge=1, le=255)
    max_images: Count = _option(5_000_000, "Images per job")
    max_open_jobs: Count = _option(1_000, "Open jobs: accepted and not finished")
    max_open_uploads: Count = _option(1_000, "Open uploads per API key: created, and used by no job yet")
    max_open_upload_bytes: Count = _option(
        TiB, "Bytes in open uploads per API key, and in its requests that are being received"
    )
    max_server_uploads: Count = _option(10_000, "Open uploads of all API keys")
    max_server_upload_bytes: Count = _option(10 * TiB, "The same bytes of all API keys; above it, `507`")
    max_stored_bytes: Count | None = _optional(
        "Bytes of uploads and results of all API keys together; above it, uploads and jobs get `507`. Unset: as many as"
        " the store has room for"
    )
    expire_after: Duration | None = _optional(
        "Longest time for which a job is kept after its end, such as `30d`; then it is deleted with its files and"
        " results. For jobs that are accepted from now on. Unset: until it is deleted"
    )
    max_wait_secs: HourSecs = _option(
        60.0, "Seconds a request may wait for the end of its job: `/v1/process`, and `Prefer: wait=…`"
    )
    max_waiting: Count = _option(100, "Requests with `Prefer: wait=…` waiting at the same time, per API key")
    max_sessions: Count = _option(100, "Browsers logged in at the same time, per API key; one more logs out the first")
    max_downloads: Count = _option(
        200, "Downloads of more than a mebibyte, archives and manifests sent at the same time, per API key"
    )
    max_presets: Count = _option(200, "Presets per API key, of at most 64 KiB each")
    max_event_streams: Count = _option(100, "Streams of server-sent events open at the same time, per API key")

    @field_validator("formats")
    @classmethod
    def _check_formats(cls, text: str) -> str:
        read_types(text)
        return text

    @property
    def types(self) -> frozenset[ImageType]:
        """The types of image files that are read."""
        return read_types(self.formats)

    @property
    def accepted_types(self) -> str:
        """The types of image files that are read, as a message ends with them."""
        return f"accepted are {list_names(self.types)} (PENSTOCK_FORMATS)"

    def describe_refused(self, head: bytes) -> str:
        """Return what a file is that is not read, by its first bytes, and what is read; completes "the file is …"."""
        needs = f", which needs {HEIC_NEEDS} where it is read" if image_type(head) == "heic" and not has_heic() else ""
        return f"{describe_type(head)}{needs}; {self.accepted_types}"

    def changed(self) -> dict[str, Any]:
        """Return the limits that differ from a server's defaults."""
        return {name: value for name, value in self if value != Limits.model_fields[name].default}

    def accepted(self, name: str) -> str:
        """Return a limit as a message ends with it: its value, and the setting that raises it."""
        return f"accepted are up to {getattr(self, name)} (PENSTOCK_{name.upper()})"


class RunLimits(Limits):
    """Limits of `penstock run`, where the images are one's own."""

    max_pixels: Count = _option(250_000_000, "Pixels per image, over all its parts")


class DeclaredStep(BaseModel, extra="forbid", frozen=True):
    """A step that no installed package provides. `params` is the JSON Schema of its parameters.

    `group`: whether it runs on the results of a group of images.
    """

    params: dict[str, Any] = {}
    group: bool = False


class WorkerSettings(_Settings):
    """Settings of worker processes."""

    max_attempts: Count = _option(3, "Attempts per image and step before the image fails")
    step_timeout_secs: DaySecs = _option(
        60.0,
        "Limit on one step for one image, in seconds of CPU time of the worker process; for steps in programs and"
        " containers in seconds",
    )
    step_wall_secs: DaySecs | None = _optional(
        "Limit on one step for one image in seconds, however little CPU it gets. Unset: ten times"
        " `PENSTOCK_STEP_TIMEOUT_SECS`"
    )
    image_timeout_secs: DaySecs = _option(
        600.0,
        "Limit on consecutive steps of one image in one worker, in seconds of CPU time; checked between steps. The"
        " image fails as `image_timeout`",
    )
    max_pixels_in_flight: Count = _option(
        100_000_000, "Pixels, of 3 bytes, that a worker holds before it writes them to the store"
    )
    memory_limit_bytes: int | None = _optional(
        "Bytes of memory that a worker process may use: an image for which a step needs more is refused instead of"
        " started. Unset: the memory limit of its container (cgroup), if any",
        ge=1,
    )
    cancel_lookup_secs: float = _option(2.0, "Seconds for which a worker caches whether a job was cancelled", gt=0)
    drain_secs: DaySecs = _option(14.0, "Seconds a worker may take to drain after SIGTERM")
    liveness_file: Path | None = _optional(
        "File that `penstock worker` updates while it is healthy, for probes; unset: none"
    )
    steps: str = _option("all", "Steps that `penstock worker` serves, separated by commas, or `all`")
    concurrency: int = _option(1, "Processes started by one `penstock worker`", ge=1, le=1_024)
    device: Literal["cpu", "cuda"] = _option(
        "cpu", "What `blur` computes on: `cpu`, or `cuda` for an NVIDIA GPU, without which the worker does not start"
    )
    input_root: Path | None = _optional("Folder whose files and folders jobs may use as inputs; unset: none")
    declared_steps: dict[str, DeclaredStep] = _option(
        {},
        "Steps that no installed package provides, for coordinators and workers, as JSON:"
        ' `{"sharpen": {"params": {…JSON Schema…}}}`; with `"group": true`, it is a group step',
    )
    program: tuple[str, ...] = _option(
        (),
        "Command line, as a JSON list, of the program that runs this worker's declared steps."
        " Unset: this worker runs none of them",
    )

    @property
    def wall_limit_secs(self) -> float:
        """Seconds that a step may take, however little CPU it gets."""
        return self.step_wall_secs or 10 * self.step_timeout_secs


class ContainerSettings(_Settings):
    """Settings of `penstock run --runner docker`, which runs each step in a container on this host."""

    images: str = _option(
        "ghcr.io/penstock",
        "Registry and path of the steps' container images: `<images>/penstock-<step>:<version>`",
        min_length=1,
    )
    container_memory: str = _option(
        "4g", "Memory limit of a container, in Docker's notation", pattern="^[0-9]+[bkmg]?$"
    )
    container_pids: Count = _option(256, "Limit on processes and threads in a container")
    container_start_secs: HourSecs = _option(60.0, "Seconds a container may take to start")


class BrokerSettings(_Settings):
    """Connection to RabbitMQ."""

    broker_url: str | None = _optional(
        "`amqp://user:password@host:port/vhost`, or `amqps://…` for TLS. `?cacertfile=ca.pem` names a"
        " private authority; `certfile` and `keyfile` name a client certificate. Unset: no RabbitMQ"
    )
    broker_timeout_secs: HourSecs = _option(
        30.0, "Seconds after which a call to RabbitMQ fails, also while RabbitMQ blocks publishers"
    )
    broker_connect_timeout_secs: HourSecs = _option(10.0, "Time limit of one attempt to connect, in seconds")
    broker_heartbeat_secs: int = _option(
        15, "Seconds between heartbeats; the connection counts as lost after about two missed ones", ge=1, le=3_600
    )
    broker_max_pause_secs: HourSecs = _option(10.0, "Longest delay between two attempts to connect, in seconds")


class StoreSettings(_Settings):
    """The store of uploads, intermediates and results, and the buckets that jobs may use."""

    store_url: str | None = _optional(
        "`file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…` or `memory://`, with credentials"
        " from the variables of the cloud's own tools; or `http://host:port/prefix` for nginx with WebDAV. Unset:"
        " the folder `store` in the data folder"
    )
    store_token: str | None = _optional(
        "Token of an `http://` store, sent as `Authorization: Bearer …`; unset: none", repr=False
    )
    sources: tuple[str, ...] = _option(
        (),
        "JSON list of buckets, or prefixes in them, that jobs may read and write by URL, such as"
        ' `["s3://photos/", "gs://maps/delft/"]`. Unset: the store\'s bucket, except Penstock\'s own objects',
    )
    fsync: bool = _option(
        True,
        "Whether uploads, jobs and results are on the disk before they are acknowledged, in SQLite and in a store that"
        " is a folder. `false` is faster, and a power failure may lose the last seconds",
    )
    store_timeout_secs: HourSecs = _option(30.0, "Seconds after which a call to the store fails, retries included")
    reserve_bytes: int = _option(
        256 * MiB,
        "Free bytes to keep on the volumes of a folder store and of SQLite; at most a twentieth of a volume. With"
        " less, uploads and jobs are refused; with less than half of it, workers wait, too. Deleting still works",
        ge=0,
    )


class WebhookSettings(_Settings):
    """Webhooks, which are called when a job ends."""

    webhook_secret: str | None = _optional(
        "Signs webhooks of jobs without a secret of their own: `whsec_` and base64, or any text. Unset:"
        " each webhook needs one",
        repr=False,
    )
    webhook_allow: tuple[str, ...] = _option(
        (),
        "JSON list of receivers to allow besides public HTTPS ones, as hosts or address ranges:"
        ' `["hooks.lan:8443", "10.1.0.0/16", "http://hooks.lan"]`; `http://` allows plain HTTP',
    )
    webhook_ca: Path | None = _optional("File of certificate authorities to trust for receivers, besides the system's")
    webhook_attempts: int = _option(15, "Attempts per webhook before it is given up", ge=1, le=50)
    webhook_first_pause_secs: DaySecs = _option(
        5.0, "Delay between the first two attempts, in seconds; it doubles each time"
    )
    webhook_longest_pause_secs: DaySecs = _option(3_600.0, "Longest delay between two attempts, in seconds")
    webhook_connect_secs: float = _option(5.0, "Time limit for connecting to a receiver, in seconds", gt=0, le=300)
    webhook_timeout_secs: float = _option(
        15.0, "Time limit of one attempt, in seconds, connecting included", gt=0, le=300
    )
    webhook_concurrency: int = _option(8, "Webhooks sent at the same time", ge=1, le=64)
    public_url: str | None = _optional(
        "The server's public URL, put before the paths of jobs in webhooks. Unset: paths only. Its path, if a proxy"
        " shows the server below one, is put before all links",
        pattern="^https?://",
    )


class CoordinatorSettings(WebhookSettings):
    """Settings of `penstock coordinator`, and of the coordinator in `penstock serve`."""

    host: str = _option("127.0.0.1", "Address to listen on; loopback by default")
    port: int = _option(8080, "Port to listen on; 0 picks a free one", ge=0, le=65_535)
    max_connections: int | None = _optional(
        "Connections open at the same time. Above it, the one that has waited longest for a request is closed; if none"
        " waits, new ones get `503`. Unset: half of the files that the process may open (`ulimit -n`), at most 1024",
        ge=1,
    )
    trusted_proxies: tuple[str, ...] = _option(
        ("127.0.0.0/8", "::1/128"),
        "JSON list of the addresses of proxies that may say below which path they show the server"
        ' (`X-Forwarded-Prefix`), such as `["10.0.0.0/8"]`; default: this host',
    )
    data: Path = _option(Path("penstock-data"), "Folder of the SQLite database, and of the store if it has no URL")
    database_url: str | None = _optional(
        "`postgresql://user:password@host/name`, for several coordinators. Unset: SQLite in `data`"
    )
    input_root: Path | None = _optional("Folder whose files and folders jobs may use as inputs; unset: none")
    accel_prefix: str | None = _optional(
        "Internal location of the store in the nginx in front, such as `/internal-store/`. nginx then"
        " sends files itself (X-Accel-Redirect). Unset: the coordinator sends them",
        pattern=r"^/([A-Za-z0-9._~-]+/)*$",
    )
    api_keys: str | None = _optional(
        "JSON list of API keys by their hashes, as `penstock key NAME` creates them. Required on any"
        " address but loopback, unless `PENSTOCK_OPEN` is set",
        repr=False,
    )
    api_keys_file: Path | None = _optional("File with another such list, for example from a mounted Secret")
    map_tiles: str | None = _optional(
        "URL of map tiles that the page shows below the places of a job's images, such as"
        " `https://tiles.example/{z}/{x}/{y}.png`; their server learns which area users look at. Unset: none",
        pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/\S*\{z\}\S*\{[xy]\}\S*\{[xy]\}\S*$",
    )
    map_credit: str = _option("", "Whom to credit for the map, such as `© OpenStreetMap contributors`", max_length=200)
    open: bool = _option(False, "Serve anyone on any address, without API keys")
    session_secs: float = _option(43_200.0, "Seconds for which a browser stays logged in", ge=60, le=31_536_000)
    disabled_steps: str = _option(
        "",
        "Steps that have no workers, separated by commas: jobs that name one are refused",
        pattern=r"^([a-z][a-z0-9-]*(,[a-z][a-z0-9-]*)*)?$",
    )
    advice_secs: DaySecs = _option(300.0, "Seconds in which the advised replicas would finish the backlog")
    worker_prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = _option(
        {},
        'Price of a worker for an hour by step, `*` for all others, as JSON: `{"*": 0.03, "blur": 0.9}`. Jobs may then'
        " have a highest price",
    )
    window_images: Count = _option(32, "Images of one job in flight per worker, at most")
    max_chunk: int = _option(8, "Images per chunk at most, if `chunk_size` is `auto`", ge=1, le=64)
    repair_secs: DaySecs = _option(30.0, "Seconds without an event after which an image may be requeued")
    sweep_secs: DaySecs = _option(60.0, "Seconds between two runs of the garbage collector")
    abandoned_secs: float = _option(86_400.0, "Age, in seconds, at which an upload without a job is deleted", gt=0)

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)  # its error says what is wrong
        return proxies

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The addresses of trusted proxies."""
        return tuple(map(ip_network, self.trusted_proxies))


class ServeSettings(CoordinatorSettings):
    """Settings of `penstock serve`, besides those of the coordinator."""

    workers: int | None = _optional("Worker processes, for each step with `per_step`; default: one per core", ge=1)
    placement: Literal["fused", "per_step"] = _option(
        "fused", "`fused`: each worker serves all steps; `per_step`: each step has its own workers"
    )
    first_key: bool = _option(
        False,
        "Whether a server without API keys makes one at its first start and prints it. Its hash is kept in the file"
        " `api-keys.json` of the data folder; delete that to get a new one",
    )


class ClientSettings(_Settings):
    """Settings of the commands for jobs and of the client library."""

    server: str = _option("http://127.0.0.1:8080", "The server's URL, `http://` or `https://`")
    api_key: str | None = _optional("API key, sent as `Authorization: Bearer …`; unset: none", repr=False)
    tls_ca: Path | None = _optional("File of certificate authorities to trust. Unset: the system's")
    state: Path = _option(
        Path("~/.local/state/penstock"), "Folder in which `penstock submit` keeps unfinished uploads, to resume them"
    )


class ScalingRule(BaseModel, extra="forbid", frozen=True):
    """How the coordinator scales one Deployment."""

    steps: Annotated[list[str], Field(min_length=1)]
    """The steps that it serves."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Count = 10
    secs_per_replica: Annotated[float, Field(gt=0)] = 10.0
    """Seconds of work left for which one replica is wanted, if no deadline wants more."""
    workers_per_replica: Count = 1
    scale_down_secs: Annotated[float, Field(ge=0, le=3_600)] = 300.0
    """Seconds for which fewer replicas must be enough before some are removed."""


class KubernetesSettings(_Settings):
    """Settings of pods on Kubernetes."""

    pod_name: str | None = _optional("The pod's own name, from the downward API")
    pod_namespace: str | None = _optional(
        "The pod's own namespace, from the downward API. Unset: that of its service account"
    )
    deletion_cost: bool = _option(
        False,
        "Whether a worker annotates its own pod with 100 while it is busy and 0 while it is idle"
        " (`controller.kubernetes.io/pod-deletion-cost`). Needs permission to `patch` pods, and a liveness file",
    )
    kubernetes_selector: str | None = _optional(
        "Label selector of the steps' Deployments, whose replicas the coordinator reports. Needs"
        " permission to `list` them. Unset: no Kubernetes"
    )
    autoscale: dict[str, ScalingRule] = _option(
        {},
        "Deployments that the coordinator scales by the work left for their steps, as JSON:"
        ' `{"penstock-blur": {"steps": ["blur"], "min_replicas": 0, "max_replicas": 10, "secs_per_replica": 10}}`.'
        " Needs permission to `get` and `patch` their `scale`",
    )
    kubernetes_url: str = _option("https://kubernetes.default.svc", "URL of Kubernetes' API", pattern="^https://")
    kubernetes_account: Path = _option(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        "Folder with the service account's `token`, `ca.crt` and `namespace`",
    )


class LogSettings(_Settings):
    """Logs, which every process writes to stderr."""

    log_format: Literal["auto", "text", "json"] = _option(
        "auto", "`text` or `json`, one line per record; `auto`: text on a terminal, JSON elsewhere"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _option(
        "info", "Lowest level that is logged; `debug` logs every message"
    )


class TracingSettings(_Settings):
    """OpenTelemetry traces. The exporter reads more `OTEL_…` variables, such as headers and certificates, itself."""

    model_config = SettingsConfigDict(populate_by_name=True, env_ignore_empty=True)  # as OpenTelemetry has it

    trace_ratio: float = _option(0.01, "Share of chunks that are traced, if traces are exported", ge=0, le=1)
    otlp_endpoint: str | None = _optional(
        "OTLP endpoint for traces (HTTP), such as `http://collector:4318`. Unset: no traces",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
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
            f"PENSTOCK_{'_'.join(str(part) for part in item['loc']).upper()}={item['input']}: "
            + explain(item, show_value=False)
            for item in error.errors()
        ]
        raise SettingsError("invalid_settings", "\n".join(lines)) from error
    except UnreadableError as error:
        raise SettingsError("invalid_settings", f"{error}; accepted is JSON: {error.__cause__}") from error
