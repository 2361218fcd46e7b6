"""The systemd unit that runs `loraloop up`: for the whole machine, or for one user. It must not start anything."""

import os
import pwd
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import InputError, LoraLoopError
from core.settings import SECRET_VARIABLES, Settings, config_folder
from ops.local.shutdown import stop_seconds

NAME = "loraloop.service"
NAME_OF_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILE = "_FILE"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit runs: the command's words, its configuration, and the user, who is None for a unit of one user."""

    command: tuple[str, ...]
    config: Path
    user: str | None
    environment: Mapping[str, str] = field(default_factory=dict)

    def text(self, settings: Settings) -> str:
        """The file of the unit."""
        variables = {"LORALOOP_CONFIG": str(self.config), **self.environment}
        run = " ".join(_quoted(word.replace("$", "$$")) for word in self.command)
        is_system = self.user is not None
        network = ("After=network-online.target", "Wants=network-online.target") if is_system else ()
        lines = (
            "[Unit]",
            "Description=LoraLoop: gateway, control and engine",
            *network,
            "",
            "[Service]",
            *((f"User={self.user}",) if is_system else ()),
            f"WorkingDirectory={str(self.config.parent).replace('%', '%%')}",
            *(f"Environment={_quoted(f'{name}={value}')}" for name, value in variables.items()),
            f"ExecStartPre={run} prepare",
            f"ExecStart={run} up",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "KillMode=mixed",
            "KillSignal=SIGTERM",
            "# By gateway.drain_seconds: the processes of this configuration end within this time.",
            f"TimeoutStopSec={stop_seconds(settings):.0f}",
            "TimeoutStartSec=600",
            "Restart=on-failure",
            "RestartSec=5",
            "",
            "[Install]",
            f"WantedBy={'multi-user' if is_system else 'default'}.target",
        )
        return "\n".join(lines) + "\n"


def place(user: str | None) -> Path:
    """Where the unit of the machine, or of the present user, has its file."""
    return Path("/etc/systemd/system") / NAME if user else config_folder().parent / "systemd" / "user" / NAME


def owner(config: Path) -> str:
    """The user to run as: the owner of the configuration. Raises InputError if that is root."""
    name = pwd.getpwuid(config.stat().st_uid).pw_name
    if name == "root":
        raise InputError(f"{config} belongs to root, who should not run LoraLoop.", hint="Name a user: --run-as USER")
    return name


def read_variables(given: Iterable[str]) -> dict[str, str]:
    """Variables by their names. Raises InputError for a secret, because everybody can read a unit."""
    found = dict[str, str]()
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not NAME_OF_VARIABLE.fullmatch(name) or not value.isprintable():
            raise InputError(f"--env: {one!r} is no variable.", hint="Write --env NAME=VALUE.")
        if name in SECRET_VARIABLES and not name.endswith(FILE):
            raise InputError(f"--env: {name} is a secret, and everybody can read a unit.", hint=f"Use {name}{FILE}.")
        found[name] = value
    return found


def write(path: Path, text: str) -> None:
    """Write the file of a unit. Raises LoraLoopError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        hint = f"Become root, or pipe it: loraloop server install --system --dry-run | sudo tee {path}"
        raise LoraLoopError(f"{path} cannot be written: {error.strerror}.", hint=hint) from error


def command_of_this_process() -> tuple[str, ...]:
    """The words that run the command line of the present installation."""
    script = Path(sys.executable).with_name("loraloop")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "ops.cli.app")


def _quoted(text: str) -> str:
    """A word of a command or of an environment, in quotes if it needs them. `%` begins a specifier of systemd."""
    escaped = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(mark.isspace() or mark in "\"'\\;" for mark in text) else escaped
