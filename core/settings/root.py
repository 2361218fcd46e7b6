"""The whole configuration, with the checks that concern several sections."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from core.settings.address import is_loopback
from core.settings.alarms import AlarmSettings
from core.settings.environment import has_otlp_endpoint, tracing_disabled
from core.settings.login import LoginSettings
from core.settings.model import ModelSettings
from core.settings.retention import RetentionSettings
from core.settings.services import (
    ControlSettings,
    EngineSettings,
    GatewaySettings,
    KeySettings,
    LogSettings,
    NotificationSettings,
    TracingSettings,
    without_v1,
)


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(env_prefix="LORALOOP_", env_nested_delimiter="__", extra="forbid", frozen=True)

    base_model: str = Field(default="smollm2-135m-instruct", description="Base model: a packaged name or a folder.")
    access: Literal["keys", "open"] = Field(
        default="keys",
        description="Access to the APIs. keys: an API key is required; open: no key, on loopback addresses only.",
    )
    hosts: list[str] = Field(
        default=[],
        description="Accepted names in Host headers with `access: open`, in addition to the names of loopback.",
    )
    data: Path = Field(default=Path("data"), description="Folder of all data of LoraLoop, including the store.")
    engine: EngineSettings = Field(default_factory=EngineSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    login: LoginSettings = Field(default_factory=LoginSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    models: dict[str, ModelSettings] = Field(
        min_length=1, description="Models by the name that apps send as `model`. At least one."
    )
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    notifications: NotificationSettings = Field(default_factory=NotificationSettings)
    alarms: AlarmSettings = Field(default_factory=AlarmSettings)
    keys: KeySettings = Field(default_factory=KeySettings)

    @field_validator("models")
    @classmethod
    def _check_names(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name in models:
            if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
                raise ValueError(f"model name {name!r}: use at most 64 letters, digits, - and _")
        return models

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        for name, model in self.models.items():
            if model.retrain.rank > self.engine.max_lora_rank:
                raise ValueError(
                    f"models.{name}.retrain.rank is {model.retrain.rank}, above engine.max_lora_rank "
                    f"{self.engine.max_lora_rank}; raise the latter or lower the former"
                )
        for purpose, other in (("embeddings", self.gateway.embeddings), ("rerank", self.gateway.rerank)):
            if other is not None and other.model in self.models:
                raise ValueError(f"gateway.{purpose}.model {other.model!r} is also one of models; give it another name")
        for where, listen in (("gateway.listen", self.gateway.listen), ("control.listen", self.control.listen)):
            if self.access == "open" and not is_loopback(listen):
                raise ValueError(
                    f"access is open and {where} {listen} is not loopback; remove access: open, or use 127.0.0.1"
                )
        self._check_login()
        if not self.engine.urls and not is_loopback(self.engine.listen):
            raise ValueError(
                f"engine.listen {self.engine.listen} is not loopback, and an engine checks no keys; use 127.0.0.1"
            )
        return self

    def _check_login(self) -> None:
        if self.login.oidc is None:
            return
        if self.control.public_url is None:
            raise ValueError("login.oidc needs control.public_url: the provider sends browsers back to it")
        if self.access == "open":
            raise ValueError("access is open, so anybody may do anything; remove it, or remove login.oidc")
        for group, names in self.login.oidc.models.items():
            for name in names:
                if name not in self.models:
                    raise ValueError(f"login.oidc.models.{group} names {name!r}, which is not one of models")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the environment priority over the file. The file's content arrives as keyword arguments."""
        return env_settings, init_settings

    @property
    def traced(self) -> bool:
        """Whether requests are traced."""
        if tracing_disabled():
            return False
        if self.tracing.enabled is not None:
            return self.tracing.enabled
        return bool(self.tracing.endpoint) or has_otlp_endpoint()

    @property
    def audit_shares(self) -> dict[str, float]:
        """The share of each model's requests whose answers the app asks about, for models with one."""
        return {name: m.feedback.audit_share for name, m in self.models.items() if m.feedback.audit_share}

    @property
    def store_path(self) -> Path:
        """Path of the DuckDB file."""
        return self.data / "loraloop.duckdb"

    @property
    def adapters(self) -> Path:
        """Folder that contains one folder per adapter."""
        return self.data / "adapters"

    @property
    def control_url(self) -> str:
        """URL of control for gateways and the command line."""
        return self.gateway.control_url or f"http://{self.control.listen}"

    @property
    def console_url(self) -> str:
        """URL of control for people, used in the links of notifications."""
        return (self.control.public_url or self.control_url).rstrip("/")

    @property
    def bearer(self) -> dict[str, str]:
        """Header with the key of the command line: its own, or otherwise the key for ops."""
        key = self.keys.own or self.keys.ops
        return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}

    @property
    def engine_key(self) -> str:
        """The API key of external engines, or an empty text."""
        return self.keys.engine.get_secret_value() if self.keys.engine else ""

    @property
    def engine_urls(self) -> list[str]:
        """URLs of all engines, without the /v1 of OpenAI's API."""
        return without_v1(self.engine.urls) or [f"http://{self.engine.listen}"]
