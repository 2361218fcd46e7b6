"""Facts about LangChain's ChatOpenAI with the real gateway and the real engine."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from tools.live_stack import LiveStack
from tools.tiny_model import LABELS, no_blanks

pytestmark = pytest.mark.integration

TALK = [SystemMessage("rate the phone"), HumanMessage("the phone was great")]


class Verdict(BaseModel):
    """How a text is rated."""

    label: Literal["bad", "fine", "good"]
    sure: bool


@tool
def rate(label: Literal["bad", "fine", "good"]) -> str:
    """Rates a text."""
    return f"rated {label}"


@pytest.fixture(scope="module")
def model(running: LiveStack, tiny_base: Path) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{running.gateway}/v1",
        api_key=SecretStr(running.keys["app"]),
        model="plain",
        temperature=0,
        max_completion_tokens=100,
        max_retries=0,
        timeout=60,
        logit_bias={int(token): bias for token, bias in no_blanks(tiny_base).items()},
    )


def test_it_is_answered_with_an_id_that_feedback_can_name_and_with_usage(model: ChatOpenAI):
    found = model.invoke(TALK, max_tokens=6)
    assert isinstance(found, AIMessage)
    assert found.content
    assert found.response_metadata["id"].startswith("chatcmpl-")
    assert found.usage_metadata is not None
    assert found.usage_metadata["output_tokens"] <= 6


def test_its_stream_holds_what_the_whole_answer_does(model: ChatOpenAI):
    whole = model.invoke(TALK, max_tokens=12)
    chunks = list(model.stream(TALK, stream_usage=True, max_tokens=12))
    assert len(chunks) > 2
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata] == [whole.usage_metadata]


def test_its_batch_is_answered_in_order(model: ChatOpenAI):
    asked: list[Any] = [f"the phone was {label}" for label in LABELS]
    alone = [model.invoke(text, max_tokens=8).content for text in asked]
    assert [found.content for found in model.batch(asked, max_tokens=8)] == alone
    assert [found.content for found in asyncio.run(model.abatch(asked, max_tokens=8))] == alone


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_its_structured_output_is_of_the_requested_class(model: ChatOpenAI, method: Any):
    assert isinstance(model.with_structured_output(Verdict, method=method, strict=True).invoke(TALK), Verdict)


def test_its_bound_tool_is_called_and_its_result_answered(model: ChatOpenAI):
    called = model.bind_tools([rate], tool_choice="required", strict=True).invoke(TALK)
    assert isinstance(called, AIMessage)
    (call,) = called.tool_calls
    assert call["name"] == "rate"
    result = rate.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.content == f"rated {call['args']['label']}"
    assert model.bind_tools([rate], tool_choice="none").invoke([*TALK, called, result], max_tokens=8).content


def test_a_tool_that_may_be_called_leaves_text_as_text(model: ChatOpenAI):
    found = model.bind_tools([rate]).invoke(TALK, max_tokens=8)
    assert isinstance(found, AIMessage)
    assert found.content
    assert not found.tool_calls
