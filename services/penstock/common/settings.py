"""Settings: one object per component, defaults → environment (`PENSTOCK_…`) → validation, all errors at once.

Constructors receive these objects; nothing else reads the environment.
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
    """What is accepted; every bound is checked before the expensive thing that it guards."""

    max_files: Annotated[int, Field(ge=1, description="Files per upload")] = 1_000
    max_fields: Annotated[int, Field(ge=1, description="Form fields per upload that are not files")] = 100
    max_field_bytes: Annotated[int, Field(ge=1, description="Bytes of one form field that is not a file")] = MiB
    max_file_bytes: Annotated[int, Field(ge=1, description="Bytes per file")] = 64 * MiB
    max_upload_bytes: Annotated[int, Field(ge=1, description="Bytes per upload")] = 1024 * MiB
    max_pixels: Annotated[int, Field(ge=1, description="Pixels per image, over all its parts")] = 50_000_000
    max_side: Annotated[int, Field(ge=1, le=32_768, description="Longest side of an image in pixels")] = 32_768
    max_operations: Annotated[int, Field(ge=1, description="Operations per plan")] = 32
    max_parts: Annotated[int, Field(ge=1, description="Parts per image")] = 4_096
    max_name_bytes: Annotated[int, Field(ge=1, le=255, description="Bytes of a file name (UTF-8)")] = 255
    max_images: Annotated[int, Field(ge=1, description="Images per job")] = 5_000_000
    max_open_jobs: Annotated[int, Field(ge=1, description="Jobs accepted and not yet ended")] = 1_000
    max_event_streams: Annotated[
        int, Field(ge=1, description="Jobs that are followed by server-sent events at a time, for each API key")
    ] = 100


class DeclaredStep(BaseModel):
    """A step that no installed package brings. `params` is the JSON Schema of its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    params: dict[str, Any] = {}


class WorkerSettings(_Settings):
    """One worker process."""

    max_attempts: Annotated[int, Field(ge=1, description="Times an image may be started before it is given up")] = 3
    step_timeout_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds one step may take for one image")
    ] = 60.0
    max_pixels_in_flight: Annotated[int, Field(ge=1, description="Pixels a worker keeps before it hands them on")] = (
        100_000_000
    )
    cancel_lookup_secs: Annotated[float, Field(gt=0, description="Seconds for which a look-up of cancels holds")] = 2.0
    drain_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds a worker may take to leave after SIGTERM")
    ] = 14.0
    liveness_file: Annotated[
        Path | None, Field(description="File that `penstock worker` writes while it consumes and gets on; unset: none")
    ] = None
    steps: Annotated[str, Field(description="Steps that `penstock worker` serves, with commas between; or `all`")] = (
        "all"
    )
    concurrency: Annotated[int, Field(ge=1, le=1_024, description="Processes of one `penstock worker`")] = 1
    input_root: Annotated[
        Path | None, Field(description="Folder below which jobs may name files and folders as inputs; unset: none")
    ] = None
    declared_steps: Annotated[
        dict[str, DeclaredStep],
        Field(
            description="Steps that no installed package brings, for coordinators and workers alike, as JSON:"
            ' `{"sharpen": {"params": {…JSON Schema…}}}`'
        ),
    ] = {}
    program: Annotated[
        tuple[str, ...],
        Field(
            description="Command line of the program that performs the declared steps of this worker, as a JSON list."
            " Unset: this worker performs none of them"
        ),
    ] = ()

    @property
    def step_schemas(self) -> dict[str, dict[str, Any]]:
        """The JSON Schema of each declared step's parameters, by its name."""
        return {name: step.params for name, step in self.declared_steps.items()}


class ContainerSettings(_Settings):
    """`penstock run --runner docker`: a container for each step, on this host."""

    images: Annotated[
        str, Field(min_length=1, description="Where steps' images come from: `<images>/penstock-<step>:<version>`")
    ] = "ghcr.io/penstock"
    container_memory: Annotated[
        str, Field(pattern="^[0-9]+[bkmg]?$", description="Memory a container may take, as Docker writes it")
    ] = "2g"
    container_pids: Annotated[int, Field(ge=1, description="Processes and threads a container may have")] = 256
    container_start_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds a container may take until it answers")
    ] = 60.0


