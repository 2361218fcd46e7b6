"""A client of control's API, for the command line and other programs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from core.errors import KeyRefused, LoraLoopError, Unreachable
from core.settings import Settings

# Longest wait for a response after the last byte was sent, while control reads a large file, in seconds.
UPLOAD_SECONDS = 600


class ControlClient:
    """A client of control, or of a gateway at `url`. Raises LoraLoopError with the server's message."""

    def __init__(self, settings: Settings, *, name: str = "Control", url: str | None = None) -> None:
        self._name = name
        self._url = url or settings.control_url
        # A command sends a few requests and ends, so no connection is kept open.
        self._http = httpx.Client(
            base_url=self._url,
            headers=settings.bearer,
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def get(self, path: str, **query: Any) -> Any:
        """Send a GET request; parameters that are None are left out. Returns the JSON of the response."""
        return self._ask("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any) -> Any:
        """Send a POST request. Returns the JSON of the response."""
        return self._ask("POST", path, json=body)

    def upload(self, path: str, content: Iterable[bytes], size: int, **query: Any) -> Any:
        """Send a POST request with a file of `size` bytes as its body, piece by piece."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._ask("POST", path, content=content, headers=headers, params=query, timeout=UPLOAD_SECONDS)

    @contextmanager
    def download(self, method: str, path: str, **query: Any) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        """Send a request whose response is a file. Yields its size in bytes, if known, and its pieces."""
        params = {k: v for k, v in query.items() if v is not None}
        with self._answered(), self._http.stream(method, path, params=params, timeout=UPLOAD_SECONDS) as response:
            if response.status_code >= 400:
                response.read()
                self._refuse(response)
            size = response.headers.get("content-length")
            yield int(size) if size else None, response.iter_bytes()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        with self._answered():
            response = self._http.request(method, path, **how)
        self._refuse(response)
        return response.json()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            what = f"{self._name} at {self._url} does not answer."
            raise Unreachable(what, hint="Start it with: loraloop up") from error

    def _refuse(self, response: httpx.Response) -> None:
        if response.status_code == 401:
            raise KeyRefused(f"{self._name} requires a valid API key.", hint="Do: export LORALOOP_KEY=llk_…")
        if response.status_code >= 400:
            raise LoraLoopError(_message(response))


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"Control answered {response.status_code}: {response.text[:200]}"
