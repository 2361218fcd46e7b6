"""Read the environment: secrets, OpenTelemetry's switches and the cache folder."""

import os
from pathlib import Path

from core.errors import SettingsError

# OpenTelemetry's own variables, which its libraries read.
OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
KEY_VARIABLES = {
    "app": "LORALOOP_APP_KEY",
    "ops": "LORALOOP_OPS_KEY",
    "internal": "LORALOOP_INTERNAL_KEY",
    "metrics": "LORALOOP_METRICS_KEY",
    "own": "LORALOOP_KEY",
    "judge": "LORALOOP_JUDGE_KEY",
    "engine": "LORALOOP_ENGINE_KEY",
    "notify": "LORALOOP_NOTIFY_URLS",
    "webhook": "LORALOOP_WEBHOOK_SECRET",
    "oidc": "LORALOOP_OIDC_CLIENT_SECRET",
}
# A variable with this suffix contains the path of a file that contains the secret. Kubernetes mounts secrets as files.
FILE = "_FILE"
# Engines and trainers must not get these variables.
SECRET_VARIABLES = frozenset((*KEY_VARIABLES.values(), *(f"{name}{FILE}" for name in KEY_VARIABLES.values())))


def read_keys() -> dict[str, str]:
    """Return the secrets that are set, by their name in `KeySettings`. Raises SettingsError."""
    return {name: key for name, variable in KEY_VARIABLES.items() if (key := _read_secret(variable))}


def tracing_disabled() -> bool:
    """Return whether OpenTelemetry's own variable turns tracing off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"


def has_otlp_endpoint() -> bool:
    """Return whether one of OpenTelemetry's own variables sets an endpoint."""
    return any(os.environ.get(name) for name in OTLP_VARIABLES)


def cache_folder() -> Path:
    """Return the folder for prepared models and data: $LORALOOP_CACHE, or `loraloop` in the user's cache folder."""
    own = os.environ.get("LORALOOP_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "loraloop"


def config_folder() -> Path:
    """Return the user's own folder of configuration: `loraloop` in $XDG_CONFIG_HOME or ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "loraloop"


def _read_secret(variable: str) -> str | None:
    """Return a secret from its variable or from the file that the `_FILE` variable names.

    Raises SettingsError, whose text never contains the secret.
    """
    plain, file = os.environ.get(variable), os.environ.get(variable + FILE)
    if plain and file:
        raise SettingsError(f"{variable} and {variable}{FILE} are both set.", hint="Unset one of them.")
    if not file:
        return plain
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"{variable}{FILE}: {file} cannot be read: {why}.", hint="Correct the path.") from error
    if not found:
        raise SettingsError(f"{variable}{FILE}: {file} is empty.", hint="Write the secret into it.")
    return found