class BrokerSettings(_Settings):
    """RabbitMQ between coordinator and workers."""

    broker_url: Annotated[
        str | None,
        Field(
            description="`amqp://user:password@host:port/vhost`; `amqps://…` for TLS, with `?cacertfile=ca.pem` where"
            " the system does not know its authority; `certfile`, `keyfile` are this side's. Unset: no RabbitMQ"
        ),
    ] = None
    broker_timeout_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds a call waits for RabbitMQ before it fails, alarms included")
    ] = 30.0
    broker_connect_timeout_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds one attempt to connect may take")
    ] = 10.0
    broker_heartbeat_secs: Annotated[
        int, Field(ge=1, le=3_600, description="Seconds between signs of life; silence of about twice that is a loss")
    ] = 15
    broker_max_pause_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Longest pause in seconds between two attempts to connect")
    ] = 10.0


class StoreSettings(_Settings):
    """Where pictures lie: uploads, intermediates and results, and the buckets that jobs may name."""

    store_url: Annotated[
        str | None,
        Field(
            description="`file:///folder`, `s3://bucket/prefix`, `gs://…`, `az://…` or `memory://`; credentials as the"
            " cloud's own tools take them. `http://host:port/prefix` is nginx's WebDAV. Unset: a folder `store` in the"
            " data folder"
        ),
    ] = None
    store_token: Annotated[
        str | None,
        Field(
            repr=False, description="What opens an `http://` store, sent as `Authorization: Bearer …`; unset: nothing"
        ),
    ] = None
    sources: Annotated[
        tuple[str, ...],
        Field(
            description="JSON list of buckets, or prefixes in them, that jobs may read and write by URL, such as"
            ' `["s3://photos/", "gs://maps/delft/"]`. Unset: the store\'s own bucket, Penstock\'s objects excepted'
        ),
    ] = ()
    store_timeout_secs: Annotated[
        float, Field(gt=0, le=3_600, description="Seconds a call waits for the store, its own repeats included")
    ] = 30.0


class WebhookSettings(_Settings):
    """Telling others that a job has ended."""

    webhook_secret: Annotated[
        str | None,
        Field(
            repr=False,
            description="Signs webhooks of jobs that bring no secret. Unset: a job with a webhook has to bring one",
        ),
    ] = None
    webhook_allow: Annotated[
        tuple[str, ...],
        Field(
            description="JSON list of receivers that are neither public nor HTTPS, as hosts or ranges of addresses:"
            ' `["hooks.lan:8443", "10.1.0.0/16", "http://hooks.lan"]`; `http://` allows to do without TLS'
        ),
    ] = ()
    webhook_ca: Annotated[
        Path | None, Field(description="File of certificates to trust receivers by, beside those that the host trusts")
    ] = None
    webhook_attempts: Annotated[
        int, Field(ge=1, le=50, description="Times a webhook is sent before it is given up")
    ] = 15
    webhook_first_pause_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds between the first two attempts; each pause doubles the last")
    ] = 5.0
    webhook_longest_pause_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Longest pause in seconds between two attempts")
    ] = 3_600.0
    webhook_connect_secs: Annotated[
        float, Field(gt=0, le=300, description="Seconds an attempt to connect to a receiver may take")
    ] = 5.0
    webhook_timeout_secs: Annotated[
        float, Field(gt=0, le=300, description="Seconds a receiver may take to answer, connecting included")
    ] = 15.0
    webhook_concurrency: Annotated[int, Field(ge=1, le=64, description="Webhooks sent at the same time")] = 8
    public_url: Annotated[
        str | None,
        Field(
            pattern="^https?://",
            description="The server's URL as others reach it, put before jobs' paths in webhooks; unset: paths alone",
        ),
    ] = None


class CoordinatorSettings(WebhookSettings):
    """`penstock coordinator`, and the coordinator in `penstock serve`."""

    host: Annotated[str, Field(description="Address to listen on; loopback unless told otherwise")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port to listen on; 0 takes a free one")] = 8080
    data: Annotated[Path, Field(description="Folder of the SQLite database and, without a store URL, the store")] = (
        Path("penstock-data")
    )
    database_url: Annotated[
        str | None,
        Field(description="`postgresql://user:password@host/name`, for several coordinators; unset: SQLite in `data`"),
    ] = None
    input_root: Annotated[
        Path | None, Field(description="Folder below which jobs may name files and folders as inputs; unset: none")
    ] = None
    accel_prefix: Annotated[
        str | None,
        Field(
            pattern=r"^/([A-Za-z0-9._~-]+/)*$",
            description="Where the nginx in front has the store's files, such as `/internal-store/`: it then sends"
            " them itself (X-Accel-Redirect). Unset: the coordinator does",
        ),
    ] = None
    api_keys: Annotated[
        str | None,
        Field(
            repr=False,
            description="JSON list of the API keys that open the server, by their hashes; `penstock key NAME` makes"
            " them. Needed on any address but loopback, unless `PENSTOCK_OPEN`",
        ),
    ] = None
    api_keys_file: Annotated[
        Path | None, Field(description="File of such a list, as of a mounted Secret; its keys count beside the others")
    ] = None
    open: Annotated[bool, Field(description="Serve whoever comes, without API keys, on any address")] = False
    session_secs: Annotated[
        float, Field(ge=60, le=31_536_000, description="Seconds for which a browser that logged in stays so")
    ] = 43_200.0
    advice_secs: Annotated[
        float,
        Field(gt=0, le=86_400, description="Seconds within which advice on replicas wants the work at hand done"),
    ] = 300.0
    window_images: Annotated[int, Field(ge=1, description="Images of one job under way per worker, at most")] = 32
    max_chunk: Annotated[int, Field(ge=1, le=64, description="Images per chunk where chunk_size is auto")] = 8
    repair_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds without a sign of life after which an image is sent again")
    ] = 30.0
    sweep_secs: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds between two sweeps for what crashes left in the store")
    ] = 60.0
    abandoned_secs: Annotated[
        float, Field(gt=0, description="Age in seconds at which an upload that became no job counts as abandoned")
    ] = 86_400.0


