"""The fields of a completion request that engines get. Every other field is left out, and named in a header.

A list of what is allowed is safe when vLLM adds a field; a list of what is not allowed is not. A test compares both
lists with the fields of the installed vLLM.
"""

from typing import Any

from core.errors import InputError
from core.records import Endpoint

COMMON = frozenset(
    (
        "model",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "n",
        "presence_penalty",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "user",
        # vLLM's own, for sampling and for the form of an answer.
        "add_special_tokens",
        "allowed_token_ids",
        "bad_words",
        "echo",
        "ignore_eos",
        "include_stop_str_in_output",
        "length_penalty",
        "logprob_token_ids",
        "min_p",
        "min_tokens",
        "prompt_logprobs",
        "repetition_penalty",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "thinking_token_budget",
        "top_k",
        "truncate_prompt_tokens",
        "truncation_side",
        "use_beam_search",
    )
)
ALLOWED: dict[Endpoint, frozenset[str]] = {
    "chat": COMMON
    | {
        "messages",
        "top_logprobs",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning_effort",
        "include_reasoning",
        "add_generation_prompt",
        "continue_final_message",
        "documents",
        "chat_template_kwargs",
    },
    "completion": COMMON | {"prompt", "suffix", "best_of"},
}
# Fields of vLLM that no client may set, with the reason.
NOT_ALLOWED = {
    "priority": "the place in the engine's queue",
    "cache_salt": "the prefix cache of other clients",
    "request_id": "the id that feedback names",
    "session_id": "the engine's routing between its parts",
    "kv_transfer_params": "transfers between engines",
    "ec_transfer_params": "transfers between engines",
    "vllm_xargs": "arguments of engine extensions",
    "chat_template": "code that the engine runs",
    "prompt_embeds": "tensors that the engine unpickles",
    "return_prompt_text": "the prompt, with texts of other users where a model retrieves",
    "return_token_offsets": "the prompt's text positions",
    "routed_experts_prompt_start": "the engine's internals",
    "media_io_kwargs": "options of the engine's media loaders",
    "mm_processor_kwargs": "options of the engine's media processors",
    "mm_payload": "media in the engine's own format",
    "return_mm_kwargs": "media in the engine's own format",
    "repetition_detection": "the engine's internals",
    "stream_interval": "the engine's internals",
    "watermarking": "the engine's internals",
}
# What the gateway itself reads, and an engine does not need. Only other fields are reported as left out.
READ_HERE = frozenset(("metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"))
KNOWN = {endpoint: allowed | READ_HERE for endpoint, allowed in ALLOWED.items()}
# With these an answer has parts of the prompt. A retrieval puts texts of other users there.
SHOWS_PROMPT = ("echo", "prompt_logprobs", "return_token_ids")
# The parts of an answer that show the prompt, in the answer and in each of its choices.
PROMPT_PARTS = ("prompt_text", "prompt_token_ids", "prompt_logprobs", "prompt_embeds")


def select_fields(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that an engine gets."""
    allowed = ALLOWED[endpoint]
    return {name: value for name, value in body.items() if name in allowed}


def without_template(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request whose arguments of the chat template name no other template: that is code."""
    if isinstance(kwargs := body.get("chat_template_kwargs"), dict):
        return body | {"chat_template_kwargs": {name: v for name, v in kwargs.items() if name != "chat_template"}}
    return body


def left_out(endpoint: Endpoint, body: dict[str, Any]) -> list[str]:
    """Return the names of fields that change nothing, sorted; only those with plain names."""
    return unknown_names(KNOWN[endpoint], body)


def unknown_names(known: frozenset[str], body: dict[str, Any]) -> list[str]:
    """Return the names of fields that are not known, sorted; only those with plain names."""
    if body.keys() <= known:
        return []
    names = body.keys() - known
    return sorted(name for name in names if name.isascii() and name.replace("_", "").isalnum() and len(name) <= 64)


def refuse_shown_prompt(body: dict[str, Any], version: str) -> None:
    """Raises InputError for a request that would show the prompt of a version that retrieves."""
    for name in SHOWS_PROMPT:
        if body.get(name) not in (None, False):
            raise InputError(
                f"{name}: {version} adds texts to the prompt, which may not be shown.",
                field=name,
                hint="Leave the field out.",
            )


def check_amounts(body: dict[str, Any], *, max_choices: int, max_tokens: int | None) -> None:
    """Raises InputError for a request that asks for more answers, or for longer ones, than the settings allow."""
    for name in ("n", "best_of"):
        if name in body:
            _at_most(body, name, max_choices, "gateway.max_choices")
    prompts = _prompts(body.get("prompt"))
    each = body["n"] if type(body.get("n")) is int else 1
    if prompts * each > max_choices:
        raise InputError(
            f"prompt: {prompts} prompts with {each} answers each are more than {max_choices} answers.",
            field="prompt",
            hint="Send several requests, or raise gateway.max_choices.",
        )
    if max_tokens is not None:
        for name in ("max_tokens", "max_completion_tokens"):
            _at_most(body, name, max_tokens, "gateway.max_tokens_per_request")


def _prompts(prompt: Any) -> int:
    """How many prompts a request has: a list of token ids is one."""
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1


def _at_most(body: dict[str, Any], name: str, limit: int, setting: str) -> None:
    value = body.get(name)
    if isinstance(value, int | float) and value > limit:
        raise InputError(f"{name}: takes at most {limit}.", field=name, hint=f"The limit is {setting}.")
