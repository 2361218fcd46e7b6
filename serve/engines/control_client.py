"""A client of one vLLM server: adapters, readiness, scores of tokens and answers, and generated answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from core.answers import calls_text
from core.errors import EngineDown, EngineError, PromptRefused
from core.prompts import Chat, Prompt, Text, options_of, prefill_of, template_options

# Turns a plain prompt into a "chat" that renders to exactly that prompt: only the chat route of vLLM 0.32
# can return the log-probabilities of chosen tokens.
RAW_TEMPLATE = "{{ messages[0]['content'] }}"
EVALUATION_PRIORITY = 10
# The model's own distribution. The sampling parameters in the model's folder are overridden.
WHOLE = {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1}
# What vLLM gives for a token that it has no score of; no real log-probability comes near it.
UNSCORED = -1000.0
UNSUPPORTED = "This version of vLLM is not supported; install the one in requirements.lock."
# Paths that carry a prompt, and what vLLM answers there to one that it does not take. A model that it lacks is a 404.
PROMPTED = ("/v1/chat/completions", "/v1/completions", "/tokenize")
REFUSED = (400, 413)
# The fields that shape a prompt and that /tokenize takes.
TOKENIZED = ("add_special_tokens",)
TOKENIZED_CHAT = (*TOKENIZED, "tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
# Time limits of requests that need no work of the model, in seconds; loading an adapter reads it from disk.
QUICK_SECONDS = 10.0
LOAD_SECONDS = 60.0
IN_FLIGHT = ("vllm:num_requests_running", "vllm:num_requests_waiting")


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the asked tokens at the first answered position, and what the prompt cost."""

    logprobs: tuple[float, ...]
    prompt_tokens: int

    @property
    def mass(self) -> float:
        """The probability that the asked tokens hold together."""
        return math.fsum(math.exp(value) for value in self.logprobs)


@dataclass(frozen=True, slots=True)
class Written:
    """An answer in words: the text, its length in tokens, and what the prompt cost.

    `ids` are the answer's tokens with its end, if they were requested.
    """

    text: str
    tokens: int
    prompt_tokens: int
    ids: tuple[int, ...] = ()


