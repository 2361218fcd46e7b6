"""Facts about the official OpenAI client, sync and async, with the real gateway and the real engine."""

import asyncio
import re
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.openai_client import GREEDY, MESSAGES, MODEL, chat, complete
from tools.live_stack import LiveStack
from tools.tiny_model import LABELS, token_ids

pytestmark = pytest.mark.integration


def test_a_chat_is_answered_under_the_id_that_its_headers_name(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(messages=MESSAGES, max_tokens=6, **GREEDY)
    found = raw.parse()
    assert found.object == "chat.completion"
    assert found.id.startswith("chatcmpl-")
    assert raw.request_id == found.id == found._request_id
    assert raw.headers["x-loraloop-version"] == f"{MODEL}@0"
    assert found.choices[0].message.role == "assistant"
    assert found.choices[0].message.content
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert (found.usage.completion_tokens, found.usage.total_tokens) == (6, 6 + found.usage.prompt_tokens)


def test_a_completion_is_answered(client: openai.OpenAI):
    found = complete(client, "the phone was", max_tokens=6)
    assert found.object == "text_completion"
    assert found.id.startswith("cmpl-")
    assert found.choices[0].text
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (3, 6)


def test_several_prompts_and_token_ids_are_completed_in_their_order(client: openai.OpenAI):
    alone = [complete(client, text, max_tokens=4).choices[0].text for text in ("the phone", "a story was")]
    together = complete(client, ["the phone", "a story was"], max_tokens=4)
    assert [choice.index for choice in together.choices] == [0, 1]
    assert [choice.text for choice in together.choices] == alone
    assert complete(client, [7, 8, 9], max_tokens=4).usage.prompt_tokens == 3


def test_a_prompt_may_be_echoed(client: openai.OpenAI):
    text = complete(client, "phone", max_tokens=2).choices[0].text
    assert complete(client, "phone", max_tokens=2, echo=True).choices[0].text == "phone" + text


def test_text_in_parts_is_answered_like_plain_text(client: openai.OpenAI):
    parts: Any = [{"type": "text", "text": "the phone"}, {"type": "text", "text": "was great"}]
    found = chat(client, messages=[{"role": "user", "content": parts}], max_tokens=8)
    assert found.choices[0].message.content == chat(client, max_tokens=8).choices[0].message.content


@pytest.mark.parametrize("asked", [False, True])
def test_a_chats_stream_holds_what_the_whole_answer_does(client: openai.OpenAI, asked: bool):
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    whole = chat(client, max_tokens=8)
    chunks = list(chat(client, max_tokens=8, stream=True, **options))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert [chunk.usage for chunk in chunks if chunk.usage] == ([whole.usage] if asked else [])
    assert bool(chunks[-1].choices) is not asked


@pytest.mark.parametrize("asked", [False, True])
def test_a_completions_stream_holds_what_the_whole_answer_does(client: openai.OpenAI, asked: bool):
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    whole = complete(client, "the phone was", max_tokens=8)
    chunks = list(complete(client, "the phone was", max_tokens=8, stream=True, **options))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert [chunk.usage for chunk in chunks if chunk.usage] == ([whole.usage] if asked else [])


def test_usage_within_a_stream_comes_when_asked_for(client: openai.OpenAI):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(chat(client, max_tokens=4, stream=True, stream_options=options))
    assert all(chunk.usage for chunk in chunks)
    assert chunks[-1].usage.completion_tokens == 4


def test_several_answers_are_several_choices_streamed_or_not(client: openai.OpenAI):
    options: dict[str, Any] = {"n": 2, "max_tokens": 12, "temperature": 1, "seed": 5}
    whole = chat(client, **options)
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 2
    assert whole.usage.completion_tokens == 24
    streamed = ["", ""]
    for chunk in chat(client, stream=True, **options):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_an_answer_ends_before_its_stop_words(client: openai.OpenAI):
    whole = complete(client, "the phone was", max_tokens=12).choices[0].text
    stop = whole[len(whole) // 2 :][:2]
    found = complete(client, "the phone was", max_tokens=12, stop=[stop, "never said"]).choices[0]
    assert (found.text, found.finish_reason) == (whole[: whole.index(stop)], "stop")
    said = chat(client, max_tokens=12).choices[0].message.content
    assert chat(client, max_tokens=12, stop=said[3:5]).choices[0].message.content == said[: said.index(said[3:5])]


def test_a_seed_repeats_an_answer_and_another_does_not(client: openai.OpenAI):
    said = [chat(client, temperature=1, seed=seed, max_tokens=16).choices[0].message.content for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_a_chats_log_probabilities_are_those_of_its_tokens(client: openai.OpenAI):
    choice = chat(client, max_tokens=5, logprobs=True, top_logprobs=3).choices[0]
    listed = choice.logprobs.content
    assert "".join(entry.token for entry in listed) == choice.message.content
    for entry in listed:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs) < 0
    streamed = [chunk.choices[0].logprobs for chunk in chat(client, max_tokens=5, logprobs=True, stream=True)]
    assert [entry.token for found in streamed if found for entry in found.content] == [e.token for e in listed]


def test_a_completions_log_probabilities_are_those_of_its_tokens(client: openai.OpenAI):
    choice = complete(client, "the phone", max_tokens=5, logprobs=2).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert all(len(top) == 2 for top in choice.logprobs.top_logprobs)
    assert all(value < 0 for value in choice.logprobs.token_logprobs)


def test_biases_and_penalties_reach_the_engine(client: openai.OpenAI, tiny_base: Path):
    token = token_ids(tiny_base)["good"]
    biased = chat(client, max_tokens=8, logit_bias={str(token): 9}).choices[0].message.content
    assert biased == "good" * 8
    for penalty in ({"frequency_penalty": 2}, {"presence_penalty": 2, "frequency_penalty": 1.9}):
        found = chat(client, max_tokens=8, logit_bias={str(token): 9}, **penalty).choices[0].message.content
        assert 0 < found.count("good") < 8


@pytest.mark.parametrize(
    "options",
    [
        {"user": "ada"},
        {"safety_identifier": "ada"},
        {"metadata": {"conversation_id": "c-1", "page": "cart"}},
        {"store": True},
        {"store": False},
        {"service_tier": "auto"},
        {"parallel_tool_calls": False},
        {"max_completion_tokens": 8, "max_tokens": openai.omit},
        {"top_p": 1.0},
        {"prompt_cache_key": "k"},
    ],
)
def test_what_only_keeps_books_changes_no_answer(client: openai.OpenAI, options: dict[str, Any]):
    usual = chat(client, max_tokens=8).choices[0].message.content
    assert chat(client, **{"max_tokens": 8} | options).choices[0].message.content == usual


def test_feedback_goes_through_the_same_client(client: openai.OpenAI):
    said = {"interaction_id": chat(client, max_tokens=1).id, "type": "thumbs", "value": True}
    taken: Any = client.post("/feedback", body=said, cast_to=dict[str, Any])
    assert taken["feedback_id"].startswith("fb-")
    assert client.delete(f"/feedback/{taken['feedback_id']}", cast_to=dict[str, Any]) == taken


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(client: openai.OpenAI):
    for ask in (
        lambda: chat(client, model="none"),
        lambda: complete(client, "x", model="none", stream=True),
    ):
        with pytest.raises(openai.NotFoundError, match="See GET /v1/models") as caught:
            ask()
        assert caught.value.code == "unknown_model"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"messages": "not a list"}, "messages"),
        ({"temperature": -5}, "temperature"),
        ({"n": 0}, "n"),
        ({"messages": [{"role": "user", "content": "the " * 400}]}, "context length"),
    ],
)
def test_what_the_engine_refuses_is_a_bad_request_in_its_own_words(
    client: openai.OpenAI, wrong: dict[str, Any], said: str, stream: bool
):
    with pytest.raises(openai.BadRequestError, match=said):
        chat(client, stream=stream, **wrong)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"model": 5}, "model"), ({"stream": "yes"}, "stream"), ({"stream_options": 1}, "options")]
)
def test_what_the_gateway_cannot_read_is_unprocessable(client: openai.OpenAI, wrong: dict[str, Any], said: str):
    with pytest.raises(openai.UnprocessableEntityError, match=said) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body=wrong)
    assert caught.value.type == "invalid_request_error"


