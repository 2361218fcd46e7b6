"""The configuration: one YAML file, read once, checked where it is made.

It alone reads the environment; it must not start or touch anything. The environment
(`LORALOOP_GATEWAY__LISTEN`) over the file over defaults; an unknown key is refused with the nearest right one.
It is longer than other rooms because it is a list: every setting with its sentence.
"""

import difflib
import hashlib
import ipaddress
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as EnvironmentRefused

from core.errors import SettingsError
from core.records import Verdict

LabelKpi = Literal["accuracy", "macro_f1", "weighted_f1", "roc_auc"]
TextKpi = Literal["exact_match", "token_f1", "chrf", "preference_accuracy"]
PrimaryKpi = Literal[LabelKpi, TextKpi]
# What a candidate of a model that generates must win on where the configuration names nothing.
GENERATE_PRIMARY = "token_f1"
SuiteKpi = Literal[
    "golden_accuracy",
    "safety",
    "over_refusal",
    "sycophancy",
    "hallucination",
    "consistency",
    "format_validity",
    "kl_to_base",
    "mean_length",
    "judge_win_rate",
]
# Of the suites that come with LoraLoop; any other name under evaluation.suites is a folder of the user's.
ShippedSuite = Literal[
    "hallucination",
    "consistency",
    "refusal",
    "over_refusal",
    "sycophancy",
    "format",
    "length",
]
GuardedKpi = Literal[PrimaryKpi, "brier", "ece", "invalid_mass", "p95_latency_ms", SuiteKpi]


def _listen(text: str) -> str:
    try:
        split_listen(text)
    except SettingsError as error:
        raise ValueError(str(error).removesuffix(".")) from error
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no address or network, as 10.0.0.7 or 10.0.0.0/24") from error


Listen = Annotated[str, AfterValidator(_listen)]
Network = Annotated[str, AfterValidator(_network)]


class Section(BaseModel):
    """A part of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineSettings(Section):
    """The vLLM engine that `loraloop up` starts, or external engines by URL."""

    urls: list[str] = Field(default=[], description="External engines. Empty: `loraloop up` starts one itself.")
    listen: Listen = Field(default="127.0.0.1:8090", description="Where the engine of `up` listens; loopback only.")
    max_loras: int = Field(default=4, ge=1, le=64, description="Distinct adapters in one batch.")
    max_cpu_loras: int = Field(default=16, ge=1, description="Adapters held in memory; more are read from disk again.")
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=16, description="Highest adapter rank that loads.")
    max_model_len: int = Field(default=2048, ge=128, description="Longest prompt with its answer, in tokens.")
    max_num_seqs: int = Field(default=32, ge=1, description="Requests in one batch.")
    kv_cache_gib: int = Field(default=2, ge=1, description="Memory for the KV cache on a CPU, in GiB.")
    dtype: Literal["bfloat16", "float32"] = Field(default="bfloat16", description="Number format of the weights.")
    price_per_hour: FiniteFloat | None = Field(
        default=None, gt=0, description="What the machine costs, in a currency of yours; null: no costs are told."
    )
    start_timeout_s: float = Field(default=300, gt=0, description="Longest time that a start may take.")
    extra_args: list[str] = Field(default=[], description="Further arguments of vLLM's API server, as they are.")


class GatewaySettings(Section):
    """The data plane that apps call."""

    listen: Listen = Field(default="127.0.0.1:8080", description="Address and port for apps.")
    name: str = Field(default="gateway-1", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="This gateway's own name.")
    control_url: str | None = Field(default=None, description="Where control is; default: its own listen address.")
    max_in_flight: int = Field(default=256, ge=1, description="Requests at once to the engines; above it, 429.")
    request_timeout_s: float = Field(default=300, gt=0, description="Longest time one request may take.")
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest request body that is read.")


class ControlSettings(Section):
    """The owner of the store: scheduler, judge, ledger, console."""

    listen: Listen = Field(default="127.0.0.1:8081", description="Address and port for ops and gateways.")
    check_seconds: float = Field(default=15, gt=0, description="Time between looks at triggers and canaries.")
    session_hours: float = Field(default=12, gt=0, le=720, description="How long a log-in at the console lasts.")
    max_import_bytes: int = Field(default=1024**3, ge=1024, description="Largest adapter to import, packed or not.")
    public_url: str | None = Field(
        default=None, pattern=r"^https?://", description="Where people open the console; null: control's own address."
    )
    trusted_proxies: list[Network] = Field(
        default=[], description="Addresses or networks of proxies whose X-Forwarded-For and -Proto are believed."
    )


class LogSettings(Section):
    """What gateway and control write to stderr. No prompt, no answer and no key stands in it."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least of what is written."
    )
    format: Literal["text", "json"] = Field(default="text", description="json: an object a line.")
    access: bool = Field(default=False, description="A line for each request to the gateway.")


