"""Settings: one YAML file and the environment, read once and validated when they are read.

The environment (`LORALOOP_GATEWAY__LISTEN`) overrides the file, and the file overrides the defaults. An unknown key is
an error that names the nearest known key. No other module of `core` reads the environment.
"""

from core.settings.address import is_loopback, split_listen
from core.settings.alarms import AlarmName, AlarmSettings
from core.settings.environment import KEY_VARIABLES, SECRET_VARIABLES, cache_folder, config_folder, read_keys
from core.settings.evaluation import BaselineSettings, EvaluationSettings, JudgeSettings, SplitSettings
from core.settings.feedback import FeedbackSettings
from core.settings.kpi_names import GENERATE_PRIMARY, GuardedKpi, LabelKpi, PrimaryKpi, ShippedSuite, SuiteKpi, TextKpi
from core.settings.loading import build, load
from core.settings.login import LoginSettings, OidcSettings, Role
from core.settings.model import ModelSettings, settings_sha256
from core.settings.privacy import PrivacySettings
from core.settings.promotion import (
    DEFAULT_GUARDRAILS,
    CanarySettings,
    Guardrail,
    HoldbackSettings,
    LimitSettings,
    Primary,
    PromotionSettings,
    SliceSettings,
)
from core.settings.retention import RetentionSettings
from core.settings.retrain import RetrainSettings
from core.settings.root import Settings
from core.settings.search import SearchSettings
from core.settings.section import Section, nearest
from core.settings.services import (
    ControlSettings,
    EngineSettings,
    GatewaySettings,
    KeySettings,
    LogSettings,
    NotificationSettings,
    PassThroughSettings,
    TracingSettings,
)
from core.settings.trust import TrustSettings

__all__ = [
    "DEFAULT_GUARDRAILS",
    "GENERATE_PRIMARY",
    "KEY_VARIABLES",
    "SECRET_VARIABLES",
    "AlarmName",
    "AlarmSettings",
    "BaselineSettings",
    "CanarySettings",
    "ControlSettings",
    "EngineSettings",
    "EvaluationSettings",
    "FeedbackSettings",
    "GatewaySettings",
    "GuardedKpi",
    "Guardrail",
    "HoldbackSettings",
    "JudgeSettings",
    "KeySettings",
    "LabelKpi",
    "LimitSettings",
    "LogSettings",
    "LoginSettings",
    "ModelSettings",
    "NotificationSettings",
    "OidcSettings",
    "PassThroughSettings",
    "Primary",
    "PrimaryKpi",
    "PrivacySettings",
    "PromotionSettings",
    "RetentionSettings",
    "RetrainSettings",
    "Role",
    "SearchSettings",
    "Section",
    "Settings",
    "ShippedSuite",
    "SliceSettings",
    "SplitSettings",
    "SuiteKpi",
    "TextKpi",
    "TracingSettings",
    "TrustSettings",
    "build",
    "cache_folder",
    "config_folder",
    "is_loopback",
    "load",
    "nearest",
    "read_keys",
    "settings_sha256",
    "split_listen",
]
