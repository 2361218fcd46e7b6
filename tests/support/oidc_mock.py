"""oidc-provider-mock, a provider that others wrote, in a process of its own.

Its routes raise warnings that would be errors in the process of the tests.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.wait import wait_until
from tools.live_stack import free_ports

PEOPLE = (
    {"sub": "ada-1", "email": "ada@example.com", "groups": ["ops"]},
    {"sub": "bob-2", "email": "bob@example.com", "groups": ["cooks"]},
)


@contextmanager
def mock_provider(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """The provider on a port of loopback, with its log in a folder; gives its issuer."""
    (port,) = free_ports(1)
    log, url = folder / "mock.log", f"http://{host}:{port}"
    people = [word for person in PEOPLE for word in ("--user-claims", json.dumps(person))]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true", *people]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=dict(os.environ)) as process:
        try:
            wait_until(lambda: _answers(url), alive=lambda: process.poll() is None, log=lambda: log.read_text("utf-8"))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