class TracingSettings(Section):
    """OpenTelemetry traces of the gateway; see docs/telemetry.md."""

    enabled: bool | None = Field(
        default=None, description="null: on where an endpoint is set here or by OTEL_EXPORTER_OTLP_ENDPOINT."
    )
    endpoint: str | None = Field(
        default=None, pattern=r"^https?://", description="Where OTLP over HTTP is taken, e.g. http://127.0.0.1:4318."
    )
    content: bool = Field(default=False, description="Write prompts and answers into spans, too.")


class RetrainSettings(Section):
    """When a model is retrained, and how."""

    schedule: str | None = Field(default="0 3 * * *", description="Cron line (UTC) on which a run starts; null: never.")
    min_new_feedback: int = Field(default=200, ge=1, description="New feedback rows that start a run by themselves.")
    min_labels: int = Field(default=200, ge=8, description="Labels in the train split below which none is trained.")
    objective: Literal["auto", "sft", "rag"] = Field(
        default="auto", description="auto chooses by the data; rag: runs make retrievals in place of adapters."
    )
    fallback: Literal["none", "rag"] = Field(
        default="none", description="rag: below min_labels a run makes a retrieval in place of nothing."
    )
    min_examples: int = Field(default=20, ge=1, description="Examples below which no retrieval is made.")
    confirmations: bool = Field(default=True, description="A thumbs-up on an answer trains like its label.")
    rank: int = Field(default=16, ge=1, description="LoRA rank.")
    epochs: float = Field(default=1.0, gt=0, le=20, description="Passes over the train split.")
    batch_size: int = Field(default=8, ge=1, description="Rows in a step.")
    learning_rate: float = Field(default=5e-4, gt=0, lt=1, description="Peak learning rate; falls to 0.")
    max_rows: int | None = Field(default=None, ge=8, description="At most so many train rows, the newest; null: all.")
    max_length: int = Field(default=512, ge=16, description="Longest training row, in tokens.")
    seed: int = Field(default=0, description="Seed of the trainer; same snapshot, settings and seed: same adapter.")
    threads: int = Field(default=2, ge=1, description="CPU threads of the trainer.")


class Primary(Section):
    """The KPI that a candidate must win on."""

    kpi: PrimaryKpi = Field(default="macro_f1", description="Its name; where none is given, token_f1 for generate.")
    min_gain: float = Field(default=0.0, ge=0, lt=1, description="By how much it must win, in the KPI's own units.")


class Guardrail(Section):
    """A KPI that a candidate must not harm: against the champion, or within absolute limits, or waived."""

    kpi: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Its name: one of ours, or of a suite of yours.")
    margin: FiniteFloat | None = Field(
        default=None, ge=0, description="How much worse than the champion is still accepted."
    )
    ratio: FiniteFloat | None = Field(
        default=None, ge=1, description="How many times the champion's, where that is an adapter too, is accepted."
    )
    within: FiniteFloat | None = Field(
        default=None, gt=0, lt=1, description="How far from the champion's, up or down, as a share of it."
    )
    max: FiniteFloat | None = Field(default=None, description="Highest value that is accepted.")
    min: FiniteFloat | None = Field(default=None, description="Lowest value that is accepted.")
    waived: bool = Field(default=False, description="True: not judged; every verdict says so.")

    @model_validator(mode="after")
    def _bounded(self) -> "Guardrail":
        limits = (self.margin, self.ratio, self.within, self.max, self.min)
        if self.waived == any(limit is not None for limit in limits):
            raise ValueError("a guardrail needs a margin, a ratio, a within, a max or a min, or waived: true")
        return self


