"""What both clients have in common: where requests go, with which key, and what a response means."""

import os
from collections.abc import Mapping
from typing import Any

import httpx

from core.errors import InputError, KeyRefused, LoraLoopError, Unreachable
from loraloop.calls import Call, Server
from loraloop.errors import refused

TIMEOUT_S = 60.0
RETRIES = 3
VARIABLES: Mapping[Server, str] = {"gateway": "LORALOOP_GATEWAY_URL", "control": "LORALOOP_URL"}


class Connection:
    """The URLs of the servers and the key. What is not given comes from the environment."""

    def __init__(self, gateway: str | None, control: str | None, key: str | None, retries: int) -> None:
        self._urls = {"gateway": _url("gateway", gateway), "control": _url("control", control)}
        self._key = os.environ.get("LORALOOP_KEY", "") if key is None else key
        if not (self._key.isascii() and self._key.isprintable()):
            raise InputError("The key has characters that no key has.", field="key", hint="Copy it once more.")
        self.retries = retries

    def request(self, call: Call) -> dict[str, Any]:
        """A request as arguments of httpx. Raises InputError if the URL of its server is not known."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {
            "method": call.method,
            "url": self.url(call.server) + call.path,
            "params": call.query or None,
            "json": call.body,
            "headers": headers,
        }

    def url(self, server: Server) -> str:
        """The URL of a server. Raises InputError if it is not known."""
        url = self._urls[server]
        if url is None:
            hint = f"Give the client {server}=URL, or do: export {VARIABLES[server]}=http://…"
            raise InputError(f"The URL of {server} is not known.", field=server, hint=hint)
        return url


def checked(call: Call, response: httpx.Response) -> Any:
    """The JSON of a response. Raises KeyRefused or Refused."""
    if response.status_code == 401:
        raise key_refused(call.server)
    if response.status_code >= 400:
        raise refused(response.status_code, _json(response), response.text)
    found = _json(response)
    if found is None and response.text.strip() != "null":
        raise refused(response.status_code, None, f"no JSON: {response.text}")
    return found


def kept(call: Call, response: httpx.Response) -> list[str | LoraLoopError]:
    """The id of each object of a batch of feedback, or the error that says why it was refused.

    Raises as `checked` does if the response is not about single objects.
    """
    answer = _json(response)
    results: Any = answer.get("results") if isinstance(answer, Mapping) else answer
    if not isinstance(results, list):
        checked(call, response)
        raise refused(response.status_code, None, f"no result for each object: {response.text}")
    return [one["feedback_id"] if "feedback_id" in one else refused(0, one) for one in results]


def key_refused(server: str) -> KeyRefused:
    """The error of a response with status 401."""
    return KeyRefused(f"{server.capitalize()} requires a valid API key.", hint="Do: export LORALOOP_KEY=llk_…")


def unreachable(server: str, url: str) -> Unreachable:
    """The error of a server that does not answer."""
    return Unreachable(f"{server.capitalize()} at {url} does not answer.", hint="Start it with: loraloop up")


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _url(server: Server, given: str | None) -> str | None:
    found = given or os.environ.get(VARIABLES[server])
    if not found:
        return None
    url = found.rstrip("/").removesuffix("/v1")
    try:
        is_url = httpx.URL(url).scheme in ("http", "https") and bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        is_url = False
    if not is_url:
        raise InputError(f"{server}: {found!r} is no URL.", field=server, hint="Write it as http://HOST:PORT.")
    return url
