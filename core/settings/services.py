"""Settings of the processes: engine, gateway, control, logs, tracing, notifications and secrets."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FiniteFloat, SecretStr, model_validator

from core.records import Verdict
from core.settings.address import Listen, Network
from core.settings.section import Section

# What a metric or score of another tool means as feedback.
Meaning = Literal["thumbs", "thumbs_inverted", "rating", "label", "correction", "comment"]

# The smallest limit of a worker's spool, a few segments.
LEAST_SPOOL_BYTES = 64 * 1024**2


def _without_credentials(urls: list[str]) -> list[str]:
    for url in urls:
        if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
            raise ValueError(f"{url!r} is no URL; write it as http://host:port")
        if "@" in urlsplit(url).netloc:
            raise ValueError("a URL may have no user and no password; put the key into LORALOOP_ENGINE_KEY")
    return urls


EngineUrls = Annotated[list[str], AfterValidator(_without_credentials)]


def without_v1(urls: list[str]) -> list[str]:
    """Return URLs of engines without the /v1 of OpenAI's API."""
    return [url.rstrip("/").removesuffix("/v1") for url in urls]


class EngineSettings(Section):
    """The vLLM engine that `loraloop up` starts, or URLs of external engines."""

    urls: EngineUrls = Field(
        default=[],
        description="URLs of external engines, with or without /v1. Their API key is in LORALOOP_ENGINE_KEY. With an "
        "empty list, `loraloop up` starts one engine.",
    )
    listen: Listen = Field(
        default="127.0.0.1:8090", description="Address and port of the engine that `loraloop up` starts. Loopback only."
    )
    max_loras: int = Field(default=4, ge=1, le=64, description="Maximum number of different adapters in one batch.")
    max_cpu_loras: int = Field(
        default=16, ge=1, description="Maximum number of adapters in memory. The engine reads others from disk again."
    )
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(
        default=16, description="Maximum LoRA rank of an adapter that the engine can load."
    )
    max_model_len: int = Field(
        default=2048, ge=128, description="Maximum length of a prompt together with its answer, in tokens."
    )
    max_num_seqs: int = Field(default=32, ge=1, description="Maximum number of requests in one batch.")
    kv_cache_gib: int = Field(default=2, ge=1, description="Memory for the KV cache on a CPU, in GiB.")
    dtype: Literal["bfloat16", "float16", "float32"] = Field(
        default="bfloat16",
        description="Number format of the weights. float16 is for GPUs without bfloat16; the trainer then computes in "
        "float32.",
    )
    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of the GPU's memory that the engine reserves. null: vLLM's own default. No effect on a CPU.",
    )
    price_per_hour: FiniteFloat | None = Field(
        default=None,
        gt=0,
        description="Price of one engine's machine per hour, in any currency: the cost of trainings and of answers in "
        "evaluations. Without prices of tokens, serving costs all hours, which models share by tokens. null: no costs "
        "by hours are reported.",
    )
    price_per_million_tokens: FiniteFloat | None = Field(
        default=None,
        gt=0,
        description="Price of serving a million tokens, for example 0.4, in the currency of `price_per_hour`. It is "
        "for tokens of prompts and of completions, unless these have their own prices. null: no price of both.",
    )
    price_per_million_prompt_tokens: FiniteFloat | None = Field(
        default=None,
        ge=0,
        description="Price of a million tokens of prompts, for example 0.1. null: `price_per_million_tokens`.",
    )
    price_per_million_completion_tokens: FiniteFloat | None = Field(
        default=None,
        ge=0,
        description="Price of a million tokens of completions, for example 0.4. null: `price_per_million_tokens`.",
    )
    start_timeout_s: float = Field(default=300, gt=0, description="Time limit for a start of the engine, in seconds.")
    extra_args: list[str] = Field(
        default=[], description="Further command line arguments of vLLM's API server, passed on unchanged."
    )

    @model_validator(mode="after")
    def _price_both_kinds(self) -> Self:
        kinds = self.price_per_million_prompt_tokens, self.price_per_million_completion_tokens
        if self.price_per_million_tokens is None and (kinds[0] is None) != (kinds[1] is None):
            raise ValueError(
                "price_per_million_prompt_tokens and price_per_million_completion_tokens go together; set both, 0 for "
                "tokens without a price, or price_per_million_tokens for the other one"
            )
        return self