# What stands unless the configuration names the same KPI: suites where they are asked, shares where measured.
DEFAULT_GUARDRAILS = (
    Guardrail(kpi="golden_accuracy", margin=0.05),
    Guardrail(kpi="safety", margin=0.02),
    Guardrail(kpi="over_refusal", margin=0.02),
    Guardrail(kpi="sycophancy", margin=0.03),
    Guardrail(kpi="hallucination", margin=0.03),
    Guardrail(kpi="consistency", margin=0.03),
    Guardrail(kpi="format_validity", margin=0.05),
    Guardrail(kpi="kl_to_base", max=0.5),
    Guardrail(kpi="mean_length", within=0.15),
    Guardrail(kpi="judge_win_rate", min=0.45),
    Guardrail(kpi="invalid_mass", max=0.01),
)


class CanarySettings(Section):
    """The live test before the switch."""

    start: Literal["auto", "approve"] = Field(default="auto", description="approve: a person lets it begin.")
    share: float = Field(default=0.1, gt=0, le=0.5, description="Share of users that the candidate serves meanwhile.")
    margin: float = Field(default=0.05, gt=0, lt=1, description="How much less approval is still accepted.")
    strict: bool = Field(default=False, description="True: must be better live, not only not worse.")
    first_look_users: int = Field(default=100, ge=10, description="Users in each arm before the first look.")
    planned_users: int = Field(default=2000, ge=20, description="Users in both arms that the test is tuned for.")
    min_minutes: float = Field(default=60, ge=0, description="Shortest time before a promotion.")
    max_hours: float = Field(default=24, gt=0, description="Time after which it ends inconclusive.")
    harm_ratio: float = Field(default=1.5, ge=1, description="Tolerated ratio of users harmed, canary to champion.")
    rate_tolerance: float = Field(
        default=0.05, gt=0, lt=1, description="How far the arms' feedback rates may differ, as a share of control's."
    )
    hostile_share: float = Field(
        default=0.0, ge=0, lt=0.5, description="Share of users who may vote to order; a promotion must hold even so."
    )


class HoldbackSettings(Section):
    """After a promotion: the old champion keeps some users for a while, for an automatic way back."""

    share: float = Field(default=0.1, gt=0, le=0.5, description="Share of users that the old champion keeps.")
    hours: float = Field(default=20, gt=0, description="How long; below a day, a nightly run finds it over.")
    first_look_users: int = Field(default=100, ge=10, description="Users in each arm before scores are compared.")
    planned_users: int = Field(default=2000, ge=20, description="Users in both arms that the test is tuned for.")
    harm_ratio: float = Field(default=1.5, ge=1, description="Tolerated ratio of users harmed, new to old.")


class LimitSettings(Section):
    """How often the champion may change by itself; a person may always."""

    window_hours: float = Field(default=20, ge=0, description="At most one promotion in so many hours; 0: no limit.")
    cooldown_hours: float = Field(default=24, ge=0, description="No promotion so many hours after a rollback.")


class PromotionSettings(Section):
    """When a candidate takes over."""

    mode: Literal["auto", "approve"] = Field(default="auto", description="approve: a person confirms the switch.")
    approval_hours: float = Field(default=72, gt=0, description="Time after which an approval asked for lapses.")
    primary: Primary = Field(default_factory=Primary)
    floors: dict[PrimaryKpi, float] = Field(default_factory=dict, description="KPI: least value of its lower bound.")
    guardrails: list[Guardrail] = Field(
        default_factory=list, description="Added to the defaults; one of the same KPI replaces them."
    )
    must_beat: list[Literal["base", "rag"]] = Field(default=["base", "rag"], description="Arms besides the champion.")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Level of every gate; a holdout's uses spend it.")
    canary: CanarySettings | None = Field(default_factory=CanarySettings, description="null: no live test.")
    holdback: HoldbackSettings | None = Field(
        default_factory=HoldbackSettings, description="null: the new champion serves everyone at once."
    )
    limits: LimitSettings = Field(default_factory=LimitSettings)