class VllmClient:
    """Talks to one engine. Safe to use from several threads."""

    def __init__(
        self, url: str, *, key: str = "", transport: httpx.BaseTransport | None = None, timeout_s: float = 120
    ) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Shorter than the 5 s after which a stock vLLM closes an idle connection itself.
        limits = httpx.Limits(max_connections=64, keepalive_expiry=3)
        self._http = httpx.Client(
            base_url=url, transport=transport, timeout=timeout_s, limits=limits, trust_env=False, headers=self.headers
        )

    def healthy(self) -> bool:
        """Whether the engine answers and says it is well."""
        try:
            return self._http.get("/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def models(self) -> set[str]:
        """The names that the engine serves: the base model's and each adapter's."""
        found = self._json("GET", "/v1/models", seconds=QUICK_SECONDS)
        try:
            return {str(entry["id"]) for entry in found["data"]}
        except (KeyError, TypeError) as error:
            raise EngineError(
                f"What answers at {self.url}/v1/models is no vLLM server.", hint="Correct engine.urls."
            ) from error

    def load(self, name: str, path: str) -> None:
        """Loads an adapter from a folder that the engine can read. Raises EngineError with its reason."""
        self._request("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, seconds=LOAD_SECONDS)

    def unload(self, name: str) -> None:
        """Unload an adapter's name. Its weights go when another adapter needs their slot."""
        self._request("POST", "/v1/unload_lora_adapter", {"lora_name": name}, seconds=QUICK_SECONDS)

    def version(self) -> str:
        """The version of vLLM that runs there."""
        return str(self._json("GET", "/version")["version"])

    def in_flight(self) -> int:
        """Return the number of requests from all clients that the engine works on or has waiting."""
        lines = self._request("GET", "/metrics", seconds=QUICK_SECONDS).text.splitlines()
        return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(IN_FLIGHT))

    def tokens(self, model: str, text: str) -> tuple[int, ...]:
        """Return the ids of a text's tokens in the middle of a prompt."""
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return tuple(int(token) for token in self._json("POST", "/tokenize", body)["tokens"])

    def first_token(self, model: str, text: str) -> int:
        """Return the id of the first token of a text at the beginning of an answer."""
        return self.tokens(model, text)[0]

    def score(
        self, model: str, prompt: Prompt, token_ids: Sequence[int], begun: str = "", *, salt: str | None = None
    ) -> Scores:
        """One greedy token, with the log-probabilities that each given token had in its place.

        `begun` is how the answer begins that the token goes on with; prompts of another `salt` lend no prefix. A
        token that the engine has no score of gets minus infinity.
        """
        asked: dict[str, Any] = {
            "max_tokens": 1,
            "logprobs": True,
            "logprob_token_ids": list(token_ids),
            "return_tokens_as_token_ids": True,
        }
        data = self._answer(model, prompt, begun, asked, salt)
        listed = data["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        found = {int(entry["token"].removeprefix("token_id:")): float(entry["logprob"]) for entry in listed}
        if not found.keys() & set(token_ids):
            raise EngineError(
                f"The engine at {self.url} left out the scores of tokens {list(token_ids)}.",
                hint=UNSUPPORTED,
            )
        values = (found.get(token, -math.inf) for token in token_ids)
        return Scores(tuple(v if v > UNSCORED else -math.inf for v in values), data["usage"]["prompt_tokens"])

    def write(
        self, model: str, prompt: Prompt, *, max_tokens: int, stop: Sequence[str] = (), salt: str | None = None
    ) -> Written:
        """The greedy answer in the form that the prompt's request requires; it ends after any text of `stop`.

        Calls of tools are one text in canonical form.
        """
        asked: dict[str, Any] = options_of(prompt) | {"max_tokens": max_tokens}
        if stop:
            asked |= {"stop": [*asked.get("stop", ()), *stop], "include_stop_str_in_output": True}
        data = self._answer(model, prompt, "", asked, salt)
        usage, message = data["usage"], data["choices"][0]["message"]
        text = calls_text(message.get("tool_calls")) or message["content"] or ""
        return Written(text, usage["completion_tokens"], usage["prompt_tokens"])

    def sample(self, model: str, prompt: Prompt, *, max_tokens: int, seed: int) -> Written:
        """An answer drawn from the whole of the model's distribution, with its tokens."""
        asked = {"max_tokens": max_tokens, "seed": seed, "return_token_ids": True, **WHOLE}
        data = self._answer(model, prompt, "", asked, None)
        choice, usage = data["choices"][0], data["usage"]
        if choice.get("token_ids") is None:
            raise EngineError(f"The engine at {self.url} left out the tokens of its answer.", hint=UNSUPPORTED)
        text = choice["message"]["content"] or ""
        return Written(text, usage["completion_tokens"], usage["prompt_tokens"], tuple(choice["token_ids"]))

    def follow(self, model: str, prompt: Prompt, answer: Sequence[int]) -> Scores:
        """The log-probability of each token of a given answer, after the prompt and the tokens before it.

        An answer that does not fit behind its prompt is cut.
        """
        asked = _spelled(prompt)
        spelled = self._json("POST", "/tokenize", {"model": model, **asked})
        # vLLM generates one token after the tokens that it scores.
        space = max(0, spelled["max_model_len"] - len(spelled["tokens"]) - 1)
        if not space:
            return Scores((), len(spelled["tokens"]))
        whole = [*spelled["tokens"], *answer[:space]]
        body = {
            "model": model,
            "prompt": whole,
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,
            "priority": EVALUATION_PRIORITY,
        }
        listed = self._json("POST", "/v1/completions", body)["choices"][0].get("prompt_logprobs") or []
        if len(listed) != len(whole):
            raise EngineError(f"The engine at {self.url} left out the scores of a prompt.", hint=UNSUPPORTED)
        behind = list(zip(whole, listed, strict=True))[len(spelled["tokens"]) :]
        values = (float(entry[str(token)]["logprob"]) for token, entry in behind)
        return Scores(tuple(v if v > UNSCORED else -math.inf for v in values), len(spelled["tokens"]))

    def _answer(self, model: str, prompt: Prompt, begun: str, asked: dict[str, Any], salt: str | None) -> Any:
        shaped = template_options(prompt)
        if "tools" in shaped:
            shaped["tool_choice"] = "none"  # they are in the prompt, and the answer is free text
        body = {"model": model, "temperature": 0, "priority": EVALUATION_PRIORITY, **shaped, **asked}
        if salt:
            body["cache_salt"] = salt
        match prompt:
            case Chat():
                body["messages"] = prompt.as_openai()
                if begun and prefill_of(prompt):
                    body["messages"][-1]["content"] += begun
                elif begun:
                    body["messages"] += [{"role": "assistant", "content": begun}]
                    body |= {"add_generation_prompt": False, "continue_final_message": True}
            case Text(text):
                raw = {"chat_template": RAW_TEMPLATE, "add_special_tokens": shaped.get("add_special_tokens", True)}
                body |= {"messages": [{"role": "user", "content": text + begun}], **raw}
        return self._json("POST", "/v1/chat/completions", body)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None, *, seconds: float | None = None) -> Any:
        response = self._request(method, path, body, seconds=seconds)
        try:
            return response.json()
        except ValueError as error:
            raise EngineError(f"The engine at {self.url} answered {path} with something else than JSON.") from error

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, seconds: float | None = None
    ) -> httpx.Response:
        limit = httpx.USE_CLIENT_DEFAULT if seconds is None else seconds
        try:
            response = self._http.request(method, path, json=body, timeout=limit)
        except httpx.HTTPError as error:
            raise EngineDown(
                f"The engine at {self.url} does not answer: {error or type(error).__name__}.",
                hint="See its log, engine.log in the data folder.",
            ) from error
        if response.status_code >= 400:
            kind = PromptRefused if path in PROMPTED and response.status_code in REFUSED else EngineError
            raise kind(f"The engine at {self.url} refused {path}: {_reason(response)}")
        return response


def _spelled(prompt: Prompt) -> dict[str, Any]:
    """What `/tokenize` needs of a prompt. It takes fewer fields than a chat; the template gets the others."""
    shaped = template_options(prompt)
    if isinstance(prompt, Text):
        return {"prompt": prompt.text} | {name: shaped[name] for name in TOKENIZED if name in shaped}
    known = {name: shaped[name] for name in TOKENIZED_CHAT if name in shaped}
    for_template = {name: shaped[name] for name in ("documents", "reasoning_effort") if name in shaped}
    if for_template:
        known["chat_template_kwargs"] = for_template | shaped.get("chat_template_kwargs", {})
    return {"messages": prompt.as_openai()} | known


def _reason(response: httpx.Response) -> str:
    try:
        data = response.json()
    except ValueError:
        return response.text[:300]
    error = data.get("error", data) if isinstance(data, dict) else data
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