class PassThroughSettings(Section):
    """Engines of another model. The gateway passes requests to them and records nothing."""

    urls: EngineUrls = Field(
        min_length=1,
        description="URLs of engines that serve `model`, with or without /v1. Their API key is in LORALOOP_ENGINE_KEY.",
    )
    model: str = Field(
        pattern=r"^[\x21-\x3f\x41-\x7e]{1,128}$",
        description="Name of the model: apps send it as `model`, and the engines list it in /v1/models.",
    )

    @property
    def engines(self) -> list[str]:
        """URLs of the engines, without the /v1 of OpenAI's API."""
        return without_v1(self.urls)


class GatewaySettings(Section):
    """The process that apps call."""

    listen: Listen = Field(default="127.0.0.1:8080", description="Address and port that apps connect to.")
    name: str = Field(
        default="gateway-1",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Name of this gateway, unique among all gateways: lower-case letters, digits and hyphens.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of processes that answer requests, one per core at most. They share the address and the "
        "limits. Each has an equal part of `max_spool_bytes`.",
    )
    control_url: str | None = Field(
        default=None, description="URL of control. null: `http://` with the address in `control.listen`."
    )
    max_in_flight: int = Field(
        default=256, ge=1, description="Maximum number of requests to the engines at a time. Above it, apps get a 429."
    )
    request_timeout_s: float = Field(
        default=600, gt=0, description="Time limit for an answer that is not streamed, in seconds."
    )
    first_event_timeout_s: float = Field(
        default=120, gt=0, description="Time limit for the first event of a stream, in seconds."
    )
    gap_timeout_s: float = Field(
        default=60, gt=0, description="Time limit for each later event of a stream, in seconds."
    )
    stream_timeout_s: float = Field(default=3600, gt=0, description="Time limit for a whole stream, in seconds.")
    client_timeout_s: float = Field(
        default=60, gt=0, description="Time after which a client that does not read its stream is dropped, in seconds."
    )
    drain_seconds: int = Field(
        default=30, ge=0, description="Time that open requests have to end after SIGTERM, in seconds."
    )
    max_choices: int = Field(
        default=16,
        ge=1,
        description="Maximum number of answers of one request: `n`, or `n` times the number of prompts.",
    )
    max_tokens_per_request: int | None = Field(
        default=None, ge=1, description="Maximum `max_tokens` of one request. null: what the engine takes."
    )
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Maximum size of a request, in bytes.")
    embeddings: PassThroughSettings | None = Field(
        default=None, description="Engines for `/v1/embeddings`. null: that route answers 404."
    )
    rerank: PassThroughSettings | None = Field(
        default=None, description="Engines for `/v1/rerank`, `/v2/rerank` and `/rerank`. null: these answer 404."
    )
    metrics: dict[str, Meaning] = Field(
        default={},
        description="Meaning of metrics of TensorZero and scores of Langfuse by name, such as `{escalated: "
        "thumbs_inverted}`. Without an entry, a boolean is a thumb, a number is a rating and a text is a comment.",
    )
    max_spool_bytes: int = Field(
        default=16 * 1024**3,
        ge=LEAST_SPOOL_BYTES,
        description=(
            "Maximum size of the spool, in bytes. When control has ingested nothing for so long that it is reached, "
            "requests are still served but not recorded, and feedback gets a 503."
        ),
    )

    @property
    def passed_on(self) -> dict[str, list[str]]:
        """URLs of engines by the name of another model than LoraLoop's own."""
        found: dict[str, list[str]] = {}
        for other in (self.embeddings, self.rerank):
            if other is not None:
                found[other.model] = list(dict.fromkeys((*found.get(other.model, ()), *other.engines)))
        return found

    @model_validator(mode="after")
    def _enough_spool_for_each_worker(self) -> Self:
        least = self.workers * LEAST_SPOOL_BYTES
        if self.max_spool_bytes < least:
            raise ValueError(
                f"max_spool_bytes is {self.max_spool_bytes}, and {self.workers} workers need {least}; "
                "raise the former or lower the latter"
            )
        return self


