"""Reads compose.yaml, and runs its services with podman where no Docker is.

It reads the keys that compose.yaml uses and refuses any other, so that none is left out silently.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"
# Keys that say how `docker compose` builds, orders and restarts.
OF_COMPOSE = {"build", "depends_on", "restart", "healthcheck"}
ONE = {"user": "--user", "shm_size": "--shm-size", "stop_grace_period": "--stop-timeout"}
SWITCHES = {"read_only": "--read-only", "init": "--init"}
STORAGE = Path(os.environ.get("IMAGES", "/var/tmp/loraloop-images"))


def interpolate(text: str, variables: dict[str, str]) -> str:
    """Put variables in, as compose does. Raises KeyError with the message of a required one that is missing."""

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if variables.get(name):
            return variables[name]
        if operator == ":-":
            return rest
        raise KeyError(f"{name}: {rest}")

    return re.sub(r"\$\{(\w+)(:-|:\?)([^}]*)\}", value, text)


def read(variables: dict[str, str]) -> dict[str, Any]:
    """compose.yaml with its variables, merged."""
    return yaml.safe_load(interpolate(FILE.read_text(encoding="utf-8"), variables))


def podman(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run podman on the storage of scripts/images.sh. The output has both streams."""
    environment = os.environ | {
        "CONTAINERS_CONF": str(STORAGE / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(STORAGE / "storage.conf"),
    }
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(["podman", *words], env=environment, text=True, check=False, **how)


def done(*words: str) -> str:
    """Run podman and return its output. Raises AssertionError with it where podman fails."""
    ran = podman(*words)
    assert ran.returncode == 0, f"podman {' '.join(words)}\n{ran.stdout}"
    return ran.stdout


class Containers:
    """The services of compose.yaml as containers of their own names, networks and volumes."""

    def __init__(self, name: str, variables: dict[str, str], replaced: dict[str, str]) -> None:
        """`replaced` has other sources for mounts: a volume or path of the file, to a path of this machine."""
        self.name = name
        self.content = read(variables)
        self.replaced = replaced
        self.started: list[str] = []
        self._urls: dict[str, str] = {}
        for network, settings in self.content["networks"].items():
            done("network", "create", *(["--internal"] if settings.get("internal") else []), self.own(network))

    def own(self, name: str) -> str:
        """The name that podman has for a service, volume or network of the file."""
        return f"{self.name}-{name}"

    def _source(self, source: str) -> str:
        if source in self.replaced:
            return self.replaced[source]
        return str(ROOT / source) if source.startswith(".") else self.own(source)

    def _options(self, key: str, value: Any, service: str) -> list[str]:
        """What podman says for one key of a service."""
        if key in ONE:
            return [ONE[key], value.removesuffix("s")]
        if key in SWITCHES:
            return [SWITCHES[key]] if value else []
        if key == "networks":
            return ["--network", ",".join(map(self.own, value)), "--network-alias", service]
        several = {
            "tmpfs": ("--tmpfs", value),
            "cap_drop": ("--cap-drop", value),
            "security_opt": ("--security-opt", [str(each).removesuffix(":true") for each in value]),
            "environment": ("--env", [f"{name}={value[name]}" for name in value if key == "environment"]),
            "volumes": ("--volume", [self._mount(each) for each in value if key == "volumes"]),
            # Any free port of loopback, instead of the file's own.
            "ports": ("--publish", [f"127.0.0.1::{str(each).rpartition(':')[2]}" for each in value]),
        }
        if key not in several:
            raise AssertionError(f"compose.yaml has the key {key}, which this runner does not know")
        flag, words = several[key]
        return [part for word in words for part in (flag, word)]

    def _mount(self, volume: str) -> str:
        source, _, rest = volume.partition(":")
        return f"{self._source(source)}:{rest}"

    def start(self, service: str, *, command: list[str] | None = None, wait: bool = False) -> str:
        """Start a service, with another command if one is given; `wait` returns its output once it has ended."""
        settings = {key: value for key, value in self.content["services"][service].items() if key not in OF_COMPOSE}
        image, own = settings.pop("image"), settings.pop("command")
        words = [word for key, value in settings.items() for word in self._options(key, value, service)]
        self.started.append(service)
        how = ["--rm"] if wait else ["--detach"]
        # There is no systemd to run health checks: `healthy` runs them.
        words = ["run", *how, "--no-healthcheck", "--name", self.own(service), *words, image]
        return done(*words, *(command or own))

    def healthy(self, service: str) -> bool:
        """Whether the service's own health check passes."""
        kind, *test = self.content["services"][service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.succeeds(service, *test)

    def succeeds(self, service: str, *command: str) -> bool:
        """Whether a command in the service's container ends with 0."""
        return podman("exec", self.own(service), *command).returncode == 0

    def execute(self, service: str, *command: str) -> str:
        """Run a command in the service's container and return its output."""
        return done("exec", self.own(service), *command)

    def url(self, service: str) -> str:
        """Where this machine reaches the service's published port."""
        if service not in self._urls:
            self._urls[service] = f"http://{done('port', self.own(service)).split()[-1]}"
        return self._urls[service]

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"== {each}\n{podman('logs', '--tail', '40', self.own(each)).stdout}" for each in self.started)

    def remove(self) -> None:
        """Remove the containers, then their volumes and networks."""
        for service in reversed(self.started):
            podman("rm", "--force", "--time", "10", self.own(service))
        for volume in self.content["volumes"]:
            podman("volume", "rm", "--force", self.own(volume))
        for network in self.content["networks"]:
            podman("network", "rm", "--force", self.own(network))