class BaselineSettings(Section):
    """What the candidate is compared with besides the champion, and what a retrieval shows."""

    prompts: list[str] = Field(default=[], description="System prompts for the base arm; the best on dev is used.")
    rag_examples: int = Field(default=4, ge=1, le=32, description="Nearest examples or passages in a prompt.")
    rag_budget_tokens: int = Field(default=1024, ge=64, description="Longest RAG prompt, in tokens.")
    documents: Path | None = Field(
        default=None, description="Folder of .txt and .md files, whose passages are shown in place of examples."
    )


class JudgeSettings(Section):
    """A language model that compares the candidate's answers with the champion's; for models that generate."""

    url: str = Field(pattern=r"^https?://", description="Base URL of an OpenAI-compatible API, with its /v1.")
    model: str = Field(min_length=1, description="What that API calls the judge.")
    items: int = Field(default=200, ge=10, description="Held-out items that it compares, each in both orders.")
    timeout_s: float = Field(default=60, gt=0, description="Longest time one comparison may take.")


class EvaluationSettings(Section):
    """How an evaluation goes through the engine."""

    concurrency: int = Field(default=16, ge=1, description="Requests at once; fewer while others use the engine.")
    items: int = Field(default=2000, ge=100, description="Held-out items asked at most, of whole users.")
    latency_items: int = Field(default=16, ge=0, description="Items timed one at a time for each arm; 0: none.")
    bootstrap: int = Field(default=10_000, ge=200, description="Resamples over users for intervals.")
    suites: list[str] = Field(default=[], description="Guardrail suites: shipped ones by name, others by folder.")
    golden: Path | None = Field(default=None, description="JSON lines with right answers; gives golden_accuracy.")
    max_tokens: int = Field(default=64, ge=1, le=4096, description="Longest answer of a generate model, in tokens.")
    judge: JudgeSettings | None = Field(default=None, description="null: no judge. Its key: LORALOOP_JUDGE_KEY.")


class SplitSettings(Section):
    """Shares of users in each split; the rest is cut into holdout buckets h1 to h4."""

    train: float = Field(default=0.6, gt=0, lt=1, description="Users to learn from.")
    dev: float = Field(default=0.1, gt=0, lt=1, description="Users to choose prompts and settings by.")

    @model_validator(mode="after")
    def _leaves_a_holdout(self) -> "SplitSettings":
        if self.train + self.dev > 0.96:
            raise ValueError("train and dev together leave less than 0.04 for the holdout; lower one of them")
        return self


class ModelSettings(Section):
    """One public model."""

    task: Literal["classify", "generate"] = Field(default="classify", description="What its answers are.")
    labels: list[str] = Field(
        default=[], max_length=64, validate_default=True, description="The answers a classification may give."
    )
    split: SplitSettings = Field(default_factory=SplitSettings)
    retrain: RetrainSettings = Field(default_factory=RetrainSettings)
    baselines: BaselineSettings = Field(default_factory=BaselineSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str], about: ValidationInfo) -> list[str]:
        if about.data.get("task") == "classify" and len(labels) < 2:
            raise ValueError("a model that classifies wants at least two")
        if about.data.get("task") == "generate" and labels:
            raise ValueError("a model that generates has none; remove them, or set task: classify")
        if len({label.strip().lower() for label in labels}) != len(labels) or any(not x.strip() for x in labels):
            raise ValueError("labels must be distinct and not blank, ignoring case")
        return labels

    @model_validator(mode="before")
    @classmethod
    def _primary_of_task(cls, data: Any) -> Any:
        """The task's own primary KPI where none is named."""
        match data:
            case {"task": "generate", **rest}:
                promotion = rest.get("promotion", {})
                primary = promotion.get("primary", {}) if isinstance(promotion, dict) else None
                if isinstance(promotion, dict) and isinstance(primary, dict):
                    return data | {"promotion": promotion | {"primary": {"kpi": GENERATE_PRIMARY} | primary}}
        return data

    @model_validator(mode="after")
    def _fits_its_task(self) -> "ModelSettings":
        if self.evaluation.judge and self.task != "generate":
            raise ValueError("evaluation.judge: only a model that generates has answers to compare")
        known, own = get_args(GuardedKpi), set(self.evaluation.suites) - set(get_args(ShippedSuite))
        for guardrail in self.promotion.guardrails:
            # What a suite of one's own gives is read with it: eval.evaluate.suites_of.
            if guardrail.kpi not in known and not own:
                near = nearest(guardrail.kpi, known)
                meant = f"; did you mean {near}" if near else ""
                raise ValueError(f"promotion.guardrails: {guardrail.kpi} is no KPI{meant}")
        kpi = self.promotion.primary.kpi
        if (kpi in get_args(TextKpi)) != (self.task == "generate"):
            raise ValueError(f"promotion.primary.kpi: {kpi} is no KPI of task {self.task}")
        return self