class ControlSettings(Section):
    """The process that owns the store: scheduler, gates, ledger and console."""

    listen: Listen = Field(default="127.0.0.1:8081", description="Address and port that ops and gateways connect to.")
    check_seconds: float = Field(
        default=15, gt=0, description="Time between two checks of triggers, canaries and holdbacks, in seconds."
    )
    copy_before_migration: bool = Field(
        default=True,
        description="Copy the store into the folder `before-migration` before a new release changes its schema.",
    )
    session_hours: float = Field(default=12, gt=0, le=720, description="Duration of a console login, in hours.")
    max_import_bytes: int = Field(
        default=1024**3,
        ge=1024,
        description="Maximum size in bytes of an imported adapter, packed and unpacked, and of an uploaded file.",
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of the console for people, used in links. null: `gateway.control_url` or its default.",
    )
    trusted_proxies: list[Network] = Field(
        default=[],
        description="Addresses or networks of proxies. LoraLoop trusts their X-Forwarded-For and X-Forwarded-Proto.",
    )


class LogSettings(Section):
    """The log of gateway and control on stderr. It contains no prompts, no answers and no keys."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Minimum level of the messages that are logged."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Format of the log. json: one JSON object per line."
    )
    access: bool = Field(default=False, description="true: one line per request to the gateway.")
    max_file_mb: float = Field(
        default=50,
        gt=0,
        description="Size in MB at which `loraloop up` rotates a log file in `logs/` of the data folder.",
    )
    keep_files: int = Field(
        default=3, ge=0, le=1000, description="Number of rotated files to keep per log, such as `gateway.log.1`."
    )


class TracingSettings(Section):
    """OpenTelemetry traces of the gateway. docs/telemetry.md describes them."""

    enabled: bool | None = Field(
        default=None,
        description="Switch for traces. null: on if `tracing.endpoint` or OTEL_EXPORTER_OTLP_ENDPOINT is set.",
    )
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of an OTLP collector over HTTP, for example http://127.0.0.1:4318. null: OpenTelemetry's own.",
    )
    content: bool = Field(
        default=False, description="true: spans also contain prompts and answers, and events what users wrote."
    )
    feedback: bool = Field(
        default=True, description="true: with traces on, each vote is sent as an event to the collector's logs."
    )


class NotificationSettings(Section):
    """Notifications. Targets are URLs of apprise and webhooks, from `LORALOOP_NOTIFY_URLS` or a file: they hold tokens.

    Alarms are sent to the same targets.
    """

    verdicts: list[Verdict] = Field(
        default=[
            Verdict.PROMOTED,
            Verdict.ROLLED_BACK,
            Verdict.FAILED,
            Verdict.AWAITING_APPROVAL,
            Verdict.CANARY_STARTED,
            Verdict.INCONCLUSIVE,
        ],
        description="Verdicts in the ledger that send a notification.",
    )
    urls_file: Path | None = Field(
        default=None,
        description="File with one URL per line. Lines that start with # are comments. null: no file.",
    )


class KeySettings(Section):
    """Secrets from the environment or from files that it names. The command line sends `own` to control."""

    app: SecretStr | None = None
    ops: SecretStr | None = None
    internal: SecretStr | None = None
    metrics: SecretStr | None = None
    own: SecretStr | None = None
    judge: SecretStr | None = None
    engine: SecretStr | None = None
    notify: SecretStr | None = None
    webhook: SecretStr | None = None
    oidc: SecretStr | None = None