def test_a_body_that_is_too_large_is_refused_as_such(client: openai.OpenAI):
    with pytest.raises(openai.APIStatusError, match="larger than") as caught:
        chat(client, messages=[{"role": "user", "content": "x" * (4 * 1024 * 1024)}])
    assert caught.value.status_code == 413


def test_routes_that_are_not_served_are_not_found(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError, match="no engine for embeddings"):
        client.embeddings.create(model=MODEL, input="the phone")


def test_the_models_are_listed(client: openai.OpenAI):
    found = list(client.models.list())
    assert MODEL in [model.id for model in found]
    assert all(model.object == "model" and model.owned_by == "loraloop" for model in found)


def test_a_model_is_retrieved_by_its_name(client: openai.OpenAI):
    found = client.models.retrieve(MODEL)
    assert (found.id, found.object) == (MODEL, "model")


def test_a_model_that_is_not_there_is_not_found(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_only_the_right_key_is_let_in(running: LiveStack):
    with openai.OpenAI(base_url=f"{running.gateway}/v1", api_key="wrong", max_retries=0, timeout=60) as wrong:
        for ask in (lambda: chat(wrong), lambda: chat(wrong, stream=True), wrong.models.list):
            with pytest.raises(openai.AuthenticationError, match="key is missing, wrong or no longer valid"):
                ask()


def test_the_async_client_is_answered_many_times_at_once(running: LiveStack):
    async def ask(client: openai.AsyncOpenAI, number: int) -> tuple[str, str]:
        content = f"the phone was {LABELS[number % 3]}"
        common: Any = {"messages": [{"role": "user", "content": content}], "max_tokens": 6, **GREEDY}
        whole = await client.chat.completions.create(**common)
        streamed = ""
        async for chunk in await client.chat.completions.create(stream=True, **common):
            streamed += chunk.choices[0].delta.content or ""
        return whole.choices[0].message.content or "", streamed

    async def ask_all() -> list[tuple[str, str]]:
        async with openai.AsyncOpenAI(
            base_url=f"{running.gateway}/v1", api_key=running.keys["app"], max_retries=0, timeout=60
        ) as client:
            plain = await client.completions.create(prompt="the phone was", max_tokens=2, **GREEDY)
            assert plain.choices[0].text
            assert MODEL in [model.id async for model in client.models.list()]
            return await asyncio.gather(*(ask(client, number) for number in range(12)))

    answers = asyncio.run(ask_all())
    assert all(whole == streamed for whole, streamed in answers)
    assert len({whole for whole, _ in answers}) <= len(LABELS)
    assert all(re.search(r"\S", whole) for whole, _ in answers)
