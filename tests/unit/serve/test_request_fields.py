"""Facts about the fields of a request that engines get, compared with the installed vLLM."""

import ast
import json
from typing import Any

import pytest

from core.errors import InputError
from core.records import Endpoint
from serve.gateway.answer_names import AnswerNames
from serve.gateway.request_fields import ALLOWED, NOT_ALLOWED, check_amounts, left_out, refuse_shown_prompt
from tests.support.vllm_source import vllm_folder

PROTOCOLS: dict[Endpoint, tuple[str, str]] = {
    "chat": ("chat_completion", "ChatCompletionRequest"),
    "completion": ("completion", "CompletionRequest"),
}
CHAT = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}


def fields_of_vllm(endpoint: Endpoint) -> set[str]:
    """The fields of vLLM's request, read from its source."""
    folder, name = PROTOCOLS[endpoint]
    source = vllm_folder() / "entrypoints" / "openai" / folder / "protocol.py"
    (model,) = [n for n in ast.parse(source.read_text()).body if isinstance(n, ast.ClassDef) and n.name == name]
    named = [n.target.id for n in model.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    return {field for field in named if not field.startswith("_")}


@pytest.mark.parametrize("endpoint", ["chat", "completion"])
def test_every_field_of_vllm_is_allowed_or_not_by_name(endpoint: Endpoint) -> None:
    fields = fields_of_vllm(endpoint)
    assert len(fields) > 40
    undecided = fields - ALLOWED[endpoint] - NOT_ALLOWED.keys()
    assert undecided == set(), "decide in serve/gateway/request_fields.py whether clients may set these"
    assert ALLOWED[endpoint] - fields <= {"best_of"}
    assert not ALLOWED[endpoint] & NOT_ALLOWED.keys()


def test_a_field_that_nobody_allowed_reaches_no_engine_and_is_named(gateway: Any) -> None:
    answer = gateway.open().post(return_prompt_text=True, media_io_kwargs={}, new_in_vllm=1, top_k=3, **{"b\nad": 1})
    assert gateway.engine.requests[-1][1] == CHAT | {"model": "reviews-7", "top_k": 3}
    assert answer.headers["x-loraloop-ignored"] == "media_io_kwargs, new_in_vllm, return_prompt_text"
    assert "x-loraloop-ignored" not in gateway.post(store=True, metadata={"a": "b"}).headers


def test_what_the_gateway_reads_is_not_reported_as_left_out() -> None:
    assert left_out("chat", {"metadata": {}, "store": True, "safety_identifier": "x", "model": "m"}) == []


@pytest.mark.parametrize("name", ["echo", "prompt_logprobs", "return_token_ids"])
def test_a_retrieval_shows_nobody_its_prompt(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: reviews@3 adds texts"):
        refuse_shown_prompt({name: 1}, "reviews@3")
    refuse_shown_prompt({name: False}, "reviews@3")


def test_parts_of_the_prompt_are_removed_from_the_answer_of_a_retrieval() -> None:
    secret = {"prompt_text": "of others", "prompt_token_ids": [1], "prompt_logprobs": [{}]}
    answer = {"id": "x", "model": "base", **secret, "choices": [{"index": 0, "text": "a", **secret}]}
    names = AnswerNames(identity="i", model="reviews@3", hides_prompt=True)
    found = json.loads(names.rewrite(json.dumps(answer).encode()))
    assert found == {"id": "i", "model": "reviews@3", "choices": [{"index": 0, "text": "a"}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"n": 16_384}, "n: takes at most 16"),
        ({"n": 17.0}, "n: takes at most 16"),
        ({"best_of": 17}, "best_of"),
        ({"prompt": ["a"] * 9, "n": 2}, "9 prompts with 2 answers each"),
        ({"prompt": [[1, 2]] * 17}, "17 prompts"),
        ({"max_tokens": 1001}, "max_tokens: takes at most 1000"),
        ({"max_completion_tokens": 1001}, "max_completion_tokens"),
    ],
)
def test_one_request_asks_for_no_more_than_the_settings_allow(body: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_amounts(body, max_choices=16, max_tokens=1000)


def test_what_is_within_the_limits_passes() -> None:
    for body in ({"n": 16}, {"prompt": [1] * 500}, {"prompt": ["a"] * 16}, {"n": None}, {"max_tokens": 1000}):
        check_amounts(body, max_choices=16, max_tokens=1000)
    check_amounts({"max_tokens": 10**6}, max_choices=16, max_tokens=None)