class ServeSettings(CoordinatorSettings):
    """`penstock serve`, coordinator and workers on one host: the coordinator's settings, and these."""

    workers: Annotated[int | None, Field(ge=1, description="Worker processes per placement; default: one a core")] = (
        None
    )
    placement: Annotated[
        Literal["fused", "per_step"], Field(description="All steps in each worker, or workers of its own for each step")
    ] = "fused"


class ClientSettings(_Settings):
    """Commands for jobs, and the client library."""

    server: Annotated[str, Field(description="The server's URL, `http://` or `https://`")] = "http://127.0.0.1:8080"
    api_key: Annotated[
        str | None, Field(repr=False, description="Sent to the server as `Authorization: Bearer …`; unset: nothing")
    ] = None
    tls_ca: Annotated[
        Path | None, Field(description="File of certificates to trust a server by; unset: those that this host trusts")
    ] = None
    state: Annotated[
        Path, Field(description="Folder where `penstock submit` notes uploads that it has begun and not finished")
    ] = Path("~/.local/state/penstock")


class KubernetesSettings(_Settings):
    """What a pod of Penstock's is told of the cluster it runs in."""

    pod_name: Annotated[str | None, Field(description="The pod's own name, by the downward API")] = None
    pod_namespace: Annotated[
        str | None, Field(description="The pod's own namespace, by the downward API; unset: its service account's")
    ] = None
    deletion_cost: Annotated[
        bool,
        Field(
            description="Whether a worker notes on its own pod how busy it is, as"
            " `controller.kubernetes.io/pod-deletion-cost`; it may `patch` pods then, and has a liveness file"
        ),
    ] = False
    kubernetes_selector: Annotated[
        str | None,
        Field(
            description="Label selector of the steps' Deployments, whose replicas a coordinator reports; it may `list`"
            " them then. Unset: no Kubernetes"
        ),
    ] = None
    kubernetes_url: Annotated[str, Field(pattern="^https://", description="Kubernetes' API")] = (
        "https://kubernetes.default.svc"
    )
    kubernetes_account: Annotated[
        Path, Field(description="Folder of the service account's `token`, `ca.crt` and `namespace`")
    ] = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class LogSettings(_Settings):
    """What every process writes to stderr."""

    log_format: Annotated[
        Literal["auto", "text", "json"],
        Field(description="`text` for people, `json` for machines, a line each; `auto`: text on a terminal, else JSON"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="The least that is logged: `debug` is every message, `info` what begins and ends"),
    ] = "info"


class TracingSettings(_Settings):
    """OpenTelemetry traces. More `OTEL_…` variables, such as headers and certificates, are read by its exporter."""

    model_config = SettingsConfigDict(populate_by_name=True, env_ignore_empty=True)  # as OpenTelemetry has it

    trace_ratio: Annotated[
        float, Field(ge=0, le=1, description="Share of the chunks that are traced, where traces are exported")
    ] = 0.01
    otlp_endpoint: Annotated[
        str | None,
        Field(
            validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            description="Where traces go by OTLP over HTTP, such as `http://collector:4318`; unset: there are none",
        ),
    ] = None


SettingsT = TypeVar("SettingsT", bound=_Settings)


class SettingsError(PenstockError):
    """Settings that cannot be; the message names every one of them."""


def load(kind: type[SettingsT], **given: object) -> SettingsT:
    """Read a component's settings from the environment; `given` (the command line) goes before it.

    Raises:
        SettingsError: naming each variable, its value and what is accepted.
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
