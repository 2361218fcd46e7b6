"""The client of the command line: LoraLoop's own client, with the URL and the key of the settings."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from core.errors import InputError, KeyRefused
from core.settings import Settings, read_keys
from loraloop.calls import Call, Server, read
from loraloop.client import Client
from loraloop.connection import TIMEOUT_S, VARIABLES, checked, unreachable
from ops.data_files import LEFT_OUT

# Longest wait for a response after the last byte was sent, while control reads a large file, in seconds.
UPLOAD_SECONDS = 600
# A person at a terminal had better know soon that a server does not run.
RETRIES = 1


class ControlClient(Client):
    """A client of control, or of a gateway at `url`, with paths and files. Raises LoraLoopError."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        server: Server = "control",
        url: str | None = None,
        key: str | None = None,
        key_hint: str = "",
    ) -> None:
        """Without settings, URL and key come from the environment. Raises InputError if it names another control.

        `key_hint` says what to do if the key is refused.
        """
        if settings is not None and own_url() not in (None, settings.control_url):
            names = f"LORALOOP_URL is {own_url()}, and control is at {settings.control_url} by the configuration."
            raise InputError(names, hint="Do: unset LORALOOP_URL")
        if settings is not None:
            key = settings.bearer.get("Authorization", "").removeprefix("Bearer ")
        elif key is None:
            key = read_keys().get("own", "")
        where = url or (settings.control_url if settings else None)
        # A command sends a few requests and ends, so no connection is kept open. Proxies are for servers elsewhere.
        once = httpx.Limits(max_keepalive_connections=0)
        http = httpx.Client(timeout=TIMEOUT_S, trust_env=settings is None, limits=once)
        urls: dict[Server, str | None] = {server: where}
        super().__init__(gateway=urls.get("gateway"), control=urls.get("control"), key=key, retries=RETRIES, http=http)
        self._server: Server = server
        self._key_hint = key_hint

    def respond(self, call: Call) -> httpx.Response:
        """The response to a request. Raises Unreachable, and KeyRefused with the hint of this client."""
        response = super().respond(call)
        if response.status_code == 401 and self._key_hint:
            raise KeyRefused(f"{call.server.capitalize()} refuses the key.", hint=self._key_hint)
        return response

    def get(self, path: str, **query: Any) -> Any:
        """Send a GET request; parameters that are None are left out. Returns the JSON of the response."""
        return self.send(replace(read(path, **query), server=self._server))

    def post(self, path: str, body: Any) -> Any:
        """Send a POST request. Returns the JSON of the response."""
        return self.send(Call(self._server, "POST", path, body))

    def upload(self, path: str, content: Iterable[bytes], size: int | None, **query: Any) -> Any:
        """Send a POST request with a file of `size` bytes as its body, piece by piece. It is sent once.

        A size of None is not known before the end.
        """
        call = Call(self._server, "POST", path, query=query)
        request = self.connection.request(call)
        request["headers"] |= {"Content-Type": "application/octet-stream"}
        if size is not None:
            request["headers"] |= {"Content-Length": str(size)}
        with self._answered(call):
            response = self.http.request(**request | {"content": content, "timeout": UPLOAD_SECONDS})
        return checked(call, response)

    @contextmanager
    def download(self, method: str, path: str, **query: Any) -> Iterator[tuple[int | None, Iterator[bytes], str]]:
        """Send a request whose response is a file.

        Yields its size in bytes, if known, its pieces, and the models whose labels it leaves out.
        """
        call = replace(read(path, **query), server=self._server, method=method, repeatable=False)
        request: dict[str, Any] = {**self.connection.request(call), "timeout": UPLOAD_SECONDS}
        with self._answered(call), self.http.stream(**request) as response:
            if response.status_code >= 400:
                response.read()
                checked(call, response)
            size = response.headers.get("content-length")
            yield int(size) if size else None, response.iter_bytes(), response.headers.get(LEFT_OUT, "")

    @contextmanager
    def _answered(self, call: Call) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise unreachable(call.server, self.connection.url(call.server)) from error


def own_url() -> str | None:
    """The URL of control that the environment names. A command needs no configuration then."""
    return (os.environ.get(VARIABLES["control"]) or "").rstrip("/") or None