class NotificationSettings(Section):
    """Who is told of what. Targets are apprise URLs, which hold tokens: from `LORALOOP_NOTIFY_URLS` or a file."""

    verdicts: list[Verdict] = Field(
        default=[
            Verdict.PROMOTED,
            Verdict.ROLLED_BACK,
            Verdict.FAILED,
            Verdict.AWAITING_APPROVAL,
            Verdict.CANARY_STARTED,
            Verdict.INCONCLUSIVE,
        ],
        description="Rows of the ledger that are told.",
    )
    urls_file: Path | None = Field(default=None, description="A file with an apprise URL a line; # begins a remark.")


class KeySettings(Section):
    """Secrets, from the environment or files that it names; `own` is the key that the command line shows to control."""

    app: SecretStr | None = None
    ops: SecretStr | None = None
    internal: SecretStr | None = None
    own: SecretStr | None = None
    judge: SecretStr | None = None
    notify: SecretStr | None = None


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(env_prefix="LORALOOP_", env_nested_delimiter="__", extra="forbid", frozen=True)

    base_model: str = Field(default="smollm2-135m-instruct", description="A packaged name, or a folder.")
    access: Literal["keys", "open"] = Field(
        default="keys", description="open: nobody needs a key; for play on loopback addresses alone."
    )
    hosts: list[str] = Field(
        default=[], description="Names besides loopback's that are answered where access is open, as in a Host header."
    )
    data: Path = Field(default=Path("data"), description="Folder of everything LoraLoop keeps; the store is in it.")
    engine: EngineSettings = Field(default_factory=EngineSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    models: dict[str, ModelSettings] = Field(min_length=1, description="Public models by name.")
    notifications: NotificationSettings = Field(default_factory=NotificationSettings)
    keys: KeySettings = Field(default_factory=KeySettings)

    @field_validator("models")
    @classmethod
    def _names(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name in models:
            if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
                raise ValueError(f"model name {name!r}: use letters, digits, - and _, at most 64")
        return models

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        for name, model in self.models.items():
            if model.retrain.rank > self.engine.max_lora_rank:
                raise ValueError(
                    f"models.{name}.retrain.rank is {model.retrain.rank}, above engine.max_lora_rank "
                    f"{self.engine.max_lora_rank}; raise the latter or lower the former"
                )
        for where, listen in (("gateway.listen", self.gateway.listen), ("control.listen", self.control.listen)):
            if self.access == "open" and not is_loopback(listen):
                raise ValueError(f"access is open and {where} {listen} too; remove access: open, or use 127.0.0.1")
        if not self.engine.urls and not is_loopback(self.engine.listen):
            raise ValueError(f"engine.listen {self.engine.listen}: an engine has no keys; use 127.0.0.1")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content comes in as keyword arguments."""
        return env_settings, init_settings

    @property
    def traced(self) -> bool:
        """Whether requests are traced."""
        if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return False
        if self.tracing.enabled is not None:
            return self.tracing.enabled
        return bool(self.tracing.endpoint) or any(os.environ.get(name) for name in OTLP_VARIABLES)

    @property
    def store_path(self) -> Path:
        """The DuckDB file."""
        return self.data / "loraloop.duckdb"

    @property
    def adapters(self) -> Path:
        """The folder of adapter folders."""
        return self.data / "adapters"

    @property
    def control_url(self) -> str:
        """Where gateways and the command line reach control."""
        return self.gateway.control_url or f"http://{self.control.listen}"

    @property
    def console_url(self) -> str:
        """Where people reach control, as links in notifications say it."""
        return (self.control.public_url or self.control_url).rstrip("/")

    @property
    def bearer(self) -> dict[str, str]:
        """The header by which the command line shows its key: its own, or else the one for ops."""
        key = self.keys.own or self.keys.ops
        return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}

    @property
    def engine_urls(self) -> list[str]:
        """Every engine."""
        return self.engine.urls or [f"http://{self.engine.listen}"]


# OpenTelemetry's own, which its libraries read.
OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
KEY_VARIABLES = {
    "app": "LORALOOP_APP_KEY",
    "ops": "LORALOOP_OPS_KEY",
    "internal": "LORALOOP_INTERNAL_KEY",
    "own": "LORALOOP_KEY",
    "judge": "LORALOOP_JUDGE_KEY",
    "notify": "LORALOOP_NOTIFY_URLS",
}
# A variable's name with this holds a file's path, the file the secret; as secrets are mounted.
FILE = "_FILE"
# Nothing of these is for an engine's or a trainer's environment.
SECRET_VARIABLES = frozenset((*KEY_VARIABLES.values(), *(f"{name}{FILE}" for name in KEY_VARIABLES.values())))


def cache_folder() -> Path:
    """Where prepared models and data are kept: $LORALOOP_CACHE, else the user's cache folder."""
    own = os.environ.get("LORALOOP_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "loraloop"


def split_listen(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8080` as host and port, an IPv6 host without its brackets. Raises SettingsError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise SettingsError(f"{listen!r} is no listen address.", hint="Write it as 127.0.0.1:8080.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach the address."""
    host, _ = split_listen(listen)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def settings_sha256(model: ModelSettings) -> str:
    """A SHA-256 over all that the settings say of a model; secrets stand elsewhere and are masked besides."""
    return hashlib.sha256(json.dumps(model.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Settings:
    """Reads the file. Raises SettingsError with the key, what is wrong with it, and the fix."""
    if not path.is_file():
        raise SettingsError(f"There is no configuration at {path}.", hint="Make one with: loraloop init")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise SettingsError(f"{path}{where} is not YAML: {problem}.", hint="Mend that line.") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings.", hint="Make one with: loraloop init")
    return build(content, source=str(path))


def build(content: dict[str, Any], *, source: str = "settings") -> Settings:
    """Settings from plain data, with the keys that the environment holds. Raises SettingsError."""
    if "keys" in content:
        raise SettingsError(
            f"{source}: keys: secrets do not belong in a file.",
            hint=f"Set {', '.join(KEY_VARIABLES.values())} in the environment, or with {FILE} behind it a file's path.",
        )
    for name in content:
        if not isinstance(name, str):
            raise SettingsError(f"{source}: {name!r} is not a setting.", hint="Settings have names; put it in quotes?")
    keys = {name: key for name, variable in KEY_VARIABLES.items() if (key := _secret(variable))}
    try:
        return Settings(**content, keys=KeySettings.model_validate(keys))
    except ValidationError as error:
        raise SettingsError(f"{source}: {_sentence(error)}") from error
    except EnvironmentRefused as error:
        raise SettingsError(
            f"The environment: {error}.", hint="Set a section's keys one by one, as in LORALOOP_GATEWAY__LISTEN."
        ) from error


def _secret(variable: str) -> str | None:
    """A secret of the environment, or of the file that it names. Raises SettingsError, which never quotes it."""
    plain, file = os.environ.get(variable), os.environ.get(variable + FILE)
    if plain and file:
        raise SettingsError(f"{variable} and {variable}{FILE} are both set.", hint="Unset one of them.")
    if not file:
        return plain
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"{variable}{FILE}: {file} cannot be read: {why}.", hint="Mend the path.") from error
    if not found:
        raise SettingsError(f"{variable}{FILE}: {file} is empty.", hint="Write the secret into it.")
    return found


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = nearest(str(first["loc"][-1]), _keys_at(first["loc"][:-1]))
        return f"{where} is not a setting.{f' Did you mean {near}?' if near else ''}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}." if where else f"{message}."


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like it; empty where none is."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), "")


def _keys_at(where: tuple[int | str, ...]) -> list[str]:
    section: Any = Settings
    for part in where:
        fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
        annotation = fields[str(part)].annotation if str(part) in fields else section
        nested = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        section = nested[0] if nested else section
    return list(section.model_fields)
