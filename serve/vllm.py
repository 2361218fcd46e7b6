"""A client of one vLLM server: adapters, readiness, and the scores of labels.

It owns vLLM's paths and field names; it must not know models, versions or why something is asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from core.errors import EngineDown, EngineError
from core.prompts import Chat, Prompt, Text

# Turns a plain prompt into a "chat" that renders to exactly that prompt: only the chat route of vLLM 0.32
# can return the log-probabilities of chosen tokens.
RAW_TEMPLATE = "{{ messages[0]['content'] }}"
EVALUATION_PRIORITY = 10


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the asked tokens at the first answered position, and what the prompt cost."""

    logprobs: tuple[float, ...]
    prompt_tokens: int

    @property
    def mass(self) -> float:
        """The probability that the asked tokens hold together."""
        return math.fsum(math.exp(value) for value in self.logprobs)


class VllmClient:
    """Talks to one engine. Safe to use from several threads."""

    def __init__(self, url: str, *, transport: httpx.BaseTransport | None = None, timeout_s: float = 120) -> None:
        self.url = url
        # Shorter than the 5 s after which a stock vLLM closes an idle connection itself.
        limits = httpx.Limits(max_connections=64, keepalive_expiry=3)
        self._http = httpx.Client(
            base_url=url, transport=transport, timeout=timeout_s, limits=limits, trust_env=False
        )

    def healthy(self) -> bool:
        """Whether the engine answers and says it is well."""
        try:
            return self._http.get("/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def models(self) -> set[str]:
        """The names that the engine serves: the base model's and each adapter's."""
        return {entry["id"] for entry in self._json("GET", "/v1/models")["data"]}

    def load(self, name: str, path: str) -> None:
        """Loads an adapter from a folder that the engine can read. Raises EngineError with its reason."""
        self._request("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})

    def unload(self, name: str) -> None:
        """Forgets an adapter's name; its weights go when their slot is wanted."""
        self._request("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def first_token(self, model: str, text: str) -> int:
        """The id of the first token of a text that stands where an answer begins."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return int(self._json("POST", "/tokenize", body)["tokens"][0])

    def score(self, model: str, prompt: Prompt, token_ids: Sequence[int]) -> Scores:
        """One greedy token, with the log-probabilities that each given token had in its place."""
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "logprob_token_ids": list(token_ids),
            "return_tokens_as_token_ids": True,
            "priority": EVALUATION_PRIORITY,
        }
        match prompt:
            case Chat():
                body["messages"] = prompt.as_openai()
            case Text(text):
                raw = {"chat_template": RAW_TEMPLATE, "add_special_tokens": True}
                body |= {"messages": [{"role": "user", "content": text}], **raw}
        data = self._json("POST", "/v1/chat/completions", body)
        listed = data["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        found = {int(entry["token"].removeprefix("token_id:")): float(entry["logprob"]) for entry in listed}
        missing = [token for token in token_ids if token not in found]
        if missing:
            raise EngineError(
                f"The engine at {self.url} left out the scores of tokens {missing}.",
                hint="This version of vLLM is not supported; install the one in requirements.lock.",
            )
        return Scores(tuple(found[token] for token in token_ids), data["usage"]["prompt_tokens"])

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        response = self._request(method, path, body)
        try:
            return response.json()
        except ValueError as error:
            raise EngineError(f"The engine at {self.url} answered {path} with something else than JSON.") from error

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise EngineDown(
                f"The engine at {self.url} does not answer: {error or type(error).__name__}.",
                hint="See its log, engine.log in the data folder.",
            ) from error
        if response.status_code >= 400:
            raise EngineError(f"The engine at {self.url} refused {path}: {_reason(response)}")
        return response


def _reason(response: httpx.Response) -> str:
    try:
        data = response.json()
    except ValueError:
        return response.text[:300]
    error = data.get("error", data) if isinstance(data, dict) else data
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
